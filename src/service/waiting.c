/*
 * waiting: one list by falling priority, then arrival. A kick or the earliest deadline wakes the
 * decision thread, which takes heads out one by one and lets them try; the first that fails goes
 * back to its place and holds the rest of its device back.
 */
#include "service/waiting.h"

#include <stdlib.h>

#include "base/clock.h"

struct waiting {
  struct task task; /* first: the queue hands it to us */
  struct service *service;
  struct waiting_entry *first;
  uint32_t count;
};

static uint64_t earliest(const struct waiting *waiting) {
  uint64_t due = UINT64_MAX;
  for (const struct waiting_entry *entry = waiting->first; entry; entry = entry->next)
    if (entry->deadline < due)
      due = entry->deadline;
  return due;
}

static void insert(struct waiting *waiting, struct waiting_entry *entry, bool in_front) {
  struct waiting_entry **link = &waiting->first;
  while (*link && ((*link)->priority > entry->priority ||
                   (!in_front && (*link)->priority == entry->priority)))
    link = &(*link)->next;
  entry->next = *link;
  *link = entry;
  waiting->count++;
}

static uint32_t devices_of(const struct waiting_entry *entry) {
  return entry->device == UINT32_MAX ? UINT32_MAX : UINT32_C(1) << entry->device;
}

/* Takes an entry out: the first that expired, else the first whose devices are not held back. */
static struct waiting_entry *take(struct waiting *waiting, uint32_t held, bool *expired) {
  uint64_t now = clock_now();
  struct waiting_entry **link = &waiting->first;
  while (*link && (*link)->deadline > now)
    link = &(*link)->next;
  *expired = *link != NULL;
  if (!*expired) {
    link = &waiting->first;
    while (*link && (devices_of(*link) & held))
      link = &(*link)->next;
  }
  struct waiting_entry *entry = *link;
  if (!entry)
    return NULL;
  *link = entry->next;
  waiting->count--;
  return entry;
}

static void run(struct task *task) {
  struct waiting *waiting = (struct waiting *)task;
  struct service *s = waiting->service;
  uint32_t held = 0; /* devices whose head did not fit */
  for (;;) {
    bool expired;
    lock_take(&s->lock);
    struct waiting_entry *entry = take(waiting, held, &expired);
    uint64_t due = earliest(waiting);
    lock_give(&s->lock);
    if (!entry) {
      if (due != UINT64_MAX)
        queue_post_at(s->decision, &waiting->task, due);
      return;
    }
    if (entry->attempt(entry, expired))
      continue;
    held |= devices_of(entry);
    lock_take(&s->lock);
    insert(waiting, entry, true);
    lock_give(&s->lock);
  }
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
  insert(s->waiting, entry, false);
  queue_post_at(s->decision, &s->waiting->task, earliest(s->waiting));
  return STATUS_OK;
}

bool waiting_blocks(const struct service *s, uint32_t device, int priority) {
  const struct waiting_entry *entry = s->waiting->first;
  for (; entry; entry = entry->next)
    if ((entry->device == device || entry->device == UINT32_MAX) && entry->priority >= priority)
      return true;
  return false;
}

bool waiting_any(const struct service *s) { return s->waiting->first != NULL; }

void waiting_kick(struct service *s) {
  if (s->waiting->first)
    queue_post_at(s->decision, &s->waiting->task, 0);
}
