/*
 * vulkan/peer: the trial. A piece of the other card's memory is made and imported as segments are,
 * and then has one pattern from its own card that this card must read, and another from this card
 * that its own must read.
 */
#include "device/vulkan/peer.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/units.h"

#define PEER_OPAQUE VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT
#define PEER_DMABUF VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT
#define PEER_TRIAL (256 * KIB)
#define PEER_WORDS (PEER_TRIAL / sizeof(uint32_t))

enum status vulkan_peer_open(const struct vulkan_card *card, const struct vulkan_card *other,
                             VkDeviceMemory memory, uint64_t size, struct vulkan_memory *out) {
  struct vulkan_memory_origin from = {.kind = PEER_DMABUF, .size = size};
  enum status status = vulkan_memory_export(other, memory, PEER_DMABUF, &from.fd);
  return status ? status : vulkan_memory_import(card, &from, out);
}

/* ---- the trial ---- */

/* The same piece of memory, as its own card has it, and as the other does. */
struct trial {
  struct vulkan_lane *own, *far;
  struct vulkan_memory here, there;
  uint32_t bytes[PEER_WORDS], back[PEER_WORDS];
};

/* No two words of a pattern are the same, nor of two. */
static void fill(struct trial *trial, uint32_t pattern) {
  for (uint32_t i = 0; i < PEER_WORDS; i++)
    trial->bytes[i] = (i + pattern * (uint32_t)PEER_WORDS) * UINT32_C(2654435761);
}

static enum status read_back(struct trial *trial, struct vulkan_lane *lane, VkBuffer buffer) {
  memset(trial->back, 0, sizeof trial->back);
  enum status status =
      vulkan_lane_read(lane, (struct vulkan_place){buffer, 0}, PEER_TRIAL, trial->back);
  bool same = !status && !memcmp(trial->bytes, trial->back, PEER_TRIAL);
  return status || same ? status : STATUS_INVALID_ARGUMENT;
}

static enum status go_across(struct trial *trial) {
  const struct vulkan_place here = {trial->here.buffer, 0}, there = {trial->there.buffer, 0};
  fill(trial, 1);
  enum status status = vulkan_lane_write(trial->own, here, PEER_TRIAL, trial->bytes);
  if (!status)
    status = read_back(trial, trial->far, there.buffer);
  fill(trial, 2);
  if (!status)
    status = vulkan_lane_write(trial->far, there, PEER_TRIAL, trial->bytes);
  return status ? status : read_back(trial, trial->own, here.buffer);
}

static enum status make_segment(const struct vulkan_card *card, struct vulkan_memory *out) {
  struct vulkan_memory_origin from = {.kind = PEER_OPAQUE, .size = PEER_TRIAL};
  VkDeviceMemory made;
  enum status status = vulkan_memory_make(card, PEER_TRIAL, &made);
  if (status)
    return status;
  status = vulkan_memory_export(card, made, PEER_OPAQUE, &from.fd);
  card->free_memory(card->device, made, NULL);
  return status ? status : vulkan_memory_import(card, &from, out);
}

static enum status try_memory(struct trial *trial, const struct vulkan_card *card,
                              const struct vulkan_card *other) {
  enum status status = make_segment(other, &trial->here);
  if (status)
    return status;
  status = vulkan_peer_open(card, other, trial->here.memory, PEER_TRIAL, &trial->there);
  if (!status) {
    status = go_across(trial);
    vulkan_memory_drop(card, &trial->there);
  }
  vulkan_memory_drop(other, &trial->here);
  return status;
}

static enum status try_lanes(struct trial *trial, const struct vulkan_peer_card *card,
                             const struct vulkan_peer_card *other) {
  enum status status = vulkan_lane_take(other->pool, &trial->own);
  if (status)
    return status;
  status = vulkan_lane_take(card->pool, &trial->far);
  if (!status) {
    status = try_memory(trial, card->card, other->card);
    vulkan_lane_give(card->pool, trial->far);
  }
  vulkan_lane_give(other->pool, trial->own);
  return status;
}

static bool prove(const struct vulkan_peer_card *card, const struct vulkan_peer_card *other) {
  if (!(card->card->shared & other->card->shared & PEER_DMABUF))
    return false;
  struct trial *trial = calloc(1, sizeof *trial);
  enum status status = trial ? try_lanes(trial, card, other) : STATUS_INTERNAL_ERROR;
  free(trial);
  if (status == STATUS_INVALID_ARGUMENT)
    log_warning("device", "a card imports another's memory and has other bytes there: what goes "
                          "from one to the other is staged");
  return !status;
}

bool vulkan_peer_reaches(struct vulkan_peer_pairs *pairs, const struct vulkan_peer_card *card,
                         const struct vulkan_peer_card *other) {
  for (unsigned i = 0; i < pairs->count; i++)
    if (pairs->all[i].other == other->card)
      return pairs->all[i].reaches;
  if (pairs->count == VULKAN_PEERS)
    return false;
  struct vulkan_peer_pair *pair = &pairs->all[pairs->count++];
  *pair = (struct vulkan_peer_pair){other->card, prove(card, other)};
  return pair->reaches;
}
