/*
 * The door alone, before the fake ops of socket_ops.h. The test is the client.
 */
#include "socket_ops.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void answers_carry_their_ids_and_overtake(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  ask(&door,
      "{\"request_id\":\"a\",\"action\":\"later\"}\n{\"request_id\":\"b\",\"action\":\"now\"}\n");
  hear(&door, "now \"b\"");
  finish(&door.ops);
  hear(&door, "later \"a\"");
  hang_up(&door);
  close_door(&door);
}

static void what_is_no_request_is_refused_and_the_connection_goes_on(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  ask(&door, "nonsense\n\n[1]\n{\"request_id\":\"a\"}\n"
             "{\"request_id\":\"b\",\"action\":\"dance\"}\n"
             "{\"action\":\"now\"}\n");
  hear(&door, "INVALID_JSON null");
  hear(&door, "INVALID_JSON null");
  hear(&door, "INVALID_JSON null");
  hear(&door, "MISSING_PARAMETER \"a\" action");
  hear(&door, "NOT_FOUND \"b\" action");
  hear(&door, "now null");
  hang_up(&door);
  close_door(&door);
}

static void members_that_are_none_or_of_another_type_are_refused(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  static const struct {
    const char *member, *answer;
  } cases[] = {
      {"\"idempotencyKey\":\"k\"", "UNKNOWN_FIELD \"r\" idempotencyKey"},
      {"\"dat\":{}", "UNKNOWN_FIELD \"r\" dat"},
      {"\"idempotency_key\":5", "INVALID_ARGUMENT \"r\" idempotency_key"},
      {"\"idempotency_key\":null", "INVALID_ARGUMENT \"r\" idempotency_key"},
      {"\"idempotency_key\":\"a b\"", "INVALID_ARGUMENT \"r\" idempotency_key"},
      {"\"correlation_id\":5", "INVALID_ARGUMENT \"r\" correlation_id"},
      {"\"deadline_ms\":\"5\"", "INVALID_ARGUMENT \"r\" deadline_ms"},
      {"\"fds\":-1", "INVALID_ARGUMENT \"r\" fds"},
      {"\"detached\":1", "INVALID_ARGUMENT \"r\" detached"},
      {"\"envelope\":\"yes\"", "INVALID_ARGUMENT \"r\" envelope"},
      {"\"deadline_ms\":5,\"fds\":0,\"event\":\"hello\"", "now \"r\""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char line[256];
    snprintf(line, sizeof line, "{\"request_id\":\"r\",\"action\":\"now\",%s}\n", cases[i].member);
    ask(&door, line);
    hear(&door, cases[i].answer);
  }
  ask(&door, "{\"request_id\":\"r\",\"action\":5}\n");
  hear(&door, "INVALID_ARGUMENT \"r\" action");
  hang_up(&door);
  close_door(&door);
}

static void an_id_is_a_string_of_at_most_256_bytes(void **state) {
  (void)state;
  struct door door;
  char id[257], line[512], wanted[512];
  open_door(&door);
  memset(id, 'x', 256);
  id[256] = '\0';
  snprintf(line, sizeof line, "{\"request_id\":\"%s\",\"action\":\"now\"}\n", id);
  snprintf(wanted, sizeof wanted, "now \"%s\"", id);
  ask(&door, line);
  hear(&door, wanted);
  snprintf(line, sizeof line, "{\"request_id\":\"%sx\",\"action\":\"now\"}\n", id);
  ask(&door, line);
  hear(&door, "INVALID_ARGUMENT null request_id");
  static const char *const others[] = {"5", "null", "true", "{}", "[\"r\"]"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    snprintf(line, sizeof line, "{\"request_id\":%s,\"action\":\"now\"}\n", others[i]);
    ask(&door, line);
    hear(&door, "INVALID_ARGUMENT null request_id");
  }
  hang_up(&door);
  close_door(&door);
}

static void a_line_that_is_too_long_is_the_last(void **state) {
  (void)state;
  enum { TOO_LONG = (4 << 20) + 1 };
  struct door door;
  open_door(&door);
  ask(&door, "{\"request_id\":\"a\",\"action\":\"later\"}\n");
  wait_for(&door.ops.arrived, 1);
  char *spaces = malloc(TOO_LONG + 1);
  assert_non_null(spaces);
  memset(spaces, ' ', TOO_LONG);
  spaces[TOO_LONG] = '\0';
  ask(&door, spaces);
  free(spaces);
  hear(&door, "BODY_TOO_LARGE null");
  finish(&door.ops);
  hear(&door, "later \"a\"");
  hear_the_end(&door);
  hang_up(&door);
  close_door(&door);
}

static void lines_behind_a_full_connection_have_their_turn(void **state) {
  (void)state;
  enum { LINES = 400, CAP = 256 };
  struct door door;
  char line[64], wanted[64];
  open_door(&door);
  struct buf lines BUF_CLEANUP;
  buf_init(&lines, (size_t)1 << 20);
  for (int i = 0; i < LINES; i++)
    buf_print(&lines, "{\"request_id\":\"%d\",\"action\":\"later\"}\n", i);
  ask(&door, buf_text(&lines));
  wait_for(&door.ops.arrived, CAP);
  finish(&door.ops);
  bool heard[LINES] = {false};
  for (int i = 0; i < LINES; i++) {
    if (i == CAP) {
      wait_for(&door.ops.arrived, LINES - CAP);
      finish(&door.ops);
    }
    int id = -1;
    assert_non_null(fgets(line, sizeof line, door.in));
    assert_int_equal(sscanf(line, "later \"%d\"", &id), 1);
    snprintf(wanted, sizeof wanted, "later \"%d\"\n", id);
    assert_string_equal(line, wanted);
    assert_in_range(id, 0, LINES - 1);
    assert_false(heard[id]);
    heard[id] = true;
  }
  hang_up(&door);
  close_door(&door);
}

static void who_hangs_up_waits_no_longer(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  ask(&door, "{\"action\":\"later\"}\n{\"action\":\"later\"}\n");
  wait_for(&door.ops.arrived, 2);
  hang_up(&door);
  wait_for(&door.ops.abandoned, 2);
  close_door(&door);
}

static void who_sends_no_more_is_answered(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  ask(&door, "{\"request_id\":\"a\",\"action\":\"later\"}\n");
  wait_for(&door.ops.arrived, 1);
  send_no_more(&door);
  finish(&door.ops);
  hear(&door, "later \"a\"");
  hear_the_end(&door);
  hang_up(&door);
  close_door(&door);
}

static void who_sends_no_more_and_hangs_up_waits_no_longer(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  ask(&door, "{\"action\":\"later\"}\n");
  wait_for(&door.ops.arrived, 1);
  send_no_more(&door);
  hang_up(&door);
  wait_for(&door.ops.abandoned, 1);
  close_door(&door);
}

static void whom_the_kernel_does_not_name_is_not_served(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  pass_a_turn(&door);
  secretive = true;
  int fd = connect_to(door.path);
  char byte;
  assert_int_equal(recv(fd, &byte, 1, 0), 0);
  close(fd);
  secretive = false;
  pass_a_turn(&door);
  hang_up(&door);
  close_door(&door);
}

static void the_caller_is_whom_the_kernel_names(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  ask(&door, "{\"action\":\"now\",\"idempotency_key\":\"k\",\"correlation_id\":\"c-1\"}\n");
  hear(&door, "now null");
  enum writer_names names;
  struct caller last = last_caller(&door.ops, &names), *caller = &last;
  assert_int_equal(caller->pid, getpid());
  assert_int_not_equal(caller->pid_start, 0);
  assert_int_equal(caller->uid, geteuid());
  assert_int_equal(caller->domain, geteuid());
  assert_int_equal(caller->role, CALLER_ADMIN);
  assert_int_not_equal(caller->connection, 0);
  assert_string_equal(caller->key, "k");
  assert_string_equal(caller->correlation, "c-1");
  assert_int_equal(names, WRITER_SNAKE);
  hang_up(&door);
  close_door(&door);
}

static void detached_is_the_user_and_not_the_process(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  ask(&door, "{\"action\":\"now\",\"detached\":true,\"envelope\":true}\n");
  hear(&door, "now null");
  enum writer_names names;
  struct caller last = last_caller(&door.ops, &names);
  assert_int_equal(last.pid, 0);
  assert_int_equal(last.pid_start, 0);
  assert_int_equal(last.domain, geteuid());
  assert_int_equal(names, WRITER_CAMEL);
  hang_up(&door);
  close_door(&door);
}

static void without_descriptors_clients_wait_and_are_served_later(void **state) {
  (void)state;
  struct door door;
  struct rlimit before, none;
  open_door(&door);
  ask(&door, "{\"action\":\"now\"}\n");
  hear(&door, "now null");
  fclose(door.in);
  close(door.client);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, door.path, strlen(door.path) + 1);
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  none = (struct rlimit){0, before.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
  door.client = fd;
  door.in = fdopen(dup(fd), "r");
  ask(&door, "{\"action\":\"now\"}\n");
  hear(&door, "now null");
  hang_up(&door);
  close_door(&door);
}

static void stopped(void *arg) {
  struct door *door = arg;
  loop_stop(door->loop);
}

static void on_stop(struct task *task) {
  struct door *door = (struct door *)((char *)task - offsetof(struct door, stop));
  socket_stop(door->socket, stopped, door);
}

static void a_stop_lets_what_waits_be_answered(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  ask(&door, "{\"request_id\":\"a\",\"action\":\"later\"}\n");
  wait_for(&door.ops.arrived, 1);
  door.stop.run = on_stop;
  loop_post(door.loop, &door.stop);
  finish(&door.ops);
  hear(&door, "later \"a\"");
  pthread_join(door.thread, NULL);
  socket_free(door.socket);
  hang_up(&door);
  clean(&door);
}

static int bind_at(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, path, strlen(path) + 1);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  return fd;
}

static void a_dead_daemons_file_is_replaced_a_living_ones_is_not(void **state) {
  (void)state;
  struct door door;
  struct socket *first, *second;
  struct problem problem;
  prepare(&door);
  close(bind_at(door.path));
  assert_int_equal(create(&door, &first, &problem), STATUS_OK);
  assert_int_equal(create(&door, &second, &problem), STATUS_CONFLICT);
  struct stat info;
  assert_int_equal(stat(door.path, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0600);
  socket_free(first);
  assert_int_not_equal(stat(door.path, &info), 0);
  clean(&door);
}

static void anothers_file_stays_when_the_door_is_freed(void **state) {
  (void)state;
  struct door door;
  struct socket *socket;
  struct problem problem;
  struct stat info;
  prepare(&door);
  assert_int_equal(create(&door, &socket, &problem), STATUS_OK);
  assert_int_equal(unlink(door.path), 0);
  int other = bind_at(door.path);
  socket_free(socket);
  assert_int_equal(stat(door.path, &info), 0);
  close(other);
  clean(&door);
}

static void a_file_that_is_no_socket_stays(void **state) {
  (void)state;
  struct door door;
  struct socket *socket;
  struct problem problem;
  struct stat info;
  prepare(&door);
  close(open(door.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  assert_int_equal(create(&door, &socket, &problem), STATUS_CONFLICT);
  assert_int_equal(stat(door.path, &info), 0);
  assert_true(S_ISREG(info.st_mode));
  clean(&door);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(answers_carry_their_ids_and_overtake),
      cmocka_unit_test(what_is_no_request_is_refused_and_the_connection_goes_on),
      cmocka_unit_test(members_that_are_none_or_of_another_type_are_refused),
      cmocka_unit_test(an_id_is_a_string_of_at_most_256_bytes),
      cmocka_unit_test(a_line_that_is_too_long_is_the_last),
      cmocka_unit_test(lines_behind_a_full_connection_have_their_turn),
      cmocka_unit_test(who_hangs_up_waits_no_longer),
      cmocka_unit_test(who_sends_no_more_is_answered),
      cmocka_unit_test(who_sends_no_more_and_hangs_up_waits_no_longer),
      cmocka_unit_test(whom_the_kernel_does_not_name_is_not_served),
      cmocka_unit_test(the_caller_is_whom_the_kernel_names),
      cmocka_unit_test(detached_is_the_user_and_not_the_process),
      cmocka_unit_test(without_descriptors_clients_wait_and_are_served_later),
      cmocka_unit_test(a_stop_lets_what_waits_be_answered),
      cmocka_unit_test(a_dead_daemons_file_is_replaced_a_living_ones_is_not),
      cmocka_unit_test(anothers_file_stays_when_the_door_is_freed),
      cmocka_unit_test(a_file_that_is_no_socket_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
