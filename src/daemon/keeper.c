/*
 * keeper: three threads meet here. Owner threads put a new segment's descriptor themselves, for
 * their answer has to wait for that; a queue of its own ("vault") drops, replaces a vault that died
 * and fills the new one; the loop hears what the vault says. They share the wire under a lock, and
 * the epoch: it is the number of the connection, 0 while there is none.
 *
 * A drop is sent by the queue and finished by the vault's answer, in order. Filling reads a
 * segment from the books and puts it with the lock held, so that its drop can only be sent after
 * that.
 *
 * A vault that hangs is killed, and is a dead one then. A put is not answered, so a timer asks for
 * a sign of life; it counts its questions, not the time, for after a pause of the whole machine the
 * vault must get its turn first. Nothing is lost by that while this daemon lives, which has all
 * that the vault has: so a daemon that starts, or stops, kills none.
 */
#include "daemon/keeper.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/units.h"
#include "base/vaultwire.h"
#include "daemon/inherit.h"
#include "daemon/vault.h"

#define KEEPER_PATIENCE_MS 5000       /* for room in the queue to the vault */
#define KEEPER_ASK_MS 500             /* between two signs of life */
#define KEEPER_SILENT 4               /* questions; one is answered in microseconds */
#define KEEPER_SOON_NS (4 * CLOCK_MS) /* to the second try; doubles up to the next line */
#define KEEPER_AGAIN_NS CLOCK_SECOND
#define KEEPER_LAST_NS CLOCK_SECOND /* of the 5 s that a stop may take */
#define KEEPER_WAIT_MS 50

struct keeper {
  struct task work; /* first: replace and fill, on the queue */
  struct task watch_task;
  struct keeper_params params;
  struct service *service;
  struct queue *queue;
  struct lock lock;         /* the wire and the drops that were sent */
  struct vault vault;       /* the queue's while there is no epoch */
  struct loop_watch *watch; /* the loop's, as the next two */
  struct loop_timer *timer;
  unsigned asked; /* questions since it was last heard */
  struct keeper_drop *first, **last;
  struct restore_found found;
  uint64_t connections;
  atomic_uint_fast64_t epoch, filled; /* filled: the epoch that has all */
  atomic_bool stale;                  /* something entered that this epoch was not given */
  uint64_t again;                     /* ns to the next try; the queue's */
  atomic_bool refused, holding, stopping;
  atomic_int pid;
};

/* ---- connecting ---- */

static enum status fail(struct problem *problem, enum status status, const char *why) {
  return problem_set(problem, status, "%s", why);
}

enum status keeper_open(const struct keeper_params *params, struct keeper **out,
                        struct problem *problem) {
  struct keeper *keeper = calloc(1, sizeof *keeper);
  if (!keeper)
    return fail(problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  keeper->params = *params;
  keeper->vault = (struct vault){.runtime_dir = params->runtime_dir, .program = params->program};
  keeper->last = &keeper->first;
  lock_init(&keeper->lock, LOCK_RANK_VAULT, "vault");
  enum status status = vault_find(&keeper->vault, problem);
  keeper->pid = keeper->vault.process.pid;
  if (!status && queue_create("vault", &keeper->queue))
    status = fail(problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  if (status)
    keeper_close(keeper);
  else
    *out = keeper;
  return status;
}

enum status keeper_take(struct keeper *keeper, struct restore_found **out,
                        struct problem *problem) {
  *out = NULL;
  keeper->found.epoch = ++keeper->connections;
  if (!keeper->vault.total)
    return STATUS_OK;
  memcpy(keeper->found.identity, keeper->vault.ledger, sizeof keeper->vault.ledger);
  if (inherit_take(&keeper->vault.wire, keeper->vault.total, &keeper->found))
    return fail(problem, STATUS_CONFLICT, "memkeep-vault did not hand over what it holds");
  if (keeper->found.ledger.kind == SHARE_NONE)
    return fail(problem, STATUS_CONFLICT, "memkeep-vault holds segments, but no ledger");
  *out = &keeper->found;
  return STATUS_OK;
}

void keeper_describe(const struct keeper *keeper, char *out, size_t size) {
  char bytes[32];
  const uint64_t *ledger = keeper->vault.ledger;
  uint64_t segments = units_minus(keeper->vault.total, ledger[0] || ledger[1]);
  units_format(keeper->vault.bytes, bytes, sizeof bytes);
  snprintf(out, size, "the vault (pid %d) holds %llu segments, %s, of ledger %016llx%016llx",
           (int)keeper->pid, (unsigned long long)segments, bytes, (unsigned long long)ledger[0],
           (unsigned long long)ledger[1]);
}

/* ---- sending ---- */

/* Once, with the lock held; waits outside of it. */
static enum status send_now(struct keeper *keeper, struct vaultwire *message,
                            const struct share *share) {
  return keeper->epoch ? vaultwire_send(&keeper->vault.wire, message, share, share ? 1 : 0)
                       : STATUS_NOT_FOUND;
}

/* The queue to the vault is full. The wire may be another one when we come back. */
static bool may_try_again(struct keeper *keeper, uint64_t deadline) {
  struct share wire = {SHARE_NONE, 0};
  lock_take(&keeper->lock);
  if (keeper->epoch)
    wire = keeper->vault.wire;
  lock_give(&keeper->lock);
  if (wire.kind != SHARE_NONE)
    vaultwire_wait(&wire, VAULTWIRE_ROOM, KEEPER_WAIT_MS);
  return clock_now() < deadline;
}

static uint64_t put(void *ctx, const struct keeper_segment *segment) {
  struct keeper *keeper = ctx;
  uint64_t deadline = clock_now() + KEEPER_PATIENCE_MS * CLOCK_MS, epoch;
  struct vaultwire message = {
      .kind = VAULTWIRE_PUT, .count = 1, .entries = {{segment->id, segment->size}}};
  enum status status;
  do {
    lock_take(&keeper->lock);
    epoch = keeper->epoch;
    status = send_now(keeper, &message, &segment->share);
    lock_give(&keeper->lock);
  } while (status == STATUS_RATE_LIMITED && may_try_again(keeper, deadline));
  return status ? 0 : epoch;
}

static enum status send_drop(struct keeper *keeper, struct keeper_drop *drop) {
  struct vaultwire message = {
      .kind = VAULTWIRE_DROP, .count = 1, .entries = {{.id = drop->segment}}};
  LOCK_SCOPE(&keeper->lock);
  enum status status = send_now(keeper, &message, NULL);
  if (!status) {
    drop->next = NULL;
    *keeper->last = drop;
    keeper->last = &drop->next;
  }
  return status;
}

static void drop_now(struct task *task) {
  struct keeper_drop *drop =
      (struct keeper_drop *)((char *)task - offsetof(struct keeper_drop, task));
  struct keeper *keeper = drop->ctx;
  uint64_t deadline = clock_now() + KEEPER_PATIENCE_MS * CLOCK_MS;
  enum status status;
  do
    status = send_drop(keeper, drop);
  while (status == STATUS_RATE_LIMITED && may_try_again(keeper, deadline));
  if (status)
    drop->done(drop);
}

static void drop(void *ctx, struct keeper_drop *drop) {
  struct keeper *keeper = ctx;
  drop->ctx = ctx;
  drop->task.run = drop_now;
  queue_post(keeper->queue, &drop->task);
}

/* ---- filling ---- */

static enum status put_ledger(struct keeper *keeper) {
  struct vaultwire message = {.kind = VAULTWIRE_PUT, .count = 1};
  const struct share *ledger = keeper_ledger(keeper->service, message.ledger);
  LOCK_SCOPE(&keeper->lock);
  return send_now(keeper, &message, ledger);
}

/* The next one that this epoch does not have. NOT_FOUND: there is none. */
static enum status put_next(struct keeper *keeper, uint64_t *after) {
  struct keeper_segment segment;
  uint64_t before = *after;
  LOCK_SCOPE(&keeper->lock);
  if (!keeper_next(keeper->service, keeper->epoch, after, &segment))
    return STATUS_NOT_FOUND;
  struct vaultwire message = {
      .kind = VAULTWIRE_PUT, .count = 1, .entries = {{segment.id, segment.size}}};
  enum status status = send_now(keeper, &message, &segment.share);
  if (!status)
    keeper_kept(keeper->service, segment.id, keeper->epoch);
  else
    *after = before;
  return status == STATUS_NOT_FOUND ? STATUS_INTERNAL_ERROR : status;
}

/* True: this epoch has all. */
static bool fill(struct keeper *keeper) {
  uint64_t deadline = clock_now() + KEEPER_PATIENCE_MS * CLOCK_MS, after = 0;
  enum status status;
  keeper->stale = false;
  do
    status = put_next(keeper, &after);
  while (!status || (status == STATUS_RATE_LIMITED && may_try_again(keeper, deadline)));
  return status == STATUS_NOT_FOUND;
}

static void hear(void *arg, int events);

static void watch(struct keeper *keeper) {
  LOCK_SCOPE(&keeper->lock);
  if (!keeper->epoch || keeper->watch || keeper->stopping)
    return;
  if (!loop_watch(keeper->params.loop, (int)keeper->vault.wire.value, hear, keeper, &keeper->watch))
    loop_watch_events(keeper->watch, LOOP_READ);
  keeper->asked = 0;
}

/* The loop's part of a new connection. */
static void replaced(struct task *task) {
  struct keeper *keeper = (struct keeper *)((char *)task - offsetof(struct keeper, watch_task));
  watch(keeper);
  keeper->params.replaced(keeper->params.arg);
}

/* Another vault in the place of the dead one; one that hangs from its beginning is no better. */
static bool replace(struct keeper *keeper) {
  struct problem problem;
  if (vault_replace(&keeper->vault, &problem)) {
    if (!keeper->holding)
      vault_kill(&keeper->vault);
    if (keeper->again == KEEPER_AGAIN_NS)
      log_error("daemon", "%s: nothing would outlive this daemon now", problem.text);
    return false;
  }
  keeper->pid = keeper->vault.process.pid;
  keeper->refused = false; /* it is offered all again */
  lock_take(&keeper->lock);
  bool stopping = keeper->stopping; /* then it stays empty, and ends with us */
  if (!stopping)
    keeper->epoch = ++keeper->connections;
  lock_give(&keeper->lock);
  if (stopping)
    return false;
  log_info("daemon", "a new vault (pid %d) is being filled", (int)keeper->pid);
  loop_post(keeper->params.loop, &keeper->watch_task);
  return !put_ledger(keeper);
}

/* Under the lock, for who finds the connection lost may be about to close it. */
static bool is_connected(struct keeper *keeper) {
  LOCK_SCOPE(&keeper->lock);
  return keeper->epoch;
}

/* Until a vault has all. */
static void work(struct task *task) {
  struct keeper *keeper = (struct keeper *)task;
  if (keeper->stopping)
    return;
  if ((is_connected(keeper) || replace(keeper)) && fill(keeper)) {
    keeper->filled = keeper->epoch;
    keeper->again = KEEPER_SOON_NS;
    return;
  }
  queue_post_at(keeper->queue, &keeper->work, clock_now() + keeper->again);
  keeper->again = units_min(2 * keeper->again, KEEPER_AGAIN_NS);
}

static void entered(void *ctx, uint64_t epoch) {
  struct keeper *keeper = ctx;
  if (epoch && epoch == keeper->epoch)
    return;
  keeper->stale = true;
  queue_post(keeper->queue, &keeper->work);
}

/* ---- hearing, on the loop ---- */

static void finish(struct keeper_drop *first) {
  for (struct keeper_drop *next; first; first = next) {
    next = first->next;
    first->done(first);
  }
}

static void lost(struct keeper *keeper) {
  loop_unwatch(keeper->watch);
  keeper->watch = NULL;
  lock_take(&keeper->lock);
  struct keeper_drop *first = keeper->first;
  keeper->first = NULL;
  keeper->last = &keeper->first;
  keeper->epoch = 0;
  share_close(&keeper->vault.wire);
  lock_give(&keeper->lock);
  finish(first);
  if (keeper->stopping)
    return;
  log_warning("daemon", "the vault (pid %d) is gone: another one takes its place",
              (int)keeper->pid);
  keeper->pid = 0;
  queue_post(keeper->queue, &keeper->work);
}

/* One answer, and what it ends. */
static enum status hear_one(struct keeper *keeper) {
  struct vaultwire message;
  struct share shares[VAULTWIRE_BATCH];
  struct keeper_drop *ended = NULL;
  unsigned count = 0;
  lock_take(&keeper->lock);
  enum status status = vaultwire_receive(&keeper->vault.wire, &message, shares, &count);
  bool answer = !status && message.kind == VAULTWIRE_DROPPED && message.count == 1;
  if (answer && keeper->first && keeper->first->segment == message.entries[0].id) {
    ended = keeper->first;
    keeper->first = ended->next;
    if (!keeper->first)
      keeper->last = &keeper->first;
    ended->next = NULL;
  }
  lock_give(&keeper->lock);
  if (!status && message.kind == VAULTWIRE_REFUSED && !atomic_exchange(&keeper->refused, true))
    log_error("daemon", "the vault is full: what it refused ends with this daemon");
  while (!status && count)
    share_close(&shares[--count]);
  finish(ended);
  return status;
}

static void hear(void *arg, int events) {
  struct keeper *keeper = arg;
  enum status status;
  (void)events;
  while (!(status = hear_one(keeper)))
    keeper->asked = 0;
  if (status != STATUS_RATE_LIMITED)
    lost(keeper);
}

/* What was sent to it is not lost when it is left: it reads that when it wakes. */
static void give_up(struct keeper *keeper) {
  log_warning("daemon", "the vault (pid %d) does not answer: it is %s", (int)keeper->pid,
              keeper->holding ? "left as it is" : "killed");
  if (keeper->holding)
    keeper->stopping = true;
  else
    vault_kill(&keeper->vault);
  lost(keeper);
}

/* The timer's. Where there is no room for a question, enough waits to be answered. */
static void ask(void *arg) {
  struct keeper *keeper = arg;
  struct vaultwire question = {.kind = VAULTWIRE_STATUS};
  if (!keeper->watch)
    return;
  if (keeper->asked == KEEPER_SILENT) {
    give_up(keeper);
    return;
  }
  keeper->asked++;
  LOCK_SCOPE(&keeper->lock);
  (void)send_now(keeper, &question, NULL);
}

/* ---- the table ---- */

static bool has_all(const struct keeper *keeper) {
  uint64_t epoch = keeper->epoch;
  return epoch && keeper->filled == epoch && !keeper->stale;
}

static void state(void *ctx, struct keeper_state *out) {
  struct keeper *keeper = ctx;
  const char *why = !keeper->epoch     ? "the vault is being replaced"
                    : !has_all(keeper) ? "the vault is being filled"
                    : keeper->refused  ? "the vault is full"
                                       : "";
  *out = (struct keeper_state){.pid = keeper->pid, .durable = !why[0]};
  snprintf(out->why, sizeof out->why, "%s", why);
}

const struct keeper_table *keeper_table(void) {
  static const struct keeper_table table = {put, drop, entered, state};
  return &table;
}

/* ---- life ---- */

enum status keeper_start(struct keeper *keeper, struct service *service) {
  keeper->service = service;
  keeper->work.run = work;
  keeper->again = KEEPER_SOON_NS;
  keeper->watch_task.run = replaced;
  if (inherit_drop_rest(&keeper->vault.wire, &keeper->found))
    return STATUS_INTERNAL_ERROR;
  keeper->epoch = keeper->connections;
  watch(keeper);
  if (!keeper->watch || loop_timer(keeper->params.loop, ask, keeper, &keeper->timer) ||
      (!keeper->vault.total && put_ledger(keeper)))
    return STATUS_INTERNAL_ERROR;
  loop_timer_start(keeper->timer, KEEPER_ASK_MS, KEEPER_ASK_MS);
  keeper->filled = keeper->epoch;
  return STATUS_OK;
}

void keeper_hold(struct keeper *keeper) { keeper->holding = true; }

/* One that is being replaced is not yet what will hold everything after us. */
static void wait_for_all(const struct keeper *keeper) {
  const struct timespec nap = {.tv_nsec = KEEPER_SOON_NS};
  uint64_t deadline = clock_now() + KEEPER_LAST_NS;
  while (!has_all(keeper) && !keeper->stopping && clock_now() < deadline)
    nanosleep(&nap, NULL);
}

void keeper_stop(struct keeper *keeper, bool release_all) {
  struct vaultwire ledger = {.kind = VAULTWIRE_DROP, .count = 1};
  bool stays = !release_all && keeper_is_needed(keeper->service);
  if (stays)
    wait_for_all(keeper);
  keeper->stopping = true;
  LOCK_SCOPE(&keeper->lock);
  if (release_all && keeper->epoch) {
    if (!vault_release(&keeper->vault))
      vault_kill(&keeper->vault);
  } else if (!stays)
    (void)send_now(keeper, &ledger, NULL);
}

void keeper_close(struct keeper *keeper) {
  if (!keeper)
    return;
  keeper->stopping = true;
  queue_free(keeper->queue);
  loop_drop(keeper->params.loop); /* a watch that was to be set up */
  loop_unwatch(keeper->watch);
  loop_timer_free(keeper->timer);
  vault_forget(&keeper->vault, 0);
  inherit_done(&keeper->found);
  lock_done(&keeper->lock);
  free(keeper);
}
