/*
 * interface: a table of actions. Quick ones run on the reading thread; those that move bytes or may
 * wait run on one of a few job threads, so that several are under way and a cancel gets through. A
 * cancelled request answers CANCELLED itself.
 */
#include "worker/interface.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/instructor.h"
#include "worker/interface_actions.h"

#define INTERFACE_THREADS 4 /* requests that move bytes at the same time; more wait in line */
#define INTERFACE_PROGRESS_NS                                                                      \
  (200 * CLOCK_MS) /* at most five events a second, at least one (contract 5) */

struct interface {
  struct manager *manager;
  struct instructor *instructor;
  pthread_mutex_t mutex;
  pthread_cond_t ended;
  struct interface_call *calls; /* under way */
  struct queue *threads[INTERFACE_THREADS];
  unsigned load[INTERFACE_THREADS];
};

struct manager *interface_manager(const struct interface_call *call) {
  return call->interface->manager;
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
  pthread_cond_broadcast(&interface->ended);
  pthread_mutex_unlock(&interface->mutex);
}

bool interface_cancel(struct interface_call *asking, const char *request, const char *transfer) {
  struct interface *interface = asking->interface;
  bool found = false;
  pthread_mutex_lock(&interface->mutex);
  for (struct interface_call *call = interface->calls; call; call = call->next) {
    if (call == asking ||
        !(request ? !strcmp(call->id, request) : !strcmp(call->transfer, transfer)))
      continue;
    atomic_store(&call->cancel, true);
    found = true;
  }
  pthread_mutex_unlock(&interface->mutex);
  return found;
}

bool interface_look(struct interface_call *asking, const char *transfer, uint64_t *done,
                    uint64_t *total) {
  struct interface *interface = asking->interface;
  bool found = false;
  pthread_mutex_lock(&interface->mutex);
  for (struct interface_call *call = interface->calls; call && !found; call = call->next) {
    if (call == asking || strcmp(call->transfer, transfer))
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
  atomic_store(&call->bytes_done, bytes_done);
  if (now - call->progress_ns < INTERFACE_PROGRESS_NS && bytes_done < call->bytes_total)
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

static void run_on_thread(struct task *task) {
  struct interface_call *call = (struct interface_call *)task;
  struct interface *interface = call->interface;
  answer(call);
  unsigned mine = 0;
  while (mine < INTERFACE_THREADS &&
         !(interface->threads[mine] && queue_is_mine(interface->threads[mine])))
    mine++;
  leave(interface, call);
  pthread_mutex_lock(&interface->mutex);
  if (mine < INTERFACE_THREADS)
    interface->load[mine]--;
  pthread_mutex_unlock(&interface->mutex);
  end(call);
}

/* The least busy thread, started when it is needed first. */
static struct queue *choose_thread(struct interface *interface) {
  unsigned best = 0;
  pthread_mutex_lock(&interface->mutex);
  for (unsigned i = 1; i < INTERFACE_THREADS; i++)
    if (interface->load[i] < interface->load[best])
      best = i;
  if (!interface->threads[best] && queue_create("job", &interface->threads[best]))
    interface->threads[best] = NULL;
  struct queue *thread = interface->threads[best];
  if (thread)
    interface->load[best]++;
  pthread_mutex_unlock(&interface->mutex);
  return thread;
}

static void start(struct interface *interface, struct interface_call *call) {
  struct queue *thread = call->action->slow ? choose_thread(interface) : NULL;
  enter(interface, call);
  if (thread) {
    call->task.run = run_on_thread;
    queue_post(thread, &call->task);
    return;
  }
  answer(call);
  leave(interface, call);
  end(call);
}

void interface_run(struct interface *interface, const char *id, struct reader_doc *doc) {
  struct reader_value root = reader_root(doc);
  const char *action = reader_text(reader_get(root, "action"), "");
  struct problem problem = {0};
  struct interface_call *call = calloc(1, sizeof *call);
  const struct interface_action *row = interface_actions_find(action);
  if (!call)
    problem_set(&problem, STATUS_INTERNAL_ERROR, "the worker is out of memory");
  else if (!row)
    problem_set(&problem, STATUS_NOT_FOUND, "no action %.60s", action);
  if (problem.status) {
    instructor_refuse(interface->instructor, id, &problem);
    reader_free(doc);
    free(call);
    return;
  }
  call->interface = interface;
  call->instructor = interface->instructor;
  call->action = row;
  call->doc = doc;
  call->data = reader_get(root, "data");
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
  pthread_cond_init(&interface->ended, NULL);
  *out = interface;
  return STATUS_OK;
}

void interface_free(struct interface *interface) {
  if (!interface)
    return;
  pthread_mutex_lock(&interface->mutex);
  for (struct interface_call *call = interface->calls; call; call = call->next)
    atomic_store(&call->cancel, true);
  while (interface->calls)
    pthread_cond_wait(&interface->ended, &interface->mutex);
  pthread_mutex_unlock(&interface->mutex);
  for (unsigned i = 0; i < INTERFACE_THREADS; i++)
    if (interface->threads[i])
      queue_free(interface->threads[i]);
  pthread_cond_destroy(&interface->ended);
  pthread_mutex_destroy(&interface->mutex);
  free(interface);
}
