/*
 * segment: the books of segments: in, filled, emptied, out. Private to this room; under the state
 * lock.
 */
#ifndef SERVICE_SEGMENT_H
#define SERVICE_SEGMENT_H

#include "service/state.h"

struct segment_new {
  uint32_t device, owner;
  uint64_t size;
  struct share share; /* moves in when it is added */
  uint64_t id;        /* the next of the ledger */
  uint64_t kept;      /* keeper_put's */
  struct span *span;  /* the same; NULL: dedicated */
};

/* Enters the books empty (cached), first of its owner's. 0: no room for the record, nothing moved.
 */
uint32_t segment_add(struct service *s, const struct segment_new *new);
/* The same for one whose record an earlier daemon left in `slot`. Without a share it is lost: it
 * holds nothing, and nothing new goes in. */
uint32_t segment_adopt(struct service *s, const struct segment_new *new, uint32_t slot);
/* The first block of a segment makes it committed, the last one that leaves makes it cached. */
void segment_fills(struct service *s, struct state_segment *segment, bool fills);
/* The next request of its owner most likely fits here too. */
void segment_first(struct service *s, uint32_t index);
/* An empty segment goes back to the driver; then(arg) (may be NULL) on the reaper's thread, without
 * the lock, when it is there. Cannot fail. */
typedef void segment_then_fn(void *arg);
void segment_release(struct service *s, uint32_t index, segment_then_fn *then, void *arg);

#endif
