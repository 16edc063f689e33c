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
                          const struct record_facts *facts, uint32_t *index);
/* Ends it: record, place, books, event. True: its segment goes back, and then(arg) will be called.
 */
bool record_drop(struct service *s, uint32_t index, enum events_type why, space_then_fn *then,
                 void *arg);
/* All of an owner's that are not persistent. */
void record_drop_owner(struct service *s, uint32_t owner);
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
/* An access through the daemon. */
void record_touch(struct service *s, uint32_t index);
/* As a mover task wants it; marks the segment as known to workers. */
struct mover_segment record_mover_segment(struct service *s, uint32_t segment);

#endif
