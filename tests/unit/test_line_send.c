/* line: what is sent, and what waits for a peer that does not read. */
#include "files_fixture.h"
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

static void a_line_and_its_shares_arrive_together(void **state) {
  struct line_fixture *f = *state;
  struct share both[2] = {f->memory, f->memory};
  assert_int_equal(STATUS_OK, line_send(f->line, "text", 4, both, 2));
  assert_false(line_wants_write(f->line));
  struct line *sender = f->line;
  f->line = line_fixture_other_end(f);
  f->take = 2;
  assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  line_free(sender);
  line_fixture_assert_told(f, 0, "text");
  assert_int_equal(2, f->taken_count);
  line_fixture_assert_memory(f, &f->taken[0]);
  line_fixture_assert_memory(f, &f->taken[1]);
}

/* A small send buffer, filled; every line has a share of its own, and arrives with it. */
static void what_waits_keeps_its_shares(void **state) {
  struct line_fixture *f = *state;
  char text[300];
  int sent = 0;
  enum status status;
  setsockopt(f->ends[0], SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int));
  memset(text, 'x', sizeof text);
  do {
    struct share passing; /* the sender's own; it may go right after the call */
    assert_int_equal(STATUS_OK, share_copy(&f->memory, &passing));
    text[0] = (char)('a' + sent % 26);
    status = line_send(f->line, text, sizeof text, &passing, 1);
    share_close(&passing);
    sent += !status;
  } while (!status);
  assert_int_equal(STATUS_RATE_LIMITED, status);
  assert_true(line_wants_write(f->line));
  struct line *sender = f->line;
  f->line = line_fixture_other_end(f);
  f->take = 1;
  while (f->count < sent) {
    assert_int_equal(STATUS_OK, line_flush(sender));
    assert_int_equal(STATUS_OK, line_fixture_read_all(f));
  }
  assert_false(line_wants_write(sender));
  line_free(sender);
  assert_int_equal(sent, f->taken_count);
  for (int i = 0; i < sent; i++) {
    assert_int_equal('a' + i % 26, f->lines[i][0]);
    assert_int_equal(sizeof text, f->sizes[i]);
    line_fixture_assert_memory(f, &f->taken[i]);
  }
}

static void fill_socket(const struct line_fixture *f) {
  fcntl(f->ends[0], F_SETFL, O_NONBLOCK);
  while (write(f->ends[0], (char[1000]){0}, 1000) > 0)
    ;
}

/* Much more passes through than the buffer could hold at once, and it never runs empty. */
static void a_queue_that_is_never_empty_lasts(void **state) {
  struct line_fixture *f = *state;
  char text[999], read_back[3000];
  memset(text, 'x', sizeof text);
  line_free(f->line);
  line_fixture_make(f, 1000, 100 * 1000);
  setsockopt(f->ends[0], SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int));
  for (size_t passed = 0; passed < (size_t)500 * 1000;) {
    enum status status;
    do
      status = line_send(f->line, text, sizeof text, NULL, 0);
    while (!status);
    assert_int_equal(STATUS_RATE_LIMITED, status);
    ssize_t n = read(f->ends[1], read_back, sizeof read_back);
    assert_true(n > 0);
    passed += (size_t)n;
    assert_int_equal(STATUS_OK, line_flush(f->line));
    assert_true(line_wants_write(f->line));
  }
}

static void what_waits_is_capped(void **state) {
  struct line_fixture *f = *state;
  char text[MAX_QUEUE] = "";
  fill_socket(f);
  assert_int_equal(STATUS_RATE_LIMITED, line_send(f->line, text, MAX_QUEUE, NULL, 0));
  assert_false(line_wants_write(f->line));
  assert_int_equal(STATUS_OK, line_send(f->line, text, MAX_QUEUE - 11, NULL, 0));
  assert_int_equal(STATUS_RATE_LIMITED, line_send(f->line, text, 10, NULL, 0));
  assert_int_equal(STATUS_OK, line_send(f->line, text, 9, NULL, 0));
  assert_int_equal(STATUS_RATE_LIMITED, line_send(f->line, text, 0, NULL, 0));
}

static void shares_that_wait_are_capped(void **state) {
  struct line_fixture *f = *state;
  struct share many[LINE_MAX_SHARES];
  for (int i = 0; i < LINE_MAX_SHARES; i++)
    many[i] = f->memory;
  fill_socket(f);
  for (int i = 0; i < LINE_MAX_WAITING / LINE_MAX_SHARES; i++)
    assert_int_equal(STATUS_OK, line_send(f->line, "x", 1, many, LINE_MAX_SHARES));
  unsigned open = files_fixture_count();
  assert_int_equal(STATUS_RATE_LIMITED, line_send(f->line, "x", 1, many, 1));
  assert_int_equal(STATUS_OK, line_send(f->line, "x", 1, NULL, 0));
  assert_int_equal(open, files_fixture_count()); /* teardown counts those that waited */
}

static void a_peer_that_is_gone_breaks_it(void **state) {
  struct line_fixture *f = *state;
  fill_socket(f);
  assert_int_equal(STATUS_OK, line_send(f->line, "x", 1, &f->memory, 1));
  line_fixture_close_end(f, 1);
  assert_int_equal(STATUS_INTERNAL_ERROR, line_flush(f->line));
  assert_false(line_wants_write(f->line));
  assert_int_equal(STATUS_INTERNAL_ERROR, line_send(f->line, "x", 1, &f->memory, 1));
  assert_int_equal(STATUS_INTERNAL_ERROR, line_flush(f->line));
}

static void a_share_that_cannot_be_kept_breaks_it(void **state) {
  struct line_fixture *f = *state;
  struct rlimit before, none;
  fill_socket(f);
  assert_int_equal(0, getrlimit(RLIMIT_NOFILE, &before));
  none = (struct rlimit){.rlim_cur = 1, .rlim_max = before.rlim_max};
  assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &none));
  enum status status = line_send(f->line, "x", 1, &f->memory, 1);
  assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &before));
  assert_int_equal(STATUS_INTERNAL_ERROR, status);
  assert_false(line_wants_write(f->line));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, line_fixture_setup, line_fixture_teardown)

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  const struct CMUnitTest tests[] = {
      TEST(a_line_and_its_shares_arrive_together), TEST(what_waits_keeps_its_shares),
      TEST(a_queue_that_is_never_empty_lasts),     TEST(what_waits_is_capped),
      TEST(shares_that_wait_are_capped),           TEST(a_peer_that_is_gone_breaks_it),
      TEST(a_share_that_cannot_be_kept_breaks_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
