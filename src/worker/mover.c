/*
 * mover: the limit of a copy is the memory's bandwidth, and one core does not reach it (nor, for
 * pages that are touched for the first time, the rate at which the kernel can clear them). So a
 * plain copy hands its chunks to a few threads through one atomic counter: a crew. Each thread has
 * its own staging, where no device copies by itself; on cards two only wait, so that one chunk is
 * under way while the other ends. Sums of chunks are work for a crew too.
 *
 * Between host memory and a card that has pieces of its own on the link (device_flows), a thread
 * fills or empties them: it needs no staging, and takes so much at a time that the last piece's
 * way, which nobody uses, is little of it.
 *
 * A card that can sums up by itself what has come to it, piece after piece while others are on the
 * link: after the last one it would take 3 ms for 8 GiB, or 20 if its clock is still an idle one's.
 *
 * The checksum of a whole must see its bytes in order. So what is verified goes through three
 * stages, each of which takes one step after the other: the source is read and summed up, the bytes
 * are written, the target is read again and summed up. A thread carries a step through all of them
 * in its own staging, so that it stays in that core's cache, and waits before each for the step
 * ahead to have left it: a relay.
 *
 * Host memory that bytes from a card come to is fresh as a rule, and written by system calls it
 * takes them from one thread after the other. So each thread makes the pages of its step first.
 */
#include "worker/mover.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "worker/load.h"
#include "worker/sum.h"

#define MOVER_CARD (256 * MIB) /* large beside a call of the driver, small beside a second */
#define MOVER_CHUNK (64 * MIB) /* of host memory: the same for a core, or a link */
_Static_assert(MOVER_CHUNK % LOAD_CHUNK == 0, "a card sums up whole ones");
#define MOVER_STAGED (512 * KIB)  /* stays in the L2 cache; a slow link still shows progress */
#define MOVER_FLOW (16 * MIB)     /* some ms of a core, beside which 50 us at the end are little */
#define MOVER_STEP (512 * KIB)    /* of a relay: it and both ends stay in the L2 cache */
#define MOVER_BROUGHT 4           /* threads that make up for the more that each does for a page */
#define MOVER_LOOK_NS 50000       /* about what a stage takes for a step */
#define MOVER_RUNNERS 3           /* one per stage */
#define MOVER_BRINGERS 7          /* the same, and four that make pages meanwhile */
#define MOVER_WAITERS 2           /* for a card */
#define MOVER_THREADS 4           /* more gain nothing on the machines measured */
#define MOVER_STAGERS 8           /* 4 brought 10 GB/s to a card whose link takes 55 */
#define MOVER_SUMMERS 12          /* a core brings and sums up some 5 GB/s, a link takes 55 */
#define MOVER_PARALLEL (32 * MIB) /* below, starting threads costs more than it saves */
#define MOVER_SHARED MIB          /* the same for a relay */

static struct device_place at(struct device_place place, uint64_t offset) {
  place.offset += offset;
  return place;
}

/* A card has staging of its own; the source of a fill is nothing. */
static const struct device_segment *staged_by(const struct mover_work *work) {
  const struct device_segment *from = work->from.segment;
  return from && !device_is_host(from) ? from : work->to.segment;
}

/* At most max, and no more than there are cores. */
static unsigned threads_for(unsigned max) {
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  return cores < 1 ? 1 : cores < (long)max ? (unsigned)cores : max;
}

/* Small ones are written by one thread. On few cores the system calls win: their pages need not be
 * cleared first, nor mapped. */
static bool is_brought(const struct mover_work *work) {
  return !device_is_host(work->from.segment) && device_is_host(work->to.segment) &&
         work->size >= MOVER_PARALLEL && threads_for(MOVER_BROUGHT) == MOVER_BROUGHT;
}

/* ---- a step ---- */

struct step {
  uint64_t offset, size;
  void *staging;
  const void *bytes; /* of the source: staging, or where they are */
};

/* Sums up what is there, in place where it can be, else by way of the staging. */
static enum status look(struct device_place place, struct step *step, struct sum *sum) {
  enum status status = STATUS_OK;
  step->bytes = device_peek(place, step->size);
  if (!step->bytes) {
    status = device_read(place, step->size, step->staging);
    step->bytes = step->staging;
  }
  if (!status)
    sum_add(sum, step->bytes, step->size);
  return status;
}

/* ---- a flow ---- */

struct flow {
  const struct mover_work *work;
  uint64_t offset; /* of its first byte */
  struct sum *sum; /* NULL: not wanted */
};

static enum status fill_piece(void *arg, void *bytes, uint64_t offset, uint64_t size) {
  const struct flow *flow = arg;
  if (atomic_load(flow->work->cancel))
    return STATUS_CANCELLED;
  enum status status = device_read(at(flow->work->from, flow->offset + offset), size, bytes);
  if (!status && flow->sum)
    sum_add(flow->sum, bytes, size);
  return status;
}

/* What comes to host memory is summed up there. */
static enum status empty_piece(void *arg, void *bytes, uint64_t offset, uint64_t size) {
  const struct flow *flow = arg;
  struct device_place to = at(flow->work->to, flow->offset + offset);
  struct step step = {.size = size, .staging = bytes};
  if (atomic_load(flow->work->cancel))
    return STATUS_CANCELLED;
  if (flow->work->brings)
    device_bring(to, size);
  enum status status = device_write(to, size, bytes);
  return status || !flow->sum ? status : look(to, &step, flow->sum);
}

static bool flows(const struct mover_work *work) {
  return !device_copies(work->from.segment, work->to.segment) &&
         device_flows(work->from.segment, work->to.segment);
}

static enum status run_flow(struct flow *flow, uint64_t size) {
  const struct mover_work *work = flow->work;
  bool arrives = device_is_host(work->to.segment);
  const struct device_flow how = {arrives ? empty_piece : fill_piece, flow};
  return arrives ? device_drain(at(work->from, flow->offset), size, &how)
                 : device_feed(at(work->to, flow->offset), size, &how);
}

/* ---- crew ---- */

struct crew {
  struct mover_work *work;
  uint64_t chunk;
  uint64_t *sums; /* by chunk; NULL: not wanted */
  bool staged, flows;
  bool there; /* the card makes the sums, of what has come to it */
  atomic_uint_fast64_t next;
  atomic_int status;
  uint64_t done; /* under the lock */
  pthread_mutex_t lock;
};

static enum status copy_chunk(const struct mover_work *work, uint64_t offset, uint64_t size,
                              void *staging) {
  struct device_copy copy = {
      .from = at(work->from, offset), .to = at(work->to, offset), .size = size, .staging = staging};
  if (work->brings)
    device_bring(copy.to, size);
  return device_copy(&copy);
}

/* What comes to host memory is summed up there; what goes to a card, as it leaves. */
static enum status sum_step(const struct mover_work *work, struct step *step, struct sum *sum) {
  bool arrives = device_is_host(work->to.segment);
  enum status status = arrives ? copy_chunk(work, step->offset, step->size, step->staging)
                               : look(at(work->from, step->offset), step, sum);
  if (status)
    return status;
  return arrives ? look(at(work->to, step->offset), step, sum)
                 : device_write(at(work->to, step->offset), step->size, step->bytes);
}

static enum status sum_staged(const struct mover_work *work, uint64_t offset, uint64_t size,
                              void *staging, struct sum *sum) {
  enum status status = STATUS_OK;
  struct step step = {.offset = offset, .staging = staging};
  for (uint64_t end = offset + size; !status && step.offset < end; step.offset += step.size) {
    step.size = units_min(MOVER_STAGED, end - step.offset);
    status = sum_step(work, &step, sum);
  }
  return status;
}

/* Where the bytes of one end are seen they need no piece. */
static enum status plain_chunk(struct crew *crew, uint64_t offset, uint64_t size, void *staging) {
  const struct mover_work *work = crew->work;
  if (!work->from.segment)
    return device_fill(at(work->to, offset), size, work->value);
  struct flow flow = {.work = work, .offset = offset};
  return crew->flows && !device_peek(at(work->from, offset), size)
             ? run_flow(&flow, size)
             : copy_chunk(work, offset, size, staging);
}

static enum status sum_chunk(struct crew *crew, uint64_t offset, uint64_t size, void *staging) {
  const struct mover_work *work = crew->work;
  struct sum *sum = sum_create();
  if (!sum)
    return STATUS_INTERNAL_ERROR;
  struct flow flow = {work, offset, sum};
  enum status status =
      crew->flows ? run_flow(&flow, size) : sum_staged(work, offset, size, staging, sum);
  crew->sums[offset / LOAD_CHUNK] = sum_get(sum);
  sum_free(sum);
  return status;
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
  const struct device_segment *stager = staged_by(crew->work);
  void *staging = crew->staged ? device_stage(stager, MOVER_STAGED) : NULL;
  if (crew->staged && !staging)
    atomic_store(&crew->status, STATUS_INTERNAL_ERROR);
  while (may_go_on(crew)) {
    uint64_t offset = atomic_fetch_add(&crew->next, crew->chunk);
    if (offset >= crew->work->size)
      break;
    uint64_t size = units_min(crew->chunk, crew->work->size - offset);
    enum status status = crew->sums && !crew->there ? sum_chunk(crew, offset, size, staging)
                                                    : plain_chunk(crew, offset, size, staging);
    if (!status && crew->there)
      status = device_sum(at(crew->work->to, offset), size, LOAD_CHUNK,
                          &crew->sums[offset / LOAD_CHUNK]);
    if (status)
      atomic_store(&crew->status, (int)status);
    else
      report(crew, size);
  }
  device_unstage(stager, staging);
  return NULL;
}

/* The caller is one of the crew; helpers that cannot be started are done without. */
static enum status run_crew(struct crew *crew, unsigned threads) {
  pthread_t helpers[MOVER_SUMMERS];
  unsigned count = 0;
  bool alone = crew->work->size < units_max(MOVER_PARALLEL, crew->chunk);
  unsigned wanted = alone ? 0 : threads_for(threads) - 1;
  pthread_mutex_init(&crew->lock, NULL);
  while (count < wanted && !pthread_create(&helpers[count], NULL, work_on, crew))
    count++;
  work_on(crew);
  for (unsigned i = 0; i < count; i++)
    pthread_join(helpers[i], NULL);
  pthread_mutex_destroy(&crew->lock);
  return (enum status)atomic_load(&crew->status);
}

/* How a plain copy is cut. */
struct cut {
  uint64_t chunk;
  unsigned threads;
};

/* Of a flow, as much for each thread. */
static uint64_t chunk_for(uint64_t size) {
  return units_up(units_min(size / MOVER_STAGERS + 1, MOVER_FLOW), MIB);
}

static struct cut cut_for(const struct mover_work *work, bool staged) {
  bool linked = device_path(work->from.segment, work->to.segment) == DEVICE_PATH_STAGED;
  if (flows(work))
    return (struct cut){chunk_for(work->size), MOVER_STAGERS};
  if (staged)
    return (struct cut){MOVER_STAGED, linked ? MOVER_STAGERS : MOVER_THREADS};
  if (device_is_host(work->from.segment))
    return (struct cut){MOVER_CHUNK, MOVER_THREADS};
  return (struct cut){MOVER_CARD, MOVER_WAITERS};
}

static enum status run_plain(struct mover_work *work) {
  bool flowing = flows(work),
       staged = !flowing && !device_copies(work->from.segment, work->to.segment);
  struct cut cut = cut_for(work, staged);
  struct crew crew = {
      .work = work, .chunk = cut.chunk, .staged = staged, .flows = flowing, .status = STATUS_OK};
  return run_crew(&crew, cut.threads);
}

static enum status sum_on_the_way(struct crew *crew) {
  crew->chunk = LOAD_CHUNK;
  crew->flows = flows(crew->work);
  crew->staged = !crew->flows;
  crew->there = false;
  crew->status = STATUS_OK;
  crew->next = crew->done = 0;
  return run_crew(crew, MOVER_SUMMERS);
}

/* DEVICE_NOT_FOUND: it cannot, or its driver has no compiler, which is said behind the first chunk.
 */
static enum status sum_on_card(struct crew *crew) {
  const struct mover_work *work = crew->work;
  if (!device_sums(work->to.segment) || !device_copies(work->from.segment, work->to.segment))
    return STATUS_DEVICE_NOT_FOUND;
  crew->chunk = MOVER_CHUNK;
  crew->there = true;
  return run_crew(crew, MOVER_THREADS);
}

static enum status run_sums(struct mover_work *work) {
  uint64_t chunks = load_chunks(work->size);
  struct crew crew = {.work = work, .sums = calloc(chunks, sizeof *crew.sums), .status = STATUS_OK};
  enum status status = crew.sums ? sum_on_card(&crew) : STATUS_INTERNAL_ERROR;
  if (status == STATUS_DEVICE_NOT_FOUND)
    status = sum_on_the_way(&crew);
  if (!status)
    work->fingerprint = load_fingerprint(crew.sums, chunks);
  free(crew.sums);
  return status;
}

/* ---- relay ---- */

enum { STAGES = 3 };

struct relay {
  struct mover_work *work;
  bool fill;
  struct sum *source, *target;
  pthread_mutex_t lock;
  pthread_cond_t moved;
  uint64_t claimed;                /* all before belongs to some thread */
  atomic_uint_fast64_t at[STAGES]; /* how far each stage is; changed under the lock */
  enum status status;
};

static enum status read_source(struct relay *relay, struct step *step) {
  return relay->fill ? STATUS_OK : look(at(relay->work->from, step->offset), step, relay->source);
}

static enum status write_target(struct relay *relay, struct step *step) {
  const struct mover_work *work = relay->work;
  struct device_place to = at(work->to, step->offset);
  if (relay->fill)
    return device_fill(to, step->size, work->value);
  if (device_copies(work->from.segment, work->to.segment))
    return copy_chunk(work, step->offset, step->size, NULL);
  return device_write(to, step->size, step->bytes);
}

static enum status read_target(struct relay *relay, struct step *step) {
  enum status status = look(at(relay->work->to, step->offset), step, relay->target);
  if (status)
    return status;
  if (relay->work->progress)
    relay->work->progress(relay->work->arg, step->offset + step->size);
  return STATUS_OK;
}

static enum status (*const stages[STAGES])(struct relay *relay, struct step *step) = {
    read_source, write_target, read_target};

/* Under the lock; false: it is over. */
static bool is_on(struct relay *relay) {
  if (!relay->status && atomic_load(relay->work->cancel)) {
    relay->status = STATUS_CANCELLED;
    pthread_cond_broadcast(&relay->moved);
  }
  return !relay->status;
}

/* The steps ahead leave a stage soon: it is looked at for a while before the thread sleeps, for to
 * be woken takes as long as a step. */
static void look_out(const struct relay *relay, int stage, const struct step *step) {
  uint64_t end = clock_now() + MOVER_LOOK_NS;
  while (atomic_load(&relay->at[stage]) != step->offset && clock_now() < end)
    ;
}

/* Under the lock: waits for the steps ahead to have left the stage, and takes this one through. */
static bool pass(struct relay *relay, int stage, struct step *step) {
  pthread_mutex_unlock(&relay->lock);
  look_out(relay, stage, step);
  pthread_mutex_lock(&relay->lock);
  while (is_on(relay) && relay->at[stage] != step->offset)
    pthread_cond_wait(&relay->moved, &relay->lock);
  if (relay->status)
    return false;
  pthread_mutex_unlock(&relay->lock);
  enum status status = stages[stage](relay, step);
  pthread_mutex_lock(&relay->lock);
  relay->at[stage] += step->size;
  if (status && !relay->status)
    relay->status = status;
  pthread_cond_broadcast(&relay->moved);
  return true;
}

/* Under the lock, which is let go meanwhile. */
static void bring(struct relay *relay, const struct step *step) {
  if (!relay->work->brings)
    return;
  pthread_mutex_unlock(&relay->lock);
  device_bring(at(relay->work->to, step->offset), step->size);
  pthread_mutex_lock(&relay->lock);
}

static void *run_stages(void *arg) {
  struct relay *relay = arg;
  const struct device_segment *stager = staged_by(relay->work);
  struct step step = {.staging = device_stage(stager, MOVER_STEP)};
  pthread_mutex_lock(&relay->lock);
  if (!step.staging && !relay->status)
    relay->status = STATUS_INTERNAL_ERROR;
  while (is_on(relay) && relay->claimed < relay->work->size) {
    step.offset = relay->claimed;
    step.size = units_min(MOVER_STEP, relay->work->size - step.offset);
    relay->claimed += step.size;
    bring(relay, &step);
    for (int stage = 0; stage < STAGES && pass(relay, stage, &step); stage++)
      ;
  }
  pthread_mutex_unlock(&relay->lock);
  device_unstage(stager, step.staging);
  return NULL;
}

static void run_all_stages(struct relay *relay) {
  pthread_t helpers[MOVER_BRINGERS];
  unsigned count = 0, most = relay->work->brings ? MOVER_BRINGERS : MOVER_RUNNERS;
  unsigned wanted = relay->work->size < MOVER_SHARED ? 0 : threads_for(most) - 1;
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
  struct relay relay = {.work = work, .fill = fill, .source = sum_create(), .target = sum_create()};
  if (relay.source && relay.target)
    run_all_stages(&relay);
  else
    relay.status = STATUS_INTERNAL_ERROR;
  if (!relay.status) {
    uint64_t target = sum_get(relay.target);
    work->checksum = fill ? target : sum_get(relay.source);
    work->checksum_known = true;
    work->verified = work->checksum == target;
  }
  sum_free(relay.source);
  sum_free(relay.target);
  return relay.status;
}

enum status mover_copy(struct mover_work *work) {
  uint64_t start = clock_now();
  if (device_overlap(work->from, work->to, work->size))
    return STATUS_INVALID_ARGUMENT;
  device_reach(work->from.segment, work->to.segment);
  work->brings = is_brought(work);
  enum status status = work->sums     ? run_sums(work)
                       : work->verify ? run_relay(work, false)
                                      : run_plain(work);
  work->device_us = (clock_now() - start) / 1000;
  return status;
}

/* A card does it by itself, so that threads but wait for it. */
static enum status run_fill(struct mover_work *work) {
  struct crew crew = {.work = work, .chunk = MOVER_FLOW, .status = STATUS_OK};
  return run_crew(&crew, device_is_host(work->to.segment) ? MOVER_THREADS : MOVER_WAITERS);
}

enum status mover_fill(struct mover_work *work) {
  uint64_t start = clock_now();
  enum status status = work->verify ? run_relay(work, true) : run_fill(work);
  work->device_us = (clock_now() - start) / 1000;
  return status;
}
