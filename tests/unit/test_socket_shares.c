/*
 * Descriptors that go with lines, before the fake ops of socket_ops.h: each goes with its own line
 * or is closed, and whoever is gone is told of.
 */
#include "files_fixture.h"
#include "socket_ops.h"

#define MANY 3000 /* questions that wait for their answers */

/* One message: its text into `line`; how many descriptors came with it, closed again. */
static unsigned receive(const struct door *door, char *line, size_t size) {
  union {
    char bytes[CMSG_SPACE(8 * sizeof(int))];
    struct cmsghdr aligned;
  } control;
  struct iovec to = {line, size - 1};
  struct msghdr message = {.msg_iov = &to,
                           .msg_iovlen = 1,
                           .msg_control = control.bytes,
                           .msg_controllen = sizeof control.bytes};
  ssize_t n = recvmsg(door->client, &message, MSG_CMSG_CLOEXEC);
  assert_true(n > 0 && !(message.msg_flags & MSG_CTRUNC));
  line[n] = '\0';
  struct cmsghdr *c = CMSG_FIRSTHDR(&message);
  unsigned count = c ? (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int)) : 0;
  for (unsigned i = 0; i < count; i++) {
    int fd;
    memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
    close(fd);
  }
  return count;
}

static void ask_with(const struct door *door, const char *line, const int *fds, unsigned count) {
  union {
    char bytes[CMSG_SPACE(8 * sizeof(int))];
    struct cmsghdr aligned;
  } control = {.bytes = {0}};
  struct iovec from = {(void *)(uintptr_t)line, strlen(line)};
  struct msghdr message = {.msg_iov = &from,
                           .msg_iovlen = 1,
                           .msg_control = control.bytes,
                           .msg_controllen = CMSG_SPACE(count * sizeof *fds)};
  struct cmsghdr *c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(count * sizeof *fds);
  memcpy(CMSG_DATA(c), fds, count * sizeof *fds);
  assert_int_equal(sendmsg(door->client, &message, MSG_NOSIGNAL), strlen(line));
}

static void until_closed(struct door *door, uint64_t connection) {
  for (unsigned tries = 0; atomic_load(&door->ops.closed) != connection; tries++) {
    assert_true(tries < 1000);
    pass_a_turn(door);
  }
}

static void an_answer_brings_its_descriptors(void **state) {
  (void)state;
  struct door door;
  char line[256];
  open_door(&door);
  ask(&door, "{\"action\":\"now\"}\n");
  hear(&door, "now null");
  unsigned before = files_fixture_count();
  door.ops.hands = 2;
  ask(&door, "{\"request_id\":\"a\",\"action\":\"now\"}\n");
  assert_int_equal(receive(&door, line, sizeof line), 2);
  assert_string_equal(line, "now \"a\"\n");
  ask(&door, "{\"request_id\":\"b\",\"action\":\"later\"}\n");
  wait_for(&door.ops.arrived, 1);
  finish(&door.ops);
  assert_int_equal(receive(&door, line, sizeof line), 2);
  assert_string_equal(line, "later \"b\"\n");
  door.ops.hands = 0;
  ask(&door, "{\"request_id\":\"c\",\"action\":\"now\"}\n");
  assert_int_equal(receive(&door, line, sizeof line), 0);
  assert_int_equal(files_fixture_count(), before);
  hang_up(&door);
  close_door(&door);
}

/* All that a pipe was told, by all who held its end. */
static void says(const int pipes[2], const char *wanted) {
  char text[16];
  close(pipes[1]);
  ssize_t n = read(pipes[0], text, sizeof text - 1), end = read(pipes[0], text + n, 1);
  text[n] = '\0';
  assert_string_equal(text, wanted);
  assert_int_equal(end, 0);
  close(pipes[0]);
}

static void a_line_brings_its_descriptors_in_order(void **state) {
  (void)state;
  struct door door;
  int a[2], b[2];
  open_door(&door);
  ask(&door, "{\"action\":\"now\"}\n");
  hear(&door, "now null");
  unsigned before = files_fixture_count();
  assert_int_equal(pipe(a) | pipe(b), 0);
  ask_with(&door, "{\"action\":\"now\",\"fds\":2}\n", (int[]){b[1], a[1]}, 2);
  hear(&door, "now null");
  ask(&door, "{\"action\":\"now\"}\n");
  hear(&door, "now null");
  says(a, "1");
  says(b, "0");
  assert_int_equal(files_fixture_count(), before);
  hang_up(&door);
  close_door(&door);
}

static void descriptors_of_a_line_that_is_refused_are_closed(void **state) {
  (void)state;
  struct door door;
  int a[2];
  open_door(&door);
  assert_int_equal(pipe(a), 0);
  ask_with(&door, "{\"action\":\"never\",\"fds\":1}\n", &a[1], 1);
  hear(&door, "NOT_FOUND null action");
  says(a, "");
  hang_up(&door);
  close_door(&door);
}

static void fewer_than_announced_end_the_connection(void **state) {
  (void)state;
  struct door door;
  int a[2];
  open_door(&door);
  assert_int_equal(pipe(a), 0);
  ask_with(&door, "{\"action\":\"now\",\"fds\":2}\n", &a[1], 1);
  hear_the_end(&door);
  says(a, "");
  hang_up(&door);
  close_door(&door);
}

static void more_than_a_line_may_bring_end_the_connection(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  ask(&door, "{\"action\":\"now\",\"fds\":65}\n");
  hear_the_end(&door);
  hang_up(&door);
  close_door(&door);
}

/* Far more than may wait for a client: it is read no further, not dropped. */
static void who_asks_much_before_it_reads_gets_all(void **state) {
  (void)state;
  static const char question[] = "{\"action\":\"now\"}\n";
  static char questions[MANY * (sizeof question - 1) + 1];
  struct door door;
  char line[256];
  open_door(&door);
  door.ops.hands = 1;
  for (size_t i = 0; i < MANY; i++)
    memcpy(questions + i * (sizeof question - 1), question, sizeof question);
  ask(&door, questions);
  for (unsigned i = 0; i < MANY; i++)
    assert_int_equal(receive(&door, line, sizeof line), 1);
  hang_up(&door);
  close_door(&door);
}

static void a_connection_that_is_gone_is_told_of(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  ask(&door, "{\"action\":\"now\"}\n");
  hear(&door, "now null");
  assert_int_equal(door.ops.closed, 0);
  hang_up(&door);
  until_closed(&door, 1);
  close_door(&door);
}

static void what_is_answered_to_nobody_is_closed_and_told_of_again(void **state) {
  (void)state;
  struct door door;
  unsigned before = files_fixture_count();
  open_door(&door);
  door.ops.hands = 1;
  door.ops.stubborn = true;
  ask(&door, "{\"action\":\"later\"}\n");
  wait_for(&door.ops.arrived, 1);
  hang_up(&door);
  until_closed(&door, 1);
  door.ops.closed = 0;
  finish(&door.ops);
  door.ops.hands = 0;
  until_closed(&door, 1);
  close_door(&door);
  assert_int_equal(files_fixture_count(), before);
}

/* What is attached is left to the next daemon. */
static void a_door_that_closes_tells_of_nobody(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  ask(&door, "{\"action\":\"now\"}\n");
  hear(&door, "now null");
  loop_stop(door.loop);
  pthread_join(door.thread, NULL);
  socket_free(door.socket);
  assert_int_equal(door.ops.closed, 0);
  clean(&door);
  hang_up(&door);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_answer_brings_its_descriptors),
      cmocka_unit_test(a_line_brings_its_descriptors_in_order),
      cmocka_unit_test(descriptors_of_a_line_that_is_refused_are_closed),
      cmocka_unit_test(fewer_than_announced_end_the_connection),
      cmocka_unit_test(more_than_a_line_may_bring_end_the_connection),
      cmocka_unit_test(who_asks_much_before_it_reads_gets_all),
      cmocka_unit_test(a_connection_that_is_gone_is_told_of),
      cmocka_unit_test(what_is_answered_to_nobody_is_closed_and_told_of_again),
      cmocka_unit_test(a_door_that_closes_tells_of_nobody),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
