/*
 * workers: an inbox under a lock, emptied on the loop's thread. A task that finds no worker ready
 * waits up to 5 s for one that is coming (contract 5); after that, or when none is coming, it fails
 * with WORKER_UNAVAILABLE.
 */
#include "daemon/workers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/lock.h"
#include "daemon/clearing.h"
#include "daemon/guests.h"
#include "daemon/looking.h"
#include "daemon/staff.h"
#include "daemon/views.h"

#define WORKERS_WAIT_NS (5 * CLOCK_SECOND)
/* While tasks wait: for a worker that comes, or for room among the descriptors on their way, of
 * which a socket's send buffer holds some 280 by default. */
#define WORKERS_RETRY_MS 10

_Static_assert(STAFF_MAX + GUESTS_MAX <= VIEW_WORKERS, "all can be seen");
_Static_assert(WORKERS_MAX + GUESTS_MAX <= VIEW_CLEARED, "all can be cleared");

/* Small things to be said on the loop's thread. */
struct message {
  enum { MESSAGE_CANCEL, MESSAGE_NUMBERS, MESSAGE_OFFER, MESSAGE_RESTART } kind;
  uint64_t subject;
  struct mover_numbers numbers;
  struct mover_segment segment; /* its share is the next one */
  struct share share;
  char worker[40];
  struct message *next;
};

struct workers {
  struct task wake; /* first: the loop's */
  struct lock lock; /* of the inbox */
  struct mover_task *tasks, **tasks_last;
  struct mover_drop *drops, **drops_last;
  struct message *messages, **messages_last;
  struct views views;
  struct workers_params params;
  char socket[160];
  const char *environment[2];
  struct staff staff;
  struct wire_initialize initialize;
  struct guests *guests;
  /* the loop's thread only: */
  struct {
    struct mover_task *first, **last;
  } waiting; /* task->request holds the deadline meanwhile */
  struct loop_timer *retry;
  struct looking looking;
  bool stopping;
  void (*stopped)(void *arg);
  void *stopped_arg;
};

/* ---- inbox: any thread ---- */

static void submit(void *ctx, struct mover_task *task) {
  struct workers *workers = ctx;
  task->next = NULL;
  lock_take(&workers->lock);
  *workers->tasks_last = task;
  workers->tasks_last = &task->next;
  lock_give(&workers->lock);
  loop_post(workers->params.loop, &workers->wake);
}

static void drop(void *ctx, struct mover_drop *drop) {
  struct workers *workers = ctx;
  drop->next = NULL;
  lock_take(&workers->lock);
  *workers->drops_last = drop;
  workers->drops_last = &drop->next;
  lock_give(&workers->lock);
  loop_post(workers->params.loop, &workers->wake);
}

static void post(struct workers *workers, const struct message *what) {
  struct message *message = malloc(sizeof *message);
  if (!message)
    return;
  *message = *what;
  message->next = NULL;
  lock_take(&workers->lock);
  *workers->messages_last = message;
  workers->messages_last = &message->next;
  lock_give(&workers->lock);
  loop_post(workers->params.loop, &workers->wake);
}

static void cancel(void *ctx, uint64_t subject) {
  post(ctx, &(struct message){.kind = MESSAGE_CANCEL, .subject = subject});
}

static void numbers(void *ctx, const struct mover_numbers *values) {
  post(ctx, &(struct message){.kind = MESSAGE_NUMBERS, .numbers = *values});
}

/* Before a drop of it, which comes later, so the descriptor is there still. */
static void offer_segment(void *ctx, const struct mover_segment *segment) {
  post(ctx,
       &(struct message){.kind = MESSAGE_OFFER, .segment = *segment, .share = *segment->share});
}

/* Any thread: names do not change. */
static bool is_ours(void *arg, const char *name) {
  return staff_named(&((const struct workers *)arg)->staff, name);
}

static enum status restart(void *ctx, const char *name) {
  struct workers *workers = ctx;
  struct message message = {.kind = MESSAGE_RESTART};
  if (is_ours(workers, name)) {
    snprintf(message.worker, sizeof message.worker, "%s", name);
    post(workers, &message);
    return STATUS_OK;
  }
  return views_has(&workers->views, name) ? STATUS_CONFLICT : STATUS_WORKER_NOT_FOUND;
}

static uint32_t list(void *ctx, struct view_worker *out, uint32_t max) {
  return views_list(&((struct workers *)ctx)->views, out, max);
}

static uint32_t models(void *ctx, struct view_worker_model *out, uint32_t max) {
  return views_models(&((struct workers *)ctx)->views, out, max);
}

static uint32_t opportunities(void *ctx, struct view_opportunity *out, uint32_t max) {
  return views_opportunities(&((struct workers *)ctx)->views, out, max);
}

const struct mover_table *workers_table(void) {
  static const struct mover_table table = {.submit = submit,
                                           .cancel = cancel,
                                           .drop = drop,
                                           .offer = offer_segment,
                                           .numbers = numbers,
                                           .list = list,
                                           .models = models,
                                           .opportunities = opportunities,
                                           .restart = restart};
  return &table;
}

/* ---- tasks: the loop's thread ---- */

static bool can(const struct worker *worker, const struct mover_task *task) {
  return worker_ready(worker) && worker_can(worker, wire_action(task->action));
}

static bool coming(const struct workers *workers, const struct worker *worker) {
  return !workers->stopping && worker && (worker_coming(worker) || worker_ready(worker));
}

static void refuse(struct mover_task *task, const char *why) {
  problem_set(&task->problem, STATUS_WORKER_UNAVAILABLE, "%s", why);
  task->done(task);
}

static void refuse_name(struct mover_task *task) {
  problem_set(&task->problem, STATUS_WORKER_NOT_FOUND, "no worker %s that we start", task->worker);
  task->done(task);
}

static bool refuse_apart(const struct workers *workers, struct mover_task *task) {
  const struct spec *two[2];
  if (!routing_apart(&workers->staff.routing, task, two))
    return false;
  problem_set(
      &task->problem, STATUS_CONFLICT,
      "no process sees both %s and %s: bytes go from the one to host memory, and from there "
      "to the other",
      two[0]->id, two[1]->id);
  task->done(task);
  return true;
}

static void wait(struct workers *workers, struct mover_task *task) {
  if (!workers->waiting.first)
    loop_timer_start(workers->retry, WORKERS_RETRY_MS, 0);
  task->next = NULL;
  *workers->waiting.last = task;
  workers->waiting.last = &task->next;
}

/* Sent, waiting, or refused. */
static void offer(struct workers *workers, struct mover_task *task) {
  struct worker *worker = staff_for(&workers->staff, task);
  if (task->cancelled) {
    problem_set(&task->problem, STATUS_CANCELLED, "cancelled before the first byte");
    task->done(task);
    return;
  }
  if (refuse_apart(workers, task))
    return;
  if (worker)
    worker_want(worker);
  if (worker && can(worker, task)) {
    if (!task->worker[0])
      snprintf(task->worker, sizeof task->worker, "%s", worker_name(worker));
    if (worker_submit(worker, task))
      return;
  }
  if (!worker && task->worker[0])
    refuse_name(task);
  else if (worker && worker_ready(worker) && !can(worker, task))
    refuse(task, "the worker cannot do that");
  else if (!coming(workers, worker))
    refuse(task, "no worker runs that could move bytes (see --no-worker)");
  else if (clock_now() >= task->request)
    refuse(task, worker && worker_ready(worker) ? "the worker has too much to do already"
                                                : "the worker did not become ready in time");
  else
    wait(workers, task);
}

/* It died before it had begun: the next process will do it, if that comes in time. */
static void unheard(void *arg, struct mover_task *task) {
  if (task->action == MOVER_CLEAR || task->action == MOVER_OPTIMIZE)
    refuse(task, "the worker died");
  else
    wait(arg, task);
}

static void offer_waiting(void *arg) {
  struct workers *workers = arg;
  struct mover_task *task = workers->waiting.first, *next;
  workers->waiting.first = NULL;
  workers->waiting.last = &workers->waiting.first;
  for (; task; task = next) {
    next = task->next;
    offer(workers, task);
  }
}

/* ---- clear: every worker is asked that may have something ---- */

static void clear(struct workers *workers, struct mover_task *task) {
  struct clearing *clearing = clearing_begin(task);
  if (!clearing)
    return;
  for (unsigned i = 0; i < workers->staff.count; i++) {
    struct worker *worker = workers->staff.members[i].worker;
    bool able = !worker_rests(worker) && worker_can(worker, wire_action(MOVER_CLEAR));
    struct mover_task *part = able ? clearing_part(clearing, worker_name(worker)) : NULL;
    if (part && !worker_submit(worker, part))
      clearing_give_up(part);
  }
  guests_clear(workers->guests, clearing);
  clearing_end(clearing);
}

/* ---- drops, messages ---- */

static void one_dropped(struct mover_drop *drop) {
  if (!--drop->waiting)
    drop->done(drop);
}

static void drop_everywhere(struct workers *workers, struct mover_drop *drop) {
  drop->waiting = 1;
  for (unsigned i = 0; i < workers->staff.count; i++) {
    drop->waiting++;
    if (!worker_drop(workers->staff.members[i].worker, drop, one_dropped))
      drop->waiting--;
  }
  one_dropped(drop);
}

static void cancel_subject(struct workers *workers, uint64_t subject) {
  for (struct mover_task *task = workers->waiting.first; task; task = task->next)
    if (task->subject == subject)
      task->cancelled = true;
  for (unsigned i = 0; i < workers->staff.count; i++)
    if (worker_cancel(workers->staff.members[i].worker, subject))
      return;
}

void workers_tell(struct workers *workers, const struct buf *line) {
  for (unsigned i = 0; i < workers->staff.count; i++)
    worker_tell(workers->staff.members[i].worker, line);
  guests_tell(workers->guests, line);
}

static void change_numbers(struct workers *workers, const struct mover_numbers *values) {
  struct buf line BUF_CLEANUP;
  buf_init(&line, WIRE_LINE);
  workers->initialize.numbers = *values;
  wire_thresholds(&line, &workers->initialize);
  workers_tell(workers, &line);
}

static void pass_on(struct workers *workers, const struct message *message) {
  struct worker *worker = staff_named(&workers->staff, message->segment.device_id);
  struct mover_segment segment = message->segment;
  segment.share = &message->share;
  if (worker)
    worker_offer(worker, &segment);
}

static void hear(struct workers *workers, const struct message *message) {
  if (message->kind == MESSAGE_CANCEL)
    cancel_subject(workers, message->subject);
  if (message->kind == MESSAGE_NUMBERS)
    change_numbers(workers, &message->numbers);
  if (message->kind == MESSAGE_OFFER)
    pass_on(workers, message);
  if (message->kind == MESSAGE_RESTART)
    worker_restart(staff_named(&workers->staff, message->worker));
}

/* Now or not at all. */
static void optimize(struct workers *workers, struct mover_task *task) {
  struct worker *worker = staff_named(&workers->staff, task->worker);
  bool sent = worker ? can(worker, task) && worker_submit(worker, task)
                     : guests_submit(workers->guests, task);
  if (!sent)
    refuse(task, "the worker cannot be asked");
}

static bool looks(const struct workers *workers) {
  for (unsigned i = 0; i < workers->staff.count; i++)
    if (worker_looks(workers->staff.members[i].worker))
      return true;
  return guests_looks(workers->guests);
}

static void look(struct workers *workers, struct mover_task *task) {
  looking_add(&workers->looking, task);
  for (unsigned i = 0; i < workers->staff.count; i++)
    worker_look(workers->staff.members[i].worker);
  guests_look(workers->guests);
  if (workers->stopping || !looks(workers))
    looking_end(&workers->looking);
}

static void wake(struct task *task) {
  struct workers *workers = (struct workers *)task;
  lock_take(&workers->lock);
  struct mover_task *tasks = workers->tasks;
  struct mover_drop *drops = workers->drops;
  struct message *messages = workers->messages;
  workers->tasks = NULL;
  workers->drops = NULL;
  workers->messages = NULL;
  workers->tasks_last = &workers->tasks;
  workers->drops_last = &workers->drops;
  workers->messages_last = &workers->messages;
  lock_give(&workers->lock);
  for (struct mover_task *next; tasks; tasks = next) {
    next = tasks->next;
    tasks->request = clock_now() + WORKERS_WAIT_NS;
    if (tasks->action == MOVER_CLEAR)
      clear(workers, tasks);
    else if (tasks->action == MOVER_OPTIMIZE)
      optimize(workers, tasks);
    else if (tasks->action == MOVER_LOOK)
      look(workers, tasks);
    else
      offer(workers, tasks);
  }
  for (struct message *next; messages; messages = next) {
    next = messages->next;
    hear(workers, messages);
    free(messages);
  }
  for (struct mover_drop *next; drops; drops = next) {
    next = drops->next;
    drop_everywhere(workers, drops);
  }
}

/* ---- life ---- */

static void finish_stop(struct workers *workers) {
  for (unsigned i = 0; i < workers->staff.count; i++)
    if (!worker_ended(workers->staff.members[i].worker))
      return;
  void (*stopped)(void *arg) = workers->stopped;
  workers->stopped = NULL;
  if (stopped)
    stopped(workers->stopped_arg);
}

/* Some worker's state changed: new views, and perhaps room for what waits. */
static void changed(void *arg) {
  struct workers *workers = arg;
  views_begin(&workers->views);
  for (unsigned i = 0; i < workers->staff.count; i++)
    worker_view(workers->staff.members[i].worker, &workers->views);
  guests_view(workers->guests, &workers->views);
  views_end(&workers->views);
  if (workers->looking.first && !looks(workers))
    looking_end(&workers->looking);
  if (workers->waiting.first)
    loop_timer_start(workers->retry, 0, 0);
  if (workers->stopping)
    finish_stop(workers);
}

static enum status hire(struct workers *workers, struct problem *problem) {
  const struct worker_params how = {.loop = workers->params.loop,
                                    .events = workers->params.events,
                                    .environment = workers->environment,
                                    .initialize = &workers->initialize,
                                    .changed = changed,
                                    .unheard = unheard,
                                    .arg = workers};
  return staff_init(&workers->staff, &workers->params, &how, problem);
}

enum status workers_create(const struct workers_params *params, struct workers **out,
                           struct problem *problem) {
  struct workers *workers = calloc(1, sizeof *workers);
  if (!workers)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  lock_init(&workers->lock, LOCK_RANK_DOOR, "workers");
  workers->params = *params;
  workers->wake.run = wake;
  workers->tasks_last = &workers->tasks;
  workers->drops_last = &workers->drops;
  workers->messages_last = &workers->messages;
  workers->waiting.last = &workers->waiting.first;
  workers->initialize = (struct wire_initialize){
      params->devices, params->device_count, params->numbers, params->limits, params->limits_arg};
  const struct guests_params guests = {.loop = params->loop,
                                       .events = params->events,
                                       .initialize = &workers->initialize,
                                       .is_taken = is_ours,
                                       .changed = changed,
                                       .arg = workers};
  snprintf(workers->socket, sizeof workers->socket, "MEMKEEP_SOCKET=%s", params->socket);
  workers->environment[0] = workers->socket;
  views_init(&workers->views);
  enum status status = loop_timer(params->loop, offer_waiting, workers, &workers->retry);
  if (!status)
    status = looking_init(&workers->looking, params->loop);
  if (!status)
    status = guests_create(&guests, &workers->guests);
  if (status)
    problem_set(problem, status, "not enough memory to start");
  else
    status = hire(workers, problem);
  if (status) {
    workers_free(workers);
    return status;
  }
  *out = workers;
  return STATUS_OK;
}

void workers_start(struct workers *workers) {
  for (unsigned i = 0; i < workers->staff.count; i++)
    worker_start(workers->staff.members[i].worker);
}

struct guests *workers_guests(struct workers *workers) {
  return workers->guests;
}

void workers_stop(struct workers *workers, uint64_t grace_ms, void (*done)(void *arg), void *arg) {
  workers->stopping = true;
  workers->stopped = done;
  workers->stopped_arg = arg;
  offer_waiting(workers);
  looking_end(&workers->looking);
  for (unsigned i = 0; i < workers->staff.count; i++)
    worker_stop(workers->staff.members[i].worker, grace_ms);
  finish_stop(workers);
}

void workers_free(struct workers *workers) {
  if (!workers)
    return;
  staff_done(&workers->staff);
  guests_free(workers->guests);
  loop_timer_free(workers->retry);
  looking_done(&workers->looking);
  views_done(&workers->views);
  lock_done(&workers->lock);
  free(workers);
}
