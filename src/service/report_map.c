/*
 * report_map: the memory map of a device: a page of its segments with their blocks, by rising id.
 * Some blocks are copied per holding of the lock.
 */
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "service/record.h"
#include "service/report.h"
#include "service/state.h"

#define MAP_BLOCKS 100000 /* of one page: a larger map takes more pages */
#define MAP_BATCH 512     /* blocks per holding of the lock */

struct mapping {
  struct service *service;
  struct report_map *map;
  uint32_t device, blocks, block_space;
  bool failed; /* no memory for all that was found */
};

static bool room_for_blocks(struct mapping *mapping) {
  if (mapping->block_space - mapping->blocks >= MAP_BATCH)
    return true;
  uint32_t space = 2 * mapping->block_space + MAP_BATCH;
  struct report_block *blocks = realloc(mapping->map->blocks, space * sizeof *blocks);
  mapping->failed = !blocks;
  if (!blocks)
    return false;
  mapping->map->blocks = blocks;
  mapping->block_space = space;
  return true;
}

/* Some blocks under the lock; false: the end of the segment. */
static bool add_some(struct mapping *mapping, struct record_walk *walk) {
  struct service *s = mapping->service;
  struct span_block range;
  LOCK_SCOPE(&s->lock);
  if (!record_walk_resume(s, walk))
    return false;
  for (unsigned i = 0; i < MAP_BATCH; i++) {
    if (!record_walk_next(s, walk, &range))
      return false;
    if (range.user == UINT32_MAX)
      continue;
    const struct state_alloc *alloc = state_alloc(s, range.user);
    const struct ledger_allocation *facts = state_record(s, alloc);
    mapping->map->blocks[mapping->blocks++] =
        (struct report_block){.allocation = alloc->id,
                              .offset_bytes = facts->offset_bytes,
                              .size_bytes = facts->size_bytes,
                              .purpose = facts->purpose,
                              .status = state_status(s, alloc)};
  }
  return true;
}

static void describe(const struct service *s, const struct state_segment *segment,
                     struct report_segment *out) {
  *out = (struct report_segment){.id = segment->id,
                                 .size_bytes = segment->size,
                                 .allocated_bytes = segment->allocated,
                                 .dedicated = !segment->span};
  memcpy(out->domain, s->domains[segment->domain].name, sizeof out->domain);
  if (!segment->span)
    return;
  out->free_ranges = span_free_ranges(segment->span);
  out->largest_free_bytes = span_largest_free(segment->span);
}

/* Under the lock: the next segment of the device after an id; false: there is none. */
static bool find_next(struct mapping *mapping, uint64_t *after) {
  struct service *s = mapping->service;
  struct report_map *map = mapping->map;
  struct report_segment *out = &map->segments[map->count];
  const struct idmap_entry *entry = idmap_next(&s->segment_ids, *after);
  while (entry && state_segment(s, entry->value)->device != mapping->device)
    entry = idmap_next(&s->segment_ids, entry->id);
  if (!entry)
    return false;
  const struct state_segment *segment = state_segment(s, entry->value);
  describe(s, segment, out);
  map->holes += out->free_ranges;
  map->average_hole_bytes += segment->span ? segment->size - span_used(segment->span) : 0;
  map->largest_free_bytes = units_max(map->largest_free_bytes, out->largest_free_bytes);
  map->releasable_bytes += segment->blocks ? 0 : segment->size;
  *after = entry->id;
  return true;
}

/* False: there is no further segment, or no memory (then the map ends short). */
static bool add_segment(struct mapping *mapping, uint64_t *after) {
  struct report_map *map = mapping->map;
  lock_take(&mapping->service->lock);
  bool found = find_next(mapping, after);
  lock_give(&mapping->service->lock);
  if (!found)
    return false;
  struct record_walk walk = {.segment = *after};
  uint32_t first = mapping->blocks;
  bool room;
  while ((room = room_for_blocks(mapping)) && add_some(mapping, &walk))
    ;
  map->segments[map->count++].block_count = mapping->blocks - first;
  return room;
}

enum status report_map_make(struct service *s, const struct report_map_params *params,
                            struct report_map *out, struct problem *problem) {
  struct report_map map = {0};
  struct mapping mapping = {.service = s, .map = &map};
  if (state_find_device(s, params->device, &mapping.device, problem))
    return problem->status;
  map.segments = calloc(params->limit, sizeof *map.segments);
  if (!map.segments)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  uint64_t after = params->cursor;
  bool more = true;
  while (more && map.count < params->limit && mapping.blocks < MAP_BLOCKS)
    more = add_segment(&mapping, &after);
  if (mapping.failed) {
    report_map_free(&map);
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  }
  if (more)
    map.next = after;
  struct report_block *at = map.blocks;
  for (uint32_t i = 0; i < map.count; i++) {
    map.segments[i].blocks = at;
    at += map.segments[i].block_count;
  }
  if (map.holes)
    map.average_hole_bytes /= map.holes;
  *out = map;
  return STATUS_OK;
}

void report_map_free(struct report_map *map) {
  free(map->segments);
  free(map->blocks);
}
