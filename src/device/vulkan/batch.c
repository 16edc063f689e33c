/*
 * vulkan/batch: moves are cut into pieces, and pieces make up turns. The commands of a turn copy
 * its pieces, then copy both ends of each into staging, where a core compares them while the card
 * has the next turn. So each byte goes over the link twice: to compare on the card would need a
 * shader, and a queue that runs it.
 */
#include "device/vulkan/batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define BATCH_TURNS 2
#define BATCH_BYTES (4 * MIB) /* of a turn: large beside a submission, small beside all lanes' */
#define BATCH_PIECES 4096     /* of a turn */

struct piece {
  struct vulkan_place from, to;
  uint64_t size, staged; /* where in the first half of the staging */
  uint32_t move;
};

struct turn {
  char *bytes; /* of both ends, one after the other */
  struct vulkan_place at;
  uint64_t size;
  uint32_t count;
  struct piece pieces[BATCH_PIECES];
};

struct batch {
  struct vulkan_batch with;
  struct vulkan_batch_move *moves;
  uint32_t count, next;
  uint64_t done; /* of moves[next] */
  struct turn turns[BATCH_TURNS];
  VkBufferCopy regions[BATCH_PIECES];
};

/* ---- cutting ---- */

static bool next_piece(struct batch *batch, uint64_t room, struct piece *out) {
  while (batch->next < batch->count && batch->done == batch->moves[batch->next].size) {
    batch->next++;
    batch->done = 0;
  }
  if (batch->next == batch->count)
    return false;
  const struct vulkan_batch_move *move = &batch->moves[batch->next];
  *out = (struct piece){.from = {move->from.buffer, move->from.offset + batch->done},
                        .to = {move->to.buffer, move->to.offset + batch->done},
                        .size = units_min(room, move->size - batch->done),
                        .move = batch->next};
  batch->done += out->size;
  return true;
}

static void cut(struct batch *batch, struct turn *turn) {
  turn->size = turn->count = 0;
  while (turn->count < BATCH_PIECES && turn->size < BATCH_BYTES) {
    struct piece *piece = &turn->pieces[turn->count];
    if (!next_piece(batch, BATCH_BYTES - turn->size, piece))
      break;
    piece->staged = turn->size;
    turn->size += piece->size;
    turn->count++;
  }
}

/* ---- commands ---- */

enum pass { MOVE, READ_SOURCE, READ_TARGET };

static void ends(const struct turn *turn, const struct piece *piece, enum pass pass,
                 struct vulkan_place places[2]) {
  uint64_t half = pass == READ_TARGET ? BATCH_BYTES : 0;
  places[0] = pass == READ_TARGET ? piece->to : piece->from;
  places[1] = piece->to;
  if (pass != MOVE)
    places[1] = (struct vulkan_place){turn->at.buffer, turn->at.offset + half + piece->staged};
}

/* Neighbours between the same two buffers are regions of one command. */
static void record_pass(struct batch *batch, const struct turn *turn, VkCommandBuffer commands,
                        enum pass pass) {
  const struct vulkan_card *card = batch->with.card;
  VkBuffer from = VK_NULL_HANDLE, to = VK_NULL_HANDLE;
  uint32_t count = 0;
  for (uint32_t i = 0; i < turn->count; i++) {
    struct vulkan_place places[2];
    ends(turn, &turn->pieces[i], pass, places);
    if (count && (places[0].buffer != from || places[1].buffer != to)) {
      card->copy(commands, from, to, count, batch->regions);
      count = 0;
    }
    from = places[0].buffer;
    to = places[1].buffer;
    batch->regions[count++] =
        (VkBufferCopy){places[0].offset, places[1].offset, turn->pieces[i].size};
  }
  if (count)
    card->copy(commands, from, to, count, batch->regions);
}

static enum status start(struct batch *batch, unsigned number) {
  const struct turn *turn = &batch->turns[number];
  VkCommandBuffer commands;
  enum status status = vulkan_lane_begin(batch->with.lane, number, &commands);
  if (status)
    return status;
  record_pass(batch, turn, commands, MOVE);
  vulkan_lane_order(batch->with.lane, number);
  record_pass(batch, turn, commands, READ_SOURCE);
  record_pass(batch, turn, commands, READ_TARGET);
  return vulkan_lane_start(batch->with.lane, number);
}

/* ---- turns ---- */

static enum status end(struct batch *batch, unsigned number) {
  struct turn *turn = &batch->turns[number];
  enum status status = vulkan_lane_await(batch->with.lane, number);
  for (uint32_t i = 0; !status && i < turn->count; i++) {
    const struct piece *piece = &turn->pieces[i];
    const char *source = turn->bytes + piece->staged;
    if (memcmp(source, source + BATCH_BYTES, piece->size) != 0)
      batch->moves[piece->move].same = false;
  }
  turn->count = 0;
  return status;
}

static enum status stage(struct batch *batch) {
  for (unsigned i = 0; i < BATCH_TURNS; i++) {
    struct turn *turn = &batch->turns[i];
    turn->bytes = vulkan_staging_take(batch->with.staging, 2 * BATCH_BYTES);
    if (!turn->bytes ||
        !vulkan_staging_find(batch->with.staging, turn->bytes, 2 * BATCH_BYTES, &turn->at))
      return STATUS_INSUFFICIENT_MEMORY;
  }
  return STATUS_OK;
}

static enum status run(struct batch *batch) {
  enum status status = stage(batch);
  unsigned i = 0;
  for (; !status; i = !i) {
    status = end(batch, i);
    if (status)
      break;
    cut(batch, &batch->turns[i]);
    if (!batch->turns[i].count)
      break;
    status = start(batch, i);
  }
  if (!status)
    status = end(batch, !i);
  return vulkan_lane_finish(batch->with.lane, status);
}

enum status vulkan_batch_run(const struct vulkan_batch *with, struct vulkan_batch_move *moves,
                             uint32_t count) {
  struct batch *batch = calloc(1, sizeof *batch);
  if (!batch)
    return STATUS_INTERNAL_ERROR;
  batch->with = *with;
  batch->moves = moves;
  batch->count = count;
  for (uint32_t i = 0; i < count; i++)
    moves[i].same = true;
  enum status status = run(batch);
  for (unsigned i = 0; i < BATCH_TURNS; i++)
    if (batch->turns[i].bytes)
      (void)vulkan_staging_give(with->staging, batch->turns[i].bytes);
  free(batch);
  return status;
}
