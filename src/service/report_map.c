/*
 * report_map: the memory map of a device: a page of its segments with their blocks, by rising id.
 * One segment is copied per holding of the lock.
 */
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "service/report.h"
#include "service/state.h"

#define MAP_BLOCKS 100000 /* of one page: a larger map takes more pages */

struct mapping {
  struct service *service;
  struct report_map *map;
  uint32_t device, block_space;
};

static bool add_block(struct mapping *mapping, uint32_t *count, const struct report_block *block) {
  struct report_map *map = mapping->map;
  if (*count == mapping->block_space) {
    uint32_t space = mapping->block_space ? 2 * mapping->block_space : 256;
    struct report_block *blocks = realloc(map->blocks, space * sizeof *blocks);
    if (!blocks)
      return false;
    map->blocks = blocks;
    mapping->block_space = space;
  }
  map->blocks[(*count)++] = *block;
  return true;
}

static struct report_block block_of(const struct service *s, uint32_t index) {
  struct view_alloc view;
  state_view_alloc(s, index, &view);
  return (struct report_block){.allocation = view.id,
                               .offset_bytes = view.offset_bytes,
                               .size_bytes = view.size_bytes,
                               .purpose = view.purpose,
                               .status = view.status};
}

static bool add_blocks(struct mapping *mapping, const struct state_segment *segment,
                       uint32_t *count) {
  struct service *s = mapping->service;
  if (!segment->span) {
    struct report_block block;
    if (!segment->alloc)
      return true;
    block = block_of(s, segment->alloc);
    return add_block(mapping, count, &block);
  }
  struct span_block range;
  for (uint32_t node = 0; (node = span_next(segment->span, node, &range));) {
    if (!range.used || range.user == UINT32_MAX)
      continue;
    struct report_block block = block_of(s, range.user);
    if (!add_block(mapping, count, &block))
      return false;
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

/* The next segment of the device after an id; false: there is none, or no memory (then the map ends
 * short). */
static bool add_segment(struct mapping *mapping, uint64_t *after, uint32_t *blocks) {
  struct service *s = mapping->service;
  LOCK_SCOPE(&s->lock);
  const struct idmap_entry *entry = idmap_next(&s->segment_ids, *after);
  while (entry && state_segment(s, entry->value)->device != mapping->device)
    entry = idmap_next(&s->segment_ids, entry->id);
  if (!entry)
    return false;
  const struct state_segment *segment = state_segment(s, entry->value);
  struct report_map *map = mapping->map;
  struct report_segment *out = &map->segments[map->count];
  uint32_t first = *blocks;
  describe(s, segment, out);
  if (!add_blocks(mapping, segment, blocks))
    return false;
  out->block_count = *blocks - first;
  map->count++;
  map->holes += out->free_ranges;
  map->average_hole_bytes += segment->span ? segment->size - span_used(segment->span) : 0;
  map->largest_free_bytes = units_max(map->largest_free_bytes, out->largest_free_bytes);
  map->releasable_bytes += segment->blocks ? 0 : segment->size;
  *after = entry->id;
  return true;
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
  uint32_t blocks = 0;
  while (map.count < params->limit && blocks < MAP_BLOCKS && add_segment(&mapping, &after, &blocks))
    ;
  if (map.count == params->limit || blocks >= MAP_BLOCKS)
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
