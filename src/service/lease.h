/*
 * lease: what ends an allocation's life: a time (ttlSeconds), or the death of its process. Private
 * to this room.
 */
#ifndef SERVICE_LEASE_H
#define SERVICE_LEASE_H

#include "service/state.h"

enum status lease_create(struct service *s);
void lease_free(struct service *s);
/* The allocation's record has an expiry: remember it. INTERNAL_ERROR: no memory. Under the state
 * lock. */
enum status lease_add(struct service *s, uint32_t alloc);
/* Watches the process of an owner; its allocations go when it dies. Under the state lock; the
 * watching starts on the loop. */
void lease_watch(struct service *s, uint32_t owner);

#endif
