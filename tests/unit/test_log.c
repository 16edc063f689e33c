/* log: what arrives on stderr, seen through a pipe and through a pseudo-terminal. */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int stderr_before;
static char seen[8192];

/* Points stderr at fd, runs write_it, points it back. */
static void with_stderr(int fd, void (*write_it)(void)) {
  stderr_before = dup(STDERR_FILENO);
  assert_true(stderr_before >= 0 && dup2(fd, STDERR_FILENO) >= 0);
  write_it();
  dup2(stderr_before, STDERR_FILENO);
  close(stderr_before);
}

static const char *through_pipe(void (*write_it)(void)) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  with_stderr(ends[1], write_it);
  close(ends[1]);
  ssize_t n = read(ends[0], seen, sizeof seen - 1);
  close(ends[0]);
  seen[n < 0 ? 0 : n] = '\0';
  return seen;
}

static const char *through_terminal(void (*write_it)(void)) {
  int master = posix_openpt(O_RDWR | O_NOCTTY);
  assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
  int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  assert_true(slave >= 0);
  with_stderr(slave, write_it);
  ssize_t n = read(master, seen, sizeof seen - 1);
  close(slave);
  close(master);
  seen[n < 0 ? 0 : n] = '\0';
  return seen;
}

static void one_fact(void) { log_warning("device", "%s is gone, %d left", "cuda:0", 3); }

static void a_fact_is_one_line_with_a_priority(void **state) {
  (void)state;
  assert_string_equal(through_pipe(one_fact), "<4>device: cuda:0 is gone, 3 left\n");
}

static void a_terminal_gets_time_and_level(void **state) {
  (void)state;
  const char *line = through_terminal(one_fact);
  assert_int_equal(line[10], 'T');
  assert_string_equal(line + 24, " warning device: cuda:0 is gone, 3 left\r\n");
}

static void every_level(void) {
  log_error("x", "e");
  log_warning("x", "w");
  log_info("x", "i");
  log_debug("x", "d");
}

static void the_level_chooses(void **state) {
  (void)state;
  assert_string_equal(through_pipe(every_level), "<3>x: e\n<4>x: w\n<6>x: i\n");
  log_set_level(LOG_LEVEL_ERROR);
  assert_string_equal(through_pipe(every_level), "<3>x: e\n");
  assert_false(log_wants(LOG_LEVEL_WARNING));
  log_set_level(LOG_LEVEL_DEBUG);
  assert_string_equal(through_pipe(every_level), "<3>x: e\n<4>x: w\n<6>x: i\n<7>x: d\n");
  log_set_level(LOG_LEVEL_INFO);
}

static void hostile(void) {
  log_info("x", "%s",
           "a\n<3>b\r\033[2J\x7f\xc2\x9b"
           "c \xc3\xa9");
}

static void control_characters_are_escaped(void **state) {
  (void)state;
  assert_string_equal(through_pipe(hostile), "<6>x: a\\x0a<3>b\\x0d\\x1b[2J\\x7f\\x9bc \xc3\xa9\n");
}

static void endless(void) {
  char text[5000];
  memset(text, 'y', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  log_info("x", "%s", text);
}

static void all_escapes(void) {
  char text[5000];
  memset(text, '\n', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  log_info("x", "%s", text);
}

static void a_long_line_is_cut(void **state) {
  (void)state;
  size_t n = strlen(through_pipe(endless));
  assert_in_range(n, 2040, 2048);
  assert_string_equal(seen + n - 5, "y...\n");
  n = strlen(through_pipe(all_escapes));
  assert_in_range(n, 2040, 2048);
  assert_string_equal(seen + n - 8, "\\x0a...\n");
}

static void a_long_room(void) {
  char room[3000];
  memset(room, 'r', sizeof room - 1);
  room[sizeof room - 1] = '\0';
  log_info(room, "text");
}

static void a_long_room_is_cut(void **state) {
  (void)state;
  assert_int_equal(strlen(through_pipe(a_long_room)), 3 + 64 + strlen(": text\n"));
}

static int errno_after;

static void with_errno(void) {
  errno = EXDEV;
  log_info("x", "text");
  errno_after = errno;
}

static void errno_survives(void **state) {
  (void)state;
  through_pipe(with_errno);
  assert_int_equal(errno_after, EXDEV);
}

static void levels_are_words(void **state) {
  (void)state;
  enum log_level level = LOG_LEVEL_ERROR;
  assert_true(log_parse_level("debug", &level));
  assert_int_equal(level, LOG_LEVEL_DEBUG);
  assert_true(log_parse_level("error", &level));
  assert_int_equal(level, LOG_LEVEL_ERROR);
  assert_false(log_parse_level("loud", &level));
  assert_int_equal(level, LOG_LEVEL_ERROR);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_fact_is_one_line_with_a_priority),
      cmocka_unit_test(a_terminal_gets_time_and_level),
      cmocka_unit_test(the_level_chooses),
      cmocka_unit_test(control_characters_are_escaped),
      cmocka_unit_test(a_long_line_is_cut),
      cmocka_unit_test(a_long_room_is_cut),
      cmocka_unit_test(errno_survives),
      cmocka_unit_test(levels_are_words),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
