/*
 * work: copy and fill between and within live allocations. One mover task each; the allocations are
 * busy meanwhile, so that nobody frees or moves them.
 */
#include "service/work.h"

#include <stdlib.h>
#include <string.h>

#include "service/choice.h"
#include "service/job_work.h"
#include "service/record.h"

struct moving {
  struct mover_task task; /* first: the mover hands it back */
  struct mover_segment segments[2];
  struct mover_move move;
  struct service *service;
  struct job *job;
  uint32_t allocs[2]; /* busy ones; 0: none */
  enum events_type event;
};

static void set_result(struct job_view *view, void *arg) {
  const struct mover_task *task = arg;
  view->result.bytes = (struct job_bytes){
      .bytes = task->bytes, .checksum = task->checksum, .checksum_known = task->checksum_known};
}

static void progress(struct mover_task *task, uint64_t bytes_done) {
  job_progress(((struct moving *)task)->job, bytes_done);
}

static void let_go(struct service *s, uint32_t alloc) {
  if (!alloc)
    return;
  state_alloc(s, alloc)->busy--;
  record_let_go(s, alloc);
}

static void done(struct mover_task *task) {
  struct moving *moving = (struct moving *)task;
  struct service *s = moving->service;
  lock_take(&s->lock);
  bool well = !task->problem.status;
  if (well)
    state_alloc_event(s, moving->allocs[0], moving->event, task->correlation);
  for (unsigned i = 0; i < 2; i++) {
    if (well && moving->allocs[i])
      record_touch(s, moving->allocs[i]);
    let_go(s, moving->allocs[i]);
  }
  lock_give(&s->lock);
  job_update(moving->job, set_result, task);
  job_finish(moving->job, &task->problem);
  free(moving);
}

static const struct state_device *device_of(const struct service *s, uint32_t alloc) {
  return &s->devices[state_segment(s, state_alloc(s, alloc)->segment)->device];
}

/* Resolves one end: usable, and offset + size within it (size 0: all from the offset on). */
struct end {
  uint64_t id, offset;
  const char *offset_field;
};
static enum status resolve(struct service *s, const struct caller *caller, const struct end *end,
                           uint32_t *index, struct problem *problem) {
  enum status status = state_find_alloc(s, caller, end->id, index, problem);
  if (!status)
    status = record_usable(s, *index, problem);
  if (!status)
    status = choice_configured(device_of(s, *index), problem);
  if (status)
    return status;
  uint64_t size = state_record(s, state_alloc(s, *index))->size_bytes;
  if (end->offset >= size)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, end->offset_field,
                         "beyond the allocation's %llu bytes", (unsigned long long)size);
  return STATUS_OK;
}

/* Nobody writes to a model's bytes. */
static enum status check_target(const struct service *s, uint32_t index, struct problem *problem) {
  bool model = state_record(s, state_alloc(s, index))->flags & STATE_MODEL;
  return model ? problem_set(problem, STATUS_CONFLICT, "the target belongs to a model") : STATUS_OK;
}

static uint64_t rest_of(const struct service *s, uint32_t index, uint64_t offset) {
  return state_record(s, state_alloc(s, index))->size_bytes - offset;
}

/* Under the lock: marks the ends busy, makes the job and its task. */
static enum status launch(struct service *s, const struct caller *caller, struct moving *moving,
                          struct work_started *out, struct problem *problem) {
  bool fill = moving->task.action == MOVER_FILL;
  struct job_params params = {.kind = fill ? JOB_FILL : JOB_COPY,
                              .caller = caller,
                              .id = ledger_next_id(s->ledger),
                              .bytes_total = moving->move.size,
                              .cancellable = true};
  if (s->stopping)
    return problem_set(problem, STATUS_WORKER_UNAVAILABLE, "the daemon stops");
  moving->service = s;
  moving->job = job_make(s, &params);
  if (!moving->job)
    return problem_set(problem, STATUS_RATE_LIMITED, "too many jobs are under way");
  out->job = job_keep(moving->job);
  for (unsigned i = 0; i < 2; i++) {
    if (!moving->allocs[i])
      continue;
    struct space place = record_place(s, moving->allocs[i]);
    moving->segments[i] = record_mover_segment(s, place.segment);
    state_alloc(s, moving->allocs[i])->busy++;
    *(i ? &moving->move.from_offset : &moving->move.to_offset) += place.offset;
  }
  moving->task.segments = moving->segments;
  moving->task.segment_count = fill ? 1 : 2;
  moving->move.to = 0;
  moving->move.from = fill ? 0 : 1;
  moving->task.moves = &moving->move;
  moving->task.move_count = 1;
  moving->task.progress = progress;
  moving->task.done = done;
  return STATUS_OK;
}

static enum status start_copy(struct service *s, const struct caller *caller,
                              const struct work_copy *params, struct moving *moving,
                              struct problem *problem) {
  uint32_t source, target;
  struct end from = {params->source, params->source_offset, "sourceOffsetBytes"};
  struct end to = {params->target, params->target_offset, "targetOffsetBytes"};
  enum status status = resolve(s, caller, &from, &source, problem);
  if (!status)
    status = resolve(s, caller, &to, &target, problem);
  if (!status)
    status = check_target(s, target, problem);
  if (status)
    return status;
  uint64_t have = rest_of(s, source, from.offset), room = rest_of(s, target, to.offset);
  uint64_t size = params->size_bytes ? params->size_bytes : have < room ? have : room;
  if (size > have || size > room)
    return problem_field(
        problem, STATUS_INVALID_ARGUMENT, "sizeBytes",
        "%llu bytes do not fit: %llu from the source's offset, %llu at the target's",
        (unsigned long long)size, (unsigned long long)have, (unsigned long long)room);
  if (source == target && from.offset < to.offset + size && to.offset < from.offset + size)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "targetOffsetBytes",
                         "source and target overlap");
  moving->allocs[0] = target;
  moving->allocs[1] = source;
  moving->move =
      (struct mover_move){.from_offset = from.offset, .to_offset = to.offset, .size = size};
  moving->task.action = MOVER_COPY;
  moving->task.verify = params->verify;
  moving->event = EVENTS_ALLOCATION_COPIED;
  return STATUS_OK;
}

static enum status start_fill(struct service *s, const struct caller *caller,
                              const struct work_fill *params, struct moving *moving,
                              struct problem *problem) {
  uint32_t target;
  struct end to = {params->allocation, params->offset_bytes, "offsetBytes"};
  enum status status = resolve(s, caller, &to, &target, problem);
  if (!status)
    status = check_target(s, target, problem);
  if (status)
    return status;
  uint64_t room = rest_of(s, target, to.offset);
  if (params->size_bytes > room)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "sizeBytes",
                         "only %llu bytes from that offset on", (unsigned long long)room);
  moving->allocs[0] = target;
  moving->move = (struct mover_move){.to_offset = to.offset,
                                     .size = params->size_bytes ? params->size_bytes : room};
  moving->task.action = MOVER_FILL;
  moving->task.value = (uint8_t)params->value;
  moving->task.verify = true;
  moving->event = EVENTS_ALLOCATION_FILLED;
  return STATUS_OK;
}

enum status work_copy_start(struct service *s, const struct caller *caller,
                            const struct work_copy *params, struct work_started *out,
                            struct problem *problem) {
  struct moving *moving = calloc(1, sizeof *moving);
  if (!moving)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  lock_take(&s->lock);
  enum status status = start_copy(s, caller, params, moving, problem);
  if (!status)
    status = launch(s, caller, moving, out, problem);
  lock_give(&s->lock);
  if (status)
    free(moving);
  else
    job_submit(moving->job, &moving->task); /* ends in `done` */
  return status;
}

enum status work_fill_start(struct service *s, const struct caller *caller,
                            const struct work_fill *params, struct work_started *out,
                            struct problem *problem) {
  struct moving *moving = calloc(1, sizeof *moving);
  if (!moving)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  lock_take(&s->lock);
  enum status status = start_fill(s, caller, params, moving, problem);
  if (!status)
    status = launch(s, caller, moving, out, problem);
  lock_give(&s->lock);
  if (status)
    free(moving);
  else
    job_submit(moving->job, &moving->task); /* ends in `done` */
  return status;
}
