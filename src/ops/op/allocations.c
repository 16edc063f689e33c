/*
 * allocations: routes 5, 6 and 7.
 */
#include <stdlib.h>
#include <string.h>

#include "ops/op.h"
#include "ops/reply.h"
#include "service/alloc.h"

struct list {
  struct alloc_filter filter; /* first: its device is the path's */
  int order;
};

static void set_defaults(void *params) {
  struct list *list = params;
  list->filter.purpose = -1;
  list->filter.limit = 100;
}

static enum ops_progress run_list(struct ops_call *call, void *params) {
  struct list *list = params;
  struct alloc_page page;
  struct problem problem;
  struct writer w;
  list->filter.ascending = list->order == 0;
  if (alloc_list(ops_service(call->ops), &list->filter, &page, &problem))
    return reply_fail(call, &problem);
  reply_begin(call, &w);
  writer_array(&w, "allocations");
  for (uint32_t i = 0; i < page.count; i++)
    op_allocate_write(&w, &page.allocations[i], NULL);
  writer_end(&w);
  if (page.totals_known) {
    writer_uint(&w, "totalAllocations", page.total_allocations);
    writer_uint(&w, "totalBytes", page.total_bytes);
  } else {
    writer_null(&w, "totalAllocations");
    writer_null(&w, "totalBytes");
  }
  writer_text_or_null(&w, "nextCursor", page.next_cursor);
  free(page.allocations);
  return reply_end(call, &w);
}

static const char *const sorts[] = {"createdAt", "sizeBytes", "lastAccessedAt", NULL};
const char *const op_allocations_orders[] = {"asc", "desc", NULL};

#define TEXT(member, field, sentence)                                                              \
  {                                                                                                \
    .name = (field), .type = READER_TEXT, .offset = offsetof(struct list, filter.member),          \
    .size = sizeof(((struct list *)0)->filter.member), .doc = (sentence)                           \
  }

static const struct reader_field fields[] = {
    TEXT(device, "deviceId", "device id, UUID or PCI address"),
    OP_LIMIT(struct list, filter.limit, "how many at most"),
    TEXT(cursor, "cursor", "nextCursor of the page before"),
    TEXT(owner, "owner", "only those of this owner, by id or name"),
    {.name = "purpose",
     .type = READER_WORD,
     .offset = offsetof(struct list, filter.purpose),
     .words = view_purposes,
     .doc = "only those for this"},
    TEXT(label, "label", "only those with this label"),
    TEXT(model, "modelId", "only those of this model"),
    {.name = "sort",
     .type = READER_WORD,
     .offset = offsetof(struct list, filter.sort),
     .words = sorts,
     .otherwise = "createdAt",
     .doc = "what they are in order of"},
    OP_ORDER(struct list, order, "asc", "smallest or largest first"),
};

const struct ops_row op_allocations_list = {.action = "memory.list_allocations",
                                            .method = OPS_GET,
                                            .path = "/api/memory/allocations",
                                            .role = CALLER_READ,
                                            .envelope = true,
                                            .fields = fields + 1,
                                            .field_count = OP_COUNT(fields) - 1,
                                            .query_count = OP_COUNT(fields) - 1,
                                            .params_size = sizeof(struct list),
                                            .summary = "Live allocations",
                                            .answer = "Allocations",
                                            .schema = "AllocationPage",
                                            .defaults = set_defaults,
                                            .handler = run_list};

const struct ops_row op_allocations_list_device = {.action = "memory.list_allocations",
                                                   .method = OPS_GET,
                                                   .path =
                                                       "/api/memory/allocations/device/{idDevice}",
                                                   .role = CALLER_READ,
                                                   .envelope = true,
                                                   .fields = fields,
                                                   .field_count = OP_COUNT(fields),
                                                   .path_count = 1,
                                                   .query_count = OP_COUNT(fields) - 1,
                                                   .params_size = sizeof(struct list),
                                                   .summary = "Live allocations on one device",
                                                   .answer = "Allocations",
                                                   .schema = "AllocationPage",
                                                   .defaults = set_defaults,
                                                   .handler = run_list};

/* ---- one ---- */

struct get {
  uint64_t allocation;
};

static void write_history(struct writer *w, const struct alloc_looked *looked) {
  writer_array(w, "history");
  for (uint32_t i = 0; i < looked->history_count; i++) {
    writer_object(w, NULL);
    writer_time(w, "time", looked->history[i].time);
    writer_text(w, "event", looked->history[i].event);
    writer_text_or_null(w, "detail", looked->history[i].detail);
    writer_end(w);
  }
  writer_end(w);
  if (looked->history_truncated)
    writer_bool(w, "historyTruncated", true);
}

static enum ops_progress run_get(struct ops_call *call, void *params) {
  const struct get *get = params;
  struct alloc_looked looked;
  struct problem problem;
  struct writer w;
  if (alloc_look(ops_service(call->ops), get->allocation, &looked, &problem))
    return reply_fail(call, &problem);
  reply_begin(call, &w);
  op_allocate_write(&w, &looked.allocation, "allocation");
  write_history(&w, &looked);
  writer_end(&w);
  return reply_end(call, &w);
}

static const struct reader_field get_fields[] = {
    {.name = "allocationId",
     .type = READER_ID,
     .offset = offsetof(struct get, allocation),
     .prefix = 'a',
     .required = true,
     .doc = "which"},
};

const struct ops_row op_allocations_get = {.action = "memory.get_allocation",
                                           .method = OPS_GET,
                                           .path = "/api/memory/allocation/{allocationId}",
                                           .role = CALLER_READ,
                                           .envelope = true,
                                           .fields = get_fields,
                                           .field_count = 1,
                                           .path_count = 1,
                                           .params_size = sizeof(struct get),
                                           .summary = "One allocation with its history",
                                           .answer = "Allocation",
                                           .schema = "AllocationWithHistory",
                                           .handler = run_get};
