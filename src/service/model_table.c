/*
 * model_table: an allocation of the model's owner that no list shows, sealed like the weights; any
 * client may be given it one day. The daemon reads it back by card_check, as it does with what a
 * reader of files says. Behind the image stands which files they were, in the image's order, so
 * that a file that is loaded once more after a restart is known again.
 */
#include "service/model_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/os_memfd.h"
#include "base/units.h"
#include "service/model_commit.h"
#include "service/quota.h"
#include "service/record.h"

#define TABLE_ALIGNMENT 4096

/* Host memory with room for it; VIEW_DEVICES: none. A transfer into host memory takes it along. */
static uint32_t device_for(const struct model_work *work, uint64_t size) {
  const struct service *s = work->service;
  uint32_t best = VIEW_DEVICES;
  if (work->transfers && s->devices[work->target].info->host_memory)
    return work->target;
  for (uint32_t i = 0; i < s->device_count; i++) {
    const struct state_device *device = &s->devices[i];
    uint64_t available = state_available(s, device);
    if (device->info->host_memory && !device->gone && available >= size &&
        (best == VIEW_DEVICES || available > state_available(s, &s->devices[best])))
      best = i;
  }
  return best;
}

static size_t table_bytes(const struct models_weights *weights) {
  return weights->image_bytes + weights->part_count * sizeof(struct os_path_identity);
}

/* The table into the segment, and nobody writes there any more. */
static enum status write_table(const struct share *share, const struct models_weights *weights) {
  size_t n = table_bytes(weights);
  void *map;
  enum status status = os_memfd_commit(share, 0, n);
  if (!status)
    status = os_memfd_map(share, n, true, &map);
  if (status)
    return status;
  memcpy(map, weights->image, weights->image_bytes);
  struct os_path_identity *files = (void *)((char *)map + weights->image_bytes);
  for (uint32_t i = 0; i < weights->part_count; i++)
    memcpy(&files[i], &weights->parts[i].identity, sizeof *files);
  os_memfd_unmap(map, n);
  return os_memfd_seal(share, OS_MEMFD_SEAL_WRITE | OS_MEMFD_SEAL_FINAL);
}

static void without(struct model_work *work) {
  log_warning("service", "model %s: its table of tensors will not outlive the daemon",
              work->weights->parts[0].name);
  model_commit(work);
}

static void placed(struct space_waiter *waiter) {
  struct model_work *work = (struct model_work *)waiter;
  struct service *s = work->service;
  if (waiter->status) {
    without(work);
    return;
  }
  work->table = waiter->place;
  lock_take(&s->lock);
  struct share share = state_segment(s, work->table.segment)->share;
  lock_give(&s->lock);
  enum status status = write_table(&share, work->weights);
  if (!status) {
    model_commit(work);
    return;
  }
  lock_take(&s->lock);
  space_give(s, &work->table, NULL, NULL);
  work->table.segment = 0;
  lock_give(&s->lock);
  without(work);
}

void model_table_make(struct model_work *work) {
  struct service *s = work->service;
  const struct models_weights *weights = work->weights;
  char reason[16];
  if ((weights->table && !work->moves_table) || !weights->image) {
    model_commit(work);
    return;
  }
  lock_take(&s->lock);
  uint32_t device = device_for(work, table_bytes(weights));
  work->waiter.ready = placed;
  work->waiter.want = (struct space_want){.device = device,
                                          .owner = weights->owner,
                                          .size = table_bytes(weights),
                                          .alignment = TABLE_ALIGNMENT,
                                          .dedicated = true,
                                          .open = true};
  enum status status =
      device == VIEW_DEVICES ? STATUS_INSUFFICIENT_MEMORY : space_take(s, &work->waiter, reason);
  lock_give(&s->lock);
  if (status == STATUS_PENDING)
    return;
  work->waiter.status = status;
  placed(&work->waiter);
}

void model_table_commit(struct model_work *work) {
  struct service *s = work->service;
  struct models_weights *weights = work->weights;
  struct record_facts facts = {.size = table_bytes(weights),
                               .alignment = TABLE_ALIGNMENT,
                               .owner = weights->owner,
                               .purpose = VIEW_SYSTEM,
                               .flags = STATE_PINNED | STATE_MODEL | STATE_HIDDEN};
  uint32_t index;
  if (!work->table.segment)
    return;
  if (record_commit(s, &work->table, &facts, &index)) {
    space_give(s, &work->table, NULL, NULL);
  } else {
    quota_adopt(s, weights->owner, facts.size);
    model_table_drop(s, weights);
    weights->table = state_alloc(s, index)->id;
  }
  work->table.segment = 0;
}

void model_table_drop(struct service *s, struct models_weights *weights) {
  uint32_t index = idmap_find(&s->alloc_ids, weights->table);
  weights->table = 0;
  if (index)
    record_drop(s, index, &(struct record_end){.why = EVENTS_ALLOCATION_FREED});
}

static void take_facts(struct models_weights *weights, const struct card *card,
                       const char *identities) {
  for (uint32_t i = 0; i < weights->part_count; i++) {
    memcpy(&weights->parts[i].identity, identities + i * sizeof(struct os_path_identity),
           sizeof(struct os_path_identity));
    if (i < card->head->files)
      weights->parts[i].pad = models_pad(card->files[i].data_offset);
  }
}

/* A start: nobody waits for the lock. */
bool model_table_adopt(struct service *s, struct models_weights *weights, uint32_t index) {
  const struct state_alloc *alloc = state_alloc(s, index);
  const struct share *share = &state_segment(s, alloc->segment)->share;
  size_t n = (size_t)state_record(s, alloc)->size_bytes;
  size_t behind = weights->part_count * sizeof(struct os_path_identity);
  struct problem problem;
  struct card card;
  void *map, *image = NULL;
  if (share->kind != SHARE_MEMFD || n <= behind || weights->image ||
      os_memfd_map(share, n, false, &map))
    return false;
  image = malloc(n);
  if (image)
    memcpy(image, map, n);
  os_memfd_unmap(map, n);
  if (!image || card_check(image, n - behind, &card, &problem)) {
    free(image);
    return false;
  }
  take_facts(weights, &card, (const char *)image + n - behind);
  weights->image = image;
  weights->image_bytes = n - behind;
  weights->table = alloc->id;
  return true;
}
