/*
 * sampler: reads budgets on the owner threads and residency on the reaper's (where segments are
 * closed too, so that a descriptor is never closed under its reading). A reading that someone waits
 * for is a `refresh` job that all who ask meanwhile share.
 */
#include "service/sampler.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/job_work.h"
#include "service/leaks.h"
#include "service/model_relief.h"
#include "service/predict.h"
#include "service/recorder.h"
#include "service/report.h"
#include "service/space.h"
#include "service/strain.h"
#include "service/waiting.h"

#define SAMPLER_CLOSING (16 * MIB)         /* closed in some 5 ms */
#define SAMPLER_FRESH_NS (100 * CLOCK_MS)  /* contract 2 */
#define SAMPLER_RESIDENT_NS (CLOCK_SECOND) /* the same, of residency and processes */
#define SAMPLER_HUNG_NS                                                                            \
  (2 * CLOCK_SECOND)     /* a driver call that takes longer makes the device unhealthy */
#define SAMPLER_BATCH 64 /* segments looked at per holding of the lock */

struct sampler_budget {
  struct device_call call; /* first */
  struct service *service;
  uint32_t device;
  bool processes;        /* list them too: somebody looks */
  uint64_t processes_at; /* clock_now() */
};

struct sampler {
  struct task tick; /* first: the decision thread's */
  struct task residents;
  struct service *service;
  struct sampler_budget budgets[VIEW_DEVICES];
  struct job *refresh;  /* shared by all who wait; NULL: none under way */
  struct task deadline; /* of the refresh: devices that hang do not hold it up */
  uint32_t missing;     /* readings that the refresh still waits for */
  bool residents_asked;
  uint64_t residents_at; /* clock_now() */
};

static void refresh_done(struct service *s) {
  struct sampler *sampler = s->sampler;
  lock_take(&s->lock);
  struct job *job = sampler->refresh;
  sampler->refresh = NULL;
  lock_give(&s->lock);
  if (job)
    job_finish(job, &(struct problem){.status = STATUS_OK});
}

/* One reading less to wait for. */
static void arrived(struct service *s) {
  lock_take(&s->lock);
  bool last = s->sampler->missing && !--s->sampler->missing;
  lock_give(&s->lock);
  if (last)
    refresh_done(s);
}

/* Under the lock. */
static void set_answering(struct service *s, uint32_t index, bool answering, bool lost) {
  struct state_device *device = &s->devices[index];
  bool changed = device->answering != answering || device->lost != lost;
  struct events_record event = {.type = lost ? EVENTS_DEVICE_LOST : EVENTS_DEVICE_CHANGED,
                                .device = (uint8_t)(index + 1)};
  device->answering = answering;
  device->lost = lost;
  if (changed)
    events_add(s->events, &event);
}

static void budget_done(struct device_call *call) {
  struct sampler_budget *budget = (struct sampler_budget *)call;
  struct service *s = budget->service;
  struct state_device *device = &s->devices[budget->device];
  struct device_process processes[VIEW_PROCESSES];
  uint32_t count =
      budget->processes ? device_processes(device->device, processes, VIEW_PROCESSES) : 0;
  lock_take(&s->lock);
  device->asked = false;
  set_answering(s, budget->device, !call->status,
                !device->info->host_memory && call->status == STATUS_DEVICE_UNAVAILABLE);
  if (call->status)
    device->error_at = clock_now();
  else
    state_take_budget(device, &call->budget);
  if (budget->processes) {
    budget->processes = false;
    budget->processes_at = clock_now();
    device->process_count = count;
    for (uint32_t i = 0; i < count; i++)
      device->processes[i] = processes[i];
  }
  state_pressure(s);
  lock_give(&s->lock);
  arrived(s);
}

/* Under the lock. */
static void ask_budget(struct service *s, uint32_t index) {
  struct state_device *device = &s->devices[index];
  if (device->asked)
    return;
  device->asked = true;
  s->sampler->missing++;
  struct sampler_budget *budget = &s->sampler->budgets[index];
  budget->call = (struct device_call){.action = DEVICE_BUDGET, .done = budget_done};
  device_start(device->device, &budget->call);
}

/* Under the lock. */
static void ask_budgets(struct service *s) {
  for (uint32_t i = 0; i < s->device_count; i++)
    ask_budget(s, i);
}

void sampler_refused(struct service *s, uint32_t device) { ask_budget(s, device); }

/* From moderate pressure on nothing is kept for reuse (contract 8, Relief). */
static void drain_caches(struct service *s) {
  uint32_t count;
  for (uint32_t i = 0; i < s->device_count; i++)
    if (s->devices[i].pressure.level >= PRESSURE_MODERATE && s->devices[i].cached)
      space_release_cached(s, i, NULL, NULL, &count);
}

void sampler_stalled(struct service *s, bool all) {
  LOCK_SCOPE(&s->lock);
  if (s->stopping)
    return;
  *(all ? &s->stalls.full_at : &s->stalls.some_at) = clock_now();
  for (uint32_t i = 0; i < s->device_count; i++)
    if (s->devices[i].info->host_memory)
      ask_budget(s, i);
  state_pressure(s);
  drain_caches(s);
}

struct resident_batch {
  struct {
    struct device *device;
    struct share share;
    uint64_t id, size, bytes;
  } rows[SAMPLER_BATCH];
  uint32_t count;
};

/* Descriptors are borrowed: only this thread closes them. */
static void read_batch(struct service *s, uint64_t *after, struct resident_batch *batch) {
  LOCK_SCOPE(&s->lock);
  batch->count = 0;
  const struct idmap_entry *entry;
  while (batch->count < SAMPLER_BATCH && (entry = idmap_next(&s->segment_ids, *after))) {
    const struct state_segment *segment = state_segment(s, entry->value);
    *after = entry->id;
    batch->rows[batch->count].device = s->devices[segment->device].device;
    batch->rows[batch->count].share = segment->share;
    batch->rows[batch->count].id = segment->id;
    batch->rows[batch->count++].size = segment->size;
  }
}

static void store_batch(struct service *s, const struct resident_batch *batch) {
  LOCK_SCOPE(&s->lock);
  for (uint32_t i = 0; i < batch->count; i++) {
    uint32_t index = idmap_find(&s->segment_ids, batch->rows[i].id);
    if (!index)
      continue;
    struct state_segment *segment = state_segment(s, index);
    struct state_device *device = &s->devices[segment->device];
    uint64_t change = batch->rows[i].bytes - segment->resident;
    device->resident += change;
    if (!segment->blocks)
      device->resident_cached += change;
    segment->resident = batch->rows[i].bytes;
  }
}

static void read_residents(struct task *task) {
  struct sampler *sampler = (struct sampler *)((char *)task - offsetof(struct sampler, residents));
  struct service *s = sampler->service;
  struct resident_batch batch;
  for (uint64_t after = 0;;) {
    read_batch(s, &after, &batch);
    if (!batch.count)
      break;
    for (uint32_t i = 0; i < batch.count; i++) {
      struct device_call call = {
          .action = DEVICE_RESIDENT, .size = batch.rows[i].size, .share = batch.rows[i].share};
      batch.rows[i].bytes =
          device_run(batch.rows[i].device, &call) ? batch.rows[i].size : call.bytes;
    }
    store_batch(s, &batch);
  }
  lock_take(&s->lock);
  sampler->residents_asked = false;
  sampler->residents_at = clock_now();
  lock_give(&s->lock);
  arrived(s);
}

/* Under the lock: the reaper has gigabytes to close. What is resident changes until it has, and who
 * asks for a status does not wait for that. */
static bool reaper_is_busy(const struct service *s) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < s->device_count; i++)
    bytes += s->devices[i].releasing;
  return bytes > SAMPLER_CLOSING;
}

/* Under the lock. */
static void ask_residents(struct service *s) {
  if (s->sampler->residents_asked || reaper_is_busy(s))
    return;
  s->sampler->residents_asked = true;
  s->sampler->missing++;
  queue_post(s->reaper, &s->sampler->residents);
}

static void take_samples(struct service *s) {
  uint64_t now = clock_real();
  for (uint32_t i = 0; i < s->device_count; i++) {
    struct state_device *device = &s->devices[i];
    struct state_sample *sample = &device->samples[device->sample_count % STATE_SAMPLES];
    *sample = (struct state_sample){now,
                                    state_used(s, device),
                                    device->allocated,
                                    device->committed,
                                    state_largest(s, device),
                                    device->pressure.level};
    recorder_sample(s, i, sample);
    device->sample_count++;
    device->seconds[device->sample_count % STATE_SAMPLES] = (struct state_second){0};
    uint64_t busy = device_busy_since(device->device);
    if (busy && clock_now() - busy > SAMPLER_HUNG_NS)
      set_answering(s, i, false, device->lost);
  }
}

static void tick(struct task *task) {
  struct sampler *sampler = (struct sampler *)task;
  struct service *s = sampler->service;
  lock_take(&s->lock);
  bool stopping = s->stopping;
  if (!stopping) {
    take_samples(s);
    drain_caches(s);
    strain_look(s);
    ask_budgets(s);
    if (s->segments.live)
      ask_residents(s);
    waiting_kick(s);
  }
  lock_give(&s->lock);
  if (stopping)
    return;
  model_relief_look(s);
  predict_tick(s);
  leaks_look(s);
  queue_post_at(s->decision, &sampler->tick, clock_now() + CLOCK_SECOND);
}

static void give_up(struct task *task) {
  struct sampler *sampler = (struct sampler *)((char *)task - offsetof(struct sampler, deadline));
  refresh_done(sampler->service);
}

enum status sampler_create(struct service *s) {
  struct sampler *sampler = calloc(1, sizeof *sampler);
  if (!sampler)
    return STATUS_INTERNAL_ERROR;
  sampler->service = s;
  sampler->tick.run = tick;
  sampler->residents.run = read_residents;
  sampler->deadline.run = give_up;
  for (uint32_t i = 0; i < VIEW_DEVICES; i++) {
    sampler->budgets[i].service = s;
    sampler->budgets[i].device = i;
  }
  s->sampler = sampler;
  return STATUS_OK;
}

void sampler_start(struct service *s) { queue_post_at(s->decision, &s->sampler->tick, 0); }

bool sampler_idle(const struct service *s) { return !s->sampler->residents_asked; }

void sampler_free(struct service *s) {
  if (!s->sampler)
    return;
  job_give(s->sampler->refresh);
  free(s->sampler);
}

static bool is_fresh(const struct service *s) {
  uint64_t now = clock_now();
  for (uint32_t i = 0; i < s->device_count; i++)
    if (s->devices[i].answering && now - s->devices[i].budget.sampled_ns > SAMPLER_FRESH_NS)
      return false;
  return true;
}

/* Under the lock: joins the refresh under way or starts one. */
static struct job *refresh(struct service *s, bool slow_facts) {
  struct sampler *sampler = s->sampler;
  if (slow_facts)
    s->slow_facts_at = clock_real();
  if (sampler->refresh)
    return job_keep(sampler->refresh);
  struct job *job = job_make(s, &(struct job_params){.kind = JOB_REFRESH});
  if (!job)
    return NULL;
  sampler->refresh = job_keep(job);
  for (uint32_t i = 0; i < s->device_count; i++)
    if (!s->devices[i].asked &&
        clock_now() - sampler->budgets[i].processes_at > SAMPLER_RESIDENT_NS)
      sampler->budgets[i].processes = true;
  ask_budgets(s);
  if (clock_now() - sampler->residents_at > SAMPLER_RESIDENT_NS)
    ask_residents(s);
  /* All readings may be under way already; the ones that are missing end it. */
  queue_post_at(s->decision, &sampler->deadline, clock_now() + SAMPLER_HUNG_NS);
  return job;
}

enum status sampler_fresh(struct service *s, bool slow_facts, struct job **job) {
  LOCK_SCOPE(&s->lock);
  if (!slow_facts && is_fresh(s))
    return STATUS_OK;
  *job = refresh(s, slow_facts);
  return *job ? STATUS_PENDING : STATUS_OK;
}
