/*
 * device: backends for callers. A device holds its backend's table, or wrap's around it, and two
 * queues: its own owner thread, and the reaper that all share, to which release and commit go in
 * pieces so that nobody waits behind 100 GiB.
 */
#include "device/device.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/os_alone.h"
#include "base/os_memfd.h"
#include "base/units.h"
#include "device/backend.h"
#include "device/probe.h"
#include "device/reach.h"
#include "device/wrap.h"

#define DEVICE_PIECE (256 * MIB) /* ~80 ms of committing */
#define DEVICE_FILL (64 * KIB)   /* of the default fill */
#define DEVICE_SETTLE_NS 7500    /* a MiB: H100s and H200s clear one in 3.5 to 6 us */

struct device {
  struct backend table;
  void *owner;
  struct device_info info;
  struct queue *thread, *reaper;
  atomic_uint_fast64_t busy_since;
  struct task settle;
  uint64_t settles_at; /* the reaper's: when all that went back should be clear */
};

struct device_mover {
  struct backend table;
  void *mover;
};

struct device_segment {
  struct device_mover *mover;
  void *segment;
  uint64_t size;
  struct share fixed; /* of host memory that nobody writes any more; else SHARE_NONE */
  struct reach_list reaches;
};

/* The table for a spec; false: there is no such backend. */
static bool find_table(const struct spec *spec, struct backend *out) {
  struct backend found;
  if (!probe_table(spec, &found))
    return false;
  assert(found.open && found.close && found.describe && found.budget && found.create &&
         found.release);
  assert(found.start && found.stop && found.import && found.drop && found.read && found.write);
  if (spec_wants_wrap(spec))
    wrap_table(&found, out);
  else
    *out = found;
  return true;
}

/* ---- owner half ---- */

static enum status describe(struct device *device, const struct spec *spec) {
  struct device_info *info = &device->info;
  snprintf(info->id, sizeof info->id, "%s", spec->id);
  snprintf(info->backend, sizeof info->backend, "%s", device->table.name);
  info->share = device->table.share;
  info->fresh_is_zero = device->table.fresh_is_zero;
  info->host_memory = device->table.host_memory;
  return device->table.describe(device->owner, info);
}

static void settle(struct task *task) {
  struct device *device = (struct device *)((char *)task - offsetof(struct device, settle));
  atomic_store(&device->busy_since, clock_now());
  device->table.settle(device->owner);
  atomic_store(&device->busy_since, 0);
}

enum status device_open(const struct spec *spec, struct queue *reaper, struct device **out) {
  struct device *device = calloc(1, sizeof *device);
  if (!device)
    return STATUS_INTERNAL_ERROR;
  device->reaper = reaper;
  device->settle.run = settle;
  enum status status = find_table(spec, &device->table) ? STATUS_OK : STATUS_DEVICE_NOT_FOUND;
  bool opened = !status && !(status = device->table.open(spec, &device->owner));
  if (opened)
    status = describe(device, spec);
  if (!status)
    status = queue_create("owner", &device->thread);
  if (!status) {
    *out = device;
    return STATUS_OK;
  }
  if (opened)
    device->table.close(device->owner);
  free(device);
  return status;
}

void device_close(struct device *device) {
  if (!device)
    return;
  queue_free(device->thread);
  device->table.close(device->owner);
  free(device);
}

const struct device_info *device_info(const struct device *device) { return &device->info; }

static enum status read_budget(struct device *device, struct device_budget *out) {
  struct device_budget budget = {0};
  enum status status = device->table.budget(device->owner, &budget);
  budget.sampled_ns = clock_now();
  if (!status)
    *out = budget;
  return status;
}

static enum status read_resident(struct device *device, struct device_call *call) {
  if (device->table.resident)
    return device->table.resident(device->owner, &call->share, &call->bytes);
  call->bytes = call->size;
  return STATUS_OK;
}

static enum status commit_piece(struct device *device, struct device_call *call, uint64_t size) {
  if (!device->table.commit)
    return STATUS_OK;
  return device->table.commit(device->owner, &call->share, call->offset, size);
}

/* Nobody changes its size, and, unless the caller has more to say, nobody adds a seal. */
static enum status create(struct device *device, struct device_call *call) {
  struct share share = {.kind = SHARE_NONE};
  bool shorter = call->file_bytes && device->table.host_memory;
  enum status status =
      device->table.create(device->owner, shorter ? call->file_bytes : call->size, &share);
  if (!status && share.kind == SHARE_MEMFD && !call->open &&
      (status = os_memfd_seal(&share, OS_MEMFD_SEAL_FINAL)))
    device->table.release(device->owner, &share, call->size, false);
  if (!status)
    call->share = share;
  return status;
}

/* Pages of this machine go back one by one, in one call of the kernel. */
static void release(struct device *device, struct device_call *call) {
  bool long_one = call->share.kind == SHARE_MEMFD && call->size >= DEVICE_PIECE;
  struct os_alone alone;
  bool is_alone = long_one && os_alone_begin(&alone);
  device->table.release(device->owner, &call->share, call->size, call->exported);
  if (is_alone)
    os_alone_end(&alone);
}

static enum status run_whole(struct device *device, struct device_call *call) {
  switch (call->action) {
  case DEVICE_CREATE:
    return create(device, call);
  case DEVICE_RELEASE:
    release(device, call);
    return STATUS_OK;
  case DEVICE_COMMIT:
    return commit_piece(device, call, call->size);
  case DEVICE_RESIDENT:
    return read_resident(device, call);
  case DEVICE_BUDGET:
    return read_budget(device, &call->budget);
  }
  return STATUS_INTERNAL_ERROR;
}

enum status device_run(struct device *device, struct device_call *call) {
  return call->status = run_whole(device, call);
}

static void run_on_owner(struct task *task) {
  struct device_call *call =
      (struct device_call *)((char *)task - offsetof(struct device_call, task));
  struct device *device = call->device;
  atomic_store(&device->busy_since, clock_now());
  call->status = run_whole(device, call);
  atomic_store(&device->busy_since, 0);
  call->done(call);
}

static void settle_later(struct device *device, uint64_t size) {
  uint64_t from = units_max(device->settles_at, clock_now());
  if (!device->table.settle)
    return;
  device->settles_at = from + size / MIB * DEVICE_SETTLE_NS;
  queue_post_at(device->thread, &device->settle, device->settles_at);
}

/* A piece, and back to the end of the queue. What a commit that fails had committed stays: its
 * segment is given back, or keeps pages that are its own. */
static void run_on_reaper(struct task *task) {
  struct device_call *call =
      (struct device_call *)((char *)task - offsetof(struct device_call, task));
  struct device *device = call->device;
  uint64_t piece = call->size;
  if (call->action == DEVICE_COMMIT)
    piece = units_min(piece, DEVICE_PIECE);
  call->status =
      call->action == DEVICE_COMMIT ? commit_piece(device, call, piece) : run_whole(device, call);
  if (call->action == DEVICE_COMMIT && !call->status && piece < call->size) {
    call->offset += piece;
    call->size -= piece;
    queue_post(device->reaper, &call->task);
    return;
  }
  if (call->action == DEVICE_RELEASE)
    settle_later(device, call->size);
  call->done(call);
}

void device_start(struct device *device, struct device_call *call) {
  bool reaped = call->action == DEVICE_RELEASE || call->action == DEVICE_COMMIT;
  call->device = device;
  call->task = (struct task){.run = reaped ? run_on_reaper : run_on_owner};
  queue_post(reaped ? device->reaper : device->thread, &call->task);
}

uint64_t device_busy_since(const struct device *device) { return atomic_load(&device->busy_since); }

uint32_t device_processes(struct device *device, struct device_process *out, uint32_t max) {
  return device->table.processes ? device->table.processes(device->owner, out, max) : 0;
}

/* ---- mover half ---- */

const char *device_path_name(enum device_path path) {
  static const char *const names[] = {"same-device", "peer", "pinned", "staged"};
  return names[path];
}

bool device_makes_context(const struct spec *spec) {
  const struct backend *backend = probe_backend(spec->backend);
  return backend && backend->context;
}

enum status device_mover_open(const struct spec *spec, struct device_mover **out) {
  struct device_mover *mover = calloc(1, sizeof *mover);
  if (!mover)
    return STATUS_INTERNAL_ERROR;
  enum status status = find_table(spec, &mover->table) ? mover->table.start(spec, &mover->mover)
                                                       : STATUS_DEVICE_NOT_FOUND;
  if (status)
    free(mover);
  else
    *out = mover;
  return status;
}

void device_mover_close(struct device_mover *mover) {
  if (!mover)
    return;
  mover->table.stop(mover->mover);
  free(mover);
}

enum status device_import(struct device_mover *mover, const struct share *share, uint64_t size,
                          struct device_segment **out) {
  struct device_segment *segment = malloc(sizeof *segment);
  if (!segment)
    return STATUS_INTERNAL_ERROR;
  *segment = (struct device_segment){.mover = mover, .size = size};
  enum status status = mover->table.import(mover->mover, share, size, &segment->segment);
  if (status) {
    free(segment);
    return status;
  }
  if (mover->table.host_memory && os_memfd_is_sealed(share, OS_MEMFD_SEAL_WRITE))
    (void)share_copy(share, &segment->fixed);
  reach_init(&segment->reaches);
  *out = segment;
  return STATUS_OK;
}

static void drop_reach(struct reach *reach, uint64_t size) {
  reach->mover->table.drop(reach->mover->mover, reach->segment, size);
  free(reach);
}

void device_drop(struct device_segment *segment) {
  if (!segment)
    return;
  for (struct reach *reach; (reach = reach_take(&segment->reaches));)
    drop_reach(reach, segment->size);
  segment->mover->table.drop(segment->mover->mover, segment->segment, segment->size);
  share_close(&segment->fixed);
  reach_done(&segment->reaches);
  free(segment);
}

uint64_t device_segment_size(const struct device_segment *segment) { return segment->size; }

/* ---- what a device reaches ---- */

void device_reach(struct device_segment *from, const struct device_segment *to) {
  struct device_mover *mover = to->mover;
  if (!mover->table.reaches_host || from->fixed.kind == SHARE_NONE ||
      reach_find(&from->reaches, mover))
    return;
  struct reach *reach = calloc(1, sizeof *reach);
  if (!reach)
    return;
  reach->mover = mover;
  if (mover->table.import(mover->mover, &from->fixed, from->size, &reach->segment))
    free(reach);
  else if (!reach_add(&from->reaches, reach))
    drop_reach(reach, from->size);
}

/* From one device to another of its backend. */
static bool sends(const struct device_segment *from, const struct device_segment *to) {
  const struct backend *a = &from->mover->table, *b = &to->mover->table;
  return a->sends && a->sends == b->sends && a->sends(from->segment, to->segment);
}

enum device_path device_path(struct device_segment *from, const struct device_segment *to) {
  if (from->mover == to->mover)
    return DEVICE_PATH_SAME;
  if (reach_find(&from->reaches, to->mover))
    return DEVICE_PATH_PINNED;
  bool linked = !from->mover->table.host_memory || !to->mover->table.host_memory;
  return linked && !sends(from, to) ? DEVICE_PATH_STAGED : DEVICE_PATH_PEER;
}

bool device_copies(struct device_segment *from, const struct device_segment *to) {
  return reach_find(&from->reaches, to->mover) || sends(from, to) ||
         (from->mover == to->mover && to->mover->table.copy);
}

bool device_flows(const struct device_segment *from, const struct device_segment *to) {
  const struct backend *a = &from->mover->table, *b = &to->mover->table;
  return (a->host_memory && b->feed) || (b->host_memory && a->drain);
}

void *device_stage(const struct device_segment *segment, uint64_t size) {
  const struct device_mover *mover = segment->mover;
  void *bytes = mover->table.stage ? mover->table.stage(mover->mover, size) : NULL;
  return bytes ? bytes : malloc(size);
}

void device_unstage(const struct device_segment *segment, void *bytes) {
  const struct device_mover *mover = segment->mover;
  if (bytes && (!mover->table.unstage || !mover->table.unstage(mover->mover, bytes)))
    free(bytes);
}

static struct device_range range_of(struct device_place place, uint64_t size) {
  return (struct device_range){place.segment->segment, place.offset, size};
}

enum status device_read(struct device_place from, uint64_t size, void *to) {
  const struct device_mover *mover = from.segment->mover;
  struct device_range range = range_of(from, size);
  return mover->table.read(mover->mover, &range, to);
}

/* What a device reaches is mapped for it, all of it. */
const void *device_peek(struct device_place from, uint64_t size) {
  struct device_range range = range_of(from, size);
  const struct device_mover *mover = from.segment->mover;
  const struct reach *reach = reach_any(&from.segment->reaches);
  if (reach) {
    mover = reach->mover;
    range.segment = reach->segment;
  }
  return mover->table.peek ? mover->table.peek(mover->mover, &range) : NULL;
}

enum status device_write(struct device_place to, uint64_t size, const void *from) {
  const struct device_mover *mover = to.segment->mover;
  struct device_range range = range_of(to, size);
  return mover->table.write(mover->mover, &range, from);
}

enum status device_feed(struct device_place to, uint64_t size, const struct device_flow *flow) {
  struct device_range range = range_of(to, size);
  return to.segment->mover->table.feed(to.segment->mover->mover, &range, flow);
}

enum status device_drain(struct device_place from, uint64_t size, const struct device_flow *flow) {
  struct device_range range = range_of(from, size);
  return from.segment->mover->table.drain(from.segment->mover->mover, &range, flow);
}

bool device_is_host(const struct device_segment *segment) {
  return segment->mover->table.host_memory;
}

bool device_overlap(struct device_place a, struct device_place b, uint64_t size) {
  return a.segment == b.segment && a.offset < b.offset + size && b.offset < a.offset + size;
}

static void *poke(struct device_place to, uint64_t size) {
  struct device_range range = range_of(to, size);
  const struct device_mover *mover = to.segment->mover;
  return mover->table.poke ? mover->table.poke(mover->mover, &range) : NULL;
}

void device_bring(struct device_place to, uint64_t size) {
  struct device_range range = range_of(to, size);
  if (to.segment->mover->table.bring)
    to.segment->mover->table.bring(to.segment->mover->mover, &range);
}

/* What is seen at one end needs no staging; what is seen at both, the card copies best. */
static enum status copy_staged(const struct device_copy *copy) {
  const void *source = device_peek(copy->from, copy->size);
  void *target = poke(copy->to, copy->size);
  if (source && (!target || device_is_host(copy->from.segment)))
    return device_write(copy->to, copy->size, source);
  if (target)
    return device_read(copy->from, copy->size, target);
  if (!copy->staging)
    return STATUS_INVALID_ARGUMENT;
  enum status status = device_read(copy->from, copy->size, copy->staging);
  return status ? status : device_write(copy->to, copy->size, copy->staging);
}

enum status device_copy(const struct device_copy *copy) {
  if (device_overlap(copy->from, copy->to, copy->size))
    return STATUS_INVALID_ARGUMENT;
  if (!device_copies(copy->from.segment, copy->to.segment))
    return copy_staged(copy);
  const struct reach *reach = reach_find(&copy->from.segment->reaches, copy->to.segment->mover);
  const struct device_mover *mover = reach ? reach->mover : copy->from.segment->mover;
  struct device_range from = range_of(copy->from, copy->size);
  struct device_range to = range_of(copy->to, copy->size);
  if (reach)
    from.segment = reach->segment;
  return mover->table.copy(mover->mover, &from, &to);
}

static enum status copy_pairs(const struct device_mover *mover, struct device_move *moves,
                              uint32_t count) {
  struct device_pair *pairs = calloc(count, sizeof *pairs);
  if (!pairs)
    return STATUS_INTERNAL_ERROR;
  for (uint32_t i = 0; i < count; i++)
    pairs[i] = (struct device_pair){.from = range_of(moves[i].from, moves[i].size),
                                    .to = range_of(moves[i].to, moves[i].size)};
  enum status status = mover->table.copy_all(mover->mover, pairs, count);
  for (uint32_t i = 0; i < count; i++)
    moves[i].same = !status && pairs[i].same;
  free(pairs);
  return status;
}

enum status device_copy_all(struct device_move *moves, uint32_t count) {
  const struct device_mover *mover = count ? moves[0].from.segment->mover : NULL;
  if (!mover || !mover->table.copy_all)
    return STATUS_INVALID_ARGUMENT;
  for (uint32_t i = 0; i < count; i++)
    if (moves[i].from.segment->mover != mover || moves[i].to.segment->mover != mover)
      return STATUS_INVALID_ARGUMENT;
  return copy_pairs(mover, moves, count);
}

bool device_sums(const struct device_segment *segment) { return segment->mover->table.sum; }

enum status device_sum(struct device_place at, uint64_t size, uint64_t chunk, uint64_t *sums) {
  const struct device_mover *mover = at.segment->mover;
  struct device_range range = range_of(at, size);
  return mover->table.sum(mover->mover, &range, chunk, sums);
}

enum status device_fill(struct device_place to, uint64_t size, uint8_t value) {
  const struct device_mover *mover = to.segment->mover;
  struct device_range range = range_of(to, size);
  if (mover->table.fill)
    return mover->table.fill(mover->mover, &range, value);
  char bytes[DEVICE_FILL];
  enum status status = STATUS_OK;
  memset(bytes, value, sizeof bytes);
  for (uint64_t n; !status && size; to.offset += n, size -= n) {
    n = units_min(size, sizeof bytes);
    status = device_write(to, n, bytes);
  }
  return status;
}
