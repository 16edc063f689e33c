/*
 * vulkan/lane: a ring of pieces. While some are on the link the next is filled, or emptied, by the
 * caller's core, and only a piece that is to be used again is waited for. So a piece takes what a
 * core needs for it, or the link, whichever is more, and not their sum with a submission and the
 * wait for it: on an H100 512 KiB take the link 11 us, and a submission of them with the wait 48 to
 * 53. Every call waits for all that it started, so that nothing of it goes on behind its end.
 *
 * A caller's memory is not lent to the card for the time of a call (VK_EXT_external_memory_host):
 * on a real driver to import and free its pages took longer than to copy them, and one transfer
 * did so two thousand times a GiB.
 */
#include "device/vulkan/lane.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define LANES 12 /* those of a transfer, each for some ms, and of who comes meanwhile */
#define LANE_PIECE (512 * KIB) /* so that the ring stays in an L2 cache of 2 MiB */
#define LANE_PIECES 3          /* with the core, on the link, and one whose end is not yet told */
#define LANE_WORD 4            /* what a card fills by */

#define LANE_TURNS (LANE_PIECES + 1)
#define LANE_INSIDE LANE_PIECES /* the turn of what goes on inside the card; without bytes */

struct piece {
  VkCommandBuffer commands;
  char *bytes; /* NULL: not yet needed */
  struct vulkan_place at;
  uint64_t moved; /* the semaphore's value when what was last done with it is over */
};

struct vulkan_lane {
  struct vulkan_card *card;
  struct vulkan_staging *staging;
  unsigned queue;
  VkCommandPool pools[VULKAN_WAYS];
  VkSemaphore semaphore;
  uint64_t started, ended; /* values: of what was submitted last; that is known to be reached */
  struct piece pieces[LANE_TURNS];
  struct vulkan_lane *next;
};

struct vulkan_lane_pool {
  struct vulkan_card *card;
  struct vulkan_staging *staging;
  pthread_mutex_t lock;
  pthread_cond_t given;
  struct vulkan_lane *idle;
  unsigned count;
};

/* ---- pool ---- */

enum status vulkan_lane_pool_create(struct vulkan_card *card, struct vulkan_staging *staging,
                                    struct vulkan_lane_pool **out) {
  struct vulkan_lane_pool *pool = calloc(1, sizeof *pool);
  if (!pool)
    return STATUS_INTERNAL_ERROR;
  pool->card = card;
  pool->staging = staging;
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->given, NULL);
  *out = pool;
  return STATUS_OK;
}

/* Vulkan lets nothing be destroyed: NULL. */
static void lane_free(struct vulkan_lane *lane) {
  struct vulkan_card *card = lane->card;
  for (unsigned i = 0; i < LANE_PIECES; i++)
    if (lane->pieces[i].bytes)
      (void)vulkan_staging_give(lane->staging, lane->pieces[i].bytes);
  card->destroy_semaphore(card->device, lane->semaphore, NULL);
  for (unsigned way = 0; way < VULKAN_WAYS; way++)
    card->destroy_pool(card->device, lane->pools[way], NULL);
  free(lane);
}

void vulkan_lane_pool_free(struct vulkan_lane_pool *pool) {
  if (!pool)
    return;
  for (struct vulkan_lane *lane = pool->idle, *next; lane; lane = next) {
    next = lane->next;
    lane_free(lane);
  }
  pthread_cond_destroy(&pool->given);
  pthread_mutex_destroy(&pool->lock);
  free(pool);
}

static enum status make_commands(struct vulkan_lane *lane, enum vulkan_way way, unsigned count,
                                 struct piece *pieces) {
  struct vulkan_card *card = lane->card;
  const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                        .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT |
                                                 VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                        .queueFamilyIndex = card->ways[way]->index};
  VkCommandBuffer made[LANE_TURNS];
  enum status status = vulkan_load_check(
      "make a pool of commands", card->create_pool(card->device, &pool, NULL, &lane->pools[way]));
  if (status)
    return status;
  const VkCommandBufferAllocateInfo how = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                           .commandPool = lane->pools[way],
                                           .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                           .commandBufferCount = count};
  status = vulkan_load_check("make commands", card->allocate_commands(card->device, &how, made));
  for (unsigned i = 0; !status && i < count; i++)
    pieces[i].commands = made[i];
  return status;
}

static enum status make_semaphore(struct vulkan_lane *lane) {
  const VkSemaphoreTypeCreateInfo counts = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                            .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
  const VkSemaphoreCreateInfo how = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
                                     .pNext = &counts};
  return vulkan_load_check(
      "make a semaphore",
      lane->card->create_semaphore(lane->card->device, &how, NULL, &lane->semaphore));
}

static enum status lane_create(const struct vulkan_lane_pool *pool, unsigned number,
                               struct vulkan_lane **out) {
  struct vulkan_lane *lane = calloc(1, sizeof *lane);
  if (!lane)
    return STATUS_INTERNAL_ERROR;
  lane->card = pool->card;
  lane->queue = number;
  lane->staging = pool->staging;
  enum status status = make_commands(lane, VULKAN_LINK, LANE_PIECES, lane->pieces);
  if (!status)
    status = make_commands(lane, VULKAN_INSIDE, 1, &lane->pieces[LANE_INSIDE]);
  if (!status)
    status = make_semaphore(lane);
  if (status)
    lane_free(lane);
  else
    *out = lane;
  return status;
}

enum status vulkan_lane_take(struct vulkan_lane_pool *pool, struct vulkan_lane **out) {
  unsigned number = 0;
  pthread_mutex_lock(&pool->lock);
  while (!pool->idle && pool->count == LANES)
    pthread_cond_wait(&pool->given, &pool->lock);
  struct vulkan_lane *lane = pool->idle;
  if (lane)
    pool->idle = lane->next;
  else
    number = pool->count++;
  pthread_mutex_unlock(&pool->lock);
  enum status status = lane ? STATUS_OK : lane_create(pool, number, &lane);
  if (!status) {
    *out = lane;
    return STATUS_OK;
  }
  pthread_mutex_lock(&pool->lock);
  pool->count--;
  pthread_cond_signal(&pool->given);
  pthread_mutex_unlock(&pool->lock);
  return status;
}

void vulkan_lane_give(struct vulkan_lane_pool *pool, struct vulkan_lane *lane) {
  pthread_mutex_lock(&pool->lock);
  lane->next = pool->idle;
  pool->idle = lane;
  pthread_cond_signal(&pool->given);
  pthread_mutex_unlock(&pool->lock);
}

/* ---- commands ---- */

/* What was written before, by whom ever, is there; what is written now, will be. */
static void order(const struct vulkan_card *card, VkCommandBuffer commands,
                  VkPipelineStageFlags before, VkPipelineStageFlags after) {
  const VkMemoryBarrier all = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
                               .dstAccessMask =
                                   VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT};
  card->barrier(commands, before, after, 0, 1, &all, 0, NULL, 0, NULL);
}

enum status vulkan_lane_begin(struct vulkan_lane *lane, unsigned turn, VkCommandBuffer *out) {
  VkCommandBuffer commands = lane->pieces[turn].commands;
  const VkCommandBufferBeginInfo how = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
  enum status status = vulkan_load_check("begin a copy", lane->card->begin(commands, &how));
  if (!status)
    order(lane->card, commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT);
  *out = commands;
  return status;
}

void vulkan_lane_order(struct vulkan_lane *lane, unsigned turn) {
  order(lane->card, lane->pieces[turn].commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
        VK_PIPELINE_STAGE_TRANSFER_BIT);
}

enum status vulkan_lane_start(struct vulkan_lane *lane, unsigned turn) {
  struct piece *piece = &lane->pieces[turn];
  enum vulkan_way way = turn == LANE_INSIDE ? VULKAN_INSIDE : VULKAN_LINK;
  const struct vulkan_submit submit = {way, lane->queue, piece->commands, lane->semaphore,
                                       lane->started + 1};
  order(lane->card, piece->commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
        VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_ALL_COMMANDS_BIT);
  enum status status = vulkan_load_check("write down a copy", lane->card->end(piece->commands));
  if (!status)
    status = vulkan_card_submit(lane->card, &submit);
  if (!status)
    piece->moved = ++lane->started;
  return status;
}

static enum status wait_until(struct vulkan_lane *lane, uint64_t value) {
  const VkSemaphoreWaitInfo what = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                    .semaphoreCount = 1,
                                    .pSemaphores = &lane->semaphore,
                                    .pValues = &value};
  if (value <= lane->ended)
    return STATUS_OK;
  enum status status =
      vulkan_load_check("wait for a copy", lane->card->wait(lane->card->device, &what, UINT64_MAX));
  if (!status)
    lane->ended = value;
  return status;
}

enum status vulkan_lane_await(struct vulkan_lane *lane, unsigned turn) {
  return wait_until(lane, lane->pieces[turn].moved);
}

enum status vulkan_lane_finish(struct vulkan_lane *lane, enum status status) {
  enum status ended = wait_until(lane, lane->started);
  return status ? status : ended;
}

static enum status start_copy(struct vulkan_lane *lane, unsigned turn,
                              const struct vulkan_place *from, const struct vulkan_place *to,
                              uint64_t size) {
  const VkBufferCopy what = {from->offset, to->offset, size};
  VkCommandBuffer commands;
  enum status status = vulkan_lane_begin(lane, turn, &commands);
  if (status)
    return status;
  lane->card->copy(commands, from->buffer, to->buffer, 1, &what);
  return vulkan_lane_start(lane, turn);
}

/* ---- bytes ---- */

/* The piece that such a part of the bytes goes through, with nothing under way in it. */
static enum status take_piece(struct vulkan_lane *lane, unsigned i) {
  struct piece *piece = &lane->pieces[i];
  if (!piece->bytes)
    piece->bytes = vulkan_staging_take(lane->staging, LANE_PIECE);
  if (!piece->bytes || !vulkan_staging_find(lane->staging, piece->bytes, LANE_PIECE, &piece->at))
    return STATUS_INSUFFICIENT_MEMORY;
  return vulkan_lane_await(lane, i);
}

static unsigned piece_of(uint64_t done) { return (unsigned)(done / LANE_PIECE % LANE_PIECES); }

enum status vulkan_lane_feed(struct vulkan_lane *lane, struct vulkan_place to, uint64_t size,
                             const struct device_flow *flow) {
  enum status status = STATUS_OK;
  for (uint64_t done = 0, n; !status && done < size; done += n, to.offset += n) {
    unsigned i = piece_of(done);
    struct piece *piece = &lane->pieces[i];
    n = units_min(LANE_PIECE, size - done);
    status = take_piece(lane, i);
    if (!status)
      status = flow->each(flow->arg, piece->bytes, done, n);
    if (!status)
      status = start_copy(lane, i, &piece->at, &to, n);
  }
  return vulkan_lane_finish(lane, status);
}

/* What was asked for ahead of the bytes that the caller has. */
static enum status ask(struct vulkan_lane *lane, struct vulkan_place from, uint64_t asked,
                       uint64_t size) {
  unsigned i = piece_of(asked);
  enum status status = take_piece(lane, i);
  from.offset += asked;
  return status
             ? status
             : start_copy(lane, i, &from, &lane->pieces[i].at, units_min(LANE_PIECE, size - asked));
}

enum status vulkan_lane_drain(struct vulkan_lane *lane, struct vulkan_place from, uint64_t size,
                              const struct device_flow *flow) {
  enum status status = STATUS_OK;
  uint64_t asked = 0;
  for (uint64_t done = 0, n; !status && done < size; done += n) {
    unsigned i = piece_of(done);
    n = units_min(LANE_PIECE, size - done);
    for (; !status && asked < size && asked - done < LANE_PIECES * LANE_PIECE; asked += LANE_PIECE)
      status = ask(lane, from, asked, size);
    if (!status)
      status = vulkan_lane_await(lane, i);
    if (!status)
      status = flow->each(flow->arg, lane->pieces[i].bytes, done, n);
  }
  return vulkan_lane_finish(lane, status);
}

static enum status put(void *arg, void *bytes, uint64_t offset, uint64_t size) {
  memcpy(bytes, (const char *)arg + offset, size);
  return STATUS_OK;
}

static enum status get(void *arg, void *bytes, uint64_t offset, uint64_t size) {
  memcpy((char *)arg + offset, bytes, size);
  return STATUS_OK;
}

enum status vulkan_lane_write(struct vulkan_lane *lane, struct vulkan_place to, uint64_t size,
                              const void *bytes) {
  const struct device_flow flow = {put, (void *)(uintptr_t)bytes};
  return vulkan_lane_feed(lane, to, size, &flow);
}

enum status vulkan_lane_read(struct vulkan_lane *lane, struct vulkan_place from, uint64_t size,
                             void *bytes) {
  const struct device_flow flow = {get, bytes};
  return vulkan_lane_drain(lane, from, size, &flow);
}

enum status vulkan_lane_send(struct vulkan_lane *lane, struct vulkan_place from,
                             struct vulkan_place to, uint64_t size) {
  return vulkan_lane_finish(lane, start_copy(lane, 0, &from, &to, size));
}

enum status vulkan_lane_copy(struct vulkan_lane *lane, struct vulkan_place from,
                             struct vulkan_place to, uint64_t size) {
  return vulkan_lane_finish(lane, start_copy(lane, LANE_INSIDE, &from, &to, size));
}

/* A card fills whole words; the bytes before and behind them are written. */
static enum status fill_words(struct vulkan_lane *lane, struct vulkan_place to, uint64_t size,
                              uint8_t value) {
  VkCommandBuffer commands;
  enum status status = vulkan_lane_begin(lane, LANE_INSIDE, &commands);
  if (status)
    return status;
  lane->card->fill(commands, to.buffer, to.offset, size, value * UINT32_C(0x01010101));
  return vulkan_lane_finish(lane, vulkan_lane_start(lane, LANE_INSIDE));
}

enum status vulkan_lane_fill(struct vulkan_lane *lane, struct vulkan_place to, uint64_t size,
                             uint8_t value) {
  char edge[LANE_WORD];
  uint64_t before = units_min(units_up(to.offset, LANE_WORD) - to.offset, size);
  uint64_t words = (size - before) / LANE_WORD * LANE_WORD, behind = size - before - words;
  enum status status = STATUS_OK;
  memset(edge, value, sizeof edge);
  if (before)
    status = vulkan_lane_write(lane, to, before, edge);
  to.offset += before;
  if (!status && words)
    status = fill_words(lane, to, words, value);
  to.offset += words;
  return status || !behind ? status : vulkan_lane_write(lane, to, behind, edge);
}
