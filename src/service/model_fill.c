/*
 * model_fill: the bytes of new copies. The first copy comes from the files, or is there already;
 * the second one is shipped from it part by part. As soon as a copy is filled nobody writes to it
 * any more: workers let go, and memory that clients may map is sealed. Only then is the next one
 * made from it, for what is sealed a card may read by itself.
 *
 * What goes to a card, or comes from one, is verified by the fingerprint of what arrived, which is
 * to be that of the load. A card that cannot make it is not read again, for that takes the link as
 * long as to write it: then it is that of the bytes in host memory.
 */
#include "service/model_fill.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/clock.h"
#include "base/os_memfd.h"
#include "service/model_move.h"
#include "service/model_table.h"
#include "service/record.h"

static void set_total(struct job_view *view, void *arg) { view->bytes_total = *(uint64_t *)arg; }

static bool from_files(const struct model_work *work) { return work->opened_count > 0; }

/* The copy that is filled first. */
static unsigned first_copy(const struct model_work *work) {
  return work->takes[MODELS_RAM] ? MODELS_RAM : MODELS_CARD;
}

static uint64_t bytes_of(const struct model_work *work) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < work->weights->part_count; i++)
    bytes += work->weights->parts[i].size;
  return bytes;
}

/* Where a part of the copy is that others are made from. Under the lock. */
static struct space source_of(const struct model_work *work, uint32_t part) {
  const struct service *s = work->service;
  const struct models_weights *weights = work->origin ? work->origin : work->weights;
  if (from_files(work))
    return work->places[first_copy(work)][part];
  unsigned copy = work->transfers ? work->from : !first_copy(work);
  return record_place(s, idmap_find(&s->alloc_ids, weights->parts[part].at[copy]));
}

/* ---- no more writers ---- */

static void seal(struct model_work *work);

static const struct state_segment *segment_of(const struct model_work *work) {
  return state_segment(work->service, work->places[work->copy][work->part].segment);
}

static void let_go(struct mover_drop *drop) {
  struct model_work *work = (struct model_work *)((char *)drop - offsetof(struct model_work, drop));
  struct service *s = work->service;
  lock_take(&s->lock);
  struct share share = segment_of(work)->share;
  lock_give(&s->lock);
  enum status status = os_memfd_seal(&share, OS_MEMFD_SEAL_WRITE | OS_MEMFD_SEAL_FINAL);
  work->part++;
  if (!status) {
    seal(work);
    return;
  }
  problem_set(&work->problem, status, "the loaded bytes cannot be sealed");
  model_work_fail(work);
}

static void ship(struct model_work *work);

/* The copy is whole and sealed: the other one is made from it, or all is done. */
static void sealed(struct model_work *work) {
  if (work->copy == MODELS_CARD || !work->takes[MODELS_CARD]) {
    model_table_make(work);
    return;
  }
  work->copy = MODELS_CARD;
  work->part = 0;
  ship(work);
}

static void gone(struct mover_drop *drop) { free(drop); }

/* What cannot be sealed need not be waited for. Under the lock. */
static struct mover_drop *drop_of(struct model_work *work) {
  const struct state_segment *segment = segment_of(work);
  bool seals = segment->share.kind == SHARE_MEMFD;
  struct mover_drop *drop = seals ? &work->drop : malloc(sizeof *drop);
  if (drop)
    *drop = (struct mover_drop){.segment = segment->id, .done = seals ? let_go : gone};
  return drop;
}

/* One part after another. Without memory to say it in, a worker keeps what it has until the segment
 * goes back. */
static void seal(struct model_work *work) {
  struct service *s = work->service;
  while (work->part < work->weights->part_count) {
    lock_take(&s->lock);
    struct mover_drop *drop = drop_of(work);
    lock_give(&s->lock);
    bool waits = drop == &work->drop;
    if (drop)
      s->mover->drop(s->mover_ctx, drop); /* its end may end the work */
    if (waits)
      return;
    work->part++;
  }
  sealed(work);
}

static void filled(struct model_work *work) {
  work->part = 0;
  seal(work);
}

/* ---- from one copy to the other ---- */

static void ship_progress(struct mover_task *task, uint64_t bytes_done) {
  struct model_work *work = (struct model_work *)((char *)task - offsetof(struct model_work, task));
  job_progress(work->job, work->shipped + bytes_done);
}

/* Under the lock: of the load, 0: not known. */
static uint64_t fingerprint_of(const struct model_work *work) {
  const struct service *s = work->service;
  return models_at(s, idmap_find(&s->models->ids, work->model))->facts.fingerprint;
}

/* Under the lock. */
static bool is_summed(const struct model_work *work) {
  return work->params.verify && !work->transfers && fingerprint_of(work);
}

/* The last part has left: a load's checksum is the one over those of its files. */
static void compare(struct model_work *work) {
  struct service *s = work->service;
  uint32_t n = work->weights->part_count;
  LOCK_SCOPE(&s->lock);
  if (XXH3_64bits(work->sums, n * sizeof *work->sums) != fingerprint_of(work))
    problem_set(&work->problem, STATUS_INTERNAL_ERROR,
                "the bytes that were moved are not those that were loaded");
}

static void shipped(struct mover_task *task) {
  struct model_work *work = (struct model_work *)((char *)task - offsetof(struct model_work, task));
  work->problem = task->problem;
  work->sums[work->part] = task->fingerprint;
  if (!work->problem.status && task->sums && work->part + 1 == work->weights->part_count)
    compare(work);
  if (!work->problem.status && task->verify && !task->verified)
    problem_set(&work->problem, STATUS_INTERNAL_ERROR,
                "%s arrived with another checksum than it left with",
                work->weights->parts[work->part].name);
  if (work->problem.status) {
    model_work_fail(work);
    return;
  }
  work->shipped += work->weights->parts[work->part++].size;
  if (work->transfers)
    model_move_shipped(work);
  ship(work);
}

static void ship(struct model_work *work) {
  struct service *s = work->service;
  if (work->part == work->weights->part_count) {
    filled(work);
    return;
  }
  lock_take(&s->lock);
  struct space from = source_of(work, work->part), target = work->places[work->copy][work->part];
  work->segments[0] = record_mover_segment(s, from.segment);
  work->segments[1] = record_mover_segment(s, target.segment);
  bool summed = is_summed(work);
  lock_give(&s->lock);
  work->moves[0] = (struct mover_move){.from = 0,
                                       .to = 1,
                                       .from_offset = from.offset,
                                       .to_offset = target.offset,
                                       .size = work->weights->parts[work->part].size};
  work->task = (struct mover_task){.action = MOVER_TRANSFER,
                                   .segments = work->segments,
                                   .segment_count = 2,
                                   .moves = work->moves,
                                   .move_count = 1,
                                   .verify = work->params.verify && !summed,
                                   .sums = summed,
                                   .progress = ship_progress,
                                   .done = shipped};
  if (work->transfers)
    work->read_ns = clock_now();
  job_submit(work->job, &work->task);
}

/* ---- from the files ---- */

/* Under the lock. */
static void note_load(struct model_work *work) {
  struct service *s = work->service;
  struct models_model *model = models_at(s, idmap_find(&s->models->ids, work->model));
  struct models_facts *facts = &model->facts;
  memcpy(model->worker, work->task.worker, sizeof model->worker);
  facts->fingerprint = work->task.checksum_known ? work->task.checksum : 0;
  facts->load_ns = clock_now() - work->read_ns;
  facts->load_bytes = facts->size;
}

static void loaded(struct mover_task *task) {
  struct model_work *work = (struct model_work *)((char *)task - offsetof(struct model_work, task));
  struct service *s = work->service;
  work->problem = task->problem;
  if (!work->problem.status && task->verify && !task->verified)
    problem_set(&work->problem, STATUS_INTERNAL_ERROR,
                "the bytes in memory are not those that were read");
  if (work->problem.status) {
    model_work_fail(work);
    return;
  }
  lock_take(&s->lock);
  note_load(work);
  lock_give(&s->lock);
  work->shipped = bytes_of(work);
  filled(work);
}

/* Files in the card's order: an index that came first holds no weights. */
static void load(struct model_work *work) {
  struct service *s = work->service;
  uint32_t n = work->weights->part_count, skipped = work->opened_count - n;
  lock_take(&s->lock);
  for (uint32_t i = 0; i < n; i++) {
    struct space place = work->places[first_copy(work)][i];
    work->segments[i] = record_mover_segment(s, place.segment);
    work->files[i] = (struct mover_file){.size = work->weights->parts[i].size,
                                         .share = &work->opened[skipped + i].share};
    work->moves[i] = (struct mover_move){
        .from = i, .to = i, .to_offset = place.offset, .size = work->weights->parts[i].size};
  }
  lock_give(&s->lock);
  work->task = (struct mover_task){.action = MOVER_LOAD,
                                   .segments = work->segments,
                                   .segment_count = n,
                                   .moves = work->moves,
                                   .move_count = n,
                                   .files = work->files,
                                   .file_count = n,
                                   .model = work->model,
                                   .verify = work->params.verify,
                                   .progress = ship_progress,
                                   .done = loaded};
  memcpy(work->task.worker, work->params.worker, sizeof work->task.worker);
  work->read_ns = clock_now();
  job_submit(work->job, &work->task);
}

void model_fill_start(struct model_work *work) {
  bool both = from_files(work) && work->takes[MODELS_RAM] && work->takes[MODELS_CARD];
  uint64_t total = bytes_of(work) * (both ? 2 : 1);
  job_update(work->job, set_total, &total);
  work->copy = first_copy(work);
  work->part = 0;
  work->shipped = 0;
  if (job_cancelled(work->job)) {
    problem_set(&work->problem, STATUS_CANCELLED, "cancelled before the first byte");
    model_work_fail(work);
  } else if (from_files(work)) {
    load(work);
  } else {
    ship(work);
  }
}
