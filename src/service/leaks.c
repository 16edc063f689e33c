/*
 * leaks: every LEAK_EVERY_SECONDS the owners are gone through, some at a time under the lock, for
 * the largest of each device; their bytes are one more point of their series. Who is no longer
 * among them is forgotten.
 */
#include "service/leaks.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "memory/leak.h"
#include "service/state.h"

#define LEAKS_LOCKED 64 /* owners looked at per holding of the lock */

struct watched {
  uint64_t owner, bytes; /* owner: its id, 0: none */
  int32_t pid;
  char name[40];
  struct leak_series series;
};

struct leaks {
  uint64_t looked_at;                       /* clock_now() */
  struct watched (*watched)[LEAKS_WATCHED]; /* by device; changed on the decision thread, under the
                                               lock */
};

enum status leaks_create(struct service *s) {
  s->leaks = calloc(1, sizeof *s->leaks);
  if (s->leaks)
    s->leaks->watched = calloc(VIEW_DEVICES, sizeof *s->leaks->watched);
  return s->leaks && s->leaks->watched ? STATUS_OK : STATUS_INTERNAL_ERROR;
}

void leaks_free(struct service *s) {
  if (s->leaks)
    free(s->leaks->watched);
  free(s->leaks);
}

/* ---- who is looked at ---- */

struct row {
  uint64_t owner, committed, bytes;
  int32_t pid;
  char name[40];
};
struct largest {
  struct row rows[LEAKS_WATCHED]; /* the most committed first */
  uint32_t count;
};

static void enter(struct largest *largest, const struct state_owner *owner, uint64_t committed) {
  uint32_t at = largest->count;
  if (at == LEAKS_WATCHED && largest->rows[at - 1].committed >= committed)
    return;
  if (at < LEAKS_WATCHED)
    largest->count++;
  else
    at--;
  for (; at && largest->rows[at - 1].committed < committed; at--)
    largest->rows[at] = largest->rows[at - 1];
  largest->rows[at] = (struct row){.owner = owner->id, .committed = committed, .pid = owner->pid};
  memcpy(largest->rows[at].name, owner->name, sizeof owner->name);
}

static bool some_owners(struct service *s, uint32_t device, uint64_t *after,
                        struct largest *largest) {
  LOCK_SCOPE(&s->lock);
  for (unsigned i = 0; i < LEAKS_LOCKED; i++) {
    const struct idmap_entry *entry = idmap_next(&s->owner_ids, *after);
    if (!entry)
      return false;
    *after = entry->id;
    const struct state_owner *owner = state_owner(s, entry->value);
    if (owner->kind != VIEW_OWNER_MODEL && owner->committed[device])
      enter(largest, owner, owner->committed[device]);
  }
  return true;
}

static void count_bytes(struct service *s, uint32_t device, struct row *row) {
  LOCK_SCOPE(&s->lock);
  uint32_t index = idmap_find(&s->owner_ids, row->owner);
  uint64_t count;
  row->bytes = index ? state_owner_bytes(s, state_owner(s, index), device, &count) : 0;
}

/* ---- their series ---- */

static struct watched *find(struct watched *watched, uint64_t owner) {
  for (uint32_t i = 0; i < LEAKS_WATCHED; i++)
    if (watched[i].owner == owner)
      return &watched[i];
  return NULL;
}

static bool is_among(const struct largest *largest, uint64_t owner) {
  for (uint32_t i = 0; i < largest->count; i++)
    if (largest->rows[i].owner == owner)
      return true;
  return false;
}

static void forget_others(struct watched *watched, const struct largest *largest) {
  for (uint32_t i = 0; i < LEAKS_WATCHED; i++)
    if (watched[i].owner && !is_among(largest, watched[i].owner))
      watched[i].owner = 0;
}

/* The judging is done on a copy: it takes longer than the lock should be held. */
static void note(struct service *s, uint32_t device, const struct row *row) {
  struct watched *all = s->leaks->watched[device], *found = find(all, row->owner);
  struct watched next = {.owner = row->owner};
  if (found)
    next = *found;
  else if (!(found = find(all, 0)))
    return;
  next.bytes = row->bytes;
  next.pid = row->pid;
  memcpy(next.name, row->name, sizeof next.name);
  leak_add(&next.series, (double)clock_now() / 1e9, (double)row->bytes);
  LOCK_SCOPE(&s->lock);
  *found = next;
}

static void look_at(struct service *s, uint32_t device) {
  struct largest largest = {.count = 0};
  uint64_t after = 0;
  while (some_owners(s, device, &after, &largest))
    ;
  lock_take(&s->lock);
  forget_others(s->leaks->watched[device], &largest);
  lock_give(&s->lock);
  for (uint32_t i = 0; i < largest.count; i++) {
    count_bytes(s, device, &largest.rows[i]);
    note(s, device, &largest.rows[i]);
  }
}

void leaks_look(struct service *s) {
  uint64_t now = clock_now();
  if (now - s->leaks->looked_at < LEAK_EVERY_SECONDS * CLOCK_SECOND - CLOCK_SECOND / 2)
    return;
  s->leaks->looked_at = now;
  for (uint32_t i = 0; i < s->device_count; i++)
    look_at(s, i);
}

/* ---- what is told ---- */

static int by_rate(const void *a, const void *b) {
  const struct leak *x = a, *y = b;
  return (x->bytes_per_second < y->bytes_per_second) - (x->bytes_per_second > y->bytes_per_second);
}

uint32_t leaks_find(struct service *s, struct leak *out, uint32_t max) {
  uint32_t count = 0;
  lock_take(&s->lock);
  uint64_t real = clock_real(), now = clock_now();
  for (uint32_t d = 0; d < s->device_count; d++)
    for (uint32_t i = 0; i < LEAKS_WATCHED && count < max; i++) {
      const struct watched *one = &s->leaks->watched[d][i];
      if (!one->owner || !one->series.rising)
        continue;
      struct leak *leak = &out[count++];
      *leak = (struct leak){.owner_id = one->owner,
                            .pid = one->pid,
                            .device_id = s->devices[d].info->id,
                            .bytes_per_second = one->series.bytes_per_second,
                            .bytes = one->bytes,
                            .since = real - units_minus(now, (uint64_t)(one->series.since * 1e9))};
      memcpy(leak->owner, one->name, sizeof leak->owner);
    }
  lock_give(&s->lock);
  qsort(out, count, sizeof *out, by_rate);
  return count;
}
