/*
 * waiting: allocations that wait for memory (`waitMs`): per device a queue by priority, then
 * arrival. Only the head is tried, and nothing overtakes a waiting head of the same or higher
 * priority on that device, small or not. A request that would take several devices stands in the
 * queue of each. Private to this room; under the state lock unless said.
 */
#ifndef SERVICE_WAITING_H
#define SERVICE_WAITING_H

#include "service/state.h"

#define WAITING_MAX 1024 /* more are told to come back: RATE_LIMITED */

enum waiting_outcome {
  WAITING_STAYS,
  WAITING_SERVED, /* by others: the entry is theirs now */
  WAITING_LEAVES, /* `left` goes on with it */
};

struct waiting_entry {
  uint64_t deadline; /* clock_now() */
  int priority;
  uint32_t devices; /* a bit each: where it would go */
  struct job *job;  /* borrowed: who waits; when it is cancelled, it has waited long enough */
  /* On the decision thread, under the lock: tries devices that are not in `held`. An expired one
   * must not stay. */
  enum waiting_outcome (*attempt)(struct waiting_entry *entry, uint32_t held, bool expired);
  void (*left)(struct waiting_entry *entry); /* after WAITING_LEAVES, without the lock */
  struct waiting_entry *next;
};

enum status waiting_create(struct service *s);
void waiting_free(struct service *s);
/* RATE_LIMITED when too many wait. */
enum status waiting_add(struct service *s, struct waiting_entry *entry);
/* The devices where a request of this priority must stand behind someone. */
uint32_t waiting_held(const struct service *s, int priority);
bool waiting_any(const struct service *s);
/* Memory came back, or a limit changed: try the heads soon. */
void waiting_kick(struct service *s);
/* The job was cancelled: if it waits, it does not any more. */
void waiting_cancel(struct service *s, const struct job *job);

#endif
