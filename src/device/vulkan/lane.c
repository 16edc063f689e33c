/*
 * vulkan/lane: while one piece is on the link, the other is filled, or emptied, by the caller's
 * core. Memory that is lent to the card needs no core at all. Every call waits for all that it
 * started, so that nothing of it goes on behind its end, and a caller's memory is the card's no
 * longer than the call lasts: whoever mapped other pages beneath it meanwhile would not be seen.
 */
#include "device/vulkan/lane.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define LANES 8        /* as many cores as fill a link, and some for who copies inside */
#define LANE_PIECE MIB /* half of it stays in the L2 cache */
#define LANE_PIECES 2
#define LANE_LENT (256 * KIB) /* below, lending costs more than a core's copy */
#define LANE_WORD 4           /* what a card fills by */

struct piece {
  VkCommandBuffer commands;
  VkDeviceMemory memory; /* NULL: not yet needed */
  VkBuffer buffer;
  char *bytes;
  uint64_t moved; /* the semaphore's value when what was last done with it is over */
};

struct vulkan_lane {
  struct vulkan_card *card;
  VkCommandPool pool;
  VkSemaphore semaphore;
  uint64_t started;
  struct piece pieces[LANE_PIECES];
  struct vulkan_lane *next;
};

struct vulkan_lane_pool {
  struct vulkan_card *card;
  pthread_mutex_t lock;
  pthread_cond_t given;
  struct vulkan_lane *idle;
  unsigned count;
};

/* ---- pool ---- */

enum status vulkan_lane_pool_create(struct vulkan_card *card, struct vulkan_lane_pool **out) {
  struct vulkan_lane_pool *pool = calloc(1, sizeof *pool);
  if (!pool)
    return STATUS_INTERNAL_ERROR;
  pool->card = card;
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->given, NULL);
  *out = pool;
  return STATUS_OK;
}

/* Vulkan lets nothing be destroyed: NULL. */
static void lane_free(struct vulkan_lane *lane) {
  struct vulkan_card *card = lane->card;
  for (unsigned i = 0; i < LANE_PIECES; i++) {
    card->destroy_buffer(card->device, lane->pieces[i].buffer, NULL);
    card->free_memory(card->device, lane->pieces[i].memory, NULL);
  }
  card->destroy_semaphore(card->device, lane->semaphore, NULL);
  card->destroy_pool(card->device, lane->pool, NULL);
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

static enum status make_commands(struct vulkan_lane *lane) {
  struct vulkan_card *card = lane->card;
  const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                        .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT |
                                                 VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                        .queueFamilyIndex = card->family};
  VkCommandBuffer made[LANE_PIECES];
  enum status status = vulkan_load_check("make a pool of commands",
                                         card->create_pool(card->device, &pool, NULL, &lane->pool));
  if (status)
    return status;
  const VkCommandBufferAllocateInfo how = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                           .commandPool = lane->pool,
                                           .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                           .commandBufferCount = LANE_PIECES};
  status = vulkan_load_check("make commands", card->allocate_commands(card->device, &how, made));
  for (unsigned i = 0; !status && i < LANE_PIECES; i++)
    lane->pieces[i].commands = made[i];
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

static enum status lane_create(struct vulkan_card *card, struct vulkan_lane **out) {
  struct vulkan_lane *lane = calloc(1, sizeof *lane);
  if (!lane)
    return STATUS_INTERNAL_ERROR;
  lane->card = card;
  enum status status = make_commands(lane);
  if (!status)
    status = make_semaphore(lane);
  if (status)
    lane_free(lane);
  else
    *out = lane;
  return status;
}

enum status vulkan_lane_take(struct vulkan_lane_pool *pool, struct vulkan_lane **out) {
  pthread_mutex_lock(&pool->lock);
  while (!pool->idle && pool->count == LANES)
    pthread_cond_wait(&pool->given, &pool->lock);
  struct vulkan_lane *lane = pool->idle;
  if (lane)
    pool->idle = lane->next;
  else
    pool->count++;
  pthread_mutex_unlock(&pool->lock);
  enum status status = lane ? STATUS_OK : lane_create(pool->card, &lane);
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

static enum status begin(struct vulkan_lane *lane, struct piece *piece) {
  const VkCommandBufferBeginInfo how = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
  enum status status = vulkan_load_check("begin a copy", lane->card->begin(piece->commands, &how));
  if (!status)
    order(lane->card, piece->commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
          VK_PIPELINE_STAGE_TRANSFER_BIT);
  return status;
}

static enum status start(struct vulkan_lane *lane, struct piece *piece) {
  order(lane->card, piece->commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
        VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_ALL_COMMANDS_BIT);
  enum status status = vulkan_load_check("write down a copy", lane->card->end(piece->commands));
  if (!status)
    status = vulkan_card_submit(lane->card, piece->commands, lane->semaphore, lane->started + 1);
  if (!status)
    piece->moved = ++lane->started;
  return status;
}

static enum status start_copy(struct vulkan_lane *lane, struct piece *piece,
                              const struct vulkan_lane_place *from,
                              const struct vulkan_lane_place *to, uint64_t size) {
  const VkBufferCopy what = {from->offset, to->offset, size};
  enum status status = begin(lane, piece);
  if (status)
    return status;
  lane->card->copy(piece->commands, from->buffer, to->buffer, 1, &what);
  return start(lane, piece);
}

static enum status wait_until(struct vulkan_lane *lane, uint64_t value) {
  const VkSemaphoreWaitInfo what = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                    .semaphoreCount = 1,
                                    .pSemaphores = &lane->semaphore,
                                    .pValues = &value};
  return vulkan_load_check("wait for a copy",
                           lane->card->wait(lane->card->device, &what, UINT64_MAX));
}

static enum status finish(struct vulkan_lane *lane, enum status status) {
  enum status ended = wait_until(lane, lane->started);
  return status ? status : ended;
}

/* ---- memory that both see ---- */

static enum status make_piece(const struct vulkan_card *card, struct piece *piece) {
  VkMemoryRequirements needs;
  void *bytes = NULL;
  enum status status = vulkan_card_buffer(card, LANE_PIECE, 0, &piece->buffer, &needs);
  if (status)
    return status;
  const VkMemoryAllocateInfo how = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                    .allocationSize = needs.size,
                                    .memoryTypeIndex = card->staging_type};
  status = vulkan_load_check("make memory for staging",
                             card->allocate(card->device, &how, NULL, &piece->memory));
  if (!status)
    status = vulkan_load_check("use memory for staging",
                               card->bind(card->device, piece->buffer, piece->memory, 0));
  if (!status)
    status = vulkan_load_check("map memory for staging",
                               card->map(card->device, piece->memory, 0, VK_WHOLE_SIZE, 0, &bytes));
  if (!status)
    piece->bytes = bytes;
  return status;
}

static enum status make_pieces(struct vulkan_lane *lane) {
  const struct vulkan_card *card = lane->card;
  enum status status = STATUS_OK;
  for (unsigned i = 0; !status && i < LANE_PIECES; i++) {
    struct piece *piece = &lane->pieces[i];
    if (piece->bytes || !(status = make_piece(card, piece)))
      continue;
    card->destroy_buffer(card->device, piece->buffer, NULL);
    card->free_memory(card->device, piece->memory, NULL);
    piece->buffer = VK_NULL_HANDLE;
    piece->memory = VK_NULL_HANDLE;
  }
  return status;
}

struct loan {
  VkDeviceMemory memory;
  VkBuffer buffer;
  uint64_t offset; /* of the first byte, for memory is lent in whole pages */
};

static void take_back(const struct vulkan_card *card, struct loan *loan) {
  card->destroy_buffer(card->device, loan->buffer, NULL);
  card->free_memory(card->device, loan->memory, NULL);
}

static bool import_pages(const struct vulkan_card *card, void *pages, uint64_t size,
                         struct loan *loan) {
  const VkExternalMemoryHandleTypeFlagBits kind =
      VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
  VkMemoryHostPointerPropertiesEXT can = {.sType =
                                              VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT};
  VkMemoryRequirements needs;
  if (card->host_types(card->device, kind, pages, &can) ||
      vulkan_card_buffer(card, size, kind, &loan->buffer, &needs))
    return false;
  uint32_t types = can.memoryTypeBits & needs.memoryTypeBits & card->coherent_types;
  if (!types || needs.size > size)
    return false;
  const VkImportMemoryHostPointerInfoEXT which = {
      .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
      .handleType = kind,
      .pHostPointer = pages};
  const VkMemoryAllocateInfo how = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                    .pNext = &which,
                                    .allocationSize = size,
                                    .memoryTypeIndex = (uint32_t)__builtin_ctz(types)};
  return !card->allocate(card->device, &how, NULL, &loan->memory) &&
         !card->bind(card->device, loan->buffer, loan->memory, 0);
}

/* False: it is to be staged. A driver may refuse for many reasons, of which none is an error. */
static bool lend(const struct vulkan_card *card, uintptr_t bytes, uint64_t size,
                 struct loan *loan) {
  *loan = (struct loan){.memory = VK_NULL_HANDLE};
  if (!card->host_multiple || size < LANE_LENT)
    return false;
  uintptr_t first = bytes & ~(uintptr_t)(card->host_multiple - 1);
  uintptr_t end = units_up(bytes + size, card->host_multiple);
  loan->offset = bytes - first;
  if (import_pages(card, (void *)first, end - first, loan))
    return true;
  take_back(card, loan);
  return false;
}

/* ---- bytes ---- */

static enum status write_staged(struct vulkan_lane *lane, struct vulkan_lane_place to,
                                uint64_t size, const char *from) {
  enum status status = make_pieces(lane);
  unsigned i = 0;
  for (uint64_t n; !status && size; size -= n, from += n, to.offset += n, i = !i) {
    struct piece *piece = &lane->pieces[i];
    const struct vulkan_lane_place staging = {piece->buffer, 0};
    n = units_min(LANE_PIECE, size);
    if ((status = wait_until(lane, piece->moved)))
      break;
    memcpy(piece->bytes, from, n);
    status = start_copy(lane, piece, &staging, &to, n);
  }
  return finish(lane, status);
}

static enum status fetch(struct vulkan_lane *lane, unsigned i, struct vulkan_lane_place from,
                         uint64_t size) {
  struct piece *piece = &lane->pieces[i];
  const struct vulkan_lane_place staging = {piece->buffer, 0};
  return start_copy(lane, piece, &from, &staging, units_min(LANE_PIECE, size));
}

/* One piece is asked for ahead. */
static enum status read_staged(struct vulkan_lane *lane, struct vulkan_lane_place from,
                               uint64_t size, char *to) {
  enum status status = make_pieces(lane);
  if (!status)
    status = fetch(lane, 0, from, size);
  unsigned i = 0;
  for (uint64_t n; !status && size; size -= n, to += n, i = !i) {
    n = units_min(LANE_PIECE, size);
    from.offset += n;
    if (n < size)
      status = fetch(lane, !i, from, size - n);
    if (!status)
      status = wait_until(lane, lane->pieces[i].moved);
    if (!status)
      memcpy(to, lane->pieces[i].bytes, n);
  }
  return finish(lane, status);
}

enum status vulkan_lane_write(struct vulkan_lane *lane, struct vulkan_lane_place to, uint64_t size,
                              const void *from) {
  struct loan loan;
  if (!lend(lane->card, (uintptr_t)from, size, &loan))
    return write_staged(lane, to, size, from);
  const struct vulkan_lane_place lent = {loan.buffer, loan.offset};
  enum status status = finish(lane, start_copy(lane, &lane->pieces[0], &lent, &to, size));
  take_back(lane->card, &loan);
  return status;
}

enum status vulkan_lane_read(struct vulkan_lane *lane, struct vulkan_lane_place from, uint64_t size,
                             void *to) {
  struct loan loan;
  if (!lend(lane->card, (uintptr_t)to, size, &loan))
    return read_staged(lane, from, size, to);
  const struct vulkan_lane_place lent = {loan.buffer, loan.offset};
  enum status status = finish(lane, start_copy(lane, &lane->pieces[0], &from, &lent, size));
  take_back(lane->card, &loan);
  return status;
}

enum status vulkan_lane_copy(struct vulkan_lane *lane, struct vulkan_lane_place from,
                             struct vulkan_lane_place to, uint64_t size) {
  return finish(lane, start_copy(lane, &lane->pieces[0], &from, &to, size));
}

/* A card fills whole words; the bytes before and behind them are written. */
static enum status fill_words(struct vulkan_lane *lane, struct vulkan_lane_place to, uint64_t size,
                              uint8_t value) {
  struct piece *piece = &lane->pieces[0];
  enum status status = begin(lane, piece);
  if (status)
    return status;
  lane->card->fill(piece->commands, to.buffer, to.offset, size, value * UINT32_C(0x01010101));
  return finish(lane, start(lane, piece));
}

enum status vulkan_lane_fill(struct vulkan_lane *lane, struct vulkan_lane_place to, uint64_t size,
                             uint8_t value) {
  char edge[LANE_WORD];
  uint64_t before = units_min(units_up(to.offset, LANE_WORD) - to.offset, size);
  uint64_t words = (size - before) / LANE_WORD * LANE_WORD, behind = size - before - words;
  enum status status = STATUS_OK;
  memset(edge, value, sizeof edge);
  if (before)
    status = write_staged(lane, to, before, edge);
  to.offset += before;
  if (!status && words)
    status = fill_words(lane, to, words, value);
  to.offset += words;
  return status || !behind ? status : write_staged(lane, to, behind, edge);
}
