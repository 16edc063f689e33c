/*
 * fake: segments are memfds, and reads and writes of them cross the link: each takes its turn on
 * one clock, which is ahead of the real one by what the bytes before it take at the set rate, and
 * sleeps until its turn is over. Copies and fills stay inside the card and are as fast as memory.
 *
 * It promises nothing about fresh memory, as cards do not.
 */
#include "device/fake.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/os_memfd.h"
#include "base/os_view.h"
#include "base/units.h"

#define FAKE_GRANULARITY (4 * KIB) /* what a memfd is made of */

#define FAKE_LOOK (256 * KIB) /* of a comparison: stays in the L2 cache */

struct owner {
  struct spec spec;
  atomic_uint_fast64_t used; /* release runs on the reaper */
};

struct mover {
  uint64_t rate, latency;
  atomic_uint_fast64_t turn; /* clock_now() when the link is free */
};

/* ---- owner ---- */

static enum status owner_open(const struct spec *spec, void **out) {
  struct owner *owner = calloc(1, sizeof *owner);
  if (!owner)
    return STATUS_INTERNAL_ERROR;
  owner->spec = *spec;
  *out = owner;
  return STATUS_OK;
}

static void owner_close(void *owner) { free(owner); }

static enum status describe(void *arg, struct device_info *info) {
  const struct owner *owner = arg;
  snprintf(info->name, sizeof info->name, "fake card");
  snprintf(info->driver, sizeof info->driver, "fake");
  info->type = DEVICE_GPU;
  info->memory = DEVICE_VRAM;
  info->total_bytes = info->limit_bytes = owner->spec.size_bytes;
  info->granularity = FAKE_GRANULARITY;
  info->rate_bytes = owner->spec.rate_bytes;
  return STATUS_OK;
}

static enum status budget(void *arg, struct device_budget *out) {
  const struct owner *owner = arg;
  out->used_bytes = atomic_load(&owner->used);
  out->free_bytes = units_minus(owner->spec.size_bytes, out->used_bytes);
  return STATUS_OK;
}

static enum status create(void *arg, uint64_t size, struct share *out) {
  struct owner *owner = arg;
  struct share share;
  if (size > units_minus(owner->spec.size_bytes, atomic_load(&owner->used)))
    return STATUS_INSUFFICIENT_MEMORY;
  enum status status = os_memfd_create("memkeep-fake", size, &share);
  if (status)
    return status;
  status = os_memfd_seal(&share, OS_MEMFD_SEAL_SIZE);
  if (status) {
    share_close(&share);
    return status;
  }
  atomic_fetch_add(&owner->used, size);
  *out = share;
  return STATUS_OK;
}

/* What an earlier daemon made was never counted here. */
static void release(void *arg, struct share *share, uint64_t size, bool exported) {
  struct owner *owner = arg;
  uint64_t used = atomic_load(&owner->used);
  (void)exported;
  share_close(share);
  while (!atomic_compare_exchange_weak(&owner->used, &used, units_minus(used, size)))
    ;
}

/* ---- mover ---- */

static enum status start(const struct spec *spec, void **out) {
  struct mover *mover = calloc(1, sizeof *mover);
  if (!mover)
    return STATUS_INTERNAL_ERROR;
  mover->rate = spec->rate_bytes;
  mover->latency = spec->latency_ns;
  *out = mover;
  return STATUS_OK;
}

static void stop(void *mover) { free(mover); }

static enum status import(void *mover, const struct share *share, uint64_t size, void **segment) {
  struct os_view *view;
  (void)mover;
  enum status status = os_view_open(share, size, &view);
  if (!status)
    *segment = view;
  return status;
}

static void drop(void *mover, void *segment, uint64_t size) {
  (void)mover;
  (void)size;
  os_view_close(segment);
}

static uint64_t time_of(const struct mover *mover, uint64_t size) {
  uint64_t transfer =
      mover->rate ? (uint64_t)((unsigned __int128)size * CLOCK_SECOND / mover->rate) : 0;
  return mover->latency + transfer;
}

/* When these bytes will have crossed the link: behind all that came before. 0: at once. */
static uint64_t depart(struct mover *mover, uint64_t size) {
  uint64_t cost = time_of(mover, size), turn = atomic_load(&mover->turn), end;
  if (!cost)
    return 0;
  do
    end = units_max(turn, clock_now()) + cost;
  while (!atomic_compare_exchange_weak(&mover->turn, &turn, end));
  return end;
}

/* The copy itself is part of the crossing, as a card's is. */
static void arrive(uint64_t end) {
  if (!end)
    return;
  const struct timespec until = {(time_t)(end / CLOCK_SECOND), (long)(end % CLOCK_SECOND)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL))
    ;
}

static enum status read_bytes(void *mover, const struct device_range *from, void *to) {
  uint64_t end = depart(mover, from->size);
  enum status status = os_view_read(from->segment, from->offset, to, from->size);
  arrive(end);
  return status;
}

static enum status write_bytes(void *mover, const struct device_range *to, const void *from) {
  uint64_t end = depart(mover, to->size);
  enum status status = os_view_write(to->segment, to->offset, from, to->size);
  arrive(end);
  return status;
}

static enum status copy(void *mover, const struct device_range *from,
                        const struct device_range *to) {
  (void)mover;
  const struct os_view_range source = {from->segment, from->offset};
  const struct os_view_range target = {to->segment, to->offset};
  return os_view_copy(&source, &target, to->size);
}

/* Both ends, read again. */
static enum status compare(struct device_pair *pair, char *staging) {
  const struct device_range *from = &pair->from, *to = &pair->to;
  enum status status = STATUS_OK;
  pair->same = true;
  for (uint64_t done = 0, n; !status && pair->same && done < to->size; done += n) {
    n = units_min(FAKE_LOOK, to->size - done);
    status = os_view_read(from->segment, from->offset + done, staging, n);
    if (!status)
      status = os_view_read(to->segment, to->offset + done, staging + FAKE_LOOK, n);
    pair->same = !status && !memcmp(staging, staging + FAKE_LOOK, n);
  }
  return status;
}

static enum status copy_all(void *mover, struct device_pair *pairs, uint32_t count) {
  char *staging = malloc(2 * FAKE_LOOK);
  enum status status = staging ? STATUS_OK : STATUS_INTERNAL_ERROR;
  for (uint32_t i = 0; !status && i < count; i++) {
    status = copy(mover, &pairs[i].from, &pairs[i].to);
    if (!status)
      status = compare(&pairs[i], staging);
  }
  free(staging);
  return status;
}

static enum status fill(void *mover, const struct device_range *range, uint8_t value) {
  (void)mover;
  return os_view_fill(range->segment, range->offset, value, range->size);
}

const struct backend fake_backend = {
    .name = "fake",
    .share = SHARE_MEMFD,
    .open = owner_open,
    .close = owner_close,
    .describe = describe,
    .budget = budget,
    .create = create,
    .release = release,
    .start = start,
    .stop = stop,
    .import = import,
    .drop = drop,
    .read = read_bytes,
    .write = write_bytes,
    .copy = copy,
    .copy_all = copy_all,
    .fill = fill,
};
