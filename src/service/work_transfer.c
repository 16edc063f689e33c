/*
 * work_transfer: the start of a transfer: everything that can be said against it, what a dry run
 * foretells, and the first result of a key that was used before. From there on it is a `transfer`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "service/choice.h"
#include "service/job_work.h"
#include "service/keys.h"
#include "service/lease.h"
#include "service/model_move.h"
#include "service/transfer.h"
#include "service/work_impact.h"

/* ---- checks ---- */

static bool is_trial(const struct work_transfer *params) {
  return !params->allocation && !params->nobody;
}

/* What is wrong whatever there is. */
static enum status check_fields(struct transfer *transfer) {
  const struct work_transfer *params = &transfer->params;
  struct problem *problem = &transfer->problem;
  if (params->model[0] && (!is_trial(params) || params->part))
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "modelId",
                         "a model goes whole: neither allocationId nor a part can be said");
  if (params->model[0])
    return STATUS_OK;
  if (is_trial(params) && !params->size_bytes)
    return problem_field(problem, STATUS_MISSING_PARAMETER, "allocationId",
                         "name an allocation, or modelId, or sizeBytes alone for a measured trial");
  if (is_trial(params) && params->mode)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "mode",
                         "a trial transfer cannot move anything");
  if (params->mode && params->part)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "mode", "only a copy can be of a part");
  return STATUS_OK;
}

static enum status check_devices(const struct service *s, struct transfer *transfer) {
  const struct work_transfer *params = &transfer->params;
  struct problem *problem = &transfer->problem;
  enum status status = state_find_device(s, params->source, &transfer->source_device, problem);
  if (!status)
    status = state_find_device(s, params->target, &transfer->target_device, problem);
  if (!status && transfer->source_device == transfer->target_device)
    status = problem_field(problem, STATUS_INVALID_ARGUMENT, "targetDeviceId",
                           "source and target are the same device; use operations/copy within one");
  return status;
}

static enum status check_range(struct transfer *transfer, uint64_t have) {
  const struct work_transfer *params = &transfer->params;
  struct problem *problem = &transfer->problem;
  if (params->offset_bytes >= have)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "offsetBytes",
                         "beyond the allocation's %llu bytes", (unsigned long long)have);
  if (params->size_bytes > have - params->offset_bytes)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "sizeBytes",
                         "only %llu bytes from that offset on",
                         (unsigned long long)(have - params->offset_bytes));
  transfer->offset = params->offset_bytes;
  transfer->size = params->size_bytes ? params->size_bytes : have - params->offset_bytes;
  return STATUS_OK;
}

static enum status check_state(struct service *s, struct transfer *transfer) {
  const struct state_alloc *alloc = state_alloc(s, transfer->alloc);
  struct problem *problem = &transfer->problem;
  uint32_t device = state_segment(s, alloc->segment)->device;
  if (device != transfer->source_device)
    return problem_set(problem, STATUS_CONFLICT, "the allocation is on %s, not on %s",
                       s->devices[device].info->id, s->devices[transfer->source_device].info->id);
  enum status status = record_usable(s, transfer->alloc, problem);
  if (!status)
    status = choice_configured(&s->devices[device], problem);
  if (status || !transfer->params.mode)
    return status;
  if (alloc->attachments || alloc->busy)
    return problem_set(problem, STATUS_ALLOCATION_BUSY,
                       "the allocation is in use and cannot be moved");
  if (state_record(s, alloc)->flags & STATE_PINNED)
    return problem_set(problem, STATUS_CONFLICT, "the allocation is pinned and cannot be moved");
  return STATUS_OK;
}

/* Under the lock: checks of an allocation's; what the copy's record will say. */
static enum status check(struct service *s, const struct caller *caller,
                         struct transfer *transfer) {
  transfer->facts.owner = lease_owner(s, caller, caller->pid, caller->pid_start);
  if (!transfer->facts.owner)
    return problem_set(&transfer->problem, STATUS_QUOTA_EXCEEDED, "too many owners");
  transfer->facts.alignment = 256;
  transfer->size = transfer->params.size_bytes;
  if (is_trial(&transfer->params))
    return choice_configured(&s->devices[transfer->source_device], &transfer->problem);
  enum status status = state_find_alloc(s, caller, transfer->params.allocation, &transfer->alloc,
                                        &transfer->problem);
  if (status)
    return status;
  const struct state_alloc *alloc = state_alloc(s, transfer->alloc);
  const struct ledger_allocation *source = state_record(s, alloc);
  status = check_range(transfer, source->size_bytes);
  if (!status)
    status = check_state(s, transfer);
  if (status)
    return status;
  if (transfer->params.mode)
    transfer->facts.owner = alloc->owner;
  snprintf(transfer->label, sizeof transfer->label, "%s", alloc->label ? alloc->label : "");
  transfer->facts.size = transfer->size;
  transfer->facts.alignment = UINT64_C(1) << source->alignment_log2;
  transfer->facts.purpose = source->purpose;
  transfer->facts.priority = source->priority;
  transfer->facts.flags = source->flags & (STATE_SHARE_READ | STATE_SHARE_WRITE);
  transfer->facts.label = transfer->label;
  transfer->facts.correlation = transfer->correlation;
  return STATUS_OK;
}

/* ---- dry run ---- */

/* NULL: the allocation is not one of a model. */
static const struct models_weights *weights_of(const struct service *s, uint32_t alloc) {
  const struct models_weights *weights = s->models->weights;
  while (weights && weights->owner != state_alloc(s, alloc)->owner)
    weights = weights->next;
  return weights;
}

static struct work_impact impact(const struct service *s, const struct transfer *transfer) {
  struct work_impact_of of = {.source = transfer->source_device,
                              .target = transfer->target_device,
                              .size = transfer->size,
                              .comes = transfer->size,
                              .priority = transfer->params.priority,
                              .goes = transfer->params.mode ? transfer->size : 0,
                              .weights = transfer->alloc ? weights_of(s, transfer->alloc) : NULL};
  struct work_impact out = work_impact_foretell(s, &of);
  out.attachments = transfer->alloc ? state_alloc(s, transfer->alloc)->attachments : 0;
  return out;
}

/* ---- start ---- */

static struct job_transfer first_state(const struct transfer *transfer) {
  const struct service *s = transfer->service;
  struct job_transfer state = {.allocation = transfer->params.allocation,
                               .move = transfer->params.mode,
                               .trial = !transfer->alloc,
                               .verify = transfer->params.verify,
                               .size_bytes = transfer->size};
  if (state.move)
    state.target_allocation = state.allocation;
  snprintf(state.source_device, SPEC_ID, "%s", s->devices[transfer->source_device].info->id);
  snprintf(state.target_device, SPEC_ID, "%s", s->devices[transfer->target_device].info->id);
  return state;
}

static uint32_t args_hash(const struct work_transfer *params) {
  uint64_t words[] = {params->allocation, params->offset_bytes, params->size_bytes,
                      (uint64_t)params->mode, params->verify};
  uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a: a few words, told apart, not defended */
  for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
    hash = (hash ^ words[i]) * UINT64_C(0x100000001b3);
  for (const char *c = params->model; *c; c++)
    hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
  for (const char *c = params->source; *c; c++)
    hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
  for (const char *c = params->target; *c; c++)
    hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
  return (uint32_t)(hash ^ (hash >> 32));
}

/* Under the lock: the job, and what it needs first. */
static enum status launch(struct service *s, const struct caller *caller, struct transfer *transfer,
                          const uint64_t key[2], bool *placed) {
  const struct job_transfer state = first_state(transfer);
  transfer->job = job_make(
      s, &(struct job_params){.kind = JOB_TRANSFER,
                              .caller = caller,
                              .id = ledger_next_id(s->ledger),
                              .bytes_total = transfer->size,
                              .cancellable = true,
                              .transfer = &state,
                              .record = {.key = {key[0], key[1]},
                                         .key_args = args_hash(&transfer->params),
                                         .source = s->devices[transfer->source_device].record,
                                         .target = s->devices[transfer->target_device].record}});
  if (!transfer->job)
    return problem_set(&transfer->problem, STATUS_RATE_LIMITED, "too many jobs are under way");
  enum status status = transfer_begin(transfer, placed);
  if (status)
    job_forget(transfer->job);
  return status;
}

static enum status repeated(struct service *s, const struct transfer *transfer,
                            const uint64_t key[2], struct work_started *out,
                            struct problem *problem) {
  uint32_t args = 0;
  bool looks = key[0] && !transfer->params.dry_run;
  struct job *job = looks ? job_by_key(s, key, &args) : NULL;
  if (!job)
    return STATUS_NOT_FOUND;
  if (args == args_hash(&transfer->params)) {
    out->job = job;
    return STATUS_OK;
  }
  job_give(job);
  return problem_set(problem, STATUS_CONFLICT,
                     "this Idempotency-Key came with other arguments before");
}

/* Under the lock: the same for a whole model; out->job goes on by itself. */
static enum status start_model(struct service *s, const struct caller *caller,
                               struct transfer *transfer, const uint64_t key[2],
                               struct work_started *out) {
  struct model_move move = {.caller = caller,
                            .params = &transfer->params,
                            .source = transfer->source_device,
                            .target = transfer->target_device,
                            .key = {key[0], key[1]},
                            .key_args = args_hash(&transfer->params)};
  return model_move_start(s, &move, out, &transfer->problem);
}

/* Under the lock. OK with transfer->job: `transfer` belongs to that now. */
static enum status start(struct service *s, const struct caller *caller, struct transfer *transfer,
                         struct work_started *out, bool *placed) {
  uint64_t key[2];
  keys_hash(caller, key);
  enum status status = repeated(s, transfer, key, out, &transfer->problem);
  if (status != STATUS_NOT_FOUND)
    return status;
  if (s->stopping)
    return problem_set(&transfer->problem, STATUS_WORKER_UNAVAILABLE, "the daemon stops");
  status = check_fields(transfer);
  if (!status)
    status = check_devices(s, transfer);
  if (!status && transfer->params.model[0])
    return start_model(s, caller, transfer, key, out);
  if (!status)
    status = check(s, caller, transfer);
  if (status)
    return status;
  if (transfer->params.dry_run) {
    out->impact = impact(s, transfer);
    return STATUS_OK;
  }
  status = launch(s, caller, transfer, key, placed);
  if (status)
    return status;
  out->job = job_keep(transfer->job);
  struct events_record event = {.type = EVENTS_TRANSFER_STARTED,
                                .subject = job_id(transfer->job),
                                .bytes = transfer->size,
                                .device = (uint8_t)(transfer->source_device + 1),
                                .other_device = (uint8_t)(transfer->target_device + 1)};
  events_set_text(&event, transfer->correlation);
  events_add(s->events, &event);
  return STATUS_OK;
}

enum status work_transfer_start(struct service *s, const struct caller *caller,
                                const struct work_transfer *params, struct work_started *out,
                                struct problem *problem) {
  struct transfer *transfer = calloc(1, sizeof *transfer);
  if (!transfer)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  transfer->service = s;
  transfer->params = *params;
  memcpy(transfer->correlation, caller->correlation, sizeof transfer->correlation);
  bool placed = false;
  out->job = NULL;
  lock_take(&s->lock);
  enum status status = start(s, caller, transfer, out, &placed);
  bool runs = transfer->job && !status;
  if (!runs)
    *problem = transfer->problem;
  lock_give(&s->lock);
  if (placed)
    transfer_go(transfer);
  else if (!runs)
    free(transfer);
  return status;
}
