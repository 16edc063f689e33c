/* os_child: shells that speak lines. */
#include "base/os_child.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/os_memfd.h"
#include "base/packet.h"
#include "files_fixture.h"

#define LINES 16

struct fixture {
  struct loop *loop;
  struct os_child *child;
  char lines[LINES][128];
  char how[64];
  int count, stop_at, ends;
  unsigned open;
  bool frees;          /* at the first line */
  const char *reply;   /* sent at the first line */
  enum status replied; /* what that said */
};

static int setup(void **state) {
  static struct fixture f;
  f = (struct fixture){.replied = STATUS_COUNT};
  *state = &f;
  enum status status = loop_create(&f.loop);
  f.open = files_fixture_count();
  return (int)status;
}

/* Nothing of a child is left: no descriptor, no zombie. */
static int teardown(void **state) {
  struct fixture *f = *state;
  if (f->child) /* only after a failure */
    os_child_signal(f->child, SIGKILL);
  os_child_free(f->child);
  unsigned left = files_fixture_count();
  loop_free(f->loop);
  while (waitpid(-1, NULL, 0) > 0)
    ;
  return left != f->open;
}

static void free_child(struct fixture *f) {
  os_child_free(f->child);
  f->child = NULL;
}

static bool on_line(void *arg, char *text, size_t n) {
  struct fixture *f = arg;
  assert_int_equal(n, strlen(text));
  if (f->count < LINES)
    snprintf(f->lines[f->count], sizeof f->lines[0], "%s", text);
  f->count++;
  if (f->count == f->stop_at)
    loop_stop(f->loop);
  if (f->reply && f->count == 1)
    f->replied = os_child_send(f->child, f->reply, strlen(f->reply));
  if (!f->frees)
    return true;
  free_child(f);
  loop_stop(f->loop);
  return false;
}

static void on_end(void *arg, const char *how) {
  struct fixture *f = arg;
  snprintf(f->how, sizeof f->how, "%s", how);
  f->ends++;
  assert_int_equal(0, os_child_pid(f->child));
  os_child_signal(f->child, SIGKILL); /* nobody any more */
  free_child(f);
  loop_stop(f->loop);
}

static enum status start_program(struct fixture *f, const char *const *argv,
                                 const char *const *environment) {
  const struct os_child_params params = {.argv = argv,
                                         .environment = environment,
                                         .max_line = 100,
                                         .max_queue = 1000,
                                         .on_line = on_line,
                                         .on_end = on_end,
                                         .arg = f};
  return os_child_start(f->loop, &params, &f->child);
}

static void start(struct fixture *f, const char *script) {
  assert_int_equal(STATUS_OK,
                   start_program(f, (const char *const[]){"sh", "-c", script, NULL}, NULL));
  assert_true(os_child_pid(f->child) > 0);
}

static void run_until_lines(struct fixture *f, int count) {
  f->stop_at = count;
  if (f->count < count)
    loop_run(f->loop);
}

static void run_to_end(struct fixture *f) {
  loop_run(f->loop);
  assert_int_equal(1, f->ends);
}

static void it_is_asked_and_answers(void **state) {
  struct fixture *f = *state;
  start(f, "while read x; do echo \"got $x\"; done; echo bye; exit 3");
  assert_int_equal(STATUS_OK, os_child_send(f->child, "one", 3));
  assert_int_equal(STATUS_OK, os_child_send(f->child, "two", 3));
  run_until_lines(f, 2);
  assert_string_equal("got one", f->lines[0]);
  assert_string_equal("got two", f->lines[1]);
  os_child_close(f->child);
  assert_int_equal(STATUS_INTERNAL_ERROR, os_child_send(f->child, "late", 4));
  run_to_end(f);
  assert_string_equal("bye", f->lines[2]);
  assert_string_equal("exit 3", f->how);
}

static void it_may_be_asked_from_its_own_line(void **state) {
  struct fixture *f = *state;
  f->reply = "again";
  start(f, "echo first; read x; echo \"$x\"");
  run_to_end(f);
  assert_int_equal(STATUS_OK, f->replied);
  assert_string_equal("again", f->lines[1]);
}

static void its_signal_is_told(void **state) {
  struct fixture *f = *state;
  start(f, "kill -USR1 $$");
  run_to_end(f);
  char expected[32];
  snprintf(expected, sizeof expected, "signal %d", SIGUSR1);
  assert_string_equal(expected, f->how);
}

static void it_can_be_signalled(void **state) {
  struct fixture *f = *state;
  start(f, "echo up; exec sleep 1000");
  run_until_lines(f, 1);
  os_child_signal(f->child, SIGTERM);
  run_to_end(f);
  assert_string_equal("signal 15", f->how);
}

static void one_that_says_too_much_at_once_is_ended_and_it_is_told_why(void **state) {
  struct fixture *f = *state;
  start(f, "printf '%0200d' 1; exec sleep 1000");
  run_to_end(f);
  assert_string_equal("signal 15, for one of its lines was too long", f->how);
}

/* All of it is in the pipe when its end is noticed: the loop did not run before. */
static void what_it_wrote_before_its_end_is_told(void **state) {
  struct fixture *f = *state;
  siginfo_t info;
  start(f, "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; printf torn");
  assert_int_equal(0, waitid(P_PID, (id_t)os_child_pid(f->child), &info, WEXITED | WNOWAIT));
  run_to_end(f);
  assert_int_equal(3000, f->count);
  assert_string_equal("exit 0", f->how);
}

static void it_may_be_freed_at_a_line(void **state) {
  struct fixture *f = *state;
  f->frees = true;
  start(f, "echo one; echo two; exec sleep 1000");
  int pid = os_child_pid(f->child);
  loop_run(f->loop);
  kill(pid, SIGKILL);
  assert_int_equal(1, f->count);
  assert_int_equal(0, f->ends);
}

/* A child of the child writes when its parent is dead already: the loop tells the death first, and
 * the line from within it. */
static void it_may_be_freed_at_a_line_behind_its_end(void **state) {
  struct fixture *f = *state;
  siginfo_t info;
  assert_int_equal(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
  start(f, "exec 4<&0; { read go <&4; echo late; } & echo $!; wait");
  run_until_lines(f, 1);
  pid_t heir = (pid_t)strtol(f->lines[0], NULL, 10);
  os_child_signal(f->child, SIGKILL);
  assert_int_equal(0, waitid(P_PID, (id_t)os_child_pid(f->child), &info, WEXITED | WNOWAIT));
  assert_int_equal(STATUS_OK, os_child_send(f->child, "go", 2));
  assert_int_equal(heir, waitpid(heir, NULL, 0));
  f->frees = true;
  loop_run(f->loop);
  assert_string_equal("late", f->lines[1]);
  assert_int_equal(0, f->ends);
}

static void one_that_closes_its_output_still_ends(void **state) {
  struct fixture *f = *state;
  start(f, "exec 1>&-; read x; exit 4");
  os_child_close(f->child);
  run_to_end(f);
  assert_string_equal("exit 4", f->how);
}

static void a_line_without_end_is_not_kept(void **state) {
  struct fixture *f = *state;
  start(f, "echo ok; head -c 50000 /dev/zero | tr '\\0' x; echo; echo lost");
  run_to_end(f);
  assert_int_equal(1, f->count);
}

static void one_that_does_not_read_is_not_waited_for(void **state) {
  struct fixture *f = *state;
  char line[500];
  memset(line, 'x', sizeof line);
  start(f, "read go; exec sleep 1000");
  enum status status = STATUS_OK;
  for (int i = 0; !status && i < 10000; i++)
    status = os_child_send(f->child, line, sizeof line);
  assert_int_equal(STATUS_RATE_LIMITED, status);
  os_child_signal(f->child, SIGKILL);
  run_to_end(f);
}

/* More than a pipe holds: the rest is sent when there is room. */
static void what_waits_is_sent_later(void **state) {
  struct fixture *f = *state;
  char line[100];
  memset(line, 'x', sizeof line);
  start(f, "echo up; read go; while read -r x; do [ \"$x\" = end ] && exit 5; done");
  run_until_lines(f, 1);
  enum status status = STATUS_OK;
  for (int i = 0; i < 10000 && !status; i++)
    status = os_child_send(f->child, line, sizeof line);
  assert_int_equal(STATUS_RATE_LIMITED, status);
  assert_int_equal(STATUS_OK, os_child_send(f->child, "end", 3));
  run_to_end(f);
  assert_string_equal("exit 5", f->how);
}

static void one_that_closed_its_input_is_told_to_the_sender(void **state) {
  struct fixture *f = *state;
  start(f, "exec 0<&-; echo closed; exec sleep 1000");
  run_until_lines(f, 1);
  assert_int_equal(STATUS_INTERNAL_ERROR, os_child_send(f->child, "x", 1));
  os_child_signal(f->child, SIGKILL);
  run_to_end(f);
}

/* The test itself, started again: see main. */
static void descriptors_come_on_fd_3(void **state) {
  struct fixture *f = *state;
  struct share memory;
  static const char *const argv[] = {"/proc/self/exe", "packets", NULL};
  static const char *const environment[] = {"MEMKEEP_TEST=yes", NULL};
  assert_int_equal(STATUS_OK, os_memfd_create("test", 12345, &memory));
  assert_int_equal(STATUS_OK, start_program(f, argv, environment));
  assert_int_equal(STATUS_OK, os_child_share(f->child, "text", 4, &memory));
  share_close(&memory);
  run_to_end(f);
  assert_int_equal(1, f->count);
  assert_string_equal("text 12345 yes", f->lines[0]);
  assert_string_equal("exit 0", f->how);
}

static int tell_packet(void) {
  struct share end, share;
  char text[PACKET_TEXT + 1];
  uint64_t size;
  if (packet_inherited(getenv("MEMKEEP_FD"), &end) || packet_receive(&end, text, &share) ||
      os_memfd_size(&share, &size))
    return 1;
  printf("%s %d %s\n", text, (int)size, getenv("MEMKEEP_TEST"));
  return 0;
}

static void a_program_that_is_not_there_is_not_found(void **state) {
  struct fixture *f = *state;
  static const char *const argv[] = {"/no/such/program", NULL};
  assert_int_equal(STATUS_NOT_FOUND, start_program(f, argv, NULL));
  assert_null(f->child);
  assert_int_equal(-1, waitpid(-1, NULL, WNOHANG));
}

static void one_that_somebody_else_reaped_ended_nobody_knows_how(void **state) {
  struct fixture *f = *state;
  start(f, "exit 3");
  assert_int_equal(os_child_pid(f->child), waitpid(os_child_pid(f->child), NULL, 0));
  run_to_end(f);
  assert_string_equal("unknown", f->how);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "packets"))
    return tell_packet();
  signal(SIGPIPE, SIG_IGN);
  const struct CMUnitTest tests[] = {
      TEST(it_is_asked_and_answers),
      TEST(it_may_be_asked_from_its_own_line),
      TEST(its_signal_is_told),
      TEST(it_can_be_signalled),
      TEST(one_that_says_too_much_at_once_is_ended_and_it_is_told_why),
      TEST(what_it_wrote_before_its_end_is_told),
      TEST(it_may_be_freed_at_a_line),
      TEST(it_may_be_freed_at_a_line_behind_its_end),
      TEST(one_that_closes_its_output_still_ends),
      TEST(a_line_without_end_is_not_kept),
      TEST(one_that_does_not_read_is_not_waited_for),
      TEST(what_waits_is_sent_later),
      TEST(one_that_closed_its_input_is_told_to_the_sender),
      TEST(descriptors_come_on_fd_3),
      TEST(a_program_that_is_not_there_is_not_found),
      TEST(one_that_somebody_else_reaped_ended_nobody_knows_how),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
