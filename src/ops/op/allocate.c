/*
 * allocate: routes 8, 9 and 10. What a new allocation's placement was is known at once, its place
 * perhaps later: the placement waits in the call's params, behind what was decoded.
 *
 * A client of the socket gets it attached at once, unless the request is `detached`. One that is
 * `brief` is told what it takes to use the memory: the rest costs more to write and to read than
 * the memory to find.
 */
#include "base/clock.h"
#include "ops/op/models.h"
#include "ops/reply.h"
#include "ops/wait.h"
#include "service/alloc.h"
#include "service/attach.h"

const char *const op_allocate_memories[] = {"any", "RAM", "VRAM", "CPU", "GPU", NULL};
const char *const op_allocate_memories_all[] = {"all", "RAM", "VRAM", "CPU", "GPU", "any", NULL};

struct allocate {
  struct alloc_params params; /* first */
  struct alloc_placement placement;
};

void op_allocate_write(struct writer *w, const struct view_alloc *a, const char *key) {
  writer_object(w, key);
  writer_id(w, "allocationId", 'a', a->id);
  writer_text(w, "deviceId", a->device_id);
  writer_uint(w, "sizeBytes", a->size_bytes);
  writer_uint(w, "alignmentBytes", a->alignment_bytes);
  writer_id(w, "segmentId", 's', a->segment_id);
  writer_uint(w, "offsetBytes", a->offset_bytes);
  writer_text(w, "type", a->dedicated ? "dedicated" : "slab");
  writer_text(w, "purpose", view_purposes[a->purpose]);
  writer_text_or_null(w, "label", a->label);
  writer_object(w, "owner");
  writer_text(w, "kind", view_owner_kinds[a->owner.kind]);
  writer_id(w, "id", 'o', a->owner.id);
  writer_uint_or_null(w, "pid", (uint64_t)a->owner.pid);
  writer_text_or_null(w, "name", a->owner.name);
  writer_end(w);
  writer_id(w, "modelId", 'm', a->model_id);
  writer_text(w, "priority", view_priorities[a->priority]);
  writer_text(w, "domain", a->domain);
  writer_text(w, "share", view_shares[a->share]);
  writer_bool(w, "persistent", a->persistent);
  writer_bool(w, "pinned", a->pinned);
  writer_text(w, "status", view_alloc_statuses[a->status]);
  writer_uint(w, "attachments", a->attachments);
  writer_time(w, "createdAt", a->created_at);
  writer_time(w, "lastAccessedAt", a->last_accessed_at);
  writer_uint(w, "accessCount", a->access_count);
  writer_time(w, "expiresAt", a->expires_at);
  if (!key)
    writer_end(w);
}

static void write_placement(struct writer *w, const struct alloc_placement *placement) {
  writer_object(w, "placement");
  writer_text(w, "deviceId", placement->device_id);
  writer_text(w, "reason", placement->reason);
  writer_array(w, "candidates");
  for (uint32_t i = 0; i < placement->count; i++) {
    writer_object(w, NULL);
    writer_text(w, "deviceId", placement->candidates[i].device_id);
    if (placement->candidates[i].rejected)
      writer_null(w, "score");
    else
      writer_int(w, "score", placement->candidates[i].score);
    writer_text(w, "rejected", placement->candidates[i].rejected);
    writer_end(w);
  }
  writer_end(w);
  writer_end(w);
}

/* What had to wait, or found its first choice taken, went elsewhere than was said at first; then
 * what was said of the devices holds no more. */
static void correct(struct alloc_placement *placement, const struct view_alloc *made) {
  if (placement->device_id != made->device_id)
    *placement = (struct alloc_placement){.device_id = made->device_id,
                                          .reason = "where there was room first"};
}

static bool is_attached(const struct ops_call *call) {
  return call->caller.connection && !call->caller.detached;
}

/* False: the memory is there, but not attached; memory.attach will say why. */
static bool attach(struct ops_call *call, struct view_alloc *view, struct attach_made *made) {
  const struct attach_want want = {.allocation = view->id};
  struct problem ignored;
  if (attach_begin(ops_service(call->ops), &call->caller, &want, made, &ignored))
    return false;
  reply_share(call, &made->share);
  view->attachments = made->attachments;
  view->access_count = made->access_count;
  view->last_accessed_at = made->accessed_at;
  return true;
}

static void write_attachment(struct writer *w, const struct attach_made *made) {
  if (!made) {
    writer_null(w, "attachment");
    return;
  }
  writer_object(w, "attachment");
  op_attach_write(w, made);
  writer_end(w);
}

static void write_allocation(const struct ops_call *call, const struct view_alloc *view,
                             struct writer *w) {
  if (call->brief) {
    writer_object(w, "allocation");
    writer_id(w, "allocationId", ID_ALLOCATION, view->id);
  } else {
    op_allocate_write(w, view, "allocation");
  }
  writer_end(w);
}

static void write_account(const struct ops_call *call, const struct job_allocate *made,
                          struct writer *w) {
  const struct allocate *allocate = (const struct allocate *)call->params;
  writer_uint(w, "availableBytes", made->available_bytes);
  writer_hundredths(w, "utilizationPercent", made->utilization);
  writer_ms(w, "allocationTimeMs", clock_now() - call->started_ns);
  write_placement(w, &allocate->placement);
}

static enum ops_progress answer(struct ops_call *call, const struct job_allocate *made) {
  struct allocate *allocate = (struct allocate *)call->params;
  struct view_alloc view = made->allocation;
  struct attach_made attachment;
  struct writer w;
  bool attached = is_attached(call) && attach(call, &view, &attachment);
  correct(&allocate->placement, &view);
  reply_begin(call, &w);
  write_allocation(call, &view, &w);
  if (is_attached(call))
    write_attachment(&w, attached ? &attachment : NULL);
  if (!call->brief)
    write_account(call, made, &w);
  return attached ? op_attach_end(call, &w, view.id) : reply_end(call, &w);
}

static void encode_made(struct ops_call *call, const struct job_view *view) {
  if (!reply_failed_job(call, view))
    answer(call, &view->result.allocate);
}

static enum ops_progress answer_dry(struct ops_call *call, const struct alloc_made *made) {
  struct writer w;
  reply_begin(call, &w);
  writer_bool(&w, "wouldFit", made->placement.device_id != NULL);
  write_placement(&w, &made->placement);
  writer_array(&w, "wouldEvict");
  for (uint32_t i = 0; i < made->eviction.count; i++)
    op_models_write_victim(&w, &made->eviction.victims[i]);
  writer_end(&w);
  return reply_end(call, &w);
}

static enum ops_progress run(struct ops_call *call, void *params) {
  struct allocate *allocate = params;
  struct alloc_made made;
  struct problem problem;
  allocate->params.memory = op_memory(allocate->params.memory);
  enum status status =
      alloc_make(ops_service(call->ops), &call->caller, &allocate->params, &made, &problem);
  if (status && status != STATUS_PENDING)
    return reply_fail(call, &problem);
  allocate->placement = made.placement;
  if (status == STATUS_PENDING)
    return wait_finished(call, made.job, encode_made);
  return allocate->params.dry_run ? answer_dry(call, &made) : answer(call, &made.answer);
}

static void set_defaults(void *params) { *(struct alloc_params *)params = ALLOC_PARAMS_DEFAULT; }

static const char *const strategies[] = {"spread", "best-fit", "pack", NULL};

#define AT(member) offsetof(struct alloc_params, member)

static const struct reader_field fields[] = {
    OP_DEVICE(struct alloc_params),
    {.name = "sizeBytes",
     .type = READER_UINT,
     .offset = AT(size_bytes),
     .min = 1,
     .max = UINT64_C(1) << 62,
     .required = true,
     .doc = "how much"},
    OP_MEMORY(struct alloc_params, memory, op_allocate_memories, "any"),
    {.name = "alignmentBytes",
     .type = READER_UINT,
     .offset = AT(alignment_bytes),
     .min = 1,
     .max = 2097152,
     .power_of_two = true,
     .otherwise = "256",
     .doc = "a power of two that its offset is a multiple of"},
    {.name = "purpose",
     .type = READER_WORD,
     .offset = AT(purpose),
     .words = view_purposes,
     .otherwise = "buffers",
     .doc = "what it is for"},
    {.name = "label",
     .type = READER_TEXT,
     .offset = AT(label),
     .size = VIEW_LABEL,
     .doc = "your own word for it, at most 256 bytes"},
    {.name = "priority",
     .type = READER_WORD,
     .offset = AT(priority),
     .words = view_priorities,
     .otherwise = "normal",
     .doc = "who comes first when memory is short"},
    OP_BOOL(struct alloc_params, persistent, "persistent", "false",
            "kept until it is freed with force"),
    OP_BOOL(struct alloc_params, pinned, "pinned", "false", "never moved"),
    {.name = "ttlSeconds",
     .type = READER_UINT,
     .offset = AT(ttl_seconds),
     .min = 1,
     .max = UINT64_C(1) << 32,
     .doc = "freed after this time"},
    {.name = "ownerPid",
     .type = READER_UINT,
     .offset = AT(owner_pid),
     .min = 1,
     .max = INT32_MAX,
     .doc = "freed when this process ends"},
    OP_BOOL(struct alloc_params, zero, "zero", "false", "filled with zeros"),
    OP_BOOL(struct alloc_params, commit, "commit", "false",
            "its pages are there before the answer, not at first touch"),
    {.name = "strategy",
     .type = READER_WORD,
     .offset = AT(strategy),
     .words = strategies,
     .otherwise = "spread",
     .doc = "how the device is chosen"},
    OP_BOOL(struct alloc_params, evict, "evict", "false",
            "models may be parked, else workers asked, to make room"),
    {.name = "share",
     .type = READER_WORD,
     .offset = AT(share),
     .words = view_shares,
     .otherwise = "none",
     .doc = "what other domains may do with it"},
    {.name = "waitMs",
     .type = READER_UINT,
     .offset = AT(wait_ms),
     .max = 86400000,
     .otherwise = "0",
     .doc = "how long to wait for memory"},
    OP_BOOL(struct alloc_params, dry_run, "dryRun", "false",
            "only say whether it would fit, and who would go for it with evict"),
};

const struct ops_row op_allocate_best = {.action = "memory.allocate",
                                         .method = OPS_POST,
                                         .path = "/api/memory/allocations/allocate",
                                         .role = CALLER_WRITE,
                                         .envelope = true,
                                         .fields = fields + 1,
                                         .field_count = OP_COUNT(fields) - 1,
                                         .params_size = sizeof(struct alloc_params),
                                         .summary = "Allocate on the best device",
                                         .answer = "Allocated",
                                         .schema = "Allocated",
                                         .dry_schema = "AllocationTrial",
                                         .defaults = set_defaults,
                                         .handler = run};

const struct ops_row op_allocate_device = {.action = "memory.allocate",
                                           .method = OPS_POST,
                                           .path = "/api/memory/allocations/allocate/{idDevice}",
                                           .role = CALLER_WRITE,
                                           .envelope = true,
                                           .fields = fields,
                                           .field_count = OP_COUNT(fields),
                                           .path_count = 1,
                                           .params_size = sizeof(struct alloc_params),
                                           .summary = "Allocate on one device",
                                           .answer = "Allocated",
                                           .schema = "Allocated",
                                           .dry_schema = "AllocationTrial",
                                           .defaults = set_defaults,
                                           .handler = run};

/* ---- free ---- */

static enum ops_progress answer_freed(struct ops_call *call, const struct job_free *freed) {
  struct writer w;
  reply_begin(call, &w);
  if (call->brief)
    return reply_end(call, &w);
  writer_id(&w, "allocationId", 'a', freed->allocation);
  writer_uint(&w, "freedBytes", freed->freed_bytes);
  writer_ms(&w, "deallocationTimeMs", clock_now() - call->started_ns);
  writer_uint(&w, "availableBytes", freed->available_bytes);
  return reply_end(call, &w);
}

static void encode_freed(struct ops_call *call, const struct job_view *view) {
  if (!reply_failed_job(call, view))
    answer_freed(call, &view->result.free);
}

static enum ops_progress run_free(struct ops_call *call, void *params) {
  struct alloc_freed freed;
  struct problem problem;
  enum status status = alloc_free(ops_service(call->ops), &call->caller, params, &freed, &problem);
  if (status == STATUS_PENDING)
    return wait_finished(call, freed.job, encode_freed);
  return status ? reply_fail(call, &problem) : answer_freed(call, &freed.answer);
}

static const struct reader_field free_fields[] = {
    {.name = "allocationId",
     .type = READER_ID,
     .offset = offsetof(struct alloc_victim, id),
     .prefix = 'a',
     .required = true,
     .doc = "which"},
    OP_BOOL(struct alloc_victim, force, "force", "false",
            "also when it is attached, pinned or persistent"),
};

const struct ops_row op_allocate_free = {.action = "memory.free",
                                         .method = OPS_DELETE,
                                         .path = "/api/memory/allocations/{allocationId}",
                                         .role = CALLER_WRITE,
                                         .envelope = true,
                                         .fields = free_fields,
                                         .field_count = 2,
                                         .path_count = 1,
                                         .query_count = 1,
                                         .params_size = sizeof(struct alloc_victim),
                                         .summary = "Free an allocation",
                                         .answer = "Freed",
                                         .schema = "Freed",
                                         .handler = run_free};
