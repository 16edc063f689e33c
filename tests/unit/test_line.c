/* line: what is read, over socket pairs and pipes, from peers that are slow, gone or hostile. */
#include "line_fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/os_memfd.h"

/* ---- reading ---- */

static void lines_are_told_in_order(void **state) {
  struct line_fixture *f = *state;
  LINE_FIXTURE_WRITES(f, "one\n\ntwo\r\nthree");
  assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  assert_int_equal(3, f->count);
  line_fixture_assert_told(f, 0, "one");
  line_fixture_assert_told(f, 1, "");
  line_fixture_assert_told(f, 2, "two\r");
  LINE_FIXTURE_WRITES(f, " and a half\n");
  assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  line_fixture_assert_told(f, 3, "three and a half");
}

static void nothing_there_is_no_failure(void **state) {
  struct line_fixture *f = *state;
  assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  assert_int_equal(0, f->count);
}

static void a_line_may_come_byte_by_byte(void **state) {
  struct line_fixture *f = *state;
  for (const char *at = "slow\n"; *at; at++) {
    assert_int_equal(0, f->count);
    line_fixture_peer_writes(f, at, 1);
    assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  }
  line_fixture_assert_told(f, 0, "slow");
}

static void any_byte_may_be_in_a_line(void **state) {
  struct line_fixture *f = *state;
  LINE_FIXTURE_WRITES(f, "a\0b\xff\n");
  assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  assert_int_equal(4, f->sizes[0]);
  assert_memory_equal("a\0b\xff", f->lines[0], 5);
}

static void a_torn_last_line_is_dropped(void **state) {
  struct line_fixture *f = *state;
  LINE_FIXTURE_WRITES(f, "whole\ntorn");
  line_fixture_close_end(f, 1);
  assert_int_equal(STATUS_NOT_FOUND, line_fixture_read_all(f));
  assert_int_equal(1, f->count);
  assert_int_equal(STATUS_NOT_FOUND, line_fixture_read_all(f));
  assert_int_equal(1, f->count);
}

static void the_longest_line_is_max_line(void **state) {
  struct line_fixture *f = *state;
  char text[MAX_LINE + 2];
  memset(text, 'x', sizeof text);
  text[MAX_LINE] = '\n';
  line_fixture_peer_writes(f, text, MAX_LINE + 1);
  assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  assert_int_equal(MAX_LINE, f->sizes[0]);
  text[MAX_LINE] = 'x';
  text[MAX_LINE + 1] = '\n';
  line_fixture_peer_writes(f, text, MAX_LINE + 2);
  assert_int_equal(STATUS_BODY_TOO_LARGE, line_fixture_read_all(f));
  assert_int_equal(1, f->count);
}

static void a_line_is_too_long_before_its_end_comes(void **state) {
  struct line_fixture *f = *state;
  char text[MAX_LINE + 1];
  memset(text, 'x', sizeof text);
  line_fixture_peer_writes(f, text, sizeof text);
  assert_int_equal(STATUS_BODY_TOO_LARGE, line_fixture_read_all(f));
  assert_int_equal(STATUS_BODY_TOO_LARGE, line_fixture_read_all(f));
}

/* Several chunks; the peer can write as long as the line reads. */
static void a_long_line_is_put_together(void **state) {
  struct line_fixture *f = *state;
  const size_t size = 300 * 1000;
  char *text = malloc(size + 1);
  for (size_t i = 0; i < size; i++)
    text[i] = (char)('a' + i % 23);
  text[size] = '\n';
  line_free(f->line);
  line_fixture_make(f, size, MAX_QUEUE);
  fcntl(f->ends[1], F_SETFL, O_NONBLOCK);
  for (size_t done = 0; done <= size;) {
    ssize_t n = write(f->ends[1], text + done, size + 1 - done);
    done += n > 0 ? (size_t)n : 0;
    assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  }
  assert_int_equal(1, f->count);
  assert_int_equal(size, f->sizes[0]);
  assert_memory_equal(text, f->lines[0], size);
  free(text);
}

static void whoever_stops_is_told_the_rest_later(void **state) {
  struct line_fixture *f = *state;
  LINE_FIXTURE_WRITES(f, "one\ntwo\nthree\nfo");
  f->stop_at = 1;
  assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  assert_int_equal(1, f->count);
  LINE_FIXTURE_WRITES(f, "ur\n");
  f->stop_at = 2;
  assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  assert_int_equal(2, f->count);
  f->stop_at = 0;
  assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  assert_int_equal(4, f->count);
  line_fixture_assert_told(f, 1, "two");
  line_fixture_assert_told(f, 3, "four");
}

static void it_may_be_freed_at_a_line(void **state) {
  struct line_fixture *f = *state;
  LINE_FIXTURE_WRITES(f, "one\ntwo\n");
  f->stop_at = 1;
  f->frees = true;
  assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  assert_int_equal(1, f->count);
  assert_null(f->line);
}

static bool send_back(void *arg, char *text, size_t n) {
  struct line_fixture *f = arg;
  f->count++;
  assert_int_equal(STATUS_OK, line_send(f->line, text, n, NULL, 0));
  return true;
}

static void it_may_send_from_a_line(void **state) {
  struct line_fixture *f = *state;
  char back[16] = "";
  LINE_FIXTURE_WRITES(f, "one\ntwo\n");
  assert_int_equal(STATUS_OK, line_read(f->line, send_back, f));
  f->count = 0;
  assert_int_equal(8, read(f->ends[1], back, sizeof back));
  assert_string_equal("one\ntwo\n", back);
}

/* ---- descriptors that come ---- */

static void shares_come_in_order_with_their_lines(void **state) {
  struct line_fixture *f = *state;
  struct share other;
  assert_int_equal(STATUS_OK, os_memfd_create("other", 1, &other));
  f->take = 1;
  line_fixture_peer_sends(f, "one\n", 4, 1);
  struct share first = f->memory;
  f->memory = other;
  line_fixture_peer_sends(f, "two\n", 4, 1);
  f->memory = first;
  share_close(&other);
  assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  assert_int_equal(2, f->taken_count);
  assert_int_equal(SHARE_MEMFD, f->taken[0].kind);
  line_fixture_assert_memory(f, &f->taken[0]);
  uint64_t size;
  assert_int_equal(STATUS_OK, os_memfd_size(&f->taken[1], &size));
  assert_int_equal(1, size);
  for (int i = 0; i < 2; i++)
    assert_int_equal(FD_CLOEXEC, fcntl((int)f->taken[i].value, F_GETFD));
}

static void a_share_may_come_before_its_line_is_whole(void **state) {
  struct line_fixture *f = *state;
  f->take = 2;
  line_fixture_peer_sends(f, "o", 1, 2);
  assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  assert_int_equal(2, line_shares(f->line));
  LINE_FIXTURE_WRITES(f, "ne\n");
  assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  assert_int_equal(2, f->taken_count);
  assert_int_equal(0, line_shares(f->line));
  assert_false(line_take_share(f->line, SHARE_FILE, &f->taken[2]));
}

static void shares_that_nobody_takes_are_closed(void **state) {
  struct line_fixture *f = *state;
  line_fixture_peer_sends(f, "one\n", 4, LINE_MAX_SHARES);
  assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  assert_int_equal(LINE_MAX_SHARES, line_shares(f->line)); /* teardown counts what is left */
}

static void too_many_shares_break_it(void **state) {
  struct line_fixture *f = *state;
  line_fixture_peer_sends(f, "one\n", 4, LINE_MAX_SHARES);
  line_fixture_peer_sends(f, "two\n", 4, 1);
  assert_int_equal(STATUS_INTERNAL_ERROR, line_fixture_read_all(f));
  assert_int_equal(LINE_MAX_SHARES, line_shares(f->line));
}

static void shares_that_were_cut_off_break_it(void **state) {
  struct line_fixture *f = *state;
  line_fixture_peer_sends(f, "one\n", 4, 253);
  assert_int_equal(STATUS_INTERNAL_ERROR, line_fixture_read_all(f));
  assert_int_equal(0, f->count);
}

static void a_share_that_finds_no_place_breaks_it(void **state) {
  struct line_fixture *f = *state;
  struct rlimit before, none;
  line_fixture_peer_sends(f, "one\n", 4, 1);
  assert_int_equal(0, getrlimit(RLIMIT_NOFILE, &before));
  none = (struct rlimit){.rlim_cur = 1, .rlim_max = before.rlim_max};
  assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &none));
  enum status status = line_fixture_read_all(f);
  assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &before));
  assert_int_equal(STATUS_INTERNAL_ERROR, status);
}

/* ---- what it stands on ---- */

static void it_works_over_pipes(void **state) {
  struct line_fixture *f = *state;
  int to[2], from[2];
  char back[8] = "";
  assert_int_equal(0, pipe(to) | pipe(from));
  line_free(f->line);
  const struct line_params params = {
      .in = from[0], .out = to[1], .max_line = MAX_LINE, .max_queue = MAX_QUEUE};
  assert_int_equal(STATUS_OK, line_create(&params, &f->line));
  assert_int_equal(5, write(from[1], "five\n", 5));
  assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  line_fixture_assert_told(f, 0, "five");
  assert_int_equal(STATUS_OK, line_send(f->line, "back", 4, NULL, 0));
  assert_int_equal(5, read(to[0], back, sizeof back));
  close(from[1]);
  assert_int_equal(STATUS_NOT_FOUND, line_fixture_read_all(f));
  close(to[0]);
  assert_int_equal(STATUS_INTERNAL_ERROR, line_send(f->line, "back", 4, NULL, 0));
  close(to[1]);
  close(from[0]);
}

static void what_is_no_descriptor_is_refused(void **state) {
  struct line_fixture *f = *state;
  struct line *line = NULL;
  struct line_params params = {.in = f->ends[0], .out = 9999, .max_line = 1, .max_queue = 1};
  assert_int_equal(STATUS_INTERNAL_ERROR, line_create(&params, &line));
  params = (struct line_params){.in = -1, .out = f->ends[0], .max_line = 1, .max_queue = 1};
  assert_int_equal(STATUS_INTERNAL_ERROR, line_create(&params, &line));
  assert_null(line);
  line_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, line_fixture_setup, line_fixture_teardown)

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  const struct CMUnitTest tests[] = {
      TEST(lines_are_told_in_order),
      TEST(nothing_there_is_no_failure),
      TEST(a_line_may_come_byte_by_byte),
      TEST(any_byte_may_be_in_a_line),
      TEST(a_torn_last_line_is_dropped),
      TEST(the_longest_line_is_max_line),
      TEST(a_line_is_too_long_before_its_end_comes),
      TEST(a_long_line_is_put_together),
      TEST(whoever_stops_is_told_the_rest_later),
      TEST(it_may_be_freed_at_a_line),
      TEST(it_may_send_from_a_line),
      TEST(shares_come_in_order_with_their_lines),
      TEST(a_share_may_come_before_its_line_is_whole),
      TEST(shares_that_nobody_takes_are_closed),
      TEST(too_many_shares_break_it),
      TEST(shares_that_were_cut_off_break_it),
      TEST(a_share_that_finds_no_place_breaks_it),
      TEST(it_works_over_pipes),
      TEST(what_is_no_descriptor_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
