/*
 * waiting: one list by falling priority, then arrival. A kick or the earliest deadline wakes the
 * decision thread, which lets the entries try, one per holding of the lock; one that does not fit
 * holds its devices for the rest of the round.
 */
#include "service/waiting.h"

#include <stdlib.h>

#include "base/clock.h"

struct waiting {
  struct task task; /* first: the queue hands it to us */
  struct service *service;
  struct waiting_entry *first;
  uint32_t count;
  bool kicked;
};

static void schedule(struct waiting *waiting) {
  uint64_t due = UINT64_MAX;
  for (const struct waiting_entry *entry = waiting->first; entry; entry = entry->next)
    if (entry->deadline < due)
      due = entry->deadline;
  if (waiting->first)
    queue_post_at(waiting->service->decision, &waiting->task, waiting->kicked ? 0 : due);
}

/* The first that expired, else the first that is the head somewhere; NULL: none. */
static struct waiting_entry *choose(const struct waiting *waiting, uint32_t held, bool *expired) {
  uint64_t now = clock_now();
  struct waiting_entry *entry = waiting->first;
  while (entry && entry->deadline > now)
    entry = entry->next;
  *expired = entry != NULL;
  if (entry)
    return entry;
  entry = waiting->first;
  while (entry && !(entry->devices & ~held))
    entry = entry->next;
  return entry;
}

/* The devices where others stand before it. */
static uint32_t held_before(const struct waiting *waiting, const struct waiting_entry *entry) {
  uint32_t held = 0;
  for (const struct waiting_entry *other = waiting->first; other != entry; other = other->next)
    held |= other->devices;
  return held;
}

static void take_out(struct waiting *waiting, struct waiting_entry *entry) {
  struct waiting_entry **link = &waiting->first;
  while (*link != entry)
    link = &(*link)->next;
  *link = entry->next;
  waiting->count--;
}

/* One entry; false: nobody is left who might fit. *held: devices whose head did not. */
static bool try_one(struct waiting *waiting, uint32_t *held) {
  bool expired;
  lock_take(&waiting->service->lock);
  struct waiting_entry *entry = choose(waiting, *held, &expired);
  enum waiting_outcome outcome =
      entry ? entry->attempt(entry, held_before(waiting, entry), expired) : WAITING_STAYS;
  if (outcome != WAITING_STAYS)
    take_out(waiting, entry);
  else if (entry)
    *held |= entry->devices;
  else
    schedule(waiting);
  lock_give(&waiting->service->lock);
  if (outcome == WAITING_LEAVES)
    entry->left(entry);
  return entry != NULL;
}

static void run(struct task *task) {
  struct waiting *waiting = (struct waiting *)task;
  uint32_t held = 0;
  lock_take(&waiting->service->lock);
  waiting->kicked = false;
  lock_give(&waiting->service->lock);
  while (try_one(waiting, &held))
    ;
}

enum status waiting_create(struct service *s) {
  s->waiting = calloc(1, sizeof *s->waiting);
  if (!s->waiting)
    return STATUS_INTERNAL_ERROR;
  s->waiting->task.run = run;
  s->waiting->service = s;
  return STATUS_OK;
}

void waiting_free(struct service *s) { free(s->waiting); }

enum status waiting_add(struct service *s, struct waiting_entry *entry) {
  if (s->waiting->count >= WAITING_MAX)
    return STATUS_RATE_LIMITED;
  struct waiting_entry **link = &s->waiting->first;
  while (*link && (*link)->priority >= entry->priority)
    link = &(*link)->next;
  entry->next = *link;
  *link = entry;
  s->waiting->count++;
  schedule(s->waiting);
  return STATUS_OK;
}

uint32_t waiting_held(const struct service *s, int priority) {
  uint32_t held = 0;
  const struct waiting_entry *entry = s->waiting->first;
  for (; entry && entry->priority >= priority; entry = entry->next)
    held |= entry->devices;
  return held;
}

bool waiting_any(const struct service *s) { return s->waiting->first != NULL; }

void waiting_kick(struct service *s) {
  s->waiting->kicked = s->waiting->first != NULL;
  if (s->waiting->kicked)
    queue_post_at(s->decision, &s->waiting->task, 0);
}

void waiting_cancel(struct service *s, const struct job *job) {
  for (struct waiting_entry *entry = s->waiting->first; entry; entry = entry->next)
    if (entry->job == job)
      entry->deadline = 0;
  schedule(s->waiting);
}
