/*
 * worker: see worker.h. A request is a small record with its deadline; an answer finds it by
 * number. Every kind of request (a task, a drop, a ping, a question) ends in the same place,
 * `finish`, also when the process dies.
 */
#include "daemon/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/os_child.h"
#include "base/units.h"
#include "daemon/segment_set.h"
#include "service/events.h"

#define WORKER_REQUESTS 256 /* contract 5 */
#define WORKER_SILENCE_NS (30 * CLOCK_SECOND)
#define WORKER_STEP_NS (2 * CLOCK_SECOND) /* cancel, SIGTERM, SIGKILL follow each other by this */
#define WORKER_PING_NS (20 * CLOCK_SECOND)
#define WORKER_BAD_LINES 10 /* a minute: then it is restarted */
#define WORKER_BACKOFF_MS 500
#define WORKER_BACKOFF_MAX_MS 30000
#define WORKER_SETTLED_NS (60 * CLOCK_SECOND) /* ready for this long: the back-off starts anew */

enum request_kind { REQUEST_TASK, REQUEST_DROP, REQUEST_QUIET };

struct request {
  uint64_t number, heard_ns;
  enum request_kind kind;
  unsigned step; /* of getting rid of it: 0 waiting, 1 cancelled, 2 SIGTERM, 3 SIGKILL */
  struct mover_task *task;
  struct mover_drop *drop;
  void (*dropped)(struct mover_drop *drop);
  struct request *next;
};

struct worker {
  struct worker_params params;
  struct os_child *child;
  struct loop_timer *timer; /* deadlines, pings; the back-off while it is down */
  struct request *requests;
  unsigned request_count;
  uint64_t next_number;
  struct segment_set segments;
  enum view_worker_state state;
  bool stopping, restart_now;
  char capabilities[512];
  uint32_t restarts;
  uint64_t contact_real, contact_ns, ready_ns;
  uint64_t bad_since;
  unsigned bad_lines;
  uint64_t backoff_ms;
  uint64_t memory, reclaimable;
};

static void tick(void *arg);
static void start(struct worker *worker);

static void event(struct worker *worker, enum events_type type) {
  struct events_record record = {.type = (uint8_t)type};
  events_set_text(&record, worker->params.name);
  events_add(worker->params.events, &record);
}

static void set_state(struct worker *worker, enum view_worker_state state) {
  if (worker->state == state)
    return;
  worker->state = state;
  worker->params.changed(worker->params.arg);
}

/* Ready or busy, whichever it is. */
static void set_load(struct worker *worker) {
  if (!worker_ready(worker))
    return;
  bool busy = false;
  for (const struct request *request = worker->requests; request; request = request->next)
    if (request->kind == REQUEST_TASK)
      busy = true;
  set_state(worker, busy ? VIEW_WORKER_BUSY : VIEW_WORKER_READY);
}

/* ---- requests ---- */

static struct request *add_request(struct worker *worker, enum request_kind kind) {
  /* A drop gives memory back: it is never refused for want of room. */
  if (worker->request_count >= WORKER_REQUESTS && kind != REQUEST_DROP)
    return NULL;
  struct request *request = calloc(1, sizeof *request);
  if (!request)
    return NULL;
  request->number = ++worker->next_number;
  request->heard_ns = clock_now();
  request->kind = kind;
  request->next = worker->requests;
  worker->requests = request;
  worker->request_count++;
  return request;
}

static void remove_request(struct worker *worker, struct request *request) {
  struct request **link = &worker->requests;
  while (*link != request)
    link = &(*link)->next;
  *link = request->next;
  worker->request_count--;
}

/* The one end of every request. */
static void finish(struct worker *worker, struct request *request) {
  remove_request(worker, request);
  set_load(worker);
  if (request->kind == REQUEST_TASK)
    request->task->done(request->task);
  if (request->kind == REQUEST_DROP)
    request->dropped(request->drop);
  free(request);
}

/* A request that never left. */
static bool unsend(struct worker *worker, struct request *request) {
  remove_request(worker, request);
  free(request);
  return false;
}

static bool send_line(struct worker *worker, struct buf *line) {
  return !line->failed && !os_child_send(worker->child, line->data, line->size);
}

static void ask(struct worker *worker, const char *action) {
  struct buf line BUF_CLEANUP;
  buf_init(&line, WIRE_LINE);
  struct request *request = add_request(worker, REQUEST_QUIET);
  if (!request)
    return;
  wire_plain(&line, request->number, action);
  if (!send_line(worker, &line))
    unsend(worker, request);
}

/* Descriptors travel before the first line that names their segment. */
static bool send_segments(struct worker *worker, const struct mover_task *task) {
  for (uint32_t i = 0; i < task->segment_count; i++) {
    const struct mover_segment *segment = &task->segments[i];
    if (segment_set_has(&worker->segments, segment->id))
      continue;
    struct buf text BUF_CLEANUP;
    buf_init(&text, 4096);
    wire_segment(&text, segment);
    if (os_child_share(worker->child, text.data, text.size, segment->share))
      return false;
    if (!segment_set_add(&worker->segments, segment->id))
      return false;
  }
  return true;
}

bool worker_submit(struct worker *worker, struct mover_task *task) {
  if (!worker_ready(worker) || !send_segments(worker, task))
    return false;
  struct request *request = add_request(worker, REQUEST_TASK);
  if (!request)
    return false;
  struct buf line BUF_CLEANUP;
  buf_init(&line, WIRE_LINE);
  wire_task(&line, request->number, task);
  request->task = task;
  if (!send_line(worker, &line))
    return unsend(worker, request);
  set_load(worker);
  return true;
}

static void send_cancel(struct worker *worker, uint64_t target) {
  struct buf line BUF_CLEANUP;
  buf_init(&line, WIRE_LINE);
  struct request *request = add_request(worker, REQUEST_QUIET);
  if (!request)
    return;
  wire_cancel(&line, request->number, target);
  if (!send_line(worker, &line))
    unsend(worker, request);
}

bool worker_cancel(struct worker *worker, uint64_t subject) {
  for (struct request *request = worker->requests; request; request = request->next) {
    if (request->kind != REQUEST_TASK || request->task->subject != subject)
      continue;
    send_cancel(worker, request->number);
    return true;
  }
  return false;
}

bool worker_drop(struct worker *worker, struct mover_drop *drop,
                 void (*done)(struct mover_drop *drop)) {
  if (!worker->child || !segment_set_has(&worker->segments, drop->segment))
    return false;
  struct request *request = add_request(worker, REQUEST_DROP);
  if (!request)
    return false;
  struct buf line BUF_CLEANUP;
  buf_init(&line, WIRE_LINE);
  wire_drop(&line, request->number, drop->segment);
  request->drop = drop;
  request->dropped = done;
  segment_set_remove(&worker->segments, drop->segment);
  /* One that cannot even be told is ended: its mappings go with it, and so does the request. */
  if (!send_line(worker, &line))
    worker_restart(worker);
  return true;
}

void worker_thresholds(struct worker *worker, const struct pressure_thresholds *thresholds) {
  worker->params.initialize.thresholds = *thresholds;
  if (!worker_ready(worker))
    return;
  struct buf line BUF_CLEANUP;
  buf_init(&line, WIRE_LINE);
  wire_thresholds(&line, thresholds);
  (void)send_line(worker, &line);
}

/* ---- what it says ---- */

static void heard_hello(struct worker *worker, struct reader_value data) {
  struct reader_value list = reader_get(data, "capabilities");
  size_t used = 0;
  worker->capabilities[0] = 0;
  for (size_t i = 0; i < reader_count(list) && used + 1 < sizeof worker->capabilities; i++)
    used += (size_t)snprintf(worker->capabilities + used, sizeof worker->capabilities - used,
                             "%s%s", i ? "," : "", reader_text(reader_at(list, i), ""));
  struct buf line BUF_CLEANUP;
  buf_init(&line, WIRE_LINE);
  struct request *request = add_request(worker, REQUEST_QUIET);
  if (!request)
    return;
  wire_initialize(&line, request->number, &worker->params.initialize);
  if (!send_line(worker, &line))
    unsend(worker, request);
  worker->ready_ns = clock_now();
  set_state(worker, VIEW_WORKER_READY);
  event(worker, EVENTS_WORKER_READY);
  ask(worker, "memory.get_status");
}

static void heard_event(struct worker *worker, const char *name, struct reader_value data) {
  if (!strcmp(name, "hello") && worker->state == VIEW_WORKER_STARTING)
    heard_hello(worker, data);
  else if (!strcmp(name, "memory.changed") && worker_ready(worker))
    ask(worker, "memory.get_status");
}

static void heard_answer(struct worker *worker, struct request *request, struct reader_value root) {
  struct reader_value data = reader_get(root, "data");
  bool success = reader_bool(reader_get(root, "success"), false);
  if (reader_get(data, "memory_usage_bytes").json) {
    worker->memory = reader_uint(reader_get(data, "memory_usage_bytes"), 0);
    worker->reclaimable = reader_uint(reader_get(data, "reclaimable_bytes"), 0);
  }
  if (request->kind == REQUEST_TASK) {
    struct mover_task *task = request->task;
    task->problem.status = STATUS_OK;
    if (success && task->action == MOVER_CLEAR)
      task->bytes = reader_uint(reader_get(data, "cleared_bytes"), 0);
    else if (success)
      wire_result(task, data);
    else
      problem_set(&task->problem, status_parse(reader_text(reader_get(root, "error_code"), "")),
                  "%.200s", reader_text(reader_get(root, "error"), "the worker gave no reason"));
  }
  finish(worker, request);
}

static void bad_line(struct worker *worker, const char *why) {
  uint64_t now = clock_now();
  log_warning("daemon", "worker %s: %s", worker->params.name, why);
  if (now - worker->bad_since > 60 * CLOCK_SECOND) {
    worker->bad_since = now;
    worker->bad_lines = 0;
  }
  if (++worker->bad_lines >= WORKER_BAD_LINES)
    worker_restart(worker);
}

static void heard(struct worker *worker, struct reader_value root) {
  const char *id = reader_text(reader_get(root, "request_id"), NULL);
  const char *name = reader_text(reader_get(root, "event"), NULL);
  worker->contact_real = clock_real();
  worker->contact_ns = clock_now();
  if (!id) {
    if (name)
      heard_event(worker, name, reader_get(root, "data"));
    else
      bad_line(worker, "a line that is neither an answer nor an event");
    return;
  }
  uint64_t number = wire_request(id);
  struct request *request = worker->requests;
  while (request && request->number != number)
    request = request->next;
  if (!request) {
    log_warning("daemon", "worker %s: an answer to %.40s, which nobody asked", worker->params.name,
                id);
    return;
  }
  request->heard_ns = clock_now();
  if (!name)
    heard_answer(worker, request, root);
  else if (request->kind == REQUEST_TASK && request->task->progress)
    request->task->progress(request->task,
                            reader_uint(reader_get(reader_get(root, "data"), "bytes_done"), 0));
}

static bool on_line(void *arg, char *text, size_t n) {
  struct worker *worker = arg;
  struct reader_doc *doc;
  struct problem problem;
  if (!n || reader_parse(text, n, &doc, &problem)) {
    bad_line(worker, "a line that is not a JSON object");
    return true;
  }
  heard(worker, reader_root(doc));
  reader_free(doc);
  return true;
}

/* ---- life ---- */

/* Whatever it was doing has failed; the bytes at the source are as they were. */
static void fail_requests(struct worker *worker) {
  while (worker->requests) {
    struct request *request = worker->requests;
    if (request->kind == REQUEST_TASK) {
      bool silent = request->step > 0;
      problem_set(&request->task->problem,
                  silent ? STATUS_WORKER_TIMEOUT : STATUS_WORKER_UNAVAILABLE, "worker %s %s",
                  worker->params.name,
                  silent ? "did not answer in time and was ended" : "died in the middle of it");
    }
    finish(worker, request);
  }
}

static void ended(void *arg, const char *how) {
  struct worker *worker = arg;
  bool settled = worker->ready_ns && clock_now() - worker->ready_ns > WORKER_SETTLED_NS;
  bool at_once = worker->restart_now || settled || !worker->backoff_ms;
  log_info("daemon", "worker %s ended: %s", worker->params.name, how);
  os_child_free(worker->child);
  worker->child = NULL;
  worker->restart_now = false;
  segment_set_clear(&worker->segments);
  worker->state = worker->stopping ? VIEW_WORKER_STOPPED : VIEW_WORKER_FAILED;
  fail_requests(worker);
  event(worker, EVENTS_WORKER_EXITED);
  worker->params.changed(worker->params.arg);
  if (worker->stopping)
    return;
  uint64_t wait_ms = at_once ? 0 : worker->backoff_ms;
  worker->backoff_ms =
      at_once ? WORKER_BACKOFF_MS : units_min(2 * worker->backoff_ms, WORKER_BACKOFF_MAX_MS);
  worker->restarts++;
  if (wait_ms)
    loop_timer_start(worker->timer, wait_ms, 0);
  else
    start(worker);
}

static void start(struct worker *worker) {
  struct os_child_params params = {.argv = worker->params.argv,
                                   .environment = worker->params.environment,
                                   .max_line = WIRE_LINE,
                                   .max_queue = WIRE_QUEUE,
                                   .on_line = on_line,
                                   .on_end = ended,
                                   .arg = worker};
  worker->ready_ns = 0;
  worker->bad_lines = 0;
  enum status status = os_child_start(worker->params.loop, &params, &worker->child);
  if (status) {
    log_error("daemon", "worker %s: %s cannot be started: %s", worker->params.name,
              worker->params.argv[0], status_text(status));
    worker->backoff_ms = worker->backoff_ms
                             ? units_min(2 * worker->backoff_ms, WORKER_BACKOFF_MAX_MS)
                             : WORKER_BACKOFF_MS;
    set_state(worker, VIEW_WORKER_FAILED);
    loop_timer_start(worker->timer, worker->backoff_ms, 0);
    return;
  }
  worker->contact_ns = clock_now();
  set_state(worker, VIEW_WORKER_STARTING);
  event(worker, EVENTS_WORKER_STARTED);
  loop_timer_start(worker->timer, 1000, 1000);
}

/* A request that has been silent for too long: cancel, then SIGTERM, then SIGKILL. */
static void press(struct worker *worker, struct request *request) {
  uint64_t silent = clock_now() - request->heard_ns;
  unsigned due = silent < WORKER_SILENCE_NS
                     ? 0
                     : 1 + (unsigned)((silent - WORKER_SILENCE_NS) / WORKER_STEP_NS);
  if (due <= request->step)
    return;
  request->step++;
  if (request->step == 1)
    send_cancel(worker, request->number);
  else
    os_child_signal(worker->child, request->step == 2 ? SIGTERM : SIGKILL);
}

static void tick(void *arg) {
  struct worker *worker = arg;
  if (!worker->child) {
    start(worker);
    return;
  }
  for (struct request *request = worker->requests, *next; request; request = next) {
    next = request->next;
    press(worker, request);
  }
  worker->params.changed(worker->params.arg); /* the view's times */
  uint64_t silent = clock_now() - worker->contact_ns;
  if (worker->state == VIEW_WORKER_STARTING && silent > WORKER_SILENCE_NS)
    os_child_signal(worker->child, SIGKILL);
  if (worker_ready(worker) && !worker->requests && silent > WORKER_PING_NS)
    ask(worker, "ping");
}

enum status worker_create(const struct worker_params *params, struct worker **out) {
  struct worker *worker = calloc(1, sizeof *worker);
  if (!worker)
    return STATUS_INTERNAL_ERROR;
  worker->params = *params;
  worker->state = VIEW_WORKER_STARTING;
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
  if (worker->child)
    os_child_signal(worker->child, SIGKILL);
  os_child_free(worker->child);
  fail_requests(worker);
  segment_set_clear(&worker->segments);
  loop_timer_free(worker->timer);
  free(worker);
}

void worker_start(struct worker *worker) { start(worker); }

static void kill_it(void *arg) {
  struct worker *worker = arg;
  if (worker->child)
    os_child_signal(worker->child, SIGKILL);
}

void worker_stop(struct worker *worker, uint64_t grace_ms) {
  worker->stopping = true;
  loop_timer_free(worker->timer);
  worker->timer = NULL;
  if (!worker->child) {
    worker->state = VIEW_WORKER_STOPPED;
    return;
  }
  os_child_close(worker->child);
  if (loop_timer(worker->params.loop, kill_it, worker, &worker->timer))
    kill_it(worker);
  else
    loop_timer_start(worker->timer, grace_ms, 0);
}

bool worker_ended(const struct worker *worker) { return !worker->child; }

void worker_restart(struct worker *worker) {
  worker->restart_now = true;
  if (!worker->child) {
    loop_timer_stop(worker->timer);
    start(worker);
    return;
  }
  /* Its own way out first; tick's deadline for a silent process is the other. */
  os_child_signal(worker->child, SIGTERM);
}

/* ---- looking ---- */

const char *worker_name(const struct worker *worker) { return worker->params.name; }

bool worker_ready(const struct worker *worker) {
  return worker->child && (worker->state == VIEW_WORKER_READY || worker->state == VIEW_WORKER_BUSY);
}

bool worker_coming(const struct worker *worker) {
  return !worker->stopping && !worker_ready(worker);
}

unsigned worker_load(const struct worker *worker) { return worker->request_count; }

bool worker_can(const struct worker *worker, const char *capability) {
  size_t n = strlen(capability);
  for (const char *at = worker->capabilities; (at = strstr(at, capability)); at += n)
    if ((at == worker->capabilities || at[-1] == ',') && (!at[n] || at[n] == ','))
      return true;
  return false;
}

void worker_view(const struct worker *worker, struct view_worker *out) {
  *out = (struct view_worker){.pid = worker->child ? os_child_pid(worker->child) : 0,
                              .state = worker->state,
                              .restarts = worker->restarts,
                              .last_contact = worker->contact_real,
                              .memory_bytes = worker->memory,
                              .reclaimable_bytes = worker->reclaimable,
                              .transport = "stdio"};
  snprintf(out->id, sizeof out->id, "%s", worker->params.name);
  memcpy(out->capabilities, worker->capabilities, sizeof out->capabilities);
  size_t used = 0;
  for (unsigned i = 0; worker->params.argv[i] && used < sizeof out->command; i++)
    used += (size_t)snprintf(out->command + used, sizeof out->command - used, "%s%s", i ? " " : "",
                             worker->params.argv[i]);
}
