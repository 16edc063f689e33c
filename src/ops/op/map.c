/*
 * map: a device's segments with their blocks, by address.
 */
#include "ops/op.h"
#include "ops/reply.h"
#include "service/report.h"

static void write_blocks(struct writer *w, const struct report_segment *segment) {
  writer_array(w, "blocks");
  for (uint32_t i = 0; i < segment->block_count; i++) {
    const struct report_block *block = &segment->blocks[i];
    writer_object(w, NULL);
    writer_id(w, "allocationId", 'a', block->allocation);
    writer_uint(w, "offsetBytes", block->offset_bytes);
    writer_uint(w, "sizeBytes", block->size_bytes);
    writer_text(w, "purpose", view_purposes[block->purpose]);
    writer_text(w, "status", view_alloc_statuses[block->status]);
    writer_end(w);
  }
  writer_end(w);
}

static void write_segment(struct writer *w, const struct report_segment *segment) {
  writer_object(w, NULL);
  writer_id(w, "segmentId", 's', segment->id);
  writer_uint(w, "sizeBytes", segment->size_bytes);
  writer_text(w, "type", segment->dedicated ? "dedicated" : "slab");
  writer_text(w, "domain", segment->domain);
  writer_bool(w, "exported", segment->exported);
  writer_uint(w, "allocatedBytes", segment->allocated_bytes);
  writer_uint(w, "freeRanges", segment->free_ranges);
  writer_uint(w, "largestFreeBytes", segment->largest_free_bytes);
  write_blocks(w, segment);
  writer_end(w);
}

/* Of the segments of this page: bytes by the size of their segment. */
static void write_classes(struct writer *w, const struct report_map *map) {
  writer_array(w, "bySizeClass");
  for (uint64_t class = UINT64_C(1) << 12; class; class <<= 1) {
    uint64_t count = 0, bytes = 0, lost = 0;
    for (uint32_t i = 0; i < map->count; i++) {
      const struct report_segment *segment = &map->segments[i];
      if (segment->size_bytes > class || (segment->size_bytes <= class / 2 && class > 4096))
        continue;
      count++;
      bytes += segment->size_bytes;
      lost += segment->size_bytes - segment->allocated_bytes;
    }
    if (!count)
      continue;
    writer_object(w, NULL);
    writer_uint(w, "upToBytes", class);
    writer_uint(w, "segments", count);
    writer_uint(w, "bytes", bytes);
    writer_uint(w, "freeBytes", lost);
    writer_end(w);
  }
  writer_end(w);
}

static enum ops_progress run(struct ops_call *call, void *params) {
  struct report_map_params *wanted = params;
  struct report_map map;
  struct problem problem;
  struct writer w;
  if (op_cursor(&wanted->cursor, &problem) ||
      report_map_make(ops_service(call->ops), wanted, &map, &problem))
    return reply_fail(call, &problem);
  reply_begin(call, &w);
  writer_array(&w, "segments");
  for (uint32_t i = 0; i < map.count; i++)
    write_segment(&w, &map.segments[i]);
  writer_end(&w);
  writer_object(&w, "fragmentation");
  writer_uint(&w, "holes", map.holes);
  writer_uint(&w, "averageHoleBytes", map.average_hole_bytes);
  writer_uint(&w, "largestFreeBytes", map.largest_free_bytes);
  writer_uint(&w, "releasableBytes", map.releasable_bytes);
  write_classes(&w, &map);
  writer_end(&w);
  writer_id(&w, "nextCursor", 's', map.next);
  report_map_free(&map);
  return reply_end(call, &w);
}

static void set_defaults(void *params) {
  struct report_map_params *wanted = params;
  wanted->limit = 100;
  wanted->cursor = OP_START;
}

static const struct reader_field fields[] = {
    {.name = "deviceId",
     .type = READER_TEXT,
     .offset = offsetof(struct report_map_params, device),
     .size = sizeof(((struct report_map_params *)0)->device),
     .required = true,
     .doc = "device id, UUID or PCI address"},
    OP_LIMIT(struct report_map_params, limit, "segments at most"),
    OP_CURSOR(struct report_map_params, cursor, 's'),
};

const struct ops_row op_map_segments = {.action = "memory.get_segments",
                                        .method = OPS_GET,
                                        .path = "/api/memory/segments/{idDevice}",
                                        .role = CALLER_READ,
                                        .envelope = true,
                                        .fields = fields,
                                        .field_count = OP_COUNT(fields),
                                        .path_count = 1,
                                        .query_count = 2,
                                        .params_size = sizeof(struct report_map_params),
                                        .summary = "The memory map of a device",
                                        .answer = "Segments",
                                        .schema = "Segments",
                                        .defaults = set_defaults,
                                        .handler = run};
