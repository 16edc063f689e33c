/* packet: a text and a descriptor, and messages of others, which may never cost us a descriptor. */
#include "base/packet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/os_memfd.h"
#include "files_fixture.h"

struct fixture {
  struct share ours, theirs, memory;
  unsigned open; /* descriptors, with these three */
};

static int setup(void **state) {
  static struct fixture f;
  *state = &f;
  enum status status = packet_pair(&f.ours, &f.theirs);
  if (!status)
    status = os_memfd_create("test", 4096, &f.memory);
  f.open = files_fixture_count();
  return (int)status;
}

static int teardown(void **state) {
  struct fixture *f = *state;
  share_close(&f->ours);
  share_close(&f->theirs);
  share_close(&f->memory);
  return 0;
}

static enum status send_text(const struct fixture *f, const char *text) {
  return packet_send(&f->ours, text, strlen(text), NULL);
}

/* What a peer could send that uses no packet_send. */
static void send_raw(const struct fixture *f, size_t n, int fds) {
  char text[2 * PACKET_TEXT] = "raw";
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(64 * sizeof(int))];
  } control = {0};
  struct iovec iov = {text, n};
  struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
  if (fds) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE((size_t)fds * sizeof(int));
    control.header = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                      .cmsg_type = SCM_RIGHTS,
                                      .cmsg_len = CMSG_LEN((size_t)fds * sizeof(int))};
  }
  for (int i = 0; i < fds; i++)
    memcpy(CMSG_DATA(&control.header) + (size_t)i * sizeof i, &(int){(int)f->memory.value},
           sizeof i);
  assert_int_equal(n, sendmsg((int)f->ours.value, &message, 0));
}

static void assert_same_file(const struct share *a, const struct share *b) {
  struct stat left, right;
  assert_int_equal(0, fstat((int)a->value, &left));
  assert_int_equal(0, fstat((int)b->value, &right));
  assert_int_equal(left.st_ino, right.st_ino);
}

static void a_text_and_its_descriptor_arrive_together(void **state) {
  struct fixture *f = *state;
  char text[PACKET_TEXT + 1];
  struct share share;
  assert_int_equal(STATUS_OK, packet_send(&f->ours, "{\"id\":1}", 8, &f->memory));
  assert_int_equal(STATUS_OK, packet_receive(&f->theirs, text, &share));
  assert_string_equal("{\"id\":1}", text);
  assert_int_equal(SHARE_FILE, share.kind);
  assert_same_file(&f->memory, &share);
  assert_int_not_equal(f->memory.value, share.value);
  assert_int_equal(FD_CLOEXEC, fcntl((int)share.value, F_GETFD));
  share_close(&share);
}

static void the_sender_may_close_at_once(void **state) {
  struct fixture *f = *state;
  char text[PACKET_TEXT + 1];
  struct share share;
  assert_int_equal(STATUS_OK, packet_send(&f->ours, "x", 1, &f->memory));
  share_close(&f->memory);
  share_close(&f->ours);
  assert_int_equal(STATUS_OK, packet_receive(&f->theirs, text, &share));
  assert_int_equal(SHARE_FILE, share.kind);
  uint64_t size;
  assert_int_equal(STATUS_OK, os_memfd_size(&share, &size));
  assert_int_equal(4096, size);
  share_close(&share);
  assert_int_equal(STATUS_NOT_FOUND, packet_receive(&f->theirs, text, &share));
}

static void a_message_may_come_without_descriptor(void **state) {
  struct fixture *f = *state;
  char text[PACKET_TEXT + 1];
  struct share share = {SHARE_FILE, 99};
  assert_int_equal(STATUS_OK, packet_send(&f->ours, "one", 3, &(struct share){SHARE_NONE, 0}));
  assert_int_equal(STATUS_OK, send_text(f, "two"));
  assert_int_equal(STATUS_OK, packet_receive(&f->theirs, text, &share));
  assert_string_equal("one", text);
  assert_int_equal(SHARE_NONE, share.kind);
  assert_int_equal(STATUS_OK, packet_receive(&f->theirs, text, &share));
  assert_string_equal("two", text);
}

static void a_text_has_at_most_512_bytes(void **state) {
  struct fixture *f = *state;
  char text[PACKET_TEXT + 2], back[PACKET_TEXT + 1];
  struct share share;
  memset(text, 'x', sizeof text);
  assert_int_equal(STATUS_INVALID_ARGUMENT,
                   packet_send(&f->ours, text, PACKET_TEXT + 1, &f->memory));
  assert_int_equal(STATUS_INVALID_ARGUMENT, packet_send(&f->ours, text, 0, &f->memory));
  assert_int_equal(STATUS_OK, packet_send(&f->ours, text, PACKET_TEXT, &f->memory));
  assert_int_equal(STATUS_OK, packet_receive(&f->theirs, back, &share));
  assert_int_equal(PACKET_TEXT, strlen(back));
  share_close(&share);
}

static void a_peer_that_does_not_read_is_not_waited_for(void **state) {
  struct fixture *f = *state;
  char text[PACKET_TEXT + 1];
  struct share share;
  int sent = 0, got = 0;
  enum status status;
  while (!(status = packet_send(&f->ours, "x", 1, &f->memory)))
    sent++;
  assert_int_equal(STATUS_RATE_LIMITED, status);
  assert_true(sent > 0);
  assert_int_equal(STATUS_OK, packet_receive(&f->theirs, text, &share));
  share_close(&share);
  assert_int_equal(STATUS_OK, packet_send(&f->ours, "x", 1, &f->memory));
  share_close(&f->ours);
  while (!packet_receive(&f->theirs, text, &share)) {
    share_close(&share);
    got++;
  }
  assert_int_equal(sent, got); /* one was read before, one was sent behind */
}

/* As with a pipe, but nobody has to ignore SIGPIPE. */
static void sending_to_nobody_fails(void **state) {
  struct fixture *f = *state;
  share_close(&f->theirs);
  assert_int_equal(STATUS_INTERNAL_ERROR, send_text(f, "x"));
}

static void refused_without_a_trace(struct fixture *f, size_t n, int fds, enum status expected) {
  char text[PACKET_TEXT + 1];
  struct share share = {SHARE_NONE, 77};
  send_raw(f, n, fds);
  assert_int_equal(expected, packet_receive(&f->theirs, text, &share));
  assert_int_equal(77, share.value);
  assert_int_equal(f->open, files_fixture_count());
  assert_int_equal(STATUS_OK, send_text(f, "next"));
  assert_int_equal(STATUS_OK, packet_receive(&f->theirs, text, &share));
  assert_string_equal("next", text);
}

static void a_text_that_is_too_long_is_refused(void **state) {
  refused_without_a_trace(*state, PACKET_TEXT + 1, 1, STATUS_INTERNAL_ERROR);
}

static void an_empty_text_is_refused(void **state) {
  refused_without_a_trace(*state, 0, 1, STATUS_INTERNAL_ERROR);
}

static void more_than_one_descriptor_is_refused(void **state) {
  refused_without_a_trace(*state, 3, 2, STATUS_INTERNAL_ERROR);
  refused_without_a_trace(*state, 3, 8, STATUS_INTERNAL_ERROR);
}

static void descriptors_that_were_cut_off_are_refused(void **state) {
  refused_without_a_trace(*state, 3, 40, STATUS_INTERNAL_ERROR);
}

static void a_descriptor_that_finds_no_place_is_an_error(void **state) {
  struct fixture *f = *state;
  char text[PACKET_TEXT + 1];
  struct share share = {SHARE_NONE, 77};
  struct rlimit before, none;
  assert_int_equal(STATUS_OK, packet_send(&f->ours, "x", 1, &f->memory));
  assert_int_equal(0, getrlimit(RLIMIT_NOFILE, &before));
  none = (struct rlimit){.rlim_cur = 1, .rlim_max = before.rlim_max};
  assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &none));
  enum status status = packet_receive(&f->theirs, text, &share);
  assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &before));
  assert_int_equal(STATUS_INTERNAL_ERROR, status);
  assert_int_equal(f->open, files_fixture_count());
}

static void both_ends_are_closed_in_a_child(void **state) {
  struct fixture *f = *state;
  assert_int_equal(FD_CLOEXEC, fcntl((int)f->ours.value, F_GETFD));
  assert_int_equal(FD_CLOEXEC, fcntl((int)f->theirs.value, F_GETFD));
}

static void an_end_is_inherited_by_number(void **state) {
  static const char *const wrong[] = {"", "x", "2", "-3", "3x", "99999999999", "1000", NULL};
  struct fixture *f = *state;
  struct share end = {SHARE_NONE, 77};
  char number[16];
  snprintf(number, sizeof number, "%d", (int)f->theirs.value);
  assert_int_equal(0, fcntl((int)f->theirs.value, F_SETFD, 0));
  assert_int_equal(STATUS_OK, packet_inherited(number, &end));
  assert_int_equal(f->theirs.value, end.value);
  assert_int_equal(FD_CLOEXEC, fcntl((int)end.value, F_GETFD));
  end.value = 77;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    assert_int_equal(STATUS_NOT_FOUND, packet_inherited(wrong[i], &end));
  assert_int_equal(77, end.value);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_text_and_its_descriptor_arrive_together),
      TEST(the_sender_may_close_at_once),
      TEST(a_message_may_come_without_descriptor),
      TEST(a_text_has_at_most_512_bytes),
      TEST(a_peer_that_does_not_read_is_not_waited_for),
      TEST(sending_to_nobody_fails),
      TEST(a_text_that_is_too_long_is_refused),
      TEST(an_empty_text_is_refused),
      TEST(more_than_one_descriptor_is_refused),
      TEST(descriptors_that_were_cut_off_are_refused),
      TEST(a_descriptor_that_finds_no_place_is_an_error),
      TEST(both_ends_are_closed_in_a_child),
      TEST(an_end_is_inherited_by_number),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
