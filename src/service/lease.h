/*
 * lease: what ends an allocation's life: a time (ttlSeconds), or the death of its process. Private
 * to this room.
 */
#ifndef SERVICE_LEASE_H
#define SERVICE_LEASE_H

#include "service/state.h"

enum status lease_create(struct service *s);
void lease_free(struct service *s);
/* The rest is under the state lock. */

/* The allocation's record has an expiry: it ends then. */
void lease_add(struct service *s, uint32_t index);
/* Nothing expires before: what is over by then ends now. */
void lease_start(struct service *s);
/* Harmless for one that has none. */
void lease_remove(struct service *s, uint32_t index);
/* Whose something will be: state_owner_of, and its process is watched from here on (on the loop);
 * what it holds goes when it dies. 0: no room. */
uint32_t lease_owner(struct service *s, const struct caller *caller, int32_t pid, uint64_t start);
/* Watches the process of an owner that has one; whoever is gone already is noticed at once. False:
 * out of memory. */
bool lease_watch(struct service *s, uint32_t owner);

#endif
