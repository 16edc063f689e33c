/*
 * worker: one process after the other. The first restart is at once; if that one does not live
 * either, the next waits 0.5 s, and so on, doubled each time. Only an admin's restart goes round
 * the back-off: a worker that is ended for its bad manners does not.
 *
 * One that rests is asked to go by the tick that finds it idle. A task that comes before it is gone
 * waits for the next process, which is started as soon as the old one has ended. One that rests and
 * has lost its device goes in the same way, as soon as it has nothing under way: its successor
 * finds the device as it is then.
 */
#include "daemon/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "daemon/process.h"
#include "daemon/views.h"
#include "service/events.h"

#define WORKER_TICK_MS 1000
#define WORKER_BACKOFF_MS 500
#define WORKER_BACKOFF_MAX_MS 30000
#define WORKER_SETTLED_NS (60 * CLOCK_SECOND) /* ready for this long: the back-off starts anew */

struct worker {
  struct worker_params params;
  struct talk *talk;        /* NULL: there is no process */
  struct loop_timer *timer; /* ticks of the talk; the back-off while there is none */
  bool starting, stopping, restart_now;
  bool anew;    /* the next process takes the place of one that died, or an admin wants it */
  bool resting; /* it is not wanted: it has no process, or one that is leaving */
  bool leaving; /* its process was asked to go, for it was idle */
  char capabilities[TALK_CAPABILITIES]; /* of its last process that said hello */
  uint32_t restarts;
  uint64_t contact_real, backoff_ms, used_ns;
};

static void start(struct worker *worker);

static void event(struct worker *worker, enum events_type type) {
  struct events_record record = {.type = (uint8_t)type};
  events_set_text(&record, worker->params.name);
  events_add(worker->params.events, &record);
}

static void changed(struct worker *worker) { worker->params.changed(worker->params.arg); }

/* ---- rest ---- */

static bool is_spent(const struct worker *worker) {
  return worker->params.rests && worker->talk && talk_figures(worker->talk)->spent;
}

static bool is_idle(const struct worker *worker) {
  return worker->params.rests && worker_ready(worker) && !talk_busy(worker->talk) &&
         (is_spent(worker) || clock_now() - worker->used_ns >= worker->params.idle_ns);
}

static void rest(struct worker *worker) {
  if (is_spent(worker))
    log_warning("daemon", "worker %s has lost its device and goes", worker->params.name);
  else
    log_info("daemon", "worker %s has had nothing to do and rests", worker->params.name);
  worker->resting = worker->leaving = true;
  talk_close(worker->talk);
}

/* ---- life ---- */

static void on_changed(void *arg) {
  struct worker *worker = arg;
  if (worker->starting && worker->talk && talk_ready(worker->talk)) {
    worker->starting = false;
    memcpy(worker->capabilities, talk_capabilities(worker->talk), sizeof worker->capabilities);
    log_info("daemon", "worker %s is ready (pid %d)", worker->params.name,
             (int)talk_pid(worker->talk));
    event(worker, EVENTS_WORKER_READY);
  }
  if (is_spent(worker) && is_idle(worker))
    rest(worker);
  changed(worker);
}

static void on_unheard(void *arg, struct mover_task *task) {
  struct worker *worker = arg;
  worker->params.unheard(worker->params.arg, task);
}

/* How long the next start waits; 0: not at all. */
static uint64_t next_wait(struct worker *worker, bool settled) {
  uint64_t wait_ms = worker->restart_now || settled ? 0 : worker->backoff_ms;
  worker->backoff_ms = wait_ms ? units_min(2 * wait_ms, WORKER_BACKOFF_MAX_MS) : WORKER_BACKOFF_MS;
  worker->restart_now = false;
  return wait_ms;
}

/* Its process is gone: `left` because it was idle, or it died. */
static void go_on(struct worker *worker, bool left, bool settled) {
  if (worker->stopping)
    return;
  uint64_t wait_ms = left ? 0 : next_wait(worker, settled);
  worker->anew |= !left;
  if (worker->resting)
    loop_timer_stop(worker->timer);
  else if (wait_ms)
    loop_timer_start(worker->timer, wait_ms, 0);
  else
    start(worker);
}

static void ended(void *arg, const char *how) {
  struct worker *worker = arg;
  struct talk *talk = worker->talk;
  uint64_t ready_ns = talk_figures(talk)->ready_ns;
  bool left = worker->leaving;
  worker->contact_real = talk_figures(talk)->contact_real;
  worker->talk = NULL;
  worker->leaving = false;
  log_write(worker->stopping || left ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, "daemon",
            "worker %s ended: %s", worker->params.name, how);
  talk_free(talk);
  event(worker, EVENTS_WORKER_EXITED);
  go_on(worker, left, ready_ns && clock_now() - ready_ns > WORKER_SETTLED_NS);
  changed(worker);
}

static void start(struct worker *worker) {
  const struct process_params params = {.loop = worker->params.loop,
                                        .argv = worker->params.argv,
                                        .environment = worker->params.environment,
                                        .talk = {.name = worker->params.name,
                                                 .initialize = worker->params.initialize,
                                                 .changed = on_changed,
                                                 .ended = ended,
                                                 .unheard = on_unheard,
                                                 .arg = worker}};
  worker->restart_now = false;
  worker->used_ns = clock_now();
  enum status status = process_start(&params, &worker->talk);
  worker->starting = !status;
  if (status) {
    log_error("daemon", "worker %s: %s cannot be started: %s", worker->params.name,
              worker->params.argv[0], status_text(status));
    uint64_t wait_ms = next_wait(worker, false);
    loop_timer_start(worker->timer, wait_ms ? wait_ms : WORKER_BACKOFF_MS, 0);
  } else {
    worker->restarts += worker->anew;
    worker->anew = false;
    event(worker, EVENTS_WORKER_STARTED);
    loop_timer_start(worker->timer, WORKER_TICK_MS, WORKER_TICK_MS);
  }
  changed(worker);
}

static void tick(void *arg) {
  struct worker *worker = arg;
  if (!worker->talk) {
    start(worker);
    return;
  }
  talk_tick(worker->talk);
  if (talk_busy(worker->talk))
    worker->used_ns = clock_now();
  if (is_idle(worker))
    rest(worker);
  changed(worker); /* the view's times */
}

enum status worker_create(const struct worker_params *params, struct worker **out) {
  struct worker *worker = calloc(1, sizeof *worker);
  if (!worker)
    return STATUS_INTERNAL_ERROR;
  worker->params = *params;
  worker->resting = params->rests;
  worker->starting = !params->rests;
  enum status status = loop_timer(params->loop, tick, worker, &worker->timer);
  if (status) {
    free(worker);
    return status;
  }
  *out = worker;
  return STATUS_OK;
}

void worker_free(struct worker *worker) {
  if (!worker)
    return;
  struct talk *talk = worker->talk;
  worker->talk = NULL;
  talk_free(talk);
  loop_timer_free(worker->timer);
  free(worker);
}

void worker_start(struct worker *worker) {
  if (!worker->resting)
    start(worker);
}

void worker_want(struct worker *worker) {
  if (!worker->resting || worker->stopping)
    return;
  worker->resting = false;
  worker->starting = true;
  if (!worker->talk)
    start(worker);
}

static void kill_it(void *arg) {
  struct worker *worker = arg;
  if (worker->talk)
    talk_kill(worker->talk);
}

void worker_stop(struct worker *worker, uint64_t grace_ms) {
  worker->stopping = true;
  worker->starting = false;
  loop_timer_free(worker->timer);
  worker->timer = NULL;
  if (!worker->talk)
    return;
  talk_close(worker->talk);
  if (loop_timer(worker->params.loop, kill_it, worker, &worker->timer))
    kill_it(worker);
  else
    loop_timer_start(worker->timer, grace_ms, 0);
}

bool worker_ended(const struct worker *worker) { return !worker->talk; }

const char *worker_name(const struct worker *worker) { return worker->params.name; }

bool worker_rests(const struct worker *worker) { return worker->params.rests; }

void worker_restart(struct worker *worker) {
  if (worker->stopping)
    return;
  worker->resting = false;
  if (worker->talk) {
    worker->restart_now = true;
    talk_end(worker->talk);
    return;
  }
  loop_timer_stop(worker->timer);
  worker->anew = true;
  start(worker);
}

/* ---- what it does ---- */

bool worker_submit(struct worker *worker, struct mover_task *task) {
  worker->used_ns = clock_now();
  return worker->talk && !worker->stopping && !is_spent(worker) && talk_submit(worker->talk, task);
}

bool worker_cancel(struct worker *worker, uint64_t subject) {
  return worker->talk && talk_cancel(worker->talk, subject);
}

bool worker_drop(struct worker *worker, struct mover_drop *drop,
                 void (*done)(struct mover_drop *drop)) {
  return worker->talk && talk_drop(worker->talk, drop, done);
}

void worker_offer(struct worker *worker, const struct mover_segment *segment) {
  if (worker->talk)
    talk_offer(worker->talk, segment);
}

void worker_tell(struct worker *worker, const struct buf *line) {
  if (worker->talk)
    talk_tell(worker->talk, line);
}

/* ---- looking ---- */

bool worker_ready(const struct worker *worker) { return worker->talk && talk_ready(worker->talk); }

bool worker_coming(const struct worker *worker) {
  return !worker->stopping && !worker->resting && !worker_ready(worker);
}

bool worker_can(const struct worker *worker, const char *capability) {
  return wire_lists(worker->capabilities, capability);
}

static enum view_worker_state state_of(const struct worker *worker) {
  if (worker->stopping || worker->resting)
    return VIEW_WORKER_STOPPED;
  if (worker->starting)
    return VIEW_WORKER_STARTING;
  if (!worker_ready(worker))
    return VIEW_WORKER_FAILED;
  return talk_busy(worker->talk) ? VIEW_WORKER_BUSY : VIEW_WORKER_READY;
}

void worker_look(struct worker *worker) {
  if (worker->talk)
    talk_look(worker->talk);
}

bool worker_looks(const struct worker *worker) {
  return worker->talk && talk_standing(worker->talk)->asking;
}

static void describe(const struct worker *worker, struct view_worker *out) {
  *out = (struct view_worker){.state = state_of(worker),
                              .restarts = worker->restarts,
                              .synchronized = worker->resting, /* it knows nothing */
                              .last_contact = worker->contact_real,
                              .transport = "stdio"};
  if (worker->talk) {
    out->pid = talk_pid(worker->talk);
    out->last_contact = units_max(worker->contact_real, talk_figures(worker->talk)->contact_real);
    standing_view(talk_standing(worker->talk), talk_reports(worker->talk), out);
  }
  snprintf(out->id, sizeof out->id, "%s", worker->params.name);
  snprintf(out->capabilities, sizeof out->capabilities, "%s", worker->capabilities);
  size_t used = 0;
  for (unsigned i = 0; worker->params.argv[i] && used < sizeof out->command; i++)
    used += (size_t)snprintf(out->command + used, sizeof out->command - used, "%s%s", i ? " " : "",
                             worker->params.argv[i]);
}

void worker_view(const struct worker *worker, struct views *views) {
  struct view_worker view;
  describe(worker, &view);
  views_add(views, &view, worker->talk ? talk_standing(worker->talk) : NULL);
}
