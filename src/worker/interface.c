/*
 * interface: a table of actions. Quick ones run on the reading thread, each other one on a thread
 * of its own, so that several are under way and a cancel gets through. Few may move bytes at the
 * same time; those in line give a sign of life each second, for silence means a hang to the daemon.
 * A cancelled request answers CANCELLED itself.
 */
#include "worker/interface.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/lock.h"
#include "worker/instructor.h"
#include "worker/interface_actions.h"
#include "worker/told.h"

#define INTERFACE_MOVING 4 /* requests that move bytes at the same time */
#define INTERFACE_SIGN_S 1 /* of life, from those that wait */
/* At most five progress events a second (contract 5). */
#define INTERFACE_PROGRESS_NS (200 * CLOCK_MS)

struct interface {
  struct manager *manager;
  struct told told; /* the reading thread's */
  struct instructor *instructor;
  pthread_mutex_t mutex;
  pthread_cond_t changed;       /* a call ended, or was cancelled */
  struct interface_call *calls; /* under way */
  unsigned moving;
};

struct manager *interface_manager(const struct interface_call *call) {
  return call->interface->manager;
}

struct told *interface_told(const struct interface_call *call) {
  return &call->interface->told;
}

void interface_hear(struct interface *interface, const char *event, struct reader_value data) {
  told_hear(&interface->told, event, data);
}

/* ---- under way ---- */

static void enter(struct interface *interface, struct interface_call *call) {
  pthread_mutex_lock(&interface->mutex);
  call->next = interface->calls;
  interface->calls = call;
  pthread_mutex_unlock(&interface->mutex);
}

static void leave(struct interface *interface, struct interface_call *call) {
  pthread_mutex_lock(&interface->mutex);
  struct interface_call **link = &interface->calls;
  while (*link != call)
    link = &(*link)->next;
  *link = call->next;
  pthread_cond_broadcast(&interface->changed);
  pthread_mutex_unlock(&interface->mutex);
}

bool interface_cancel(struct interface_call *asking, const char *request, const char *transfer) {
  struct interface *interface = asking->interface;
  bool found = false;
  pthread_mutex_lock(&interface->mutex);
  for (struct interface_call *call = interface->calls; call; call = call->next) {
    if (call == asking ||
        strcmp(request ? call->id : call->transfer, request ? request : transfer) != 0)
      continue;
    atomic_store(&call->cancel, true);
    found = true;
  }
  pthread_cond_broadcast(&interface->changed);
  pthread_mutex_unlock(&interface->mutex);
  return found;
}

bool interface_look(struct interface_call *asking, const char *transfer, uint64_t *done,
                    uint64_t *total) {
  struct interface *interface = asking->interface;
  bool found = false;
  pthread_mutex_lock(&interface->mutex);
  for (struct interface_call *call = interface->calls; call && !found; call = call->next) {
    if (call == asking || strcmp(call->transfer, transfer) != 0)
      continue;
    *done = atomic_load(&call->bytes_done);
    *total = call->bytes_total;
    found = true;
  }
  pthread_mutex_unlock(&interface->mutex);
  return found;
}

void interface_progress(void *arg, uint64_t bytes_done) {
  struct interface_call *call = arg;
  uint64_t now = clock_now();
  bool all = call->bytes_total && bytes_done >= call->bytes_total; /* 0: not known yet */
  atomic_store(&call->bytes_done, bytes_done);
  if (now - call->progress_ns < INTERFACE_PROGRESS_NS && !all)
    return;
  call->progress_ns = now;
  instructor_progress(call->instructor, call->id, bytes_done, call->bytes_total);
}

/* ---- running ---- */

static void answer(struct interface_call *call) {
  struct buf data BUF_CLEANUP;
  struct writer w;
  buf_init(&data, INSTRUCTOR_LINE);
  writer_init(&w, &data, WRITER_SNAKE);
  writer_object(&w, NULL);
  call->action->run(call, &w);
  writer_uint(&w, "elapsedUs", (clock_now() - call->started_ns) / 1000);
  writer_uint(&w, "deviceUs", call->device_us);
  writer_end(&w);
  if (!call->problem.status && data.failed)
    problem_set(&call->problem, STATUS_INTERNAL_ERROR, "the answer does not fit into a line");
  if (call->problem.status)
    instructor_refuse(call->instructor, call->id, &call->problem);
  else
    instructor_reply(call->instructor, call->id, data.data, data.size);
}

static void end(struct interface_call *call) {
  reader_free(call->doc);
  free(call);
}

/* ---- threads ---- */

static bool may_move(struct interface *interface, const struct interface_call *call) {
  if (interface->moving >= INTERFACE_MOVING && !atomic_load(&call->cancel))
    return false;
  interface->moving++;
  return true;
}

static void wait_in_line(struct interface *interface, struct interface_call *call) {
  uint64_t sign = clock_now();
  pthread_mutex_lock(&interface->mutex);
  while (!may_move(interface, call)) {
    const struct timespec until = clock_timespec(sign + INTERFACE_SIGN_S * CLOCK_SECOND);
    if (!pthread_cond_timedwait(&interface->changed, &interface->mutex, &until))
      continue;
    pthread_mutex_unlock(&interface->mutex);
    interface_progress(call, 0);
    sign = clock_now();
    pthread_mutex_lock(&interface->mutex);
  }
  pthread_mutex_unlock(&interface->mutex);
}

static void *run_on_thread(void *arg) {
  struct interface_call *call = arg;
  struct interface *interface = call->interface;
  bool moves = call->action->pace == INTERFACE_MOVES;
  if (moves)
    wait_in_line(interface, call);
  answer(call);
  pthread_mutex_lock(&interface->mutex);
  interface->moving -= moves;
  pthread_mutex_unlock(&interface->mutex);
  /* The last thing that is done with the interface. */
  leave(interface, call);
  end(call);
  return NULL;
}

static enum status start_thread(struct interface_call *call) {
  pthread_attr_t detached;
  pthread_t thread;
  pthread_attr_init(&detached);
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  int failed = pthread_create(&thread, &detached, run_on_thread, call);
  pthread_attr_destroy(&detached);
  return failed ? STATUS_RATE_LIMITED : STATUS_OK;
}

static void start(struct interface *interface, struct interface_call *call) {
  enter(interface, call);
  if (call->action->pace == INTERFACE_QUICK) {
    answer(call);
  } else {
    if (call->action->pace == INTERFACE_MOVES)
      instructor_progress(call->instructor, call->id, 0, call->bytes_total);
    call->progress_ns = clock_now();
    if (!start_thread(call))
      return;
    problem_set(&call->problem, STATUS_RATE_LIMITED, "no more threads can be started");
    instructor_refuse(call->instructor, call->id, &call->problem);
  }
  leave(interface, call);
  end(call);
}

static void refuse(struct interface *interface, const char *id, struct reader_doc *doc,
                   const struct problem *problem) {
  instructor_refuse(interface->instructor, id, problem);
  reader_free(doc);
}

void interface_run(struct interface *interface, const char *id, struct reader_doc *doc) {
  struct reader_value root = reader_root(doc);
  const char *action = reader_text(reader_get(root, "action"), "");
  const struct interface_action *row = interface_actions_find(action);
  struct problem problem;
  if (!row) {
    problem_set(&problem, STATUS_NOT_FOUND, "no action %.60s", action);
    refuse(interface, id, doc, &problem);
    return;
  }
  struct interface_call *call = calloc(1, sizeof *call);
  if (!call) {
    problem_set(&problem, STATUS_INTERNAL_ERROR, "the worker is out of memory");
    refuse(interface, id, doc, &problem);
    return;
  }
  call->interface = interface;
  call->instructor = interface->instructor;
  call->action = row;
  call->doc = doc;
  call->data = reader_get(root, "data");
  call->bytes_total = reader_uint(reader_get(call->data, "size_bytes"), 0);
  call->started_ns = clock_now();
  snprintf(call->id, sizeof call->id, "%s", id);
  snprintf(call->transfer, sizeof call->transfer, "%s",
           reader_text(reader_get(call->data, "transfer_id"), ""));
  start(interface, call);
}

void interface_capabilities(struct writer *w) { interface_actions_names(w); }

enum status interface_create(struct manager *manager, struct instructor *instructor,
                             struct interface **out) {
  struct interface *interface = calloc(1, sizeof *interface);
  if (!interface)
    return STATUS_INTERNAL_ERROR;
  interface->manager = manager;
  interface->instructor = instructor;
  pthread_mutex_init(&interface->mutex, NULL);
  lock_cond_init(&interface->changed);
  *out = interface;
  return STATUS_OK;
}

void interface_free(struct interface *interface) {
  if (!interface)
    return;
  pthread_mutex_lock(&interface->mutex);
  for (struct interface_call *call = interface->calls; call; call = call->next)
    atomic_store(&call->cancel, true);
  pthread_cond_broadcast(&interface->changed);
  while (interface->calls)
    pthread_cond_wait(&interface->changed, &interface->mutex);
  pthread_mutex_unlock(&interface->mutex);
  pthread_cond_destroy(&interface->changed);
  pthread_mutex_destroy(&interface->mutex);
  free(interface);
}
