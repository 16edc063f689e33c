/*
 * vaultwire: a message arrives whole with its descriptors or not at all, and of what is refused no
 * descriptor stays open. What a peer had sent before it died is read to its end.
 */
#include "base/vaultwire.h"
#include "files_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#define HEAD offsetof(struct vaultwire, entries)
#define TOO_MANY (VAULTWIRE_BATCH + 1)

struct pair {
  struct share ours, theirs;
};

static int set_up(void **state) {
  static struct pair pair;
  int ends[2];
  const struct timeval soon = {.tv_usec = 10000};
  assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(setsockopt(ends[i], SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon), 0);
    assert_int_equal(setsockopt(ends[i], SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon), 0);
  }
  pair = (struct pair){{SHARE_FILE, ends[0]}, {SHARE_FILE, ends[1]}};
  *state = &pair;
  return 0;
}

static int tear_down(void **state) {
  struct pair *pair = *state;
  share_close(&pair->ours);
  share_close(&pair->theirs);
  return 0;
}

/* Any bytes with any number of descriptors, as no honest peer sends them. */
static void send_raw(const struct pair *pair, const void *bytes, size_t size, unsigned files) {
  union {
    struct cmsghdr align;
    char space[CMSG_SPACE(TOO_MANY * sizeof(int))];
  } control = {.space = {0}};
  struct iovec part = {(void *)(uintptr_t)bytes, size};
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
  int fds[TOO_MANY];
  for (unsigned i = 0; i < files; i++)
    fds[i] = STDERR_FILENO;
  if (files) {
    header.msg_control = &control;
    header.msg_controllen = CMSG_SPACE(files * sizeof(int));
    *CMSG_FIRSTHDR(&header) =
        (struct cmsghdr){CMSG_LEN(files * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&header)), fds, files * sizeof(int));
  }
  assert_int_equal(sendmsg((int)pair->theirs.value, &header, 0), size);
}

static enum status receive(const struct pair *pair) {
  struct vaultwire message;
  struct share shares[VAULTWIRE_BATCH];
  unsigned count = 0;
  enum status status = vaultwire_receive(&pair->ours, &message, shares, &count);
  assert_int_equal(count, 0);
  return status;
}

static void is_refused(const struct pair *pair, const void *bytes, size_t size, unsigned files) {
  unsigned before = files_fixture_count();
  send_raw(pair, bytes, size, files);
  assert_int_equal(receive(pair), STATUS_INTERNAL_ERROR);
  assert_int_equal(files_fixture_count(), before);
}

static struct vaultwire sound(uint16_t count) {
  struct vaultwire message = {
      .magic = VAULTWIRE_MAGIC, .kind = VAULTWIRE_PUT, .count = count, .ledger = {1, 2}};
  for (unsigned i = 0; i < count; i++)
    message.entries[i] = (struct vaultwire_entry){i, 100 + i};
  return message;
}

static void a_message_arrives_whole(void **state) {
  const struct pair *pair = *state;
  struct vaultwire sent = sound(VAULTWIRE_BATCH), came;
  struct share shares[VAULTWIRE_BATCH], got[VAULTWIRE_BATCH];
  unsigned count;
  sent.magic = 0; /* filled in */
  sent.cursor = 3;
  for (unsigned i = 0; i < VAULTWIRE_BATCH; i++) {
    shares[i] = (struct share){SHARE_MEMFD, memfd_create("test_vaultwire", MFD_CLOEXEC)};
    assert_int_equal(ftruncate((int)shares[i].value, 100 + i), 0);
  }
  assert_int_equal(vaultwire_send(&pair->theirs, &sent, shares, VAULTWIRE_BATCH), STATUS_OK);
  assert_int_equal(vaultwire_receive(&pair->ours, &came, got, &count), STATUS_OK);
  assert_int_equal(count, VAULTWIRE_BATCH);
  assert_memory_equal(&came, &sent, sizeof sent);
  for (unsigned i = 0; i < count; i++) {
    struct stat stat;
    assert_int_equal(got[i].kind, SHARE_FILE);
    assert_int_equal(fstat((int)got[i].value, &stat), 0);
    assert_int_equal(stat.st_size, came.entries[i].bytes);
    share_close(&shares[i]);
    share_close(&got[i]);
  }
}

static void one_without_descriptors_too(void **state) {
  const struct pair *pair = *state;
  struct vaultwire sent = sound(0);
  assert_int_equal(vaultwire_send(&pair->theirs, &sent, NULL, 0), STATUS_OK);
  assert_int_equal(receive(pair), STATUS_OK);
}

static void a_torn_one_is_refused(void **state) {
  struct vaultwire message = sound(2);
  is_refused(*state, &message, 1, 1);
  is_refused(*state, &message, HEAD - 1, 1);
  is_refused(*state, &message, HEAD, 1);
  is_refused(*state, &message, HEAD + sizeof *message.entries, 1);
  is_refused(*state, &message, HEAD + 2 * sizeof *message.entries - 1, 1);
}

static void a_long_one_is_refused(void **state) {
  struct {
    struct vaultwire message;
    char more;
  } longer = {sound(VAULTWIRE_BATCH), 'x'};
  is_refused(*state, &longer, sizeof longer.message + 1, 1);
  longer.message.count = 2;
  is_refused(*state, &longer, HEAD + 2 * sizeof *longer.message.entries + 1, 1);
}

static void an_unknown_kind_is_refused(void **state) {
  static const uint16_t kinds[] = {0, VAULTWIRE_KINDS, UINT16_MAX};
  struct vaultwire message = sound(1);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    message.kind = kinds[i];
    is_refused(*state, &message, HEAD + sizeof *message.entries, 1);
  }
}

static void another_protocol_is_refused(void **state) {
  struct vaultwire message = sound(1);
  message.magic++;
  is_refused(*state, &message, HEAD + sizeof *message.entries, 1);
}

static void more_entries_than_a_message_holds_are_refused(void **state) {
  struct vaultwire message = sound(VAULTWIRE_BATCH);
  message.count++;
  is_refused(*state, &message, sizeof message, 1);
  message.count = UINT16_MAX;
  is_refused(*state, &message, sizeof message, 1);
}

static void too_many_descriptors_are_refused_all(void **state) {
  struct vaultwire message = sound(1);
  is_refused(*state, &message, HEAD + sizeof *message.entries, TOO_MANY);
}

/* MSG_CTRUNC: some come, and then the process may have no more. */
static void descriptors_that_are_cut_off_are_refused_all(void **state) {
  struct vaultwire message = sound(1);
  struct rlimit before, low;
  int next = dup(STDERR_FILENO);
  assert_true(next > 0);
  close(next);
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  low = (struct rlimit){(rlim_t)next + 2, before.rlim_max};
  unsigned count = files_fixture_count();
  send_raw(*state, &message, HEAD + sizeof *message.entries, 5);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
  enum status status = receive(*state);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
  assert_int_equal(status, STATUS_INTERNAL_ERROR);
  assert_int_equal(files_fixture_count(), count);
}

static void an_empty_one_with_a_descriptor_is_refused(void **state) {
  is_refused(*state, "", 0, 1);
}

static void after_a_refused_one_the_next_is_read(void **state) {
  struct vaultwire message = sound(0);
  is_refused(*state, "rubbish", 7, 3);
  send_raw(*state, &message, HEAD, 0);
  assert_int_equal(receive(*state), STATUS_OK);
}

static void a_dead_peer_is_read_to_its_end(void **state) {
  struct pair *pair = *state;
  struct vaultwire message = sound(0);
  for (int i = 0; i < 3; i++)
    assert_int_equal(vaultwire_send(&pair->theirs, &message, NULL, 0), STATUS_OK);
  share_close(&pair->theirs);
  for (int i = 0; i < 3; i++)
    assert_int_equal(receive(pair), STATUS_OK);
  assert_int_equal(receive(pair), STATUS_NOT_FOUND);
}

/* Linux then says ECONNRESET before it hands out what the peer had sent. */
static void so_is_one_that_had_not_read_its_answers(void **state) {
  struct pair *pair = *state;
  struct vaultwire message = sound(0);
  assert_int_equal(vaultwire_send(&pair->ours, &message, NULL, 0), STATUS_OK);
  assert_int_equal(vaultwire_send(&pair->theirs, &message, NULL, 0), STATUS_OK);
  share_close(&pair->theirs);
  assert_int_equal(receive(pair), STATUS_OK);
  assert_int_equal(receive(pair), STATUS_NOT_FOUND);
}

static void nobody_hears_what_is_sent_to_a_dead_peer(void **state) {
  struct pair *pair = *state;
  struct vaultwire message = sound(0);
  share_close(&pair->theirs);
  assert_int_equal(vaultwire_send(&pair->ours, &message, NULL, 0), STATUS_NOT_FOUND);
}

static void a_peer_that_does_not_read_is_waited_for_in_vain(void **state) {
  const struct pair *pair = *state;
  struct vaultwire message = sound(VAULTWIRE_BATCH);
  enum status status;
  unsigned sent = 0;
  while ((status = vaultwire_send(&pair->theirs, &message, NULL, 0)) == STATUS_OK)
    sent++;
  assert_int_equal(status, STATUS_RATE_LIMITED);
  for (; sent; sent--)
    assert_int_equal(receive(pair), STATUS_OK);
  assert_int_equal(receive(pair), STATUS_RATE_LIMITED);
}

/* Of a pair, whoever made it. */
static void the_peer_is_a_process(void **state) {
  const struct pair *pair = *state;
  struct spawn_child peer;
  unsigned before = files_fixture_count();
  vaultwire_peer(&pair->ours, &peer);
  assert_int_equal(peer.pid, getpid());
  assert_int_equal(files_fixture_count(), before + 1);
  spawn_done(&peer, 0);
  assert_int_equal(files_fixture_count(), before);
}

static void without_descriptors_the_peer_is_not_known(void **state) {
  const struct pair *pair = *state;
  struct spawn_child peer = {.pid = 77};
  struct rlimit before, none;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
  vaultwire_peer(&pair->ours, &peer);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
  assert_int_equal(peer.pid, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_message_arrives_whole, set_up, tear_down),
      cmocka_unit_test_setup_teardown(one_without_descriptors_too, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_torn_one_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_long_one_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(an_unknown_kind_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(another_protocol_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(more_entries_than_a_message_holds_are_refused, set_up,
                                      tear_down),
      cmocka_unit_test_setup_teardown(too_many_descriptors_are_refused_all, set_up, tear_down),
      cmocka_unit_test_setup_teardown(descriptors_that_are_cut_off_are_refused_all, set_up,
                                      tear_down),
      cmocka_unit_test_setup_teardown(an_empty_one_with_a_descriptor_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(after_a_refused_one_the_next_is_read, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_dead_peer_is_read_to_its_end, set_up, tear_down),
      cmocka_unit_test_setup_teardown(so_is_one_that_had_not_read_its_answers, set_up, tear_down),
      cmocka_unit_test_setup_teardown(nobody_hears_what_is_sent_to_a_dead_peer, set_up, tear_down),
      cmocka_unit_test_setup_teardown(the_peer_is_a_process, set_up, tear_down),
      cmocka_unit_test_setup_teardown(without_descriptors_the_peer_is_not_known, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_peer_that_does_not_read_is_waited_for_in_vain, set_up,
                                      tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
