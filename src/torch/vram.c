/*
 * vram: two arenas in one reserved range of addresses, so that an address says whose it is. Two
 * locks: `lock` over the books, never held while anybody is waited for; `turn`, taken before it,
 * for who maps and unmaps.
 */
#include "torch/vram.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/lock.h"
#include "base/units.h"
#include "torch/arena.h"
#include "torch/fence.h"

#define RANGE_PART 2 /* addresses: twice the card for large pieces, half of it for small ones */
#define AT_ONCE 64   /* segments that wait together for the card */
#define TRIES 3      /* what is free may be taken by others meanwhile */
#define NAME 64

enum { ARENA_SMALL, ARENA_LARGE, ARENAS };

struct vram {
  struct vram_params params;
  char name[NAME], uuid[NAME];
  int device;
  driver_context context;
  uint64_t granule, middle; /* addresses from here on are of large pieces */
  struct lock turn, lock;
  struct arena *arenas[ARENAS];
  struct fence fence;
  uint64_t peaks[ARENAS]; /* of the window before this one */
  uint64_t reserved, peak_reserved, peak_used;
  _Atomic(mk_allocation *)
      owed; /* unmapped when the daemon was away: freed before anything else is */
  bool ends;
};

struct want {
  uint64_t size;
  struct arena *arena;
  uint32_t stream;
};

/* ---- opening ---- */

static void write_uuid(const unsigned char uuid[16], const char *kind, char out[NAME]) {
  int n = snprintf(out, NAME, "%s-", kind);
  for (int i = 0; i < 16; i++) {
    bool dash = i == 4 || i == 6 || i == 8 || i == 10;
    n += snprintf(out + n, NAME - (size_t)n, "%s%02x", dash ? "-" : "", uuid[i]);
  }
}

/* The daemon's figures for it: a whole card, or an instance. */
static bool find_at_daemon(struct vram *card, const unsigned char uuid[16], uint64_t *total) {
  static const char *const kinds[] = {"GPU", "MIG"};
  struct mk_status status;
  for (unsigned i = 0; i < 2; i++) {
    write_uuid(uuid, kinds[i], card->uuid);
    if (mk_status(card->params.client, card->uuid, &status))
      continue;
    *total = status.total;
    return status.total && status.total != MK_UNKNOWN;
  }
  return false;
}

static bool find_name(struct vram *card) {
  char question[NAME + 32], *answer = NULL;
  snprintf(question, sizeof question, "{\"device_id\":\"%s\"}", card->uuid);
  if (mk_call(card->params.client, "memory.get_status", question, &answer))
    return false;
  const char *found = strstr(answer, "\"device_id\":\"");
  bool fits = found && sscanf(found + strlen("\"device_id\":\""), "%63[^\"]", card->name) == 1;
  free(answer);
  return fits;
}

static int find_on_driver(struct vram *card, unsigned char uuid[16]) {
  const struct driver *driver = card->params.driver;
  int answer = driver->device_get(&card->device, card->params.number);
  answer = answer ? answer : driver->device_uuid(uuid, card->device);
  return answer ? answer : driver->context_retain(&card->context, card->device);
}

static int reserve(struct vram *card, uint64_t total) {
  const struct driver *driver = card->params.driver;
  unsigned long long start;
  driver_context before;
  card->granule = driver_granule(driver, card->device);
  uint64_t small = units_up(total / RANGE_PART, card->granule);
  uint64_t large = units_up(total * RANGE_PART, card->granule);
  int answer = driver_enter(driver, card->context, &before);
  if (answer)
    return answer;
  answer = driver->reserve(&start, small + large, 0, 0, 0);
  driver_leave(driver, before);
  if (answer)
    return answer;
  card->middle = start + small;
  struct arena_params params = {
      .start = start,
      .size = small,
      .granule = card->granule,
      .clock = {.mark = fence_mark, .passed = fence_passed, .ctx = &card->fence}};
  card->arenas[ARENA_SMALL] = arena_create(&params);
  params.start = card->middle;
  params.size = large;
  card->arenas[ARENA_LARGE] = arena_create(&params);
  return DRIVER_OK;
}

static bool set_up(struct vram *card, char *why) {
  unsigned char uuid[16];
  uint64_t total;
  int answer = find_on_driver(card, uuid);
  if (!answer && (!find_at_daemon(card, uuid, &total) || !find_name(card))) {
    snprintf(why, VRAM_WHY, "the daemon has no card %s: %.200s", card->uuid, mk_error_text());
    return false;
  }
  answer = answer ? answer : reserve(card, total);
  if (answer)
    snprintf(why, VRAM_WHY, "card %d cannot be used: %s", card->params.number,
             driver_error(card->params.driver, answer));
  return !answer && card->arenas[ARENA_SMALL] && card->arenas[ARENA_LARGE];
}

struct vram *vram_open(const struct vram_params *params, char *why) {
  struct vram *card = calloc(1, sizeof *card);
  snprintf(why, VRAM_WHY, "out of host memory");
  if (!card)
    return NULL;
  card->params = *params;
  card->fence.driver = params->driver;
  lock_init(&card->turn, LOCK_RANK_ENTERING, "card turn");
  lock_init(&card->lock, LOCK_RANK_STATE, "card");
  if (set_up(card, why))
    return card;
  arena_free(card->arenas[ARENA_SMALL]);
  arena_free(card->arenas[ARENA_LARGE]);
  lock_done(&card->lock);
  lock_done(&card->turn);
  free(card);
  return NULL;
}

const char *vram_name(const struct vram *card) { return card->name; }

/* ---- giving segments back; in turn ---- */

static void count_reserved(struct vram *card) {
  card->reserved =
      arena_reserved(card->arenas[ARENA_SMALL]) + arena_reserved(card->arenas[ARENA_LARGE]);
  card->peak_reserved = units_max(card->peak_reserved, card->reserved);
}

/* Takes empty segments out of the books; the moment until which the card must have come. */
static uint32_t pick(struct vram *card, uint64_t most, struct arena_segment *out, uint64_t *mark) {
  uint32_t count = 0;
  LOCK_SCOPE(&card->lock);
  for (int i = ARENAS; i--;)
    while (count < AT_ONCE && arena_trim(card->arenas[i], most, &out[count]))
      most -= out[count++].size;
  *mark = card->fence.now;
  count_reserved(card);
  return count;
}

/* In the context. */
static int settle(struct vram *card, uint64_t mark) {
  int answer = card->params.driver->context_wait();
  if (answer)
    return answer;
  LOCK_SCOPE(&card->lock);
  fence_settle(&card->fence, mark);
  return DRIVER_OK;
}

static struct arena *arena_of(const struct vram *card, uint64_t start) {
  return card->arenas[start < card->middle ? ARENA_SMALL : ARENA_LARGE];
}

/* False: the daemon is away, and is owed this one. */
static bool hand_over(struct vram *card, mk_allocation *allocation) {
  enum mk_code code = mk_try_free(allocation);
  bool there = code != MK_DAEMON_NOT_FOUND;
  if (code && there)
    (void)mk_detach(allocation);
  card->owed = there ? NULL : allocation;
  return there;
}

/* What the driver does not let go is left to the process's end. False: the daemon is away. */
static bool give_back(struct vram *card, const struct arena_segment *segment, uint64_t *went) {
  if (card->params.driver->unmap(segment->start, segment->size))
    return true;
  *went += segment->size;
  bool there = hand_over(card, segment->memory);
  LOCK_SCOPE(&card->lock);
  arena_gone(arena_of(card, segment->start), segment->start);
  return there;
}

/* Each would wait for the daemon, too: they stay of use here until that is back. */
static void keep(struct vram *card, const struct arena_segment *segments, uint32_t count) {
  LOCK_SCOPE(&card->lock);
  for (uint32_t i = 0; i < count; i++)
    arena_keep(arena_of(card, segments[i].start), &segments[i]);
  count_reserved(card);
}

/* In turn and in the context. */
static uint64_t trim(struct vram *card, uint64_t most) {
  struct arena_segment segments[AT_ONCE];
  uint64_t went = 0, mark;
  uint32_t count = AT_ONCE, i;
  bool there = !card->owed || hand_over(card, card->owed);
  while (count == AT_ONCE && there && !card->ends) {
    count = pick(card, most - went, segments, &mark);
    there = !settle(card, mark);
    for (i = 0; i < count && there; i++)
      there = give_back(card, &segments[i], &went);
    keep(card, &segments[i], count - i);
  }
  return went;
}

uint64_t vram_trim(struct vram *card, uint64_t most) {
  driver_context before;
  LOCK_SCOPE(&card->turn);
  if (card->ends || driver_enter(card->params.driver, card->context, &before))
    return 0;
  uint64_t went = trim(card, most);
  driver_leave(card->params.driver, before);
  return went;
}

void vram_tick(struct vram *card) {
  uint64_t surplus = 0;
  lock_take(&card->lock);
  for (int i = 0; i < ARENAS; i++) {
    uint64_t peak = arena_peak(card->arenas[i]);
    surplus += units_minus(arena_reserved(card->arenas[i]), units_max(peak, card->peaks[i]));
    card->peaks[i] = peak;
  }
  lock_give(&card->lock);
  if (surplus >= card->granule || card->owed)
    (void)vram_trim(card, surplus);
}

void vram_end(struct vram *card) {
  LOCK_SCOPE(&card->turn);
  card->ends = true;
}

/* ---- getting a segment; in turn and in the context ---- */

static mk_allocation *ask(const struct vram *card, uint64_t size, char *why) {
  const struct mk_request request = {.size = size,
                                     .device = card->uuid,
                                     .label = "PyTorch",
                                     .purpose = "tensors",
                                     .share = "read", /* a segment of its own; see docs/python.md */
                                     .flags = card->params.flags};
  mk_allocation *allocation;
  if (!mk_allocate(card->params.client, &request, &allocation))
    return allocation;
  snprintf(why, VRAM_WHY, "%.400s", mk_error_text());
  return NULL;
}

static bool map(struct vram *card, struct arena_segment *segment, char *why) {
  mk_allocation *allocation = ask(card, segment->size, why);
  if (!allocation)
    return false;
  int answer = driver_map(card->params.driver, card->device, mk_fd(allocation), segment->start,
                          segment->size);
  if (answer) {
    snprintf(why, VRAM_WHY, "memory of %s cannot be mapped: %s", card->name,
             driver_error(card->params.driver, answer));
    (void)mk_free(allocation);
  }
  segment->memory = allocation;
  return !answer;
}

/* False: there is no memory for the books; then it is not there either. */
static bool enter_books(struct vram *card, const struct want *want,
                        const struct arena_segment *segment) {
  lock_take(&card->lock);
  bool added = arena_add(want->arena, segment, want->stream);
  if (added)
    count_reserved(card);
  lock_give(&card->lock);
  if (!added && !card->params.driver->unmap(segment->start, segment->size))
    (void)mk_free(segment->memory);
  return added;
}

/* Under the lock. */
static void count_used(struct vram *card) {
  uint64_t used = arena_used(card->arenas[ARENA_SMALL]) + arena_used(card->arenas[ARENA_LARGE]);
  card->peak_used = units_max(card->peak_used, used);
}

/* The piece, or a plan of the segment that it needs; 0 and size 0: there are no addresses left. */
static uint64_t take_or_plan(struct vram *card, const struct want *want, uint64_t wish,
                             struct arena_segment *plan) {
  LOCK_SCOPE(&card->lock);
  *plan = (struct arena_segment){.size = 0};
  uint64_t start = arena_take(want->arena, want->size, want->stream);
  if (!start) {
    arena_adopt(want->arena, want->stream);
    start = arena_take(want->arena, want->size, want->stream);
  }
  if (start)
    count_used(card);
  else
    (void)arena_plan(want->arena, want->size, want->stream, wish, plan);
  return start;
}

/* With a segment of a good size, or else as small as it may be. 0: the daemon gives none. */
static uint64_t grow(struct vram *card, const struct want *want, char *why) {
  uint64_t wish = vram_wish(want->size, arena_reserved(want->arena)), start;
  struct arena_segment plan, least;
  for (unsigned i = 0; i < TRIES; i++) {
    start = take_or_plan(card, want, wish, &plan);
    if (start || !plan.size)
      return start;
    bool mapped = map(card, &plan, why);
    if (!mapped) {
      start = take_or_plan(card, want, 0, &least);
      if (start || least.size >= plan.size)
        return start;
      plan = least;
      mapped = map(card, &plan, why);
    }
    if (!mapped || !enter_books(card, want, &plan))
      return 0;
  }
  return take_or_plan(card, want, 0, &plan);
}

/* When all that is free here but of no use has gone, and streams are done with what they use. What
 * is small may lie among what is large then. */
static uint64_t make_room(struct vram *card, const struct want *want, char *why) {
  struct want elsewhere = *want;
  struct arena_segment plan;
  uint64_t mark, start = grow(card, want, why);
  if (start)
    return start;
  lock_take(&card->lock);
  mark = card->fence.now;
  lock_give(&card->lock);
  (void)settle(card, mark);
  elsewhere.arena = card->arenas[ARENA_LARGE];
  start = take_or_plan(card, &elsewhere, 0, &plan);
  if (start)
    return start;
  (void)trim(card, UINT64_MAX);
  return grow(card, want, why);
}

static uint64_t take_slowly(struct vram *card, const struct want *want, char *why) {
  driver_context before;
  LOCK_SCOPE(&card->turn);
  int answer =
      card->ends ? DRIVER_DEINITIALIZED : driver_enter(card->params.driver, card->context, &before);
  if (answer) {
    snprintf(why, VRAM_WHY, "%s cannot be used: %s", card->name,
             driver_error(card->params.driver, answer));
    return 0;
  }
  snprintf(why, VRAM_WHY, "there are no addresses left");
  uint64_t start = make_room(card, want, why);
  driver_leave(card->params.driver, before);
  return start;
}

/* ---- pieces ---- */

uint64_t vram_take(struct vram *card, uint64_t size, driver_stream stream, char *why) {
  struct want want = {.size = size, .arena = card->arenas[size > VRAM_SMALL]};
  lock_take(&card->lock);
  want.stream = fence_number(&card->fence, stream);
  uint64_t start =
      want.stream < ARENA_STREAMS ? arena_take(want.arena, size, want.stream) : UINT64_C(0);
  count_used(card);
  lock_give(&card->lock);
  if (start)
    return start;
  if (want.stream < ARENA_STREAMS)
    return take_slowly(card, &want, why);
  snprintf(why, VRAM_WHY, "memory of %s is used by more than %d streams", card->name,
           ARENA_STREAMS);
  return 0;
}

bool vram_give(struct vram *card, uint64_t start) {
  driver_context before = NULL;
  LOCK_SCOPE(&card->lock);
  bool records = card->fence.count > 1 && !card->ends;
  if (records && driver_enter(card->params.driver, card->context, &before))
    records = false;
  bool known = arena_give(arena_of(card, start), start);
  if (records)
    driver_leave(card->params.driver, before);
  return known;
}

bool vram_share(struct vram *card, uint64_t start, driver_stream stream) {
  LOCK_SCOPE(&card->lock);
  uint32_t number = fence_number(&card->fence, stream);
  return number < ARENA_STREAMS && arena_share(arena_of(card, start), start, number);
}

void vram_look(struct vram *card, struct vram_figures *out) {
  struct arena_figures figures;
  LOCK_SCOPE(&card->lock);
  *out = (struct vram_figures){.peak_reserved = card->peak_reserved, .peak_used = card->peak_used};
  for (int i = 0; i < ARENAS; i++) {
    arena_look(card->arenas[i], &figures);
    out->reserved += figures.reserved;
    out->used += figures.used;
    out->empty += figures.empty;
    out->pieces += figures.blocks;
    out->segments += figures.segments;
  }
}
