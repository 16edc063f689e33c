/*
 * waiting: allocations that wait for memory (`waitMs`), by priority, then arrival. Only the head is
 * tried; what fits no slab at hand does not overtake a waiting one of the same or higher priority
 * on that device. Private to this room; under the state lock unless said.
 */
#ifndef SERVICE_WAITING_H
#define SERVICE_WAITING_H

#include "service/state.h"

#define WAITING_MAX 1024 /* more are told to come back: RATE_LIMITED */

struct waiting_entry {
  uint64_t deadline; /* clock_now() */
  int priority;
  uint32_t device; /* UINT32_MAX: any */
  /* Tried on the decision thread without the lock; true: it left the queue (served or failed for
   * good). */
  bool (*attempt)(struct waiting_entry *entry, bool expired);
  struct waiting_entry *next;
};

enum status waiting_create(struct service *s);
void waiting_free(struct service *s);
/* RATE_LIMITED when too many wait. */
enum status waiting_add(struct service *s, struct waiting_entry *entry);
/* Whether a request for a new segment must stand behind someone. */
bool waiting_blocks(const struct service *s, uint32_t device, int priority);
bool waiting_any(const struct service *s);
/* Memory came back, or a limit changed: try the heads soon. */
void waiting_kick(struct service *s);

#endif
