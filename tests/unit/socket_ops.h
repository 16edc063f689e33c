/*
 * socket_ops: a fake ops, for a test of the door alone: "now" is answered at once, "later" when the
 * test says so, "follow" is answered and streams the events that have a subject, and an answer is a
 * code, the raw request id and the field that is wrong. With
 * `hands` it carries so many descriptors, with `stubborn` nothing that waits can be abandoned. Into
 * a descriptor that came with a line it writes which one of them it is.
 * Include it once: it defines what ops.h declares, in place of the real room.
 *
 * And a door before it, whose loop runs in a thread of its own, with a client; and a kernel that
 * can be told to keep silent about peers.
 */
#ifndef SOCKET_OPS_H
#define SOCKET_OPS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/lock.h"
#include "service/events.h"
#include "service/service.h"
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
  atomic_uint_fast64_t closed; /* connection */
  atomic_uint hands;
  atomic_bool stubborn;
  struct events *events;
  atomic_uint_fast64_t after; /* where streams begin; 0: with what is to come */
};

/* ---- ops ---- */

static const struct ops_row now_row = {.action = "now"}, later_row = {.action = "later"},
                            follow_row = {.action = "follow", .streams = true};

const struct ops_row *ops_by_action(const char *action) {
  if (strcmp(action, "now") == 0)
    return &now_row;
  if (strcmp(action, "follow") == 0)
    return &follow_row;
  return strcmp(action, "later") == 0 ? &later_row : NULL;
}

static void say(struct ops_call *call, const char *what) {
  buf_print(&call->out, "%s %s", what, call->request_id ? call->request_id : "null");
  while (call->share_count < call->ops->hands)
    call->shares[call->share_count++] = (struct share){SHARE_FILE, dup(0)};
}

enum ops_progress ops_run_value(struct ops_call *call, struct reader_value data) {
  struct ops *ops = call->ops;
  (void)data;
  LOCK_SCOPE(&ops->lock);
  ops->caller = call->caller;
  ops->names = call->names;
  for (unsigned i = 0; i < call->given_count; i++)
    assert_int_equal(write((int)call->given[i].value, &"0123456789"[i], 1), 1);
  if (call->row != &later_row) {
    say(call, call->row->action);
    call->http_status = 200;
    return OPS_DONE;
  }
  ops->waiting[ops->count++] = call;
  sem_post(&ops->arrived);
  return OPS_LATER;
}

void ops_fail(struct ops_call *call, const struct problem *problem) {
  buf_reset(&call->out);
  say(call, status_code(problem->status));
  if (*problem->field)
    buf_print(&call->out, " %s", problem->field);
}

void ops_cancel(struct ops_call *call, struct ops_call *other) {
  say(call, other ? other->request_id : "NOT_FOUND");
}

bool ops_abandon(struct ops_call *call) {
  struct ops *ops = call->ops;
  LOCK_SCOPE(&ops->lock);
  for (unsigned i = 0; i < ops->count; i++) {
    if (ops->waiting[i] != call || ops->stubborn)
      continue;
    ops->waiting[i] = ops->waiting[--ops->count];
    sem_post(&ops->abandoned);
    return true;
  }
  return false;
}

void ops_end(struct ops_call *call) {
  while (call->share_count)
    share_close(&call->shares[--call->share_count]);
}

void ops_connection_closed(struct ops *ops, uint64_t connection) {
  atomic_store(&ops->closed, connection);
}

bool ops_event_wanted(const struct ops_call *call, const struct events_record *event) {
  (void)call;
  return event->subject;
}

bool ops_event_after(const struct ops_call *call, uint64_t *after) {
  if (call->ops->after)
    *after = call->ops->after;
  return call->ops->after;
}

void ops_event(struct ops *ops, const struct events_record *event, enum writer_names names,
               struct buf *out) {
  (void)ops, (void)names;
  buf_print(out, "%llu", (unsigned long long)event->subject);
}

void ops_event_lost(uint64_t lost, enum writer_names names, struct buf *out) {
  (void)names;
  buf_print(out, "%llu", (unsigned long long)lost);
}

struct service *ops_service(const struct ops *ops) {
  return (struct service *)ops;
}

struct events *service_events(struct service *service) {
  return ((struct ops *)service)->events;
}

static inline void happen(struct ops *ops, uint64_t subject) {
  events_add(ops->events, &(struct events_record){.subject = subject});
}

/* Answers what waits, from this thread. */
static inline void finish(struct ops *ops) {
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

static inline struct caller last_caller(struct ops *ops, enum writer_names *names) {
  LOCK_SCOPE(&ops->lock);
  *names = ops->names;
  return ops->caller;
}

/* ---- the kernel ---- */

static atomic_bool secretive; /* it does not tell who a peer is */

/* In place of libc's. */
int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict size) {
  if (secretive && level == SOL_SOCKET && name == SO_PEERCRED) {
    errno = ENOPROTOOPT;
    return -1;
  }
  return (int)syscall(SYS_getsockopt, fd, level, name, value, size);
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
  const struct socket_workers *workers;
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
  const struct socket_params params = {.loop = door->loop,
                                       .ops = &door->ops,
                                       .path = door->path,
                                       .mode = 0600,
                                       .group = -1,
                                       .workers = door->workers,
                                       .workers_ctx = door};
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
  assert_int_equal(events_create(&door->ops.events), STATUS_OK);
  assert_int_equal(loop_create(&door->loop), STATUS_OK);
}

static void open_door_with(struct door *door, const struct socket_workers *workers) {
  struct problem problem;
  prepare(door);
  door->workers = workers;
  assert_int_equal(create(door, &door->socket, &problem), STATUS_OK);
  assert_int_equal(socket_start(door->socket), STATUS_OK);
  assert_int_equal(pthread_create(&door->thread, NULL, run, door->loop), 0);
  door->client = connect_to(door->path);
  door->in = fdopen(dup(door->client), "r");
}

static inline void open_door(struct door *door) { open_door_with(door, NULL); }

static void clean(struct door *door) {
  loop_free(door->loop);
  unlink(door->path);
  assert_int_equal(rmdir(door->folder), 0);
  events_free(door->ops.events);
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
  char line[512];
  assert_non_null(fgets(line, sizeof line, door->in));
  line[strcspn(line, "\n")] = '\0';
  assert_string_equal(line, wanted);
}

/* The door closed the connection; with a reset, where it did not read all. */
static inline void hear_the_end(struct door *door) {
  char line[256];
  errno = 0;
  assert_null(fgets(line, sizeof line, door->in));
  assert_true(feof(door->in) || errno == ECONNRESET);
}

/* The loop has met what this client did before: it answers another one, who came after that. */
static inline void pass_a_turn(struct door *door) {
  const char line[] = "{\"action\":\"now\"}\n";
  char answer[64];
  int fd = connect_to(door->path);
  assert_int_equal(send(fd, line, sizeof line - 1, MSG_NOSIGNAL), sizeof line - 1);
  assert_true(recv(fd, answer, sizeof answer, 0) > 0);
  close(fd);
}

static inline void send_no_more(struct door *door) {
  assert_int_equal(shutdown(door->client, SHUT_WR), 0);
  pass_a_turn(door);
}

static inline void wait_for(sem_t *sem, unsigned count) {
  struct timespec end;
  clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += PATIENCE;
  while (count--)
    assert_int_equal(sem_timedwait(sem, &end), 0);
}

#endif
