/*
 * talk: see talk.h. An answer finds its request by number. Every request (a task, a drop, a
 * question) ends in one place, `finish`, also when the worker dies.
 *
 * The worker tells at once that it has read a request that moves bytes. One that it had not read
 * when it died was never begun, so another process can do it and nobody need know.
 */
#include "daemon/talk.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/announce.h"
#include "daemon/minute.h"
#include "daemon/requests.h"
#include "service/layers.h"

#define TALK_HELLO_NS (30 * CLOCK_SECOND)
#define TALK_TERM_NS (2 * CLOCK_SECOND) /* from the order, or the request, to go to the end */
#define TALK_PING_NS (20 * CLOCK_SECOND)
#define TALK_BAD_LINES 10           /* a minute: then it is ended */
#define TALK_STATUS_NS CLOCK_SECOND /* how old an answer is served: half of contract 8's 2 s */

struct talk {
  struct talk_params params;
  const struct talk_carrier *carrier; /* NULL: it is gone, or not there yet */
  void *ctx;
  struct requests requests;
  struct announce announced;
  struct talk_figures figures;
  struct standing standing;
  uint64_t started_ns, contact_ns;
  uint64_t ending_ns; /* since when it is being ended, 0: it is not */
  bool silent;        /* a guest that was given up */
  struct minute bad_lines, foreign;
  char capabilities[TALK_CAPABILITIES];
};

static void changed(struct talk *talk) { talk->params.changed(talk->params.arg); }

/* ---- requests ---- */

static void ask_status(struct talk *talk);

/* The one end of every request. */
static void finish(struct talk *talk, struct request *request) {
  struct request ended = *request;
  requests_remove(&talk->requests, request);
  if (ended.status && standing_asked(&talk->standing) && talk_ready(talk))
    ask_status(talk);
  bool idle = ended.kind == REQUESTS_TASK && !talk->requests.tasks;
  if ((ended.status && talk->carrier) || idle)
    changed(talk);
  if (ended.kind == REQUESTS_TASK)
    ended.task->done(ended.task);
  if (ended.kind == REQUESTS_DROP)
    ended.dropped(ended.drop);
}

static bool send_line(struct talk *talk, const struct buf *line) {
  return !line->failed && talk->carrier && talk->carrier->send(talk->ctx, line->data, line->size);
}

/* A request that does not leave is taken back. */
static bool send_request(struct talk *talk, struct request *request, const struct buf *line) {
  if (send_line(talk, line))
    return true;
  requests_remove(&talk->requests, request);
  return false;
}

/* NULL: it did not leave. */
static struct request *ask(struct talk *talk, const char *action) {
  struct buf line BUF_CLEANUP;
  buf_init(&line, WIRE_LINE);
  struct request *request = requests_add(&talk->requests, REQUESTS_QUICK);
  if (!request)
    return NULL;
  wire_plain(&line, request->number, action);
  return send_request(talk, request, &line) ? request : NULL;
}

bool talk_submit(struct talk *talk, struct mover_task *task) {
  if (!talk_ready(talk) || !announce_task(&talk->announced, talk->carrier, talk->ctx, task))
    return false;
  struct request *request = requests_add(&talk->requests, REQUESTS_TASK);
  if (!request)
    return false;
  struct buf line BUF_CLEANUP;
  buf_init(&line, WIRE_LINE);
  wire_task(&line, request->number, task);
  request->task = task;
  task->sent_ns = clock_now();
  if (!send_request(talk, request, &line))
    return false;
  if (talk->requests.tasks == 1)
    changed(talk);
  return true;
}

static void send_cancel(struct talk *talk, uint64_t target) {
  struct buf line BUF_CLEANUP;
  buf_init(&line, WIRE_LINE);
  struct request *request = requests_add(&talk->requests, REQUESTS_QUICK);
  if (!request)
    return;
  wire_cancel(&line, request->number, target);
  (void)send_request(talk, request, &line);
}

bool talk_cancel(struct talk *talk, uint64_t subject) {
  bool found = false;
  for (struct request *request = talk->requests.first; request; request = request->next)
    if (request->kind == REQUESTS_TASK && request->task->subject == subject) {
      request->task->cancelled = found = true;
      send_cancel(talk, request->number);
    }
  return found;
}

bool talk_drop(struct talk *talk, struct mover_drop *drop, void (*done)(struct mover_drop *drop)) {
  if (!segment_set_has(&talk->announced.segments, drop->segment))
    return false;
  struct request *request = requests_add(&talk->requests, REQUESTS_DROP);
  if (!request)
    return false;
  struct buf line BUF_CLEANUP;
  buf_init(&line, WIRE_LINE);
  wire_drop(&line, request->number, drop->segment);
  request->drop = drop;
  request->dropped = done;
  segment_set_remove(&talk->announced.segments, drop->segment);
  /* One that cannot even be told is ended: its mappings go with it, and so does the request. */
  if (!send_line(talk, &line))
    talk_end(talk);
  return true;
}

void talk_offer(struct talk *talk, const struct mover_segment *segment) {
  if (talk_ready(talk))
    announce_segment(&talk->announced, talk->carrier, talk->ctx, segment);
}

void talk_tell(struct talk *talk, const struct buf *line) {
  if (talk_ready(talk))
    (void)send_line(talk, line);
}

/* ---- what it says ---- */

static void bad_line(struct talk *talk, const char *why) {
  if (talk->ending_ns)
    return;
  log_warning("daemon", "worker %s: %s", talk->params.name, why);
  if (minute_count(&talk->bad_lines) >= TALK_BAD_LINES)
    talk_end(talk);
}

/* It may have been the answer that somebody waits for, so all that it was asked fails now. */
static void lost_line(struct talk *talk, const struct problem *problem) {
  log_error("daemon", "worker %s: a line of its is lost, so it is ended: %s", talk->params.name,
            problem->text);
  talk_end(talk);
}

/* Dropped and logged; but a worker must not be able to fill the log. */
static void foreign_answer(struct talk *talk, const char *id, struct reader_value root) {
  const char *error = reader_text(reader_get(root, "error"), "");
  if (minute_count(&talk->foreign) <= TALK_BAD_LINES)
    log_warning("daemon", "worker %s: an answer to %.40s, for which nobody waits%s%.200s",
                talk->params.name, id, *error ? ": " : "", error);
}

/* Asked at its hello, where it is one that may be asked this. */
static bool is_asked(const struct talk *talk, const char *action) {
  return !talk->params.guest || wire_lists(talk->capabilities, action);
}

/* One that does not know its devices would refuse whatever it is asked. */
static void initialize(struct talk *talk) {
  struct buf line BUF_CLEANUP;
  buf_init(&line, WIRE_LINE);
  struct request *request = requests_add(&talk->requests, REQUESTS_QUICK);
  if (request)
    wire_initialize(&line, request->number, talk->params.initialize);
  if (!request || !send_request(talk, request, &line))
    talk_end(talk);
}

static void tell_thresholds(struct talk *talk) {
  struct buf line BUF_CLEANUP;
  buf_init(&line, WIRE_LINE);
  wire_thresholds(&line, talk->params.initialize);
  talk_tell(talk, &line);
}

static void ask_status(struct talk *talk) {
  if (!is_asked(talk, "memory.get_status") || !standing_ask(&talk->standing))
    return;
  struct request *request = ask(talk, "memory.get_status");
  if (request)
    request->status = true;
  else
    (void)standing_asked(&talk->standing);
}

static void heard_hello(struct talk *talk, struct reader_value data) {
  uint64_t protocol = reader_uint(reader_get(data, "protocol"), 0);
  if (protocol != TALK_PROTOCOL) {
    log_error("daemon", "worker %s speaks protocol %llu, not %d: it is of another version",
              talk->params.name, (unsigned long long)protocol, TALK_PROTOCOL);
    talk_end(talk);
    return;
  }
  wire_names(reader_get(data, "capabilities"), talk->capabilities, sizeof talk->capabilities);
  talk->figures.ready_ns = clock_now();
  if (is_asked(talk, "memory.initialize"))
    initialize(talk);
  else
    tell_thresholds(talk);
  ask_status(talk);
  changed(talk);
}

static void heard_change(struct talk *talk, struct reader_value data) {
  standing_changed(&talk->standing, data);
  ask_status(talk);
  changed(talk);
}

static void heard_event(struct talk *talk, const char *name, struct reader_value data) {
  bool hello = !strcmp(name, "hello");
  if (!talk->figures.ready_ns && hello)
    heard_hello(talk, data);
  else if (!talk->figures.ready_ns)
    bad_line(talk, "it did not say hello first");
  else if (!strcmp(name, "memory.changed"))
    heard_change(talk, data);
}

static void heard_failure(struct talk *talk, struct request *request, struct reader_value root) {
  struct mover_task *task = request->task;
  enum status status = status_parse(reader_text(reader_get(root, "error_code"), ""));
  if (status == STATUS_OK || status == STATUS_PENDING)
    status = STATUS_INTERNAL_ERROR;
  talk->figures.spent |= status == STATUS_DEVICE_UNAVAILABLE;
  /* It obeyed our cancel, and nobody but its own silence had asked for that. */
  if (status == STATUS_CANCELLED && request->step && !task->cancelled)
    status = STATUS_WORKER_TIMEOUT;
  problem_set(&task->problem, status, "%.200s",
              reader_text(reader_get(root, "error"), "the worker gave no reason"));
}

static void heard_result(const struct talk *talk, struct mover_task *task,
                         struct reader_value data) {
  wire_result(task, data);
  if (!task->problem.status)
    layers_answered(task, talk->contact_ns);
}

static void heard_answer(struct talk *talk, struct request *request, struct reader_value root) {
  struct reader_value data = reader_get(root, "data");
  if (request->status)
    standing_answered(&talk->standing, root);
  if (request->kind == REQUESTS_TASK) {
    request->task->problem.status = STATUS_OK;
    if (reader_bool(reader_get(root, "success"), false))
      heard_result(talk, request->task, data);
    else
      heard_failure(talk, request, root);
  }
  finish(talk, request);
}

/* Whatever it says, it lives. */
static void wake_up(struct talk *talk) {
  if (!talk->silent)
    return;
  talk->silent = false;
  log_info("daemon", "worker %s is heard of again", talk->params.name);
  changed(talk);
}

void talk_heard(struct talk *talk, struct reader_value root) {
  const char *id = reader_text(reader_get(root, "request_id"), NULL);
  const char *name = reader_text(reader_get(root, "event"), NULL);
  wake_up(talk);
  talk->figures.contact_real = clock_real();
  talk->contact_ns = clock_now();
  if (!id && reader_get(root, "error_code").json)
    id = "null"; /* of a line that it could not read */
  if (!id) {
    if (name)
      heard_event(talk, name, reader_get(root, "data"));
    else
      bad_line(talk, "a line that is neither an answer nor an event");
    return;
  }
  struct request *request = requests_find(&talk->requests, wire_request(id));
  if (!request) {
    foreign_answer(talk, id, root);
    return;
  }
  request->heard_ns = talk->contact_ns;
  request->begun = true;
  if (!name)
    heard_answer(talk, request, root);
  else if (request->kind == REQUESTS_TASK && request->task->progress)
    request->task->progress(request->task,
                            reader_uint(reader_get(reader_get(root, "data"), "bytes_done"), 0));
}

void talk_line(struct talk *talk, char *text, size_t n) {
  struct reader_doc *doc;
  struct problem problem;
  enum status status = n ? reader_parse(text, n, &doc, &problem) : STATUS_INVALID_JSON;
  if (status == STATUS_INTERNAL_ERROR)
    lost_line(talk, &problem);
  else if (status)
    bad_line(talk, "a line that is not a JSON object");
  if (status)
    return;
  talk_heard(talk, reader_root(doc));
  reader_free(doc);
}

/* ---- its end ---- */

static const char *fate(const struct talk *talk, bool silent) {
  if (talk->params.guest)
    return silent ? "did not answer in time" : "left in the middle of it";
  return silent ? "did not answer in time and was ended" : "died in the middle of it";
}

/* Whatever it was doing has failed; the bytes at the source are as they were. */
static void fail_task(struct talk *talk, struct request *request) {
  struct mover_task *task = request->task;
  bool silent = request->step > 0;
  if (task->cancelled)
    problem_set(&task->problem, STATUS_CANCELLED, "cancelled");
  else
    problem_set(&task->problem, silent ? STATUS_WORKER_TIMEOUT : STATUS_WORKER_UNAVAILABLE,
                "worker %s %s", talk->params.name, fate(talk, silent));
  finish(talk, request);
}

static void fail_requests(struct talk *talk) {
  while (talk->requests.first) {
    struct request *request = talk->requests.first;
    struct mover_task *task = request->task;
    if (request->kind != REQUESTS_TASK) {
      finish(talk, request);
    } else if (request->begun || request->step || task->cancelled) {
      fail_task(talk, request);
    } else {
      requests_remove(&talk->requests, request);
      talk->params.unheard(talk->params.arg, task);
    }
  }
}

static void let_carrier_go(struct talk *talk) {
  const struct talk_carrier *carrier = talk->carrier;
  talk->carrier = NULL;
  if (carrier)
    carrier->release(talk->ctx);
}

void talk_gone(struct talk *talk, const char *how) {
  let_carrier_go(talk);
  talk->params.ended(talk->params.arg, how);
}

void talk_end(struct talk *talk) {
  if (talk->ending_ns || !talk->carrier)
    return;
  talk->ending_ns = clock_now();
  talk->carrier->end(talk->ctx);
  changed(talk);
}

void talk_kill(struct talk *talk) {
  if (talk->carrier)
    talk->carrier->kill(talk->ctx);
}

void talk_close(struct talk *talk) {
  if (!talk->carrier)
    return;
  if (!talk->ending_ns)
    talk->ending_ns = clock_now();
  talk->carrier->close(talk->ctx);
}

/* Nothing that was asked of it is waited for any longer. */
static void give_up(struct talk *talk) {
  talk->silent = true;
  while (talk->requests.first) {
    struct request *request = talk->requests.first;
    request->step = 1;
    if (request->kind == REQUESTS_TASK)
      fail_task(talk, request);
    else
      finish(talk, request);
  }
  changed(talk);
}

/* A request that has been silent for too long: cancel, then its worker is ended. What outlives
 * even SIGKILL sits in a driver: its segments stay booked, but nobody waits for it any longer. */
static void press(struct talk *talk, struct request *request, uint64_t now) {
  unsigned due = requests_step(request, now);
  if (due <= request->step)
    return;
  if (++request->step == 2)
    log_warning("daemon", "worker %s does not answer", talk->params.name);
  if (request->step == 1)
    send_cancel(talk, request->number);
  else if (request->step == 2 && talk->params.guest)
    give_up(talk);
  else if (request->step == 2)
    talk_end(talk);
  else if (request->step == 4 && request->kind == REQUESTS_TASK)
    fail_task(talk, request);
}

void talk_tick(struct talk *talk) {
  uint64_t now = clock_now();
  if (!talk->carrier)
    return;
  for (struct request *request = talk->requests.first, *next; request && !talk->silent;
       request = next) {
    next = request->next;
    press(talk, request, now);
  }
  if (!talk->figures.ready_ns && now - talk->started_ns > TALK_HELLO_NS)
    talk_end(talk);
  if (talk->ending_ns && clock_now() - talk->ending_ns >= TALK_TERM_NS)
    talk_kill(talk);
  if (talk_ready(talk) && !talk->requests.count && now - talk->contact_ns > TALK_PING_NS)
    (void)ask(talk, "ping");
}

/* ---- birth, death, looks ---- */

enum status talk_create(const struct talk_params *params, struct talk **out) {
  struct talk *talk = calloc(1, sizeof *talk);
  if (!talk)
    return STATUS_INTERNAL_ERROR;
  talk->params = *params;
  talk->started_ns = talk->contact_ns = clock_now();
  talk->announced.process = talk->started_ns; /* no two are started in one nanosecond */
  *out = talk;
  return STATUS_OK;
}

void talk_carry(struct talk *talk, const struct talk_carrier *carrier, void *ctx) {
  talk->carrier = carrier;
  talk->ctx = ctx;
}

void talk_free(struct talk *talk) {
  if (!talk)
    return;
  talk_kill(talk);
  let_carrier_go(talk);
  fail_requests(talk);
  segment_set_clear(&talk->announced.segments);
  standing_done(&talk->standing);
  free(talk);
}

int32_t talk_pid(const struct talk *talk) {
  return talk->carrier ? talk->carrier->pid(talk->ctx) : 0;
}

bool talk_ready(const struct talk *talk) {
  return talk->carrier && talk->figures.ready_ns && !talk->ending_ns && !talk->silent;
}

bool talk_busy(const struct talk *talk) { return talk->requests.tasks > 0; }

const char *talk_capabilities(const struct talk *talk) { return talk->capabilities; }

const struct talk_figures *talk_figures(const struct talk *talk) { return &talk->figures; }

const struct standing *talk_standing(const struct talk *talk) { return &talk->standing; }

bool talk_reports(const struct talk *talk) {
  return talk_ready(talk) && is_asked(talk, "memory.get_status") && !talk->standing.unable;
}

void talk_look(struct talk *talk) {
  const struct standing *standing = &talk->standing;
  if (talk_reports(talk) &&
      (!standing->valid || clock_now() - standing->answered_ns > TALK_STATUS_NS))
    ask_status(talk);
}
