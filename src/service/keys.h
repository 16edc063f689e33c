/*
 * keys: idempotency keys of allocations, live ones and ones that are being made: the same key from
 * the same domain finds the first result for as long as that lives. The 128-bit hash is in the
 * allocation's record. Private to this room; under the state lock.
 */
#ifndef SERVICE_KEYS_H
#define SERVICE_KEYS_H

#include "service/state.h"

enum status keys_create(struct service *s);
void keys_free(struct service *s);
/* Hash of a caller's key; {0, 0} without one. Needs no lock. */
void keys_hash(const struct caller *caller, uint64_t out[2]);
/* The allocation that was made with it, 0: none. */
uint32_t keys_find(const struct service *s, const uint64_t key[2]);
/* Of an allocation; harmless without a key. */
void keys_add(struct service *s, uint32_t index);
void keys_remove(struct service *s, uint32_t index);
/* A request with a key whose answer comes later: whoever repeats it meanwhile waits for the same
 * job. */
struct keys_pending {
  uint64_t key[2];
  uint32_t args;
  struct job *job; /* borrowed */
  struct keys_pending *next;
};
struct keys_pending *keys_find_pending(const struct service *s, const uint64_t key[2]);
/* Harmless without a key. */
void keys_add_pending(struct service *s, struct keys_pending *pending);
void keys_remove_pending(struct service *s, struct keys_pending *pending);

#endif
