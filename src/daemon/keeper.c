/*
 * keeper: three threads meet here. Owner threads put a new segment's descriptor themselves, for
 * their answer has to wait for that; a queue of its own ("vault") drops, replaces a vault that died
 * and fills the new one; the loop hears what the vault says. They share the wire under a lock, and
 * the epoch: it is the number of the connection, 0 while there is none.
 *
 * A drop is sent by the queue and finished by the vault's answer, in order. Filling reads a
 * segment from the books and puts it with the lock held, so that its drop can only be sent after
 * that.
 */
#include "daemon/keeper.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/spawn.h"
#include "base/units.h"
#include "base/vaultwire.h"
#include "daemon/inherit.h"

#define KEEPER_PATIENCE_MS 5000       /* for a vault that is there to answer */
#define KEEPER_SOON_NS (4 * CLOCK_MS) /* to the second try; doubles up to the next line */
#define KEEPER_AGAIN_NS CLOCK_SECOND
#define KEEPER_DYING_NS CLOCK_SECOND /* for a killed one to be gone */
#define KEEPER_WAIT_MS 50
#define KEEPER_RELEASE_MS 1000 /* of the 5 s that a stop may take */

struct keeper {
  struct task work; /* first: replace and fill, on the queue */
  struct task watch_task;
  struct keeper_params params;
  struct service *service;
  struct queue *queue;
  struct lock lock; /* the wire and the drops that were sent */
  struct share wire;
  struct loop_watch *watch; /* the loop's */
  struct keeper_drop *first, **last;
  struct spawn_child child; /* pid 0: not ours */
  struct restore_found found;
  uint64_t total, bytes; /* what it held when it was found */
  uint64_t connections;
  atomic_uint_fast64_t epoch, filled; /* filled: the epoch that has all */
  atomic_bool stale;                  /* something entered that this epoch was not given */
  uint64_t again;                     /* ns to the next try; the queue's */
  atomic_bool refused, stopping;
  atomic_int pid;
};

/* ---- connecting ---- */

static enum status fail(struct problem *problem, enum status status, const char *why) {
  return problem_set(problem, status, "%s", why);
}

static void reap(struct keeper *keeper) {
  siginfo_t info;
  if (!keeper->child.pid)
    return;
  waitid(P_PIDFD, (id_t)keeper->child.pidfd, &info, WEXITED | WNOHANG);
  close(keeper->child.pidfd);
  keeper->child.pid = 0;
}

static enum status greet(struct keeper *keeper, struct problem *problem) {
  struct share shares[VAULTWIRE_BATCH];
  struct vaultwire hello = {.kind = VAULTWIRE_HELLO};
  unsigned count = 0;
  const struct keeper_params *params = &keeper->params;
  struct vaultwire_reach reach = {params->runtime_dir, params->program, KEEPER_PATIENCE_MS};
  enum status status = vaultwire_reach(&reach, &keeper->wire, &keeper->child);
  if (status)
    return problem_set(problem, status == STATUS_RATE_LIMITED ? STATUS_CONFLICT : status,
                       status == STATUS_INVALID_ARGUMENT ? "%s is too long for a socket in it"
                       : status == STATUS_NOT_FOUND
                           ? "there is no memkeep-vault beside memkeepd (runtime directory %s)"
                           : "memkeep-vault does not answer in %s",
                       params->runtime_dir);
  status = vaultwire_ask(&keeper->wire, &hello, shares, &count);
  if (status || hello.kind != VAULTWIRE_HELLO || count) {
    share_close(&keeper->wire);
    return fail(problem, STATUS_CONFLICT,
                "memkeep-vault does not answer: is another memkeepd connected to it?");
  }
  keeper->total = hello.total;
  keeper->bytes = hello.bytes;
  memcpy(keeper->found.identity, hello.ledger, sizeof hello.ledger);
  keeper->pid = vaultwire_peer(&keeper->wire);
  keeper->found.epoch = ++keeper->connections;
  return STATUS_OK;
}

/* Again for a while, if there may just be one that dies: it answers nobody, and another one can
 * only be started when its lock is free. One that is busy with another daemon takes longer to say
 * so. */
static enum status greet_at_last(struct keeper *keeper, struct problem *problem) {
  const struct timespec nap = {.tv_nsec = KEEPER_SOON_NS};
  uint64_t deadline = clock_now() + KEEPER_DYING_NS;
  enum status status = greet(keeper, problem);
  while (status == STATUS_CONFLICT && clock_now() < deadline) {
    nanosleep(&nap, NULL);
    reap(keeper);
    status = greet(keeper, problem);
  }
  return status;
}

enum status keeper_open(const struct keeper_params *params, struct keeper **out,
                        struct problem *problem) {
  struct keeper *keeper = calloc(1, sizeof *keeper);
  if (!keeper)
    return fail(problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  keeper->params = *params;
  keeper->last = &keeper->first;
  lock_init(&keeper->lock, LOCK_RANK_VAULT, "vault");
  enum status status = greet_at_last(keeper, problem);
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
  if (!keeper->total)
    return STATUS_OK;
  if (inherit_take(&keeper->wire, keeper->total, &keeper->found))
    return fail(problem, STATUS_CONFLICT, "memkeep-vault did not hand over what it holds");
  if (keeper->found.ledger.kind == SHARE_NONE)
    return fail(problem, STATUS_CONFLICT, "memkeep-vault holds segments, but no ledger");
  *out = &keeper->found;
  return STATUS_OK;
}

void keeper_describe(const struct keeper *keeper, char *out, size_t size) {
  char bytes[32];
  const uint64_t *ledger = keeper->found.identity;
  uint64_t segments = units_minus(keeper->total, ledger[0] || ledger[1]);
  units_format(keeper->bytes, bytes, sizeof bytes);
  snprintf(out, size, "the vault (pid %d) holds %llu segments, %s, of ledger %016llx%016llx",
           (int)keeper->pid, (unsigned long long)segments, bytes, (unsigned long long)ledger[0],
           (unsigned long long)ledger[1]);
}

/* ---- sending ---- */

/* Once, with the lock held; waits outside of it. */
static enum status send_now(struct keeper *keeper, struct vaultwire *message,
                            const struct share *share) {
  return keeper->epoch ? vaultwire_send(&keeper->wire, message, share, share ? 1 : 0)
                       : STATUS_NOT_FOUND;
}

/* The queue to the vault is full. The wire may be another one when we come back. */
static bool may_try_again(struct keeper *keeper, uint64_t deadline) {
  struct share wire;
  lock_take(&keeper->lock);
  wire = keeper->wire;
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
  if (!loop_watch(keeper->params.loop, (int)keeper->wire.value, hear, keeper, &keeper->watch))
    loop_watch_events(keeper->watch, LOOP_READ);
}

/* The loop's part of a new connection. */
static void replaced(struct task *task) {
  struct keeper *keeper = (struct keeper *)((char *)task - offsetof(struct keeper, watch_task));
  watch(keeper);
  keeper->params.replaced(keeper->params.arg);
}

/* Only while we are connected is it obeyed. */
static void release(const struct share *wire) {
  struct vaultwire message = {.kind = VAULTWIRE_RELEASE};
  if (!vaultwire_send(wire, &message, NULL, 0))
    vaultwire_wait(wire, VAULTWIRE_ANSWER, KEEPER_RELEASE_MS);
}

/* One that only hung up on us still has what we gave it, and perhaps what we took back since. */
static enum status greet_empty(struct keeper *keeper, struct problem *problem) {
  enum status status = greet(keeper, problem);
  if (status || !keeper->total)
    return status;
  release(&keeper->wire);
  share_close(&keeper->wire);
  return greet(keeper, problem);
}

/* Another vault in the place of the dead one. */
static bool replace(struct keeper *keeper) {
  struct problem problem;
  reap(keeper);
  if (greet_empty(keeper, &problem)) {
    if (keeper->again == KEEPER_AGAIN_NS)
      log_error("daemon", "%s: nothing would outlive this daemon now", problem.text);
    return false;
  }
  lock_take(&keeper->lock);
  keeper->epoch = keeper->found.epoch;
  lock_give(&keeper->lock);
  log_info("daemon", "a new vault (pid %d) is being filled", (int)keeper->pid);
  loop_post(keeper->params.loop, &keeper->watch_task);
  return !put_ledger(keeper);
}

/* A vault that was killed lets go of its listener and its lock a moment after its connection. */
static void work(struct task *task) {
  struct keeper *keeper = (struct keeper *)task;
  if (keeper->stopping)
    return;
  if ((keeper->epoch || replace(keeper)) && fill(keeper)) {
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
  share_close(&keeper->wire);
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
  enum status status = vaultwire_receive(&keeper->wire, &message, shares, &count);
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
  do
    status = hear_one(keeper);
  while (!status);
  if (status != STATUS_RATE_LIMITED)
    lost(keeper);
}

/* ---- the table ---- */

static void state(void *ctx, struct keeper_state *out) {
  struct keeper *keeper = ctx;
  uint64_t epoch = keeper->epoch;
  const char *why = !epoch                    ? "the vault is being replaced"
                    : keeper->filled != epoch ? "the vault is being filled"
                    : keeper->stale           ? "the vault is being filled"
                    : keeper->refused         ? "the vault is full"
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
  if (inherit_drop_rest(&keeper->wire, &keeper->found))
    return STATUS_INTERNAL_ERROR;
  keeper->epoch = keeper->found.epoch;
  watch(keeper);
  if (!keeper->watch || (!keeper->total && put_ledger(keeper)))
    return STATUS_INTERNAL_ERROR;
  keeper->filled = keeper->epoch;
  return STATUS_OK;
}

void keeper_stop(struct keeper *keeper, bool release_all) {
  struct vaultwire ledger = {.kind = VAULTWIRE_DROP, .count = 1};
  keeper->stopping = true;
  LOCK_SCOPE(&keeper->lock);
  if (release_all && keeper->epoch)
    release(&keeper->wire);
  else if (!release_all && !keeper_is_needed(keeper->service))
    (void)send_now(keeper, &ledger, NULL);
}

void keeper_close(struct keeper *keeper) {
  if (!keeper)
    return;
  keeper->stopping = true;
  queue_free(keeper->queue);
  loop_drop(keeper->params.loop); /* a watch that was to be set up */
  loop_unwatch(keeper->watch);
  share_close(&keeper->wire);
  inherit_done(&keeper->found);
  if (keeper->child.pid)
    close(keeper->child.pidfd);
  lock_done(&keeper->lock);
  free(keeper);
}
