/*
 * A client that says hello, before the fake ops of socket_ops.h and workers that are this test.
 */
#include "socket_ops.h"

#include "base/units.h"

static struct {
  struct connection *connection;
  sem_t heard, left;
  char line[64];
  int32_t pid;
  size_t said;
} met;

static enum status on_hello(void *ctx, const struct socket_hello *hello, void **worker,
                            struct problem *problem) {
  const char *name = reader_text(reader_get(hello->line, "name"), "");
  if (!strcmp(name, "nobody"))
    return problem_field(problem, STATUS_CONFLICT, "name", "there is one");
  met.connection = hello->connection;
  met.pid = hello->pid;
  assert_true(socket_say(hello->connection, "welcome", 7));
  *worker = ctx;
  return STATUS_OK;
}

/* Requests of 64 KiB, until no more is taken. */
static void fill(void) {
  static char text[64 * 1024];
  memset(text, 'x', sizeof text);
  while (socket_say(met.connection, text, sizeof text))
    met.said += sizeof text;
}

static void on_heard(void *worker, struct reader_value line) {
  (void)worker;
  snprintf(met.line, sizeof met.line, "%s", reader_text(reader_get(line, "event"), "-"));
  if (!strcmp(met.line, "go"))
    socket_hang_up(met.connection);
  else if (!strcmp(met.line, "fill"))
    fill();
  else
    assert_true(socket_say(met.connection, met.line, strlen(met.line)));
  sem_post(&met.heard);
}

static void on_left(void *worker) {
  (void)worker;
  sem_post(&met.left);
}

static const struct socket_workers workers = {on_hello, on_heard, on_left};

static void open_with_workers(struct door *door) {
  memset(&met, 0, sizeof met);
  sem_init(&met.heard, 0, 0);
  sem_init(&met.left, 0, 0);
  open_door_with(door, &workers);
}

static void say_hello(struct door *door) {
  ask(door, "{\"event\":\"hello\"}\n");
  hear(door, "welcome");
}

static void who_says_hello_is_heard_as_a_worker_and_a_client(void **state) {
  (void)state;
  struct door door;
  open_with_workers(&door);
  say_hello(&door);
  ask(&door, "{\"request_id\":\"r-1\",\"success\":true}\n");
  hear(&door, "-");
  ask(&door, "{\"event\":\"x\"}\n{\"request_id\":\"a\",\"action\":\"now\"}\n");
  hear(&door, "x");
  hear(&door, "now \"a\"");
  hang_up(&door);
  wait_for(&met.left, 1);
  assert_int_equal(met.pid, getpid());
  close_door(&door);
}

static void one_that_is_refused_is_told_why_and_closed(void **state) {
  (void)state;
  struct door door;
  open_with_workers(&door);
  ask(&door, "{\"event\":\"hello\",\"name\":\"nobody\"}\n{\"action\":\"now\"}\n");
  hear(&door, "CONFLICT null name");
  hear_the_end(&door);
  hang_up(&door);
  close_door(&door);
}

static void others_are_not_heard_as_workers(void **state) {
  (void)state;
  struct door door;
  open_with_workers(&door);
  ask(&door, "{\"event\":\"x\"}\n{\"request_id\":\"r-1\",\"success\":true}\n");
  hear(&door, "MISSING_PARAMETER null action");
  hear(&door, "UNKNOWN_FIELD \"r-1\" success");
  ask(&door, "{\"event\":\"hello\",\"action\":\"now\"}\n");
  hear(&door, "now null");
  hang_up(&door);
  close_door(&door);
  assert_null(met.connection);
}

static void without_workers_hello_is_nothing(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  ask(&door, "{\"event\":\"hello\"}\n");
  hear(&door, "MISSING_PARAMETER null action");
  hang_up(&door);
  close_door(&door);
}

static void one_that_is_hung_up_on_leaves_once(void **state) {
  (void)state;
  struct door door;
  int value;
  open_with_workers(&door);
  say_hello(&door);
  ask(&door, "{\"event\":\"go\"}\n");
  hear_the_end(&door);
  wait_for(&met.left, 1);
  hang_up(&door);
  close_door(&door);
  sem_getvalue(&met.left, &value);
  assert_int_equal(value, 0);
}

static void one_that_reads_nothing_is_left_with_8_mib(void **state) {
  (void)state;
  struct door door;
  open_with_workers(&door);
  say_hello(&door);
  ask(&door, "{\"event\":\"fill\"}\n");
  wait_for(&met.left, 1);
  assert_in_range(met.said, 7 * MIB, 10 * MIB); /* the kernel's buffer takes some */
  hang_up(&door);
  close_door(&door);
}

static void one_that_sends_no_more_has_left(void **state) {
  (void)state;
  struct door door;
  open_with_workers(&door);
  say_hello(&door);
  assert_int_equal(shutdown(door.client, SHUT_WR), 0);
  wait_for(&met.left, 1);
  hear_the_end(&door);
  hang_up(&door);
  close_door(&door);
}

static void stopped(void *arg) { loop_stop(((struct door *)arg)->loop); }

static void stop(struct task *task) {
  struct door *door = (struct door *)((char *)task - offsetof(struct door, stop));
  socket_stop(door->socket, stopped, door);
}

static void a_door_that_stops_lets_go_of_workers(void **state) {
  (void)state;
  struct door door;
  open_with_workers(&door);
  say_hello(&door);
  door.stop.run = stop;
  loop_post(door.loop, &door.stop);
  wait_for(&met.left, 1);
  pthread_join(door.thread, NULL);
  socket_free(door.socket);
  hang_up(&door);
  clean(&door);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(who_says_hello_is_heard_as_a_worker_and_a_client),
      cmocka_unit_test(one_that_is_refused_is_told_why_and_closed),
      cmocka_unit_test(others_are_not_heard_as_workers),
      cmocka_unit_test(without_workers_hello_is_nothing),
      cmocka_unit_test(one_that_is_hung_up_on_leaves_once),
      cmocka_unit_test(one_that_reads_nothing_is_left_with_8_mib),
      cmocka_unit_test(one_that_sends_no_more_has_left),
      cmocka_unit_test(a_door_that_stops_lets_go_of_workers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
