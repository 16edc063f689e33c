/*
 * mover: the limit of a copy is the memory's bandwidth, and one core does not reach it (nor, for
 * pages that are touched for the first time, the rate at which the kernel can clear them). So a
 * plain copy hands its chunks to a few threads through one atomic counter: a crew.
 *
 * A checksum must see its bytes in order. So what is verified goes through three stages, each of
 * which takes one step after the other: the source is summed up, the bytes are written, the target
 * is read again and summed up. A thread carries a step through all of them, so that it stays in
 * that core's cache, and waits before each for the step ahead to have left it: a relay.
 */
#include "worker/mover.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "worker/sum.h"

#define MOVER_CHUNK (8 * MIB)     /* large beside a thread's start, small beside a second */
#define MOVER_STAGED MIB          /* a slow link still shows progress each second */
#define MOVER_STEP (256 * KIB)    /* of a relay: its source stays in the L2 cache */
#define MOVER_RUNNERS 3           /* one per stage */
#define MOVER_THREADS 4           /* more gain nothing on the machines measured */
#define MOVER_PARALLEL (32 * MIB) /* below, starting threads costs more than it saves */
#define MOVER_SHARED MIB          /* the same for a relay */

static struct device_place at(struct device_place place, uint64_t offset) {
  place.offset += offset;
  return place;
}

/* CPU address of a place, NULL when it has none. */
static char *pointer(struct device_place place) {
  char *start = device_pointer(place.segment);
  return start ? start + place.offset : NULL;
}

static bool is_staged(const struct mover_work *work) {
  return !device_pointer(work->to.segment) ||
         (work->from.segment && !device_pointer(work->from.segment));
}

/* ---- crew ---- */

struct crew {
  struct mover_work *work;
  uint64_t chunk;
  bool staged;
  atomic_uint_fast64_t next;
  atomic_int status;
  uint64_t done; /* under the lock */
  pthread_mutex_t lock;
};

static enum status copy_chunk(const struct mover_work *work, uint64_t offset, uint64_t size,
                              void *staging) {
  struct device_copy copy = {
      .from = at(work->from, offset), .to = at(work->to, offset), .size = size, .staging = staging};
  return device_copy(&copy);
}

static void report(struct crew *crew, uint64_t size) {
  pthread_mutex_lock(&crew->lock);
  crew->done += size;
  if (crew->work->progress)
    crew->work->progress(crew->work->arg, crew->done);
  pthread_mutex_unlock(&crew->lock);
}

static bool may_go_on(struct crew *crew) {
  if (atomic_load(crew->work->cancel))
    atomic_store(&crew->status, STATUS_CANCELLED);
  return atomic_load(&crew->status) == STATUS_OK;
}

static void *work_on(void *arg) {
  struct crew *crew = arg;
  void *staging = crew->staged ? malloc(crew->chunk) : NULL;
  if (crew->staged && !staging)
    atomic_store(&crew->status, STATUS_INTERNAL_ERROR);
  while (may_go_on(crew)) {
    uint64_t offset = atomic_fetch_add(&crew->next, crew->chunk);
    if (offset >= crew->work->size)
      break;
    uint64_t size = units_min(crew->chunk, crew->work->size - offset);
    enum status status = copy_chunk(crew->work, offset, size, staging);
    if (status)
      atomic_store(&crew->status, (int)status);
    else
      report(crew, size);
  }
  free(staging);
  return NULL;
}

/* At most max, and no more than there are cores. */
static unsigned threads_for(unsigned max) {
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  return cores < 1 ? 1 : cores < (long)max ? (unsigned)cores : max;
}

/* The caller is one of the crew; helpers that cannot be started are done without. */
static enum status run_crew(struct mover_work *work) {
  pthread_t helpers[MOVER_THREADS];
  bool staged = is_staged(work);
  struct crew crew = {.work = work,
                      .chunk = staged ? MOVER_STAGED : MOVER_CHUNK,
                      .staged = staged,
                      .status = STATUS_OK};
  unsigned count = 0, wanted = 0;
  if (!staged && work->size >= MOVER_PARALLEL)
    wanted = threads_for(MOVER_THREADS) - 1;
  pthread_mutex_init(&crew.lock, NULL);
  while (count < wanted && !pthread_create(&helpers[count], NULL, work_on, &crew))
    count++;
  work_on(&crew);
  for (unsigned i = 0; i < count; i++)
    pthread_join(helpers[i], NULL);
  pthread_mutex_destroy(&crew.lock);
  return (enum status)atomic_load(&crew.status);
}

/* ---- relay ---- */

enum { STAGE_SUM, STAGE_WRITE, STAGE_CHECK, STAGES };

struct relay {
  struct mover_work *work;
  bool fill;
  bool sums; /* the source can be summed up where it lies: STAGE_SUM has something to do */
  struct sum *source, *target;
  void *out, *back; /* staging of STAGE_WRITE and STAGE_CHECK */
  pthread_mutex_t lock;
  pthread_cond_t moved;
  uint64_t claimed;    /* all before belongs to some thread */
  uint64_t at[STAGES]; /* how far each stage is */
  enum status status;
};

static enum status write_step(struct relay *relay, uint64_t offset, uint64_t size) {
  const struct mover_work *work = relay->work;
  struct device_place to = at(work->to, offset);
  if (relay->fill)
    return device_fill(to, size, work->value);
  if (relay->sums)
    return pointer(to) ? copy_chunk(work, offset, size, NULL)
                       : device_write(to, size, pointer(at(work->from, offset)));
  enum status status = device_read(at(work->from, offset), size, relay->out);
  if (status)
    return status;
  sum_add(relay->source, relay->out, size);
  return device_write(to, size, relay->out);
}

static enum status check_step(struct relay *relay, uint64_t offset, uint64_t size) {
  struct device_place to = at(relay->work->to, offset);
  const void *bytes = pointer(to);
  enum status status = bytes ? STATUS_OK : device_read(to, size, relay->back);
  if (status)
    return status;
  sum_add(relay->target, bytes ? bytes : relay->back, size);
  if (relay->work->progress)
    relay->work->progress(relay->work->arg, offset + size);
  return STATUS_OK;
}

static enum status run_step(struct relay *relay, int stage, uint64_t offset, uint64_t size) {
  if (stage == STAGE_WRITE)
    return write_step(relay, offset, size);
  if (stage == STAGE_CHECK)
    return check_step(relay, offset, size);
  if (relay->sums)
    sum_add(relay->source, pointer(at(relay->work->from, offset)), size);
  return STATUS_OK;
}

/* Under the lock; false: it is over. */
static bool is_on(struct relay *relay) {
  if (!relay->status && atomic_load(relay->work->cancel)) {
    relay->status = STATUS_CANCELLED;
    pthread_cond_broadcast(&relay->moved);
  }
  return !relay->status;
}

/* Under the lock: waits for the steps ahead to have left the stage, and takes this one through. */
static bool pass(struct relay *relay, int stage, uint64_t offset, uint64_t size) {
  while (is_on(relay) && relay->at[stage] != offset)
    pthread_cond_wait(&relay->moved, &relay->lock);
  if (relay->status)
    return false;
  pthread_mutex_unlock(&relay->lock);
  enum status status = run_step(relay, stage, offset, size);
  pthread_mutex_lock(&relay->lock);
  relay->at[stage] += size;
  if (status && !relay->status)
    relay->status = status;
  pthread_cond_broadcast(&relay->moved);
  return true;
}

static void *run_stages(void *arg) {
  struct relay *relay = arg;
  pthread_mutex_lock(&relay->lock);
  while (is_on(relay) && relay->claimed < relay->work->size) {
    uint64_t offset = relay->claimed;
    uint64_t size = units_min(MOVER_STEP, relay->work->size - offset);
    relay->claimed += size;
    for (int stage = STAGE_SUM; stage < STAGES && pass(relay, stage, offset, size); stage++)
      ;
  }
  pthread_mutex_unlock(&relay->lock);
  return NULL;
}

static void run_all_stages(struct relay *relay) {
  pthread_t helpers[MOVER_RUNNERS];
  unsigned count = 0;
  unsigned wanted = relay->work->size < MOVER_SHARED ? 0 : threads_for(MOVER_RUNNERS) - 1;
  pthread_mutex_init(&relay->lock, NULL);
  pthread_cond_init(&relay->moved, NULL);
  while (count < wanted && !pthread_create(&helpers[count], NULL, run_stages, relay))
    count++;
  run_stages(relay);
  for (unsigned i = 0; i < count; i++)
    pthread_join(helpers[i], NULL);
  pthread_cond_destroy(&relay->moved);
  pthread_mutex_destroy(&relay->lock);
}

static enum status run_relay(struct mover_work *work, bool fill) {
  struct relay relay = {.work = work,
                        .fill = fill,
                        .sums = !fill && device_pointer(work->from.segment),
                        .source = sum_create(),
                        .target = sum_create(),
                        .out = malloc(MOVER_STEP),
                        .back = malloc(MOVER_STEP)};
  if (relay.source && relay.target && relay.out && relay.back)
    run_all_stages(&relay);
  else
    relay.status = STATUS_INTERNAL_ERROR;
  if (!relay.status) {
    uint64_t target = sum_get(relay.target);
    work->checksum = fill ? target : sum_get(relay.source);
    work->checksum_known = true;
    work->verified = work->checksum == target;
  }
  free(relay.out);
  free(relay.back);
  sum_free(relay.source);
  sum_free(relay.target);
  return relay.status;
}

enum status mover_copy(struct mover_work *work) {
  uint64_t start = clock_now();
  enum status status = work->verify ? run_relay(work, false) : run_crew(work);
  work->device_us = (clock_now() - start) / 1000;
  return status;
}

enum status mover_fill(struct mover_work *work) {
  uint64_t start = clock_now();
  enum status status = run_relay(work, true);
  work->device_us = (clock_now() - start) / 1000;
  return status;
}
