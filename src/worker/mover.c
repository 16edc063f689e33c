/*
 * mover: the limit of a copy is the memory's bandwidth, and one core does not reach it (nor, for
 * pages that are touched for the first time, the rate at which the kernel can clear them). So
 * chunks are handed to a few threads through one atomic counter. A checksum must see its bytes in
 * order, so verification reads source and target each on one thread, side by side, after the copy.
 */
#include "worker/mover.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/clock.h"
#include "base/units.h"

#define MOVER_CHUNK                                                                                \
  (8 * MIB) /* direct: large beside a thread's start, small beside a second of progress */
#define MOVER_STAGED (MIB)        /* staged: a slow link still shows progress each second */
#define MOVER_THREADS 4           /* more gain nothing on the machines measured */
#define MOVER_PARALLEL (32 * MIB) /* below, starting threads costs more than it saves */

struct crew {
  struct mover_work *work;
  enum status (*one)(struct crew *crew, uint64_t offset, uint64_t size, void *staging);
  uint64_t chunk;
  bool staged;
  atomic_uint_fast64_t next, done;
  atomic_int status;
  pthread_mutex_t progress;
};

static enum status copy_one(struct crew *crew, uint64_t offset, uint64_t size, void *staging) {
  const struct mover_work *work = crew->work;
  struct device_copy copy = {.from = work->from, .to = work->to, .size = size, .staging = staging};
  copy.from.offset += offset;
  copy.to.offset += offset;
  return device_copy(&copy);
}

static enum status fill_one(struct crew *crew, uint64_t offset, uint64_t size, void *staging) {
  (void)staging;
  struct device_place to = crew->work->to;
  to.offset += offset;
  return device_fill(to, size, crew->work->value);
}

static void report(struct crew *crew, uint64_t size) {
  uint64_t done = atomic_fetch_add(&crew->done, size) + size;
  if (!crew->work->progress)
    return;
  pthread_mutex_lock(&crew->progress);
  crew->work->progress(crew->work->arg, done);
  pthread_mutex_unlock(&crew->progress);
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
    enum status status = crew->one(crew, offset, size, staging);
    if (status)
      atomic_store(&crew->status, (int)status);
    else
      report(crew, size);
  }
  free(staging);
  return NULL;
}

static unsigned threads_for(const struct crew *crew) {
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  if (crew->work->size < MOVER_PARALLEL || crew->staged || cores < 2)
    return 1;
  return cores < MOVER_THREADS ? (unsigned)cores : MOVER_THREADS;
}

/* The caller is one of the crew; helpers that cannot be started are done without. */
static enum status run(struct crew *crew) {
  pthread_t helpers[MOVER_THREADS];
  unsigned count = 0, wanted = threads_for(crew) - 1;
  pthread_mutex_init(&crew->progress, NULL);
  while (count < wanted && !pthread_create(&helpers[count], NULL, work_on, crew))
    count++;
  work_on(crew);
  for (unsigned i = 0; i < count; i++)
    pthread_join(helpers[i], NULL);
  pthread_mutex_destroy(&crew->progress);
  return (enum status)atomic_load(&crew->status);
}

/* ---- checksums ---- */

struct reading {
  struct device_place place;
  uint64_t size, checksum;
  atomic_bool *cancel;
  enum status status;
};

static enum status read_some(const struct reading *reading, uint64_t offset, uint64_t size,
                             void *buffer, XXH3_state_t *state) {
  struct device_place place = reading->place;
  place.offset += offset;
  const char *bytes = device_pointer(place.segment);
  enum status status = STATUS_OK;
  if (bytes)
    bytes += place.offset;
  else
    status = device_read(place, size, buffer);
  if (!status)
    XXH3_64bits_update(state, bytes ? bytes : buffer, size);
  return status;
}

static void *read_all(void *arg) {
  struct reading *reading = arg;
  XXH3_state_t *state = XXH3_createState();
  void *buffer = malloc(MOVER_STAGED);
  if (!state || !buffer)
    reading->status = STATUS_INTERNAL_ERROR;
  else
    XXH3_64bits_reset(state);
  for (uint64_t at = 0; at < reading->size && !reading->status; at += MOVER_STAGED) {
    uint64_t size = units_min(MOVER_STAGED, reading->size - at);
    reading->status = atomic_load(reading->cancel) ? STATUS_CANCELLED
                                                   : read_some(reading, at, size, buffer, state);
  }
  if (!reading->status)
    reading->checksum = XXH3_64bits_digest(state);
  free(buffer);
  XXH3_freeState(state);
  return NULL;
}

/* Source and target side by side. */
static enum status verify(struct mover_work *work) {
  struct reading source = {.place = work->from, .size = work->size, .cancel = work->cancel};
  struct reading target = {.place = work->to, .size = work->size, .cancel = work->cancel};
  pthread_t helper;
  bool helped = work->size >= MIB && !pthread_create(&helper, NULL, read_all, &source);
  if (!helped)
    read_all(&source);
  read_all(&target);
  if (helped)
    pthread_join(helper, NULL);
  enum status status = source.status ? source.status : target.status;
  if (status)
    return status;
  work->checksum = source.checksum;
  work->checksum_known = true;
  work->verified = source.checksum == target.checksum;
  return STATUS_OK;
}

enum status mover_copy(struct mover_work *work) {
  uint64_t start = clock_now();
  bool staged = !device_pointer(work->from.segment) || !device_pointer(work->to.segment);
  struct crew crew = {.work = work,
                      .one = copy_one,
                      .chunk = staged ? MOVER_STAGED : MOVER_CHUNK,
                      .staged = staged,
                      .status = STATUS_OK};
  enum status status = run(&crew);
  if (!status && work->verify)
    status = verify(work);
  work->device_us = (clock_now() - start) / 1000;
  return status;
}

enum status mover_fill(struct mover_work *work) {
  uint64_t start = clock_now();
  bool staged = !device_pointer(work->to.segment);
  struct crew crew = {.work = work,
                      .one = fill_one,
                      .chunk = staged ? MOVER_STAGED : MOVER_CHUNK,
                      .staged = false,
                      .status = STATUS_OK};
  enum status status = run(&crew);
  struct reading target = {.place = work->to, .size = work->size, .cancel = work->cancel};
  if (!status) {
    read_all(&target);
    status = target.status;
    work->checksum = target.checksum;
    work->checksum_known = !status;
  }
  work->device_us = (clock_now() - start) / 1000;
  return status;
}
