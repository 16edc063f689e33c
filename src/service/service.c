/*
 * service: birth, start and end of the whole. See service.h for what it is.
 */
#include "service/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/spawn.h"
#include "base/units.h"
#include "service/attachment.h"
#include "service/bound.h"
#include "service/effects.h"
#include "service/inventory.h"
#include "service/job_work.h"
#include "service/keys.h"
#include "service/layers.h"
#include "service/leaks.h"
#include "service/lease.h"
#include "service/model_relief.h"
#include "service/models.h"
#include "service/predict.h"
#include "service/record.h"
#include "service/recorder.h"
#include "service/restore.h"
#include "service/sampler.h"
#include "service/space.h"
#include "service/state.h"
#include "service/waiting.h"
#include "service/worker_relief.h"

#define SERVICE_ALLOCATIONS (UINT32_C(4) << 20)
#define SERVICE_OWNERS 65536
#define SERVICE_LEDGER_FIRST 16384         /* records: 2 MiB */
#define SERVICE_BATCH 256                  /* allocations looked at per holding of the lock */
#define SERVICE_STOP_NS (3 * CLOCK_SECOND) /* of the 5 s that a stop may take (contract 7) */

struct service_stop {
  struct task look; /* first: the decision thread's */
  struct task back; /* the loop's */
  struct service *service;
  uint64_t deadline, after; /* after: the allocation looked at last */
  struct service_stop_params params;
};

/* ---- life ---- */

static enum status make_parts(struct service *s, const struct service_params *params) {
  uint32_t allocations = params->max_allocations ? params->max_allocations : SERVICE_ALLOCATIONS;
  uint64_t fds = spawn_raise_fd_limit();
  uint64_t segments = fds * 3 / 4 > 1024 ? fds * 3 / 4 - 512 : 512;
  s->max_segments = (uint32_t)units_min(segments, STATE_SEGMENTS);
  enum status status = queue_create("decision", &s->decision);
  if (!status)
    status = queue_create("reaper", &s->reaper);
  if (!status)
    status = events_create(&s->events);
  if (!status)
    status = pool_init(&s->allocs, sizeof(struct state_alloc), allocations);
  if (!status)
    status = pool_init(&s->segments, sizeof(struct state_segment), STATE_SEGMENTS);
  if (!status)
    status = pool_init(&s->owners, sizeof(struct state_owner), SERVICE_OWNERS);
  if (!status)
    status = span_nodes_init(&s->nodes, 2 * allocations + STATE_SEGMENTS +
                                            allocations / SPAN_CROWD * 2 * SPAN_LATE);
  if (!status)
    status = idmap_init(&s->alloc_ids, allocations);
  if (!status)
    status = idmap_init(&s->segment_ids, STATE_SEGMENTS);
  if (!status)
    status = idmap_init(&s->owner_ids, SERVICE_OWNERS);
  if (!status)
    status = job_table_create(&s->jobs);
  if (!status)
    status = keys_create(s);
  if (!status)
    status = attachment_create(s);
  if (!status)
    status = lease_create(s);
  if (!status)
    status = waiting_create(s);
  if (!status)
    status = sampler_create(s);
  if (!status)
    status = leaks_create(s);
  if (!status)
    status = layers_create(s);
  if (!status)
    status = worker_relief_create(s, model_relief_begin);
  if (!status)
    status = models_create(s, params->model_dirs);
  if (!status)
    status = predict_create(s);
  if (!status && params->state_dir && params->state_dir[0])
    status = history_open(&(struct history_params){.folder = params->state_dir}, &s->history);
  if (!status && s->history) {
    events_record_to(s->events, recorder_event, s);
    predict_learn(s);
  }
  return status;
}

/* What nobody named is not missed. */
static enum status open_device(struct service *s, const struct spec *spec,
                               struct problem *problem) {
  enum status status = inventory_open(s, spec, problem);
  bool absent = status == STATUS_DEVICE_NOT_FOUND || status == STATUS_DEVICE_UNAVAILABLE;
  if (!absent || !spec->found)
    return status;
  log_warning("service", "%s; it is left out", problem->text);
  problem->status = STATUS_OK;
  return STATUS_OK;
}

enum status service_create(const struct service_params *params, struct service **out,
                           struct problem *problem) {
  struct service *s = calloc(1, sizeof *s);
  if (!s)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  lock_init(&s->lock, LOCK_RANK_STATE, "state");
  lock_init(&s->jobs_lock, LOCK_RANK_LEAF, "jobs");
  lock_init(&s->entering, LOCK_RANK_ENTERING, "entering");
  s->loop = params->loop;
  s->thresholds = params->thresholds;
  s->cache_ttl_ns = params->cache_ttl_ns;
  s->started_at = s->slow_facts_at = clock_real();
  snprintf(s->unseen, sizeof s->unseen, "%s", params->unseen ? params->unseen : "");
  snprintf(s->unserved, sizeof s->unserved, "%s", params->unserved ? params->unserved : "");
  problem->status = STATUS_OK;
  enum status status = make_parts(s, params);
  if (!status)
    status = params->found ? restore_ledger(s, params->found, problem)
                           : ledger_create(SERVICE_LEDGER_FIRST, &s->ledger);
  if (status && !problem->status)
    problem_set(problem, status, "not enough memory to start");
  if (!status && params->found)
    bound_rename(s, params->devices, params->device_count);
  for (unsigned i = 0; !status && i < params->device_count; i++)
    status = open_device(s, &params->devices[i], problem);
  if (!status)
    status = inventory_check(s, problem);
  if (!status && params->found)
    status = restore_books(s, params->found, problem);
  if (!status)
    status = inventory_keep(s, problem);
  if (status) {
    service_free(s);
    return status;
  }
  *out = s;
  return STATUS_OK;
}

void service_set_mover(struct service *s, const struct mover_table *table, void *ctx) {
  s->mover = table;
  s->mover_ctx = ctx;
}

void service_set_keeper(struct service *s, const struct keeper_table *table, void *ctx) {
  s->keeper = table;
  s->keeper_ctx = ctx;
}

void service_set_inspector(struct service *s, const struct inspector_table *table, void *ctx) {
  s->models->inspector = table;
  s->models->inspector_ctx = ctx;
}

void service_set_relief(struct service *s, const struct service_relief *relief) {
  LOCK_SCOPE(&s->lock);
  s->models->relief = *relief;
  state_tell_numbers(s);
}

void service_set_predict(struct service *s, const struct service_predict *params) {
  predict_set(s, params);
}

void service_keeper_state(struct service *s, struct keeper_state *out) {
  *out = (struct keeper_state){.why = "there is no vault"};
  if (s->keeper)
    s->keeper->state(s->keeper_ctx, out);
}

enum status service_start(struct service *s) {
  lock_take(&s->lock);
  restore_tidy(s);
  lease_start(s);
  state_pressure(s);
  lock_give(&s->lock);
  sampler_start(s);
  return STATUS_OK;
}

static void stopped(struct task *task) {
  struct service_stop *stop =
      (struct service_stop *)((char *)task - offsetof(struct service_stop, back));
  stop->params.done(stop->params.arg);
  free(stop);
}

/* No job, no driver call, no question to the history or to a file system, nobody who waits for
 * memory. */
static bool is_idle(struct service *s) {
  if (job_unfinished(s) || atomic_load(&s->questions) || atomic_load(&s->looks))
    return false;
  LOCK_SCOPE(&s->lock);
  waiting_kick(s);
  bool idle = !s->growing_count && !s->making && !s->optimizing && !waiting_any(s) &&
              !s->ledger_growing && sampler_idle(s);
  for (uint32_t i = 0; i < s->device_count; i++)
    if (s->devices[i].asked || s->devices[i].leaving)
      idle = false;
  return idle;
}

static void look_whether_idle(struct task *task) {
  struct service_stop *stop = (struct service_stop *)task;
  struct service *s = stop->service;
  if (!is_idle(s) && clock_now() < stop->deadline)
    queue_post_at(s->decision, &stop->look, clock_now() + 10 * CLOCK_MS);
  else
    loop_post(s->loop, &stop->back);
}

static bool ends_with_us(const struct service *s, const struct service_stop *stop,
                         const struct state_alloc *alloc) {
  const struct ledger_allocation *facts = state_record(s, alloc);
  if (alloc->busy || alloc->moving)
    return false;
  return stop->params.release_all ||
         (state_owner(s, alloc->owner)->kind == VIEW_OWNER_API && !alloc->attachments &&
          !(facts->flags & STATE_PERSISTENT) && !facts->expires_boot_ns);
}

/* Some per holding of the lock, until all were looked at. */
static void give_back(struct task *task) {
  struct service_stop *stop = (struct service_stop *)task;
  struct service *s = stop->service;
  lock_take(&s->lock);
  const struct idmap_entry *entry = idmap_next(&s->alloc_ids, stop->after);
  for (unsigned i = 0; entry && i < SERVICE_BATCH; i++) {
    stop->after = entry->id;
    if (ends_with_us(s, stop, state_alloc(s, entry->value)))
      record_drop(s, entry->value, &(struct record_end){.why = EVENTS_ALLOCATION_FREED});
    entry = idmap_next(&s->alloc_ids, stop->after);
  }
  uint32_t count;
  for (uint32_t i = 0; !entry && i < s->device_count; i++)
    space_release_cached(s, i, NULL, NULL, &count);
  lock_give(&s->lock);
  if (!entry)
    stop->look.run = look_whether_idle;
  queue_post(s->decision, &stop->look);
}

void service_stop(struct service *s, const struct service_stop_params *params) {
  struct service_stop *stop = calloc(1, sizeof *stop);
  lock_take(&s->lock);
  s->stopping = true;
  lock_give(&s->lock);
  if (!stop) {
    params->done(params->arg);
    return;
  }
  *stop = (struct service_stop){
      .service = s, .deadline = clock_now() + SERVICE_STOP_NS, .params = *params};
  stop->look.run = s->keeper ? give_back : look_whether_idle;
  stop->back.run = stopped;
  job_cancel_all(s);
  queue_post(s->decision, &stop->look);
}

/* What is left goes back to the drivers, on this thread; or stays with the vault. */
static void leave_segments(struct service *s) {
  const struct idmap_entry *entry = idmap_next(&s->segment_ids, 0);
  for (; entry; entry = idmap_next(&s->segment_ids, entry->id)) {
    struct state_segment *segment = state_segment(s, entry->value);
    struct device_call call = {.action = DEVICE_RELEASE,
                               .size = segment->size,
                               .share = segment->share,
                               .exported = segment->exported};
    if (s->keeper)
      share_close(&segment->share);
    else
      (void)device_run(s->devices[segment->device].device, &call);
    span_free(segment->span);
    free(segment->leaving);
  }
  for (entry = idmap_next(&s->alloc_ids, 0); entry; entry = idmap_next(&s->alloc_ids, entry->id))
    free(state_alloc(s, entry->value)->label);
}

void service_free(struct service *s) {
  if (!s)
    return;
  if (s->stopping && !is_idle(s)) {
    /* A driver or a worker hangs and will come back to this memory: leave it to the process's end.
     */
    log_warning("service", "something is still under way; its memory goes with the process");
    return;
  }
  models_stop(s);
  queue_free(s->decision);
  queue_free(s->reaper);
  history_close(s->history);
  leave_segments(s);
  for (uint32_t i = 0; i < s->device_count; i++) {
    device_close(s->devices[i].device);
    free(s->devices[i].samples);
    free(s->devices[i].seconds);
  }
  sampler_free(s);
  leaks_free(s);
  layers_free(s);
  worker_relief_free(s);
  predict_free(s);
  models_free(s);
  waiting_free(s);
  effects_free(s);
  attachment_free(s);
  lease_free(s);
  keys_free(s);
  job_table_free(s->jobs);
  idmap_done(&s->owner_ids);
  idmap_done(&s->segment_ids);
  idmap_done(&s->alloc_ids);
  pool_done(&s->nodes);
  pool_done(&s->owners);
  pool_done(&s->segments);
  pool_done(&s->allocs);
  events_free(s->events);
  ledger_free(s->ledger);
  lock_done(&s->entering);
  lock_done(&s->jobs_lock);
  lock_done(&s->lock);
  free(s);
}

void service_stalled(struct service *s, bool all) { sampler_stalled(s, all); }

struct events *service_events(struct service *s) {
  return s->events;
}

struct history *service_history(struct service *s) {
  return s->history;
}

struct queue *service_decision(struct service *s) {
  return s->decision;
}

void service_on_shutdown(struct service *s, void (*fn)(void *arg, bool release_all), void *arg) {
  s->on_shutdown = fn;
  s->shutdown_arg = arg;
}

enum status service_shutdown(struct service *s, bool release_all) {
  if (!s->on_shutdown)
    return STATUS_CONFLICT;
  s->on_shutdown(s->shutdown_arg, release_all);
  return STATUS_OK;
}

uint64_t service_started_at(const struct service *s) { return s->started_at; }

uint32_t service_workers(struct service *s, struct view_worker *out, uint32_t max) {
  return s->mover ? s->mover->list(s->mover_ctx, out, max) : 0;
}

uint32_t service_worker_models(struct service *s, struct view_worker_model *out, uint32_t max) {
  return s->mover && s->mover->models ? s->mover->models(s->mover_ctx, out, max) : 0;
}

enum status service_restart_worker(struct service *s, const char *worker, struct problem *problem) {
  enum status status = s->mover ? s->mover->restart(s->mover_ctx, worker) : STATUS_WORKER_NOT_FOUND;
  if (!status)
    return STATUS_OK;
  if (status == STATUS_CONFLICT)
    return problem_set(problem, status,
                       "worker %.40s is not ours to restart: it came by the socket", worker);
  problem_set(problem, status, "no worker %.40s", worker);
  snprintf(problem->subject, sizeof problem->subject, "%s", worker);
  return status;
}
