/* line_fixture: the two ends. */
#include "line_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/os_memfd.h"
#include "files_fixture.h"

void line_fixture_make(struct line_fixture *f, size_t max_line, size_t max_queue) {
  const struct line_params params = {.in = f->ends[0],
                                     .out = f->ends[0],
                                     .shares = true,
                                     .max_line = max_line,
                                     .max_queue = max_queue};
  assert_int_equal(STATUS_OK, line_create(&params, &f->line));
}

int line_fixture_setup(void **state) {
  struct line_fixture *f = calloc(1, sizeof *f);
  *state = f;
  f->open = files_fixture_count();
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->ends))
    return -1;
  line_fixture_make(f, MAX_LINE, MAX_QUEUE);
  return (int)os_memfd_create("test", 12345, &f->memory);
}

void line_fixture_close_end(struct line_fixture *f, int end) {
  if (f->ends[end] >= 0)
    close(f->ends[end]);
  f->ends[end] = -1;
}

int line_fixture_teardown(void **state) {
  struct line_fixture *f = *state;
  line_free(f->line);
  line_fixture_close_end(f, 0);
  line_fixture_close_end(f, 1);
  share_close(&f->memory);
  for (int i = 0; i < f->count && i < LINES; i++)
    free(f->lines[i]);
  for (int i = 0; i < f->taken_count; i++)
    share_close(&f->taken[i]);
  bool lost = files_fixture_count() != f->open;
  free(f);
  return lost;
}

static bool on_line(void *arg, char *text, size_t n) {
  struct line_fixture *f = arg;
  assert_true(f->count < LINES);
  assert_int_equal(0, text[n]);
  f->lines[f->count] = malloc(n + 1);
  memcpy(f->lines[f->count], text, n + 1);
  f->sizes[f->count++] = n;
  memset(text, 'w', n); /* it is writable */
  for (int i = 0; i < f->take && line_take_share(f->line, SHARE_MEMFD, &f->taken[f->taken_count]);
       i++)
    f->taken_count++;
  if (f->count != f->stop_at)
    return true;
  if (f->frees) {
    line_free(f->line);
    f->line = NULL;
  }
  return false;
}

enum status line_fixture_read_all(struct line_fixture *f) { return line_read(f->line, on_line, f); }

void line_fixture_peer_writes(const struct line_fixture *f, const char *text, size_t n) {
  assert_int_equal(n, write(f->ends[1], text, n));
}

/* `n` bytes and `fds` descriptors in one message. */
void line_fixture_peer_sends(const struct line_fixture *f, const char *text, size_t n, int fds) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(253 * sizeof(int))];
  } control = {0};
  struct iovec iov = {(char *)(uintptr_t)text, n};
  struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes};
  message.msg_controllen = CMSG_SPACE((size_t)fds * sizeof(int));
  control.header = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                    .cmsg_type = SCM_RIGHTS,
                                    .cmsg_len = CMSG_LEN((size_t)fds * sizeof(int))};
  for (int i = 0; i < fds; i++)
    memcpy(CMSG_DATA(&control.header) + (size_t)i * sizeof i, &(int){(int)f->memory.value},
           sizeof i);
  assert_int_equal(n, sendmsg(f->ends[1], &message, 0));
}

void line_fixture_assert_told(const struct line_fixture *f, int at, const char *expected) {
  assert_true(at < f->count);
  assert_string_equal(expected, f->lines[at]);
}

void line_fixture_assert_memory(const struct line_fixture *f, const struct share *share) {
  struct stat left, right;
  assert_int_equal(0, fstat((int)f->memory.value, &left));
  assert_int_equal(0, fstat((int)share->value, &right));
  assert_int_equal(left.st_ino, right.st_ino);
}

/* Reads lines on the other end with a line of its own. */
struct line *line_fixture_other_end(struct line_fixture *f) {
  struct line *line;
  const struct line_params params = {.in = f->ends[1],
                                     .out = f->ends[1],
                                     .shares = true,
                                     .max_line = MAX_LINE,
                                     .max_queue = MAX_QUEUE};
  assert_int_equal(STATUS_OK, line_create(&params, &line));
  return line;
}
