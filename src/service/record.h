/*
 * record: the steps on allocations that other files of this room need. Private; under the state
 * lock.
 */
#ifndef SERVICE_RECORD_H
#define SERVICE_RECORD_H

#include "service/alloc.h"
#include "service/space.h"

/* What a new allocation's record says. */
struct record_facts {
  uint64_t id; /* drawn before, under the same holding of the lock; 0: the next */
  uint64_t size, alignment, created_real_ns; /* created 0: now */
  uint64_t expires_boot_ns;
  uint64_t key[2];
  uint32_t key_args;
  uint32_t owner;
  uint8_t purpose, priority, flags;
  const char *label;
  const char *correlation;
};
/* Makes the allocation of a place that was taken. INSUFFICIENT_MEMORY: no room for the record; the
 * place stays taken. */
enum status record_commit(struct service *s, const struct space *place,
                          const struct record_facts *facts, uint32_t *out);
/* An allocation whose record an earlier daemon left in `slot`; its place is taken with
 * record_adopt_place. INSUFFICIENT_MEMORY: no room. */
struct record_left {
  uint32_t slot, segment, owner;
  uint32_t text_slot;
  const char *label; /* "" none */
};
enum status record_adopt(struct service *s, const struct record_left *left, uint32_t *out);
/* In order of rising offsets within a segment. False: the place is taken. */
bool record_adopt_place(struct service *s, uint32_t index);
/* Ends it: record, place, books, event. True: its segment goes back, and then(arg) will be called.
 */
struct record_end {
  enum events_type why;
  const char *correlation; /* may be NULL */
  segment_then_fn *then;   /* may be NULL */
  void *arg;
};
bool record_drop(struct service *s, uint32_t index, const struct record_end *end);
/* A job is done with it and has taken its mark away: what the death of its owner had left for later
 * happens now. The allocation may be gone afterwards. */
void record_let_go(struct service *s, uint32_t index);
/* Nobody is left who could use what would be made for this owner. */
bool record_is_orphan(const struct service *s, const struct record_facts *facts);

/* The blocks of a segment by rising address, some per holding of the lock, whatever becomes of the
 * segment in between. Zeroed but for the segment's id at the start. */
struct record_walk {
  uint64_t segment, offset; /* the next block starts there or later */
  uint64_t anchor;          /* an allocation before it from where to go on; 0: from the front */
  uint32_t index, node;     /* within one holding of the lock */
};
/* First thing after the lock was taken, or after a block was given back. False: the segment is
 * gone. */
bool record_walk_resume(struct service *s, struct record_walk *walk);
/* False at the end. block->user UINT32_MAX: a place whose allocation is still being made. */
bool record_walk_next(struct service *s, struct record_walk *walk, struct span_block *block);
/* Some of a dead owner's that are not persistent; starts with a zeroed walk. False: all. */
bool record_drop_some(struct service *s, uint32_t owner, struct record_walk *walk);
/* The place of an allocation. */
struct space record_place(const struct service *s, uint32_t index);
/* It lives elsewhere from now on: a new version of the record (the switch); the old place stays
 * taken and is returned. */
enum status record_switch(struct service *s, uint32_t index, const struct space *to,
                          struct space *from);
/* For a job that will touch bytes: neither lost nor on the move. ALLOCATION_LOST, ALLOCATION_BUSY.
 */
enum status record_usable(const struct service *s, uint32_t index, struct problem *problem);
/* Whether a defragmentation may move it. */
bool record_movable(const struct service *s, uint32_t index);
/* For who goes through many, which lie anywhere, before each of them from the first on: what a core
 * will read of those some places behind is on its way to its cache. 0: none. */
void record_bring(const struct service *s, const uint32_t *indices, uint32_t count, uint32_t at);
/* An access through the daemon. */
void record_touch(struct service *s, uint32_t index);
/* As a mover task wants it; marks the segment as known to workers. */
struct mover_segment record_mover_segment(struct service *s, uint32_t index);

#endif
