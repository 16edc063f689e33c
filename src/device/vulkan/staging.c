/*
 * vulkan/staging: to make a piece takes a driver as long as to copy some MiB, so that what comes
 * back is kept for the next who wants as much.
 */
#include "device/vulkan/staging.h"

#include <stdlib.h>

#include "base/units.h"

#define STAGING_MOST 64         /* pieces: those of all lanes and of all threads of some jobs */
#define STAGING_KEPT (32 * MIB) /* bytes of those that nobody uses */

struct piece {
  VkDeviceMemory memory;
  VkBuffer buffer;
  char *bytes; /* NULL: there is none */
  uint64_t size;
  bool used;
};

struct vulkan_staging {
  struct vulkan_card *card;
  pthread_mutex_t lock; /* over the rest */
  struct piece pieces[STAGING_MOST];
  uint64_t kept; /* bytes */
};

enum status vulkan_staging_create(struct vulkan_card *card, struct vulkan_staging **out) {
  struct vulkan_staging *staging = calloc(1, sizeof *staging);
  if (!staging)
    return STATUS_INTERNAL_ERROR;
  staging->card = card;
  pthread_mutex_init(&staging->lock, NULL);
  *out = staging;
  return STATUS_OK;
}

/* Vulkan lets nothing be destroyed: NULL. */
static void unmake(const struct vulkan_card *card, struct piece *piece) {
  card->destroy_buffer(card->device, piece->buffer, NULL);
  card->free_memory(card->device, piece->memory, NULL);
  *piece = (struct piece){.bytes = NULL};
}

void vulkan_staging_free(struct vulkan_staging *staging) {
  if (!staging)
    return;
  for (unsigned i = 0; i < STAGING_MOST; i++)
    unmake(staging->card, &staging->pieces[i]);
  pthread_mutex_destroy(&staging->lock);
  free(staging);
}

static enum status make(const struct vulkan_card *card, uint64_t size, struct piece *piece) {
  VkMemoryRequirements needs;
  void *bytes = NULL;
  *piece = (struct piece){.size = size};
  enum status status = vulkan_card_buffer(card, size, 0, &piece->buffer, &needs);
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
  piece->bytes = bytes;
  if (status)
    unmake(card, piece);
  return status;
}

/* Under the lock: an idle one of that size, else an empty place; NULL: all are in use. */
static struct piece *choose(struct vulkan_staging *staging, uint64_t size) {
  struct piece *empty = NULL;
  for (unsigned i = 0; i < STAGING_MOST; i++) {
    struct piece *piece = &staging->pieces[i];
    if (piece->bytes && !piece->used && piece->size == size)
      return piece;
    if (!piece->bytes && !piece->used)
      empty = piece;
  }
  return empty;
}

void *vulkan_staging_take(struct vulkan_staging *staging, uint64_t size) {
  struct piece made, *piece;
  pthread_mutex_lock(&staging->lock);
  piece = choose(staging, size);
  bool kept = piece && piece->bytes;
  if (piece)
    piece->used = true;
  if (kept)
    staging->kept -= size;
  pthread_mutex_unlock(&staging->lock);
  if (!piece || kept)
    return piece ? piece->bytes : NULL;
  bool failed = make(staging->card, size, &made);
  pthread_mutex_lock(&staging->lock);
  if (!failed)
    *piece = made;
  piece->used = !failed;
  pthread_mutex_unlock(&staging->lock);
  return failed ? NULL : made.bytes;
}

/* Under the lock. */
static struct piece *find(struct vulkan_staging *staging, uintptr_t bytes, uint64_t size) {
  for (unsigned i = 0; i < STAGING_MOST; i++) {
    struct piece *piece = &staging->pieces[i];
    uintptr_t start = (uintptr_t)piece->bytes;
    if (start && bytes >= start && bytes - start <= piece->size &&
        size <= piece->size - (bytes - start))
      return piece;
  }
  return NULL;
}

bool vulkan_staging_give(struct vulkan_staging *staging, const void *bytes) {
  struct piece gone = {.bytes = NULL};
  pthread_mutex_lock(&staging->lock);
  struct piece *piece = find(staging, (uintptr_t)bytes, 1);
  if (piece && staging->kept + piece->size > STAGING_KEPT) {
    gone = *piece;
    *piece = (struct piece){.bytes = NULL};
  } else if (piece) {
    piece->used = false;
    staging->kept += piece->size;
  }
  pthread_mutex_unlock(&staging->lock);
  unmake(staging->card, &gone);
  return piece;
}

bool vulkan_staging_find(struct vulkan_staging *staging, const void *bytes, uint64_t size,
                         struct vulkan_place *out) {
  pthread_mutex_lock(&staging->lock);
  const struct piece *piece = find(staging, (uintptr_t)bytes, size);
  if (piece)
    *out = (struct vulkan_place){piece->buffer, (uint64_t)((const char *)bytes - piece->bytes)};
  pthread_mutex_unlock(&staging->lock);
  return piece;
}
