/*
 * vulkan/mover: the card, opened when the first segment comes, and a pool of lanes. A segment is a
 * buffer that lies in all of the imported memory. A descriptor says nothing of where it is from,
 * and one of another card, or of another driver, may well be imported, as other bytes: the spec
 * says which card it is by UUID (card.h), and no other is opened.
 *
 * Where a core sees a card's memory as well as its own, as with graphics of a processor and
 * software drivers, it copies from and to it by itself: all that a call starts on the card is over
 * when it returns, and what a core wrote before is there for all that is submitted later.
 *
 * What two cards' drivers can pass on to each other (vulkan/peer), the one with the source writes
 * to the other's memory by itself: a segment is opened for it at the first copy, and stays so.
 *
 * A card that is lost stays so until the process ends: from then on nothing is asked of it, and the
 * worker, which hears DEVICE_UNAVAILABLE, is to be replaced.
 */
#include "device/vulkan/mover.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/stream.h"
#include "base/units.h"
#include "device/vulkan/batch.h"
#include "device/vulkan/loan.h"
#include "device/vulkan/peer.h"

#define MOVER_SEEN (512 * KIB) /* stays in the L2 cache */
#define MOVER_FAR (8 * MIB)    /* a copy so large leaves nothing in the caches anyway */

struct mover {
  struct spec spec;
  pthread_mutex_t lock;     /* over the making of the rest, which happens once */
  struct vulkan_card *card; /* NULL: not yet */
  struct vulkan_staging *staging;
  struct vulkan_lane_pool *pool;
  pthread_mutex_t trial; /* over the pairs */
  struct vulkan_peer_pairs pairs;
  atomic_bool lost;
};

/* A segment as another card has it. */
struct visit {
  const struct mover *by;
  struct vulkan_memory memory; /* empty: it does not reach it */
  struct visit *next;
};

struct segment {
  struct mover *mover;
  uint64_t size;
  struct vulkan_memory memory;
  char *bytes; /* NULL: no core sees them */
  pthread_mutex_t lock;
  struct visit *visits; /* under the lock */
};

enum status vulkan_mover_start(const struct spec *spec, void **out) {
  struct mover *mover = calloc(1, sizeof *mover);
  if (!mover)
    return STATUS_INTERNAL_ERROR;
  mover->spec = *spec;
  pthread_mutex_init(&mover->lock, NULL);
  pthread_mutex_init(&mover->trial, NULL);
  *out = mover;
  return STATUS_OK;
}

void vulkan_mover_stop(void *arg) {
  struct mover *mover = arg;
  vulkan_lane_pool_free(mover->pool);
  vulkan_staging_free(mover->staging);
  vulkan_card_close(mover->card);
  pthread_mutex_destroy(&mover->trial);
  pthread_mutex_destroy(&mover->lock);
  free(mover);
}

/* ---- the card ---- */

static enum status judge(struct mover *mover, enum status status) {
  if (status == STATUS_DEVICE_UNAVAILABLE)
    atomic_store(&mover->lost, true);
  return status;
}

/* Under the lock. */
static enum status open_card(struct mover *mover) {
  enum status status = mover->card ? STATUS_OK : vulkan_card_open(&mover->spec, true, &mover->card);
  if (status == STATUS_DEVICE_NOT_FOUND)
    log_error("device", "%s: no card here says that it is %s: nothing is imported", mover->spec.id,
              mover->spec.uuid[0] ? mover->spec.uuid : "that");
  if (!status && !mover->staging)
    status = vulkan_staging_create(mover->card, &mover->staging);
  if (!status && !mover->pool)
    status = vulkan_lane_pool_create(mover->card, mover->staging, &mover->pool);
  return status;
}

static enum status enter(struct mover *mover) {
  if (atomic_load(&mover->lost))
    return STATUS_DEVICE_UNAVAILABLE;
  pthread_mutex_lock(&mover->lock);
  enum status status = open_card(mover);
  pthread_mutex_unlock(&mover->lock);
  return judge(mover, status);
}

/* ---- segments ---- */

/* A driver that will not is done without. */
static char *map(const struct vulkan_card *card, VkDeviceMemory memory) {
  void *bytes = NULL;
  return card->map(card->device, memory, 0, VK_WHOLE_SIZE, 0, &bytes) ? NULL : bytes;
}

static enum status import(const struct vulkan_card *card, const struct share *share,
                          struct segment *segment) {
  struct share copy;
  enum status status = share_copy(share, &copy);
  if (status)
    return status;
  const struct vulkan_memory_origin from = {VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT,
                                            (int)copy.value, segment->size};
  status = vulkan_memory_import(card, &from, &segment->memory);
  if (!status && card->seen)
    segment->bytes = map(card, segment->memory.memory);
  return status;
}

static void forget(struct segment *segment) {
  for (struct visit *visit = segment->visits, *next; visit; visit = next) {
    next = visit->next;
    vulkan_memory_drop(visit->by->card, &visit->memory);
    free(visit);
  }
  vulkan_memory_drop(segment->mover->card, &segment->memory);
  pthread_mutex_destroy(&segment->lock);
  free(segment);
}

enum status vulkan_mover_import(void *arg, const struct share *share, uint64_t size, void **out) {
  struct mover *mover = arg;
  if (share->kind != SHARE_VULKAN_OPAQUE)
    return STATUS_INVALID_ARGUMENT;
  enum status status = enter(mover);
  if (status)
    return status;
  struct segment *segment = malloc(sizeof *segment);
  if (!segment)
    return STATUS_INTERNAL_ERROR;
  *segment = (struct segment){.mover = mover, .size = size};
  pthread_mutex_init(&segment->lock, NULL);
  status = judge(mover, import(mover->card, share, segment));
  if (status)
    forget(segment);
  else
    *out = segment;
  return status;
}

void vulkan_mover_drop(void *arg, void *memory, uint64_t size) {
  (void)arg;
  (void)size;
  forget(memory);
}

/* ---- segments of other cards ---- */

static bool can_visit(struct mover *mover, const struct mover *other) {
  const struct vulkan_peer_card card = {mover->card, mover->pool};
  const struct vulkan_peer_card far = {other->card, other->pool};
  pthread_mutex_lock(&mover->trial);
  bool found = vulkan_peer_reaches(&mover->pairs, &card, &far);
  pthread_mutex_unlock(&mover->trial);
  return found;
}

/* Under the lock. NULL: there is no memory for one. */
static struct visit *visit_of(struct segment *segment, struct mover *by) {
  struct visit *visit = segment->visits;
  while (visit && visit->by != by)
    visit = visit->next;
  if (visit || !(visit = calloc(1, sizeof *visit)))
    return visit;
  visit->by = by;
  if (can_visit(by, segment->mover))
    (void)vulkan_peer_open(by->card, segment->mover->card, segment->memory.memory, segment->size,
                           &visit->memory);
  visit->next = segment->visits;
  segment->visits = visit;
  return visit;
}

/* The segment for commands of that card; NULL: it cannot. */
static VkBuffer buffer_for(struct segment *segment, struct mover *by) {
  if (segment->mover == by)
    return segment->memory.buffer;
  pthread_mutex_lock(&segment->lock);
  const struct visit *visit = visit_of(segment, by);
  VkBuffer buffer = visit ? visit->memory.buffer : VK_NULL_HANDLE;
  pthread_mutex_unlock(&segment->lock);
  return buffer;
}

bool vulkan_mover_sends(const void *from, void *to) {
  struct mover *mover = ((const struct segment *)from)->mover;
  return !atomic_load(&mover->lost) && buffer_for(to, mover);
}

/* ---- staging ---- */

void *vulkan_mover_stage(void *arg, uint64_t size) {
  struct mover *mover = arg;
  return enter(mover) ? NULL : vulkan_staging_take(mover->staging, size);
}

bool vulkan_mover_unstage(void *arg, void *bytes) {
  struct mover *mover = arg;
  return mover->staging && vulkan_staging_give(mover->staging, bytes);
}

/* ---- bytes that a core sees ---- */

static char *seen(const struct mover *mover, const struct device_range *range) {
  char *bytes = ((const struct segment *)range->segment)->bytes;
  return bytes && !atomic_load(&mover->lost) ? bytes + range->offset : NULL;
}

static void copy_seen(void *to, const void *from, uint64_t size) {
  if (size >= MOVER_FAR)
    stream_copy(to, from, size);
  else
    memcpy(to, from, size);
}

const void *vulkan_mover_peek(void *arg, const struct device_range *range) {
  return seen(arg, range);
}

void *vulkan_mover_poke(void *arg, const struct device_range *range) { return seen(arg, range); }

/* ---- bytes ---- */

static struct vulkan_place at(const struct device_range *range) {
  return (struct vulkan_place){((const struct segment *)range->segment)->memory.buffer,
                               range->offset};
}

static enum status take(struct mover *mover, struct vulkan_lane **lane) {
  enum status status = enter(mover);
  return status ? status : judge(mover, vulkan_lane_take(mover->pool, lane));
}

static enum status give(struct mover *mover, struct vulkan_lane *lane, enum status status) {
  vulkan_lane_give(mover->pool, lane);
  return judge(mover, status);
}

/* Bytes of this process that a copy goes from or to by itself. */
struct reached {
  struct vulkan_loan loan;
  struct vulkan_place at;
  bool lent;
};

static bool reaches(struct mover *mover, const void *bytes, uint64_t size, struct reached *out) {
  out->lent = false;
  if (vulkan_staging_find(mover->staging, bytes, size, &out->at))
    return true;
  out->lent = vulkan_loan_make(mover->card, bytes, size, &out->loan);
  if (out->lent)
    out->at = out->loan.at;
  return out->lent;
}

static enum status done(struct mover *mover, struct reached *reached, enum status status) {
  if (reached->lent)
    vulkan_loan_end(mover->card, &reached->loan);
  return status;
}

enum status vulkan_mover_read(void *arg, const struct device_range *from, void *to) {
  struct mover *mover = arg;
  struct reached reached;
  struct vulkan_lane *lane;
  const char *source = seen(mover, from);
  if (source) {
    copy_seen(to, source, from->size);
    return STATUS_OK;
  }
  enum status status = take(mover, &lane);
  if (status)
    return status;
  if (!reaches(mover, to, from->size, &reached))
    return give(mover, lane, vulkan_lane_read(lane, at(from), from->size, to));
  status = vulkan_lane_send(lane, at(from), reached.at, from->size);
  return give(mover, lane, done(mover, &reached, status));
}

enum status vulkan_mover_write(void *arg, const struct device_range *to, const void *from) {
  struct mover *mover = arg;
  struct reached reached;
  struct vulkan_lane *lane;
  char *target = seen(mover, to);
  if (target) {
    copy_seen(target, from, to->size);
    return STATUS_OK;
  }
  enum status status = take(mover, &lane);
  if (status)
    return status;
  if (!reaches(mover, from, to->size, &reached))
    return give(mover, lane, vulkan_lane_write(lane, at(to), to->size, from));
  status = vulkan_lane_send(lane, reached.at, at(to), to->size);
  return give(mover, lane, done(mover, &reached, status));
}

/* Where a core sees the memory, a piece is a part of it. */
static enum status flow_seen(char *bytes, uint64_t size, const struct device_flow *flow) {
  enum status status = STATUS_OK;
  for (uint64_t done = 0, n; !status && done < size; done += n) {
    n = units_min(MOVER_SEEN, size - done);
    status = flow->each(flow->arg, bytes + done, done, n);
  }
  return status;
}

/* What the caller says is no word on the card. */
struct told {
  const struct device_flow *flow;
  enum status status;
};

static enum status tell(void *arg, void *bytes, uint64_t offset, uint64_t size) {
  struct told *told = arg;
  return told->status = told->flow->each(told->flow->arg, bytes, offset, size);
}

typedef enum status flow_by_lane(struct vulkan_lane *lane, struct vulkan_place place, uint64_t size,
                                 const struct device_flow *flow);

static enum status flow_by(struct mover *mover, flow_by_lane *go, const struct device_range *range,
                           const struct device_flow *flow) {
  struct vulkan_lane *lane;
  struct told told = {.flow = flow};
  const struct device_flow through = {tell, &told};
  char *bytes = seen(mover, range);
  if (bytes)
    return flow_seen(bytes, range->size, flow);
  enum status status = take(mover, &lane);
  if (status)
    return status;
  status = go(lane, at(range), range->size, &through);
  status = give(mover, lane, told.status ? STATUS_OK : status);
  return told.status ? told.status : status;
}

enum status vulkan_mover_feed(void *arg, const struct device_range *to,
                              const struct device_flow *flow) {
  return flow_by(arg, vulkan_lane_feed, to, flow);
}

enum status vulkan_mover_drain(void *arg, const struct device_range *from,
                               const struct device_flow *flow) {
  return flow_by(arg, vulkan_lane_drain, from, flow);
}

enum status vulkan_mover_copy(void *arg, const struct device_range *from,
                              const struct device_range *to) {
  struct mover *mover = arg;
  struct segment *target = to->segment;
  struct vulkan_place place = {buffer_for(target, mover), to->offset};
  struct vulkan_lane *lane;
  enum status status = place.buffer ? take(mover, &lane) : STATUS_INVALID_ARGUMENT;
  if (status)
    return status;
  status = target->mover == mover ? vulkan_lane_copy(lane, at(from), place, to->size)
                                  : vulkan_lane_send(lane, at(from), place, to->size);
  return give(mover, lane, status);
}

enum status vulkan_mover_fill(void *arg, const struct device_range *range, uint8_t value) {
  struct vulkan_lane *lane;
  enum status status = take(arg, &lane);
  return status ? status : give(arg, lane, vulkan_lane_fill(lane, at(range), range->size, value));
}

/* ---- many copies ---- */

static enum status run_batch(const struct vulkan_batch *with, struct device_pair *pairs,
                             uint32_t count) {
  struct vulkan_batch_move *moves = calloc(count, sizeof *moves);
  if (!moves)
    return STATUS_INTERNAL_ERROR;
  for (uint32_t i = 0; i < count; i++)
    moves[i] = (struct vulkan_batch_move){
        .from = at(&pairs[i].from), .to = at(&pairs[i].to), .size = pairs[i].to.size};
  enum status status = vulkan_batch_run(with, moves, count);
  for (uint32_t i = 0; i < count; i++)
    pairs[i].same = moves[i].same;
  free(moves);
  return status;
}

enum status vulkan_mover_copy_all(void *arg, struct device_pair *pairs, uint32_t count) {
  struct mover *mover = arg;
  struct vulkan_lane *lane;
  enum status status = take(mover, &lane);
  if (status)
    return status;
  const struct vulkan_batch with = {mover->card, mover->staging, lane};
  return give(mover, lane, run_batch(&with, pairs, count));
}
