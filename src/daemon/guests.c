/*
 * guests: each is a talk that a connection of the socket carries. Whoever connects may become one,
 * so there are not many, their names are their own, and what they say of themselves is believed of
 * themselves only.
 */
#include "daemon/guests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/log.h"
#include "daemon/talk.h"
#include "daemon/views.h"
#include "service/events.h"

#define TICK_MS 1000

struct guest {
  struct guest *next;
  struct guests *guests;
  struct talk *talk;
  struct connection *connection;
  int32_t pid;
  char name[sizeof((struct view_worker *)0)->id];
};

struct guests {
  struct guests_params params;
  struct guest *head;
  unsigned count;
  struct loop_timer *timer; /* runs while there is a guest */
};

static void event(const struct guest *guest, enum events_type type) {
  struct events_record record = {.type = (uint8_t)type};
  events_set_text(&record, guest->name);
  events_add(guest->guests->params.events, &record);
}

static void changed(void *arg) {
  const struct guests *guests = ((struct guest *)arg)->guests;
  guests->params.changed(guests->params.arg);
}

static void tick(void *arg) {
  const struct guests *guests = arg;
  for (struct guest *guest = guests->head; guest; guest = guest->next)
    talk_tick(guest->talk);
  guests->params.changed(guests->params.arg); /* the view's times */
}

/* ---- a connection as a talk's carrier ---- */

static bool say(void *ctx, const char *text, size_t n) {
  return socket_say(((struct guest *)ctx)->connection, text, n);
}

static int32_t pid(void *ctx) { return ((struct guest *)ctx)->pid; }

static void hang_up(void *ctx) { socket_hang_up(((struct guest *)ctx)->connection); }

static void release(void *ctx) { ((struct guest *)ctx)->connection = NULL; }

static const struct talk_carrier carrier = {
    .send = say, .pid = pid, .close = hang_up, .end = hang_up, .kill = hang_up, .release = release};

/* ---- coming and going ---- */

static void ended(void *arg, const char *how) {
  struct guest *guest = arg;
  struct guests *guests = guest->guests;
  struct guest **link = &guests->head;
  while (*link != guest)
    link = &(*link)->next;
  *link = guest->next;
  if (!--guests->count)
    loop_timer_stop(guests->timer);
  log_info("daemon", "worker %s %s", guest->name, how);
  talk_free(guest->talk);
  event(guest, EVENTS_WORKER_EXITED);
  changed(guest);
  free(guest);
}

/* It left before it had begun. Nobody else can do what was asked of it. */
static void unheard(void *arg, struct mover_task *task) {
  problem_set(&task->problem, STATUS_WORKER_UNAVAILABLE, "worker %s left",
              ((const struct guest *)arg)->name);
  task->done(task);
}

static bool is_here(const struct guests *guests, const char *name) {
  for (const struct guest *guest = guests->head; guest; guest = guest->next)
    if (!strcmp(guest->name, name))
      return true;
  return guests->params.is_taken(guests->params.arg, name);
}

static enum status check(const struct guests *guests, struct reader_value data,
                         struct problem *problem) {
  const char *name = reader_text(reader_get(data, "worker"), "");
  uint64_t protocol = reader_uint(reader_get(data, "protocol"), 0);
  if (protocol != TALK_PROTOCOL)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "protocol",
                         "protocol must be %d, the one that is spoken here", TALK_PROTOCOL);
  if (!id_is_token(name) || strlen(name) >= sizeof((struct guest *)0)->name)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "worker",
                         "worker must be a name of 1 to %zu letters, digits, '.', '_' and '-'",
                         sizeof((struct guest *)0)->name - 1);
  if (is_here(guests, name))
    return problem_field(problem, STATUS_CONFLICT, "worker", "there is a worker %s already", name);
  if (guests->count == GUESTS_MAX)
    return problem_set(problem, STATUS_RATE_LIMITED, "%d workers came by the socket already",
                       GUESTS_MAX);
  return STATUS_OK;
}

static struct guest *make(struct guests *guests, const struct socket_hello *hello,
                          const char *name) {
  struct guest *guest = calloc(1, sizeof *guest);
  if (!guest)
    return NULL;
  *guest = (struct guest){.guests = guests, .connection = hello->connection, .pid = hello->pid};
  snprintf(guest->name, sizeof guest->name, "%s", name);
  const struct talk_params params = {.name = guest->name,
                                     .initialize = guests->params.initialize,
                                     .guest = true,
                                     .changed = changed,
                                     .ended = ended,
                                     .unheard = unheard,
                                     .arg = guest};
  if (talk_create(&params, &guest->talk)) {
    free(guest);
    return NULL;
  }
  talk_carry(guest->talk, &carrier, guest);
  return guest;
}

static enum status on_hello(void *ctx, const struct socket_hello *hello, void **worker,
                            struct problem *problem) {
  struct guests *guests = ctx;
  struct reader_value data = reader_get(hello->line, "data");
  enum status status = check(guests, data, problem);
  if (status)
    return status;
  const char *name = reader_text(reader_get(data, "worker"), "");
  struct guest *guest = make(guests, hello, name);
  if (!guest)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "out of memory");
  guest->next = guests->head;
  guests->head = guest;
  if (!guests->count++)
    loop_timer_start(guests->timer, TICK_MS, TICK_MS);
  log_info("daemon", "worker %s came by the socket (pid %d)", name, (int)guest->pid);
  event(guest, EVENTS_WORKER_STARTED);
  talk_heard(guest->talk, hello->line);
  event(guest, EVENTS_WORKER_READY);
  *worker = guest;
  return STATUS_OK;
}

static void on_heard(void *worker, struct reader_value line) {
  talk_heard(((struct guest *)worker)->talk, line);
}

static void on_left(void *worker) { talk_gone(((struct guest *)worker)->talk, "left"); }

const struct socket_workers *guests_table(void) {
  static const struct socket_workers table = {
      .hello = on_hello, .heard = on_heard, .left = on_left};
  return &table;
}

/* ---- what they are told, and how they look ---- */

void guests_clear(struct guests *guests, struct clearing *clearing) {
  for (struct guest *guest = guests->head; guest; guest = guest->next) {
    bool able =
        talk_ready(guest->talk) && wire_lists(talk_capabilities(guest->talk), "memory.clear");
    struct mover_task *part = able ? clearing_part(clearing, guest->name) : NULL;
    if (part && !talk_submit(guest->talk, part))
      clearing_give_up(part);
  }
}

bool guests_submit(struct guests *guests, struct mover_task *task) {
  for (struct guest *guest = guests->head; guest; guest = guest->next)
    if (!strcmp(guest->name, task->worker))
      return wire_lists(talk_capabilities(guest->talk), wire_action(task->action)) &&
             talk_submit(guest->talk, task);
  return false;
}

void guests_tell(struct guests *guests, const struct buf *line) {
  for (struct guest *guest = guests->head; guest; guest = guest->next)
    talk_tell(guest->talk, line);
}

static void describe(const struct guest *guest, struct view_worker *out) {
  *out = (struct view_worker){.pid = guest->pid,
                              .state = !talk_ready(guest->talk) ? VIEW_WORKER_FAILED
                                       : talk_busy(guest->talk) ? VIEW_WORKER_BUSY
                                                                : VIEW_WORKER_READY,
                              .transport = "socket",
                              .last_contact = talk_figures(guest->talk)->contact_real};
  standing_view(talk_standing(guest->talk), talk_reports(guest->talk), out);
  memcpy(out->id, guest->name, sizeof out->id);
  snprintf(out->capabilities, sizeof out->capabilities, "%s", talk_capabilities(guest->talk));
}

void guests_view(const struct guests *guests, struct views *views) {
  for (const struct guest *guest = guests->head; guest; guest = guest->next) {
    struct view_worker view;
    describe(guest, &view);
    views_add(views, &view, talk_standing(guest->talk));
  }
}

void guests_look(struct guests *guests) {
  for (struct guest *guest = guests->head; guest; guest = guest->next)
    talk_look(guest->talk);
}

bool guests_looks(const struct guests *guests) {
  for (const struct guest *guest = guests->head; guest; guest = guest->next)
    if (talk_standing(guest->talk)->asking)
      return true;
  return false;
}

/* ---- life ---- */

enum status guests_create(const struct guests_params *params, struct guests **out) {
  struct guests *guests = calloc(1, sizeof *guests);
  if (!guests)
    return STATUS_INTERNAL_ERROR;
  guests->params = *params;
  enum status status = loop_timer(params->loop, tick, guests, &guests->timer);
  if (status)
    free(guests);
  else
    *out = guests;
  return status;
}

void guests_free(struct guests *guests) {
  if (!guests)
    return;
  loop_timer_free(guests->timer);
  free(guests);
}
