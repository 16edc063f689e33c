/*
 * inherit: the vault's list, 64 entries with their descriptors at a time.
 */
#include "daemon/inherit.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/os_memfd.h"

static int by_id(const void *a, const void *b) {
  uint64_t left = ((const struct keeper_segment *)a)->id;
  uint64_t right = ((const struct keeper_segment *)b)->id;
  return left < right ? -1 : left > right;
}

static void take_in(struct restore_found *found, const struct vaultwire *message,
                    const struct share *shares) {
  for (unsigned i = 0; i < message->count; i++) {
    const struct vaultwire_entry *entry = &message->entries[i];
    if (!entry->id)
      found->ledger = (struct share){SHARE_MEMFD, shares[i].value};
    else
      found->segments[found->count++] = (struct keeper_segment){entry->id, entry->bytes, shares[i]};
  }
}

static enum status take_all(const struct share *wire, uint64_t total, struct restore_found *found) {
  struct share shares[VAULTWIRE_BATCH];
  struct vaultwire message = {.cursor = 0};
  do {
    unsigned count = 0;
    message.kind = VAULTWIRE_LIST;
    message.count = 0;
    if (vaultwire_ask(wire, &message, shares, &count))
      return STATUS_CONFLICT;
    if (message.kind != VAULTWIRE_LISTED || count != message.count ||
        found->count + count > total) {
      while (count)
        share_close(&shares[--count]);
      return STATUS_CONFLICT;
    }
    take_in(found, &message, shares);
  } while (message.cursor);
  return STATUS_OK;
}

enum status inherit_take(const struct share *wire, uint64_t total, struct restore_found *found) {
  found->segments = calloc(total, sizeof *found->segments);
  if (!found->segments || take_all(wire, total, found))
    return STATUS_CONFLICT;
  qsort(found->segments, found->count, sizeof *found->segments, by_id);
  return STATUS_OK;
}

enum status inherit_drop_rest(const struct share *wire, struct restore_found *found) {
  struct share shares[VAULTWIRE_BATCH];
  uint32_t dropped = 0;
  for (uint32_t i = 0; i < found->count; i++) {
    struct keeper_segment *segment = &found->segments[i];
    struct vaultwire message = {
        .kind = VAULTWIRE_DROP, .count = 1, .entries = {{segment->id, segment->size}}};
    unsigned count = 0;
    if (segment->share.kind == SHARE_NONE)
      continue;
    (void)os_memfd_punch(&segment->share, 0, segment->size); /* a card's memory has no pages */
    share_close(&segment->share);
    if (vaultwire_ask(wire, &message, shares, &count))
      return STATUS_INTERNAL_ERROR;
    dropped++;
  }
  if (dropped)
    log_info("daemon", "%u segments without a record were given back", dropped);
  return STATUS_OK;
}

void inherit_done(struct restore_found *found) {
  share_close(&found->ledger);
  for (uint32_t i = 0; i < found->count; i++)
    share_close(&found->segments[i].share);
  free(found->segments);
}
