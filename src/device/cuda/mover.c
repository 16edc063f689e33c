/*
 * cuda/mover: the card's primary context, made when the first segment comes, and a pool of lanes.
 * A segment is a range of addresses; what is mapped there holds the memory, so handle and
 * descriptor go at once. Host memory is one too, which copies to the card come from; a context is
 * never made for its sake, for it is imported when there is a card's segment to copy to.
 *
 * A context that is lost stays so until the process ends: from then on nothing is asked of it, and
 * the worker, which hears DEVICE_UNAVAILABLE, is to be replaced.
 */
#include "device/cuda/mover.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/os_proc.h"
#include "base/units.h"
#include "device/cuda/batch.h"
#include "device/cuda/lane.h"
#include "device/cuda/load.h"
#include "device/cuda/pinned.h"
#include "device/cuda/sum.h"

#define MOVER_GRANULARITY (2 * MIB)
#define MOVER_PINNED 2 /* half of the RAM: what is pinned cannot be swapped out */

struct mover {
  struct spec spec;
  pthread_mutex_t lock; /* over the making of the rest, which happens once */
  struct cuda_load load;
  api_device device;
  api_context context; /* NULL: not yet */
  struct cuda_lane_pool *pool;
  struct cuda_batch *batch; /* NULL: not yet, or this driver can none */
  struct cuda_sum *sum;     /* the same */
  bool compiling, summing;  /* a thread makes them: a driver takes 30 ms, and 50 to 200, to compile
                               their kernels */
  pthread_cond_t compiled;
  pthread_mutex_t mapping; /* to import, map and unmap: see import_card */
  uint64_t granularity;
  uint64_t pinned_most; /* host memory that may be pinned; 0: none, the driver cannot */
  atomic_uint_fast64_t pinned;
  atomic_bool lost;
};

struct segment {
  struct mover *mover;
  struct cuda_pinned *host; /* NULL: it is the card's */
  api_pointer start;
  uint64_t size; /* as it is mapped */
  /* A bit for each other card: it was asked whether that can come here; it can. */
  atomic_uint_fast64_t asked, visitors;
};

enum status cuda_mover_start(const struct spec *spec, void **out) {
  struct mover *mover = calloc(1, sizeof *mover);
  if (!mover)
    return STATUS_INTERNAL_ERROR;
  mover->spec = *spec;
  pthread_mutex_init(&mover->lock, NULL);
  pthread_cond_init(&mover->compiled, NULL);
  pthread_mutex_init(&mover->mapping, NULL);
  *out = mover;
  return STATUS_OK;
}

/* Under the lock: until the thread that compiles is done with one of its works. */
static void wait_for(struct mover *mover, const bool *under_way) {
  while (*under_way)
    pthread_cond_wait(&mover->compiled, &mover->lock);
}

void cuda_mover_stop(void *arg) {
  struct mover *mover = arg;
  pthread_mutex_lock(&mover->lock);
  wait_for(mover, &mover->compiling);
  wait_for(mover, &mover->summing);
  pthread_mutex_unlock(&mover->lock);
  if (mover->context) {
    (void)mover->load.context_set(mover->context);
    cuda_batch_free(mover->batch);
    cuda_sum_free(mover->sum);
    cuda_lane_pool_free(mover->pool);
    (void)mover->load.context_set(NULL);
    (void)mover->load.context_release(mover->device);
  }
  cuda_load_close(&mover->load);
  pthread_mutex_destroy(&mover->mapping);
  pthread_cond_destroy(&mover->compiled);
  pthread_mutex_destroy(&mover->lock);
  free(mover);
}

/* ---- the context ---- */

static enum status judge(struct mover *mover, enum status status) {
  if (status == STATUS_DEVICE_UNAVAILABLE)
    atomic_store(&mover->lost, true);
  return status;
}

static void read_granularity(struct mover *mover) {
  const struct api_allocation kind = {.type = API_PINNED,
                                      .handle_types = API_HANDLE_FD,
                                      .location = {API_ON_DEVICE, mover->device}};
  size_t granularity = 0;
  mover->granularity = MOVER_GRANULARITY;
  if (!mover->load.granularity(&granularity, &kind, 0) && units_is_power(granularity))
    mover->granularity = units_max(granularity, MOVER_GRANULARITY);
}

/* Nobody may write to a model's memory, so it can only be pinned where the driver pins for reading
 * alone. */
static void read_pinned(struct mover *mover) {
  struct os_proc_memory memory;
  int can = 0;
  if (!mover->load.device_attribute(&can, API_ATTRIBUTE_READ_ONLY, mover->device) && can &&
      !os_proc_memory(&memory))
    mover->pinned_most = memory.total_bytes / MOVER_PINNED;
}

static void is_made(struct mover *mover, bool *under_way) {
  pthread_mutex_lock(&mover->lock);
  *under_way = false;
  pthread_cond_broadcast(&mover->compiled);
  pthread_mutex_unlock(&mover->lock);
}

/* A failure is told to who needs one of them: he tries again. */
static void *compile(void *arg) {
  struct mover *mover = arg;
  bool entered = !mover->load.context_set(mover->context);
  if (entered)
    (void)cuda_batch_create(&mover->load, &mover->batch);
  is_made(mover, &mover->compiling);
  if (entered)
    (void)cuda_sum_create(&mover->load, &mover->sum);
  is_made(mover, &mover->summing);
  return NULL;
}

/* Under the lock. A process that ends does not wait for it. */
static void start_compiler(struct mover *mover) {
  pthread_t thread;
  mover->compiling = mover->summing = true;
  if (pthread_create(&thread, NULL, compile, mover))
    mover->compiling = mover->summing = false;
  else
    pthread_detach(thread);
}

/* Under the lock. */
static enum status make_context(struct mover *mover) {
  int ordinal = cuda_load_ordinal(&mover->spec);
  enum status status = mover->load.driver ? STATUS_OK : cuda_load_open(false, &mover->load);
  const struct cuda_load *load = &mover->load;
  api_context context;
  if (!status)
    status = cuda_load_check(load, "start", load->init(0));
  if (!status)
    status = cuda_load_check(load, "find a card", load->device_get(&mover->device, ordinal));
  if (!status && !mover->pool)
    status = cuda_lane_pool_create(load, &mover->pool);
  if (!status)
    status = cuda_load_check(load, "make a context", load->context_retain(&context, mover->device));
  if (status)
    return status;
  read_granularity(mover);
  read_pinned(mover);
  mover->context = context;
  start_compiler(mover);
  return STATUS_OK;
}

/* Makes the context the calling thread's. */
static enum status enter(struct mover *mover) {
  if (atomic_load(&mover->lost))
    return STATUS_DEVICE_UNAVAILABLE;
  pthread_mutex_lock(&mover->lock);
  enum status status = mover->context ? STATUS_OK : make_context(mover);
  pthread_mutex_unlock(&mover->lock);
  if (!status)
    status =
        cuda_load_check(&mover->load, "enter a context", mover->load.context_set(mover->context));
  return judge(mover, status);
}

/* ---- segments ---- */

static enum status map(struct mover *mover, api_handle handle, struct segment *segment) {
  const struct cuda_load *load = &mover->load;
  const struct api_access access = {{API_ON_DEVICE, mover->device}, API_READ_WRITE};
  enum status status = cuda_load_check(load, "reserve addresses",
                                       load->reserve(&segment->start, segment->size, 0, 0, 0));
  if (status)
    return status;
  status =
      cuda_load_check(load, "map memory", load->map(segment->start, segment->size, 0, handle, 0));
  if (!status) {
    status = cuda_load_check(load, "open memory for access",
                             load->set_access(segment->start, segment->size, &access, 1));
    if (status)
      (void)load->unmap(segment->start, segment->size);
  }
  if (status)
    (void)load->address_free(segment->start, segment->size);
  return status;
}

/* The driver does it one after the other, and slower if several wait for that: 128 MiB of an H200
 * take one thread 65 us, and 96, 107 and 146 each where two, four and eight do so. */
static enum status import_card(struct mover *mover, const struct share *share,
                               struct segment *segment) {
  const struct cuda_load *load = &mover->load;
  api_handle handle;
  segment->size = units_up(segment->size, mover->granularity);
  pthread_mutex_lock(&mover->mapping);
  enum status status = cuda_load_check(
      load, "import memory",
      load->import(&handle, (void *)share->value, API_HANDLE_FD)); /* a number as a pointer */
  if (!status) {
    status = map(mover, handle, segment);
    (void)cuda_load_check(load, "release a handle", load->release(handle));
  }
  pthread_mutex_unlock(&mover->mapping);
  return status;
}

/* All of it counts as pinned from the start. */
static enum status import_host(struct mover *mover, const struct share *share,
                               struct segment *segment) {
  uint64_t before = atomic_fetch_add(&mover->pinned, segment->size);
  enum status status = before + segment->size > mover->pinned_most
                           ? STATUS_INSUFFICIENT_MEMORY
                           : cuda_pinned_open(&mover->load, share, segment->size, &segment->host);
  if (status)
    atomic_fetch_sub(&mover->pinned, segment->size);
  return status;
}

enum status cuda_mover_import(void *arg, const struct share *share, uint64_t size, void **out) {
  struct mover *mover = arg;
  bool card = share->kind == SHARE_CUDA_VMM;
  if (!card && share->kind != SHARE_MEMFD)
    return STATUS_INVALID_ARGUMENT;
  enum status status = enter(mover);
  if (status)
    return status;
  struct segment *segment = calloc(1, sizeof *segment);
  if (!segment)
    return STATUS_INTERNAL_ERROR;
  segment->mover = mover;
  segment->size = size;
  status = card ? import_card(mover, share, segment) : import_host(mover, share, segment);
  if (status)
    free(segment);
  else
    *out = segment;
  return judge(mover, status);
}

static void drop_card(struct mover *mover, const struct segment *segment) {
  const struct cuda_load *load = &mover->load;
  pthread_mutex_lock(&mover->mapping);
  enum status status =
      cuda_load_check(load, "unmap memory", load->unmap(segment->start, segment->size));
  if (!status)
    status =
        cuda_load_check(load, "free addresses", load->address_free(segment->start, segment->size));
  pthread_mutex_unlock(&mover->mapping);
  (void)judge(mover, status);
}

void cuda_mover_drop(void *arg, void *memory, uint64_t size) {
  struct mover *mover = arg;
  struct segment *segment = memory;
  (void)size;
  bool entered = !enter(mover);
  if (segment->host) {
    cuda_pinned_close(segment->host);
    atomic_fetch_sub(&mover->pinned, segment->size);
  } else if (entered) { /* else the process's end gives it back */
    drop_card(mover, segment);
  }
  free(segment);
}

const void *cuda_mover_peek(void *arg, const struct device_range *range) {
  const struct segment *segment = range->segment;
  (void)arg;
  return segment->host ? cuda_pinned_bytes(segment->host) + range->offset : NULL;
}

/* ---- bytes ---- */

static api_pointer at(const struct device_range *range) {
  return ((const struct segment *)range->segment)->start + range->offset;
}

static enum status take(struct mover *mover, struct cuda_lane **lane) {
  enum status status = enter(mover);
  return status ? status : judge(mover, cuda_lane_take(mover->pool, lane));
}

static enum status give(struct mover *mover, struct cuda_lane *lane, enum status status) {
  cuda_lane_give(mover->pool, lane);
  return judge(mover, status);
}

enum status cuda_mover_read(void *arg, const struct device_range *from, void *to) {
  struct cuda_lane *lane;
  enum status status = take(arg, &lane);
  return status ? status : give(arg, lane, cuda_lane_read(lane, at(from), from->size, to));
}

enum status cuda_mover_write(void *arg, const struct device_range *to, const void *from) {
  struct cuda_lane *lane;
  enum status status = take(arg, &lane);
  return status ? status : give(arg, lane, cuda_lane_write(lane, at(to), to->size, from));
}

static bool let_visit(const struct mover *card, const struct segment *segment) {
  const struct cuda_load *load = &card->load;
  const struct api_access access = {{API_ON_DEVICE, card->device}, API_READ_WRITE};
  int possible = 0;
  return !cuda_load_check(load, "compare two cards",
                          load->peer_possible(&possible, card->device, segment->mover->device)) &&
         possible &&
         !cuda_load_check(load, "open memory for another card",
                          load->set_access(segment->start, segment->size, &access, 1));
}

/* Asked once; twice at the same time is no harm. */
bool cuda_mover_sends(const void *from, void *to) {
  struct mover *mover = ((const struct segment *)from)->mover;
  struct segment *target = to;
  uint64_t bit = UINT64_C(1) << mover->device;
  if (!(atomic_load(&target->asked) & bit) && !enter(mover)) {
    atomic_fetch_or(&target->visitors, let_visit(mover, target) ? bit : 0);
    atomic_fetch_or(&target->asked, bit);
  }
  return atomic_load(&target->visitors) & bit;
}

/* Host memory to the card. */
static enum status bring(struct cuda_lane *lane, const struct device_range *from,
                         const struct device_range *to) {
  struct cuda_pinned *host = ((const struct segment *)from->segment)->host;
  const char *bytes = cuda_pinned_bytes(host) + from->offset;
  enum status status = STATUS_OK;
  for (uint64_t done = 0, n; !status && done < from->size; done += n) {
    bool ready;
    uint64_t offset = from->offset + done, end = cuda_pinned_ready(host, offset, &ready);
    n = units_min(end - offset, from->size - done);
    status = ready ? cuda_lane_send(lane, at(to) + done, n, bytes + done)
                   : cuda_lane_write(lane, at(to) + done, n, bytes + done);
  }
  return status;
}

/* Inside the card, or to another that is as well as this one. */
enum status cuda_mover_copy(void *arg, const struct device_range *from,
                            const struct device_range *to) {
  struct cuda_lane *lane;
  enum status status = atomic_load(&((const struct segment *)to->segment)->mover->lost)
                           ? STATUS_DEVICE_UNAVAILABLE
                           : take(arg, &lane);
  if (status)
    return status;
  bool host = ((const struct segment *)from->segment)->host;
  return give(arg, lane,
              host ? bring(lane, from, to) : cuda_lane_copy(lane, at(from), at(to), to->size));
}

enum status cuda_mover_fill(void *arg, const struct device_range *range, uint8_t value) {
  struct cuda_lane *lane;
  enum status status = take(arg, &lane);
  return status ? status : give(arg, lane, cuda_lane_fill(lane, at(range), range->size, value));
}

/* ---- many copies ---- */

static enum status get_batch(struct mover *mover, struct cuda_batch **out) {
  pthread_mutex_lock(&mover->lock);
  wait_for(mover, &mover->compiling);
  enum status status = mover->batch ? STATUS_OK : cuda_batch_create(&mover->load, &mover->batch);
  *out = mover->batch;
  pthread_mutex_unlock(&mover->lock);
  return status;
}

static enum status run_batch(struct cuda_batch *batch, struct device_pair *pairs, uint32_t count) {
  struct cuda_batch_move *moves = calloc(count, sizeof *moves);
  if (!moves)
    return STATUS_INTERNAL_ERROR;
  for (uint32_t i = 0; i < count; i++)
    moves[i] = (struct cuda_batch_move){
        .from = at(&pairs[i].from), .to = at(&pairs[i].to), .size = pairs[i].to.size};
  enum status status = cuda_batch_run(batch, moves, count);
  for (uint32_t i = 0; i < count; i++)
    pairs[i].same = moves[i].same;
  free(moves);
  return status;
}

enum status cuda_mover_copy_all(void *arg, struct device_pair *pairs, uint32_t count) {
  struct cuda_batch *batch;
  enum status status = enter(arg);
  if (!status)
    status = get_batch(arg, &batch);
  return judge(arg, status ? status : run_batch(batch, pairs, count));
}

/* ---- sums ---- */

/* A driver may have no compiler beside it; then the bytes are summed up elsewhere. */
static enum status get_sum(struct mover *mover, struct cuda_sum **out) {
  pthread_mutex_lock(&mover->lock);
  wait_for(mover, &mover->summing);
  enum status status = mover->sum ? STATUS_OK : cuda_sum_create(&mover->load, &mover->sum);
  *out = mover->sum;
  pthread_mutex_unlock(&mover->lock);
  return status && status != STATUS_DEVICE_UNAVAILABLE ? STATUS_DEVICE_NOT_FOUND : status;
}

enum status cuda_mover_sum(void *arg, const struct device_range *range, uint64_t chunk,
                           uint64_t *sums) {
  struct cuda_sum_range where = {at(range), range->size, chunk};
  struct cuda_sum *sum;
  struct cuda_lane *lane;
  enum status status = take(arg, &lane);
  if (status)
    return status;
  status = get_sum(arg, &sum);
  return give(arg, lane, status ? status : cuda_sum_run(sum, lane, &where, sums));
}
