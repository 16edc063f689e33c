/*
 * The door alone, before a fake ops: "now" is answered at once, "later" when the test says so. The
 * loop runs in a thread of its own; the test is the client.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/lock.h"
#include "socket/socket.h"

#define CALLS 512
#define PATIENCE 20 /* seconds: then it hangs */

struct ops {
  struct lock lock;
  struct ops_call *waiting[CALLS];
  unsigned count;
  struct caller caller; /* of the last call */
  enum writer_names names;
  sem_t arrived, abandoned;
};

/* ---- ops ---- */

static const struct ops_row now_row = {.action = "now"}, later_row = {.action = "later"};

const struct ops_row *ops_by_action(const char *action) {
  if (strcmp(action, "now") == 0)
    return &now_row;
  return strcmp(action, "later") == 0 ? &later_row : NULL;
}

static void say(struct ops_call *call, const char *what) {
  buf_print(&call->out, "%s %s", what, call->request_id ? call->request_id : "null");
}

enum ops_progress ops_run_value(struct ops_call *call, struct reader_value data) {
  struct ops *ops = call->ops;
  (void)data;
  LOCK_SCOPE(&ops->lock);
  ops->caller = call->caller;
  ops->names = call->names;
  if (call->row == &now_row) {
    say(call, "now");
    return OPS_DONE;
  }
  ops->waiting[ops->count++] = call;
  sem_post(&ops->arrived);
  return OPS_LATER;
}

void ops_fail(struct ops_call *call, const struct problem *problem) {
  buf_reset(&call->out);
  say(call, status_code(problem->status));
}

bool ops_abandon(struct ops_call *call) {
  struct ops *ops = call->ops;
  LOCK_SCOPE(&ops->lock);
  for (unsigned i = 0; i < ops->count; i++) {
    if (ops->waiting[i] != call)
      continue;
    ops->waiting[i] = ops->waiting[--ops->count];
    sem_post(&ops->abandoned);
    return true;
  }
  return false;
}

void ops_end(struct ops_call *call) { (void)call; }

/* Answers what waits, from this thread. */
static void finish(struct ops *ops) {
  struct ops_call *calls[CALLS];
  lock_take(&ops->lock);
  unsigned count = ops->count;
  memcpy(calls, ops->waiting, sizeof calls);
  ops->count = 0;
  lock_give(&ops->lock);
  for (unsigned i = 0; i < count; i++) {
    say(calls[i], "later");
    calls[i]->done(calls[i]);
  }
}

static struct caller last_caller(struct ops *ops, enum writer_names *names) {
  LOCK_SCOPE(&ops->lock);
  *names = ops->names;
  return ops->caller;
}

/* ---- the door ---- */

struct door {
  struct ops ops;
  struct loop *loop;
  struct socket *socket;
  pthread_t thread;
  char folder[64], path[96];
  int client;
  FILE *in;
  struct task stop;
};

static void *run(void *arg) {
  loop_run(arg);
  return NULL;
}

static int connect_to(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const struct timeval patience = {.tv_sec = PATIENCE};
  memcpy(address.sun_path, path, strlen(path) + 1);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
  return fd;
}

static enum status create(struct door *door, struct socket **out, struct problem *problem) {
  const struct socket_params params = {
      .loop = door->loop, .ops = &door->ops, .path = door->path, .mode = 0600, .group = -1};
  return socket_create(&params, out, problem);
}

static void prepare(struct door *door) {
  memset(door, 0, sizeof *door);
  strcpy(door->folder, "/tmp/test_door-XXXXXX");
  assert_non_null(mkdtemp(door->folder));
  snprintf(door->path, sizeof door->path, "%s/s", door->folder);
  lock_init(&door->ops.lock, LOCK_RANK_LEAF, "fake ops");
  sem_init(&door->ops.arrived, 0, 0);
  sem_init(&door->ops.abandoned, 0, 0);
  assert_int_equal(loop_create(&door->loop), STATUS_OK);
}

static void open_door(struct door *door) {
  struct problem problem;
  prepare(door);
  assert_int_equal(create(door, &door->socket, &problem), STATUS_OK);
  assert_int_equal(socket_start(door->socket), STATUS_OK);
  assert_int_equal(pthread_create(&door->thread, NULL, run, door->loop), 0);
  door->client = connect_to(door->path);
  door->in = fdopen(dup(door->client), "r");
}

static void clean(struct door *door) {
  loop_free(door->loop);
  unlink(door->path);
  assert_int_equal(rmdir(door->folder), 0);
  lock_done(&door->ops.lock);
}

static void hang_up(struct door *door) {
  fclose(door->in);
  close(door->client);
}

static void close_door(struct door *door) {
  loop_stop(door->loop);
  pthread_join(door->thread, NULL);
  socket_free(door->socket);
  clean(door);
}

static void ask(struct door *door, const char *line) {
  size_t n = strlen(line);
  assert_int_equal(send(door->client, line, n, MSG_NOSIGNAL), n);
}

static void hear(struct door *door, const char *wanted) {
  char line[256];
  assert_non_null(fgets(line, sizeof line, door->in));
  line[strcspn(line, "\n")] = '\0';
  assert_string_equal(line, wanted);
}

static void wait_for(sem_t *sem, unsigned count) {
  struct timespec end;
  clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += PATIENCE;
  while (count--)
    assert_int_equal(sem_timedwait(sem, &end), 0);
}

/* ---- tests ---- */

static void answers_carry_their_ids_and_overtake(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  ask(&door,
      "{\"request_id\":\"a\",\"action\":\"later\"}\n{\"request_id\":2,\"action\":\"now\"}\n");
  hear(&door, "now 2");
  finish(&door.ops);
  hear(&door, "later \"a\"");
  hang_up(&door);
  close_door(&door);
}

static void what_is_no_request_is_refused_and_the_connection_goes_on(void **state) {
  (void)state;
  struct door door;
  open_door(&door);
  ask(&door, "nonsense\n\n[1]\n{\"request_id\":1}\n{\"request_id\":2,\"action\":\"dance\"}\n"
             "{\"action\":\"now\"}\n");
  hear(&door, "INVALID_JSON null");
  hear(&door, "INVALID_JSON null");
  hear(&door, "INVALID_JSON null");
  hear(&door, "MISSING_PARAMETER 1");
  hear(&door, "NOT_FOUND 2");
  hear(&door, "now null");
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
    buf_print(&lines, "{\"request_id\":%d,\"action\":\"later\"}\n", i);
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
    assert_int_equal(sscanf(line, "later %d", &id), 1);
    snprintf(wanted, sizeof wanted, "later %d\n", id);
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
  ask(&door, "{\"request_id\":1,\"action\":\"later\"}\n");
  wait_for(&door.ops.arrived, 1);
  door.stop.run = on_stop;
  loop_post(door.loop, &door.stop);
  finish(&door.ops);
  hear(&door, "later 1");
  pthread_join(door.thread, NULL);
  socket_free(door.socket);
  hang_up(&door);
  clean(&door);
}

static void a_dead_daemons_file_is_replaced_a_living_ones_is_not(void **state) {
  (void)state;
  struct door door;
  struct socket *first, *second;
  struct problem problem;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  prepare(&door);
  memcpy(address.sun_path, door.path, strlen(door.path) + 1);
  int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(dead, (struct sockaddr *)&address, sizeof address), 0);
  close(dead);
  assert_int_equal(create(&door, &first, &problem), STATUS_OK);
  assert_int_equal(create(&door, &second, &problem), STATUS_CONFLICT);
  struct stat info;
  assert_int_equal(stat(door.path, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0600);
  socket_free(first);
  assert_int_not_equal(stat(door.path, &info), 0);
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
      cmocka_unit_test(lines_behind_a_full_connection_have_their_turn),
      cmocka_unit_test(who_hangs_up_waits_no_longer),
      cmocka_unit_test(the_caller_is_whom_the_kernel_names),
      cmocka_unit_test(detached_is_the_user_and_not_the_process),
      cmocka_unit_test(without_descriptors_clients_wait_and_are_served_later),
      cmocka_unit_test(a_stop_lets_what_waits_be_answered),
      cmocka_unit_test(a_dead_daemons_file_is_replaced_a_living_ones_is_not),
      cmocka_unit_test(a_file_that_is_no_socket_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
