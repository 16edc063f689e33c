/*
 * alloc_list: pages of allocations. By creation a page costs its rows: ids rise, so the cursor is
 * the last id. Another order or a filter walks at most 100,000 records a page; where the walk ended
 * before the end, the totals are not known.
 *
 * A page of another order keeps the best `limit` rows after the cursor in a heap-ordered array
 * while it walks; its cursor is the sort key and id of the last row.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "service/alloc.h"
#include "service/models.h"
#include "service/state.h"

#define WALK_MAX 100000 /* contract 2 */
#define LOCKED_ROWS                                                                                \
  256 /* records looked at before the state lock is given to others for a moment */

#define NO_WEIGHTS 1 /* number of what is not in memory */

struct row {
  uint64_t key, id;
};

struct walk {
  struct service *service;
  const struct alloc_filter *filter;
  uint32_t device;  /* UINT32_MAX: any */
  uint64_t model;   /* number of its weights, 0: any */
  struct row after; /* the cursor */
  bool has_cursor, filtered;
  struct row *rows; /* `count` of at most `limit`, in order of the page */
  uint32_t count, looked;
  uint64_t last;   /* the record looked at last */
  bool from_start; /* else the walk began at the cursor */
  bool more;       /* rows beyond the page exist */
  bool complete;   /* the walk saw every record */
  uint64_t total, bytes;
};

static bool passes(const struct walk *walk, const struct state_alloc *alloc) {
  const struct service *s = walk->service;
  const struct alloc_filter *filter = walk->filter;
  const struct state_owner *owner = state_owner(s, alloc->owner);
  if (state_record(s, alloc)->flags & STATE_HIDDEN)
    return false;
  if (walk->device != UINT32_MAX && state_segment(s, alloc->segment)->device != walk->device)
    return false;
  if (filter->purpose >= 0 && state_record(s, alloc)->purpose != filter->purpose)
    return false;
  if (filter->label[0] && (!alloc->label || strcmp(alloc->label, filter->label) != 0))
    return false;
  if (walk->model && (owner->kind != VIEW_OWNER_MODEL || owner->pid_start != walk->model))
    return false;
  return !filter->owner[0] || state_owner_is(owner, filter->owner);
}

static uint64_t key_of(const struct walk *walk, const struct state_alloc *alloc) {
  const struct ledger_record *record = ledger_at(walk->service->ledger, alloc->slot);
  if (walk->filter->sort == ALLOC_BY_SIZE)
    return record->u.allocation.size_bytes;
  return walk->filter->sort == ALLOC_BY_ACCESS ? record->last_access_real_ns : alloc->id;
}

/* Whether a comes before b on the page. */
static bool before(const struct walk *walk, struct row a, struct row b) {
  bool less = a.key != b.key ? a.key < b.key : a.id < b.id;
  bool equal = a.key == b.key && a.id == b.id;
  return walk->filter->ascending ? less : !less && !equal;
}

static void keep(struct walk *walk, struct row row) {
  if (walk->has_cursor && !before(walk, walk->after, row))
    return;
  if (walk->count == walk->filter->limit) {
    walk->more = true;
    if (!before(walk, row, walk->rows[walk->count - 1]))
      return;
    walk->count--;
  }
  uint32_t low = 0, high = walk->count;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (before(walk, walk->rows[middle], row))
      low = middle + 1;
    else
      high = middle;
  }
  memmove(&walk->rows[low + 1], &walk->rows[low], (walk->count - low) * sizeof *walk->rows);
  walk->rows[low] = row;
  walk->count++;
}

static const struct idmap_entry *step(const struct walk *walk, uint64_t from) {
  const struct idmap *ids = &walk->service->alloc_ids;
  return walk->filter->ascending ? idmap_next(ids, from) : idmap_prev(ids, from);
}

/* Ids of models are never as small as NO_WEIGHTS. */
static uint64_t weights_of(struct service *s, const char *name) {
  LOCK_SCOPE(&s->lock);
  uint32_t index = name[0] ? models_find(s, name) : 0;
  const struct models_weights *weights = index ? models_at(s, index)->weights : NULL;
  return !name[0] ? 0 : weights ? weights->id : NO_WEIGHTS;
}

/* Some records under the lock; *from is where to go on. False: the end, or enough. */
static bool walk_some(struct walk *walk, uint64_t *from) {
  struct service *s = walk->service;
  bool by_creation = walk->filter->sort == ALLOC_BY_CREATED;
  LOCK_SCOPE(&s->lock);
  for (unsigned i = 0; i < LOCKED_ROWS; i++) {
    const struct idmap_entry *entry = step(walk, *from);
    if (!entry) {
      walk->complete = true;
      return false;
    }
    if (walk->looked == WALK_MAX || (by_creation && !walk->filtered && walk->more))
      return false;
    walk->looked++;
    *from = walk->last = entry->id;
    const struct state_alloc *alloc = state_alloc(s, entry->value);
    if (!passes(walk, alloc))
      continue;
    walk->total++;
    walk->bytes += state_record(s, alloc)->size_bytes;
    keep(walk, (struct row){key_of(walk, alloc), alloc->id});
  }
  return true;
}

/* "key-id", 16 hex digits each. */
static bool read_cursor(struct walk *walk, const char *text) {
  static const char form[] = "0123456789abcdef";
  if (!text[0])
    return true;
  walk->has_cursor = true;
  bool good = strlen(text) == 33 && strspn(text, form) == 16 && text[16] == '-' &&
              strspn(text + 17, form) == 16;
  walk->after.key = good ? strtoull(text, NULL, 16) : 0;
  walk->after.id = good ? strtoull(text + 17, NULL, 16) : 0;
  return good;
}

/* Copies the rows' views; what was freed since is left out. */
static enum status fill(struct walk *walk, struct alloc_page *out) {
  struct service *s = walk->service;
  out->allocations = calloc(walk->count ? walk->count : 1, sizeof *out->allocations);
  if (!out->allocations)
    return STATUS_INTERNAL_ERROR;
  out->count = 0;
  LOCK_SCOPE(&s->lock);
  for (uint32_t i = 0; i < walk->count; i++) {
    uint32_t index = idmap_find(&s->alloc_ids, walk->rows[i].id);
    if (index)
      state_view_alloc(s, index, &out->allocations[out->count++]);
  }
  return STATUS_OK;
}

/* Unfiltered totals are in the books; filtered ones only a complete walk from the start knows. */
static void totals(struct walk *walk, struct alloc_page *out) {
  struct service *s = walk->service;
  out->totals_known = !walk->filtered || (walk->complete && walk->from_start);
  out->total_allocations = walk->total;
  out->total_bytes = walk->bytes;
  if (walk->filtered)
    return;
  LOCK_SCOPE(&s->lock);
  out->total_allocations = out->total_bytes = 0;
  for (uint32_t i = 0; i < s->device_count; i++) {
    out->total_allocations += s->devices[i].allocations;
    out->total_bytes += s->devices[i].allocated;
  }
}

static bool few_records(struct service *s) {
  LOCK_SCOPE(&s->lock);
  return s->alloc_ids.live < WALK_MAX;
}

static void write_cursor(struct row row, struct alloc_page *out) {
  snprintf(out->next_cursor, sizeof out->next_cursor, "%016" PRIx64 "-%016" PRIx64, row.key,
           row.id);
}

static enum status walk_all(struct walk *walk, struct alloc_page *out) {
  const struct alloc_filter *filter = walk->filter;
  bool by_creation = filter->sort == ALLOC_BY_CREATED;
  /* By creation nothing before the cursor need be seen, unless for the totals of a filter. */
  walk->from_start =
      !walk->has_cursor || !by_creation || (walk->filtered && few_records(walk->service));
  uint64_t from = !walk->from_start ? walk->after.id : filter->ascending ? 0 : UINT64_MAX;
  while (walk_some(walk, &from))
    ;
  enum status status = fill(walk, out);
  if (status)
    return status;
  out->next_cursor[0] = 0;
  if (walk->more)
    write_cursor(walk->rows[walk->count - 1], out);
  else if (by_creation && !walk->complete)
    write_cursor((struct row){walk->last, walk->last}, out);
  totals(walk, out);
  return STATUS_OK;
}

enum status alloc_list(struct service *s, const struct alloc_filter *filter, struct alloc_page *out,
                       struct problem *problem) {
  struct walk walk = {.service = s, .filter = filter, .device = UINT32_MAX};
  if (filter->device[0] && state_find_device(s, filter->device, &walk.device, problem))
    return problem->status;
  walk.model = weights_of(s, filter->model);
  walk.filtered = walk.device != UINT32_MAX || filter->purpose >= 0 || filter->label[0] ||
                  filter->owner[0] || filter->model[0];
  if (!read_cursor(&walk, filter->cursor))
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "cursor",
                         "not a cursor of an earlier page");
  walk.rows = calloc(filter->limit + 1, sizeof *walk.rows);
  enum status status = walk.rows ? walk_all(&walk, out) : STATUS_INTERNAL_ERROR;
  free(walk.rows);
  return status ? problem_set(problem, status, "the daemon is out of memory") : STATUS_OK;
}
