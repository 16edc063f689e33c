/*
 * model_load: reserve first, load second. The plan is made anew after each victim, for what was
 * freed may be somebody else's by then; when it holds, places are taken, and only then is a byte
 * read.
 */
#include "service/model_load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "memory/slab.h"
#include "service/choice.h"
#include "service/effects.h"
#include "service/model_estimate.h"
#include "service/model_join.h"
#include "service/model_key.h"
#include "service/model_open.h"
#include "service/model_record.h"
#include "service/model_room.h"
#include "service/model_taken.h"

#define LOAD_LOOK_NS                                                                               \
  (50 * CLOCK_MS) /* between two looks at files that somebody else is loading                      \
                   */

/* ---- start ---- */

static const char *default_name(const struct model_load *params) {
  const char *slash = strrchr(params->path, '/');
  const char *name = params->file_count ? params->files[0].name : slash ? slash + 1 : params->path;
  return params->name[0] ? params->name : name;
}

static enum status check(struct service *s, const struct model_load *params,
                         struct problem *problem) {
  uint32_t device;
  if (!params->path[0] && !params->file_count)
    return problem_field(problem, STATUS_MISSING_PARAMETER, "path", "name a file or a folder");
  const char *name = default_name(params);
  if (!name[0] || strlen(name) >= MODEL_NAME)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "name",
                         "a name has 1 to %d bytes: say one", MODEL_NAME - 1);
  return params->device[0] ? state_find_device(s, params->device, &device, problem) : STATUS_OK;
}

static void describe(struct models_model *model, const struct model_load *params, bool fresh) {
  if (fresh || !params->keeps.priority)
    model->priority = (uint8_t)params->priority;
  if (fresh || !params->keeps.pinned)
    model->pinned = params->pinned;
  if (fresh || !params->keeps.keep_alive)
    model->keep_alive_seconds = params->keep_alive_seconds;
}

struct starting {
  const struct caller *caller;
  const struct model_load *params;
  struct model_started *out;
  struct models_key key;
  struct job *job;         /* that there is for it; NULL: it gets one */
  struct model_work *work; /* result */
  struct job *other;       /* result: whose end comes first */
  bool ahead;              /* it is one of those that nobody asked for */
  bool taken;              /* result: the name is another file's */
};

/* Under the lock, of a model that is listed: OK: nothing is to be done, or others come first.
 * PENDING: it is loaded. */
static enum status known(struct service *s, uint32_t index, struct starting *starting,
                         struct problem *problem) {
  const struct model_load *params = starting->params;
  struct models_model *model = models_at(s, index);
  starting->taken = !params->file_count && strcmp(model->path, params->path) != 0;
  if (starting->taken)
    return problem_set(problem, STATUS_CONFLICT, "%.100s is the name of another file's model",
                       model->name);
  if (model->work && !model->leaving && !params->dry_run && !params->ahead) {
    starting->ahead = model->work->params.ahead;
    starting->other = job_keep(model_work_job(model->work));
    return STATUS_OK;
  }
  if (model->work || (model->weights && model->weights->work && !model->weights->lent))
    return problem_set(problem, STATUS_MODEL_BUSY, "%.100s is being worked on", model->name);
  if (models_state(s, model) != MODEL_READY)
    return STATUS_PENDING;
  if (!params->dry_run)
    models_touch(s, index);
  return STATUS_OK;
}

/* Under the lock. A model that is being loaded is recorded when it is whole. */
static void note_key(struct service *s, uint32_t index, const struct models_key *key) {
  struct models_model *model = models_at(s, index);
  if (!key->hash[0])
    return;
  model->key = *key;
  if (!model->work)
    model_record_write(s, index);
}

/* Under the lock. PENDING: the work is there. */
static enum status begin(struct service *s, struct starting *starting, struct problem *problem) {
  const struct caller *caller = starting->caller;
  const struct model_load *params = starting->params;
  struct model_started *out = starting->out;
  enum status status =
      starting->job ? STATUS_NOT_FOUND : model_key_find(s, &starting->key, out, problem);
  if (status != STATUS_NOT_FOUND)
    return status;
  uint32_t index = models_find_name(s, default_name(params));
  bool fresh = !index;
  if (s->stopping)
    return problem_set(problem, STATUS_WORKER_UNAVAILABLE, "the daemon stops");
  status = fresh ? STATUS_PENDING : known(s, index, starting, problem);
  if (fresh)
    index = models_add(s, ledger_next_id(s->ledger), default_name(params), params->path);
  if (fresh && index)
    models_at(s, index)->domain = caller->domain;
  if (!index)
    return problem_set(problem, STATUS_RATE_LIMITED, "there are %d models: unload some", MODEL_MAX);
  if (status == STATUS_PENDING) {
    struct model_work_params new = {JOB_LOAD,         caller,         index,
                                    !params->dry_run, &starting->key, starting->job};
    struct model_work *work = model_work_begin(s, &new);
    if (!work) {
      if (fresh)
        models_remove(s, index);
      return problem_set(problem, STATUS_RATE_LIMITED, "too many jobs are under way");
    }
    work->fresh = fresh;
    work->params = *params;
    work->params.files = NULL;
    starting->work = work;
    if (!fresh && params->keeps.priority)
      work->params.priority = models_at(s, index)->priority;
    if (!params->dry_run) {
      describe(models_at(s, index), params, fresh);
      models_event(s, index, EVENTS_MODEL_LOADING, caller->correlation);
    }
    out->job = job_keep(work->job);
  }
  if (starting->other) {
    models_view(s, index, &out->model);
  } else if (status == STATUS_OK || status == STATUS_PENDING) {
    note_key(s, index, &starting->key);
    models_view(s, index, &out->model);
  }
  return status;
}

/* PENDING: another load comes first. */
static enum status start(struct service *s, struct starting *starting, struct problem *problem) {
  const struct model_load *params = starting->params;
  starting->out->job = NULL;
  lock_take(&s->lock);
  enum status status = begin(s, starting, problem);
  lock_give(&s->lock);
  struct model_work *work = starting->work;
  if (starting->other)
    return STATUS_PENDING;
  if (status != STATUS_PENDING || !work)
    return status;
  if (work->weights)
    model_work_hop(work, model_load_plan);
  else if (model_open_take(work, params->files, params->file_count))
    model_work_fail(work);
  else
    model_open_start(work);
  return STATUS_OK;
}

enum status model_load_start(struct service *s, const struct caller *caller,
                             const struct model_load *params, struct model_started *out,
                             struct problem *problem) {
  struct starting starting = {.caller = caller, .params = params, .out = out};
  enum status status = check(s, params, problem);
  if (status)
    return status;
  model_key_make(caller, params, &starting.key);
  status = start(s, &starting, problem);
  out->refused = starting.taken;
  if (starting.taken)
    return model_taken_start(s, caller, params->path, &out->job, problem);
  if (status != STATUS_PENDING)
    return status;
  struct model_join join = {.caller = *caller,
                            .params = *params,
                            .key = starting.key,
                            .other = starting.other,
                            .model = out->model.id,
                            .ahead = starting.ahead};
  return model_join_start(s, &join, &out->job, problem);
}

enum status model_load_go_on(struct service *s, struct model_join *join, struct problem *problem) {
  struct model_started out = {.job = NULL};
  struct starting starting = {.caller = &join->caller,
                              .params = &join->params,
                              .out = &out,
                              .key = join->key,
                              .job = join->job};
  enum status status = start(s, &starting, problem);
  join->other = starting.other;
  join->ahead = starting.ahead;
  join->model = out.model.id;
  job_give(out.job);
  return starting.work ? STATUS_PENDING : status;
}

/* ---- plan ---- */

/* What the parts take on a device. */
static uint64_t need_on(const struct service *s, const struct model_work *work, uint32_t device) {
  uint64_t granularity = s->devices[device].info->granularity, bytes = 0;
  uint32_t n = work->weights ? work->weights->part_count : work->card.head->files;
  for (uint32_t i = 0; i < n; i++) {
    uint64_t size = work->weights ? work->weights->parts[i].size : work->card.files[i].size;
    bytes += slab_dedicated_size(units_max(size, 1), granularity);
  }
  return bytes;
}

static void learn_facts(struct models_model *model, const struct model_work *work) {
  model->facts.format = work->card.head->format;
  model->facts.tensors = work->card.head->tensors;
  model->facts.files = work->card.head->files;
  model->facts.weights_bytes = work->card.head->weight_bytes;
  model->facts.size = 0;
  for (uint32_t i = 0; i < work->card.head->files; i++)
    model->facts.size += work->card.files[i].size;
}

/* Weights of the same files that are there already; PENDING: when their work is done. */
static enum status find_same(struct model_work *work, struct models_weights **out) {
  struct service *s = work->service;
  uint32_t n = work->card.head->files;
  struct os_path_identity *identities = malloc(n * sizeof *identities);
  for (uint32_t i = 0; identities && i < n; i++)
    identities[i] = model_open_part(work, i)->identity;
  *out = identities ? models_weights_of(s, identities, n) : NULL;
  free(identities);
  return *out && (*out)->work ? STATUS_PENDING : STATUS_OK;
}

/* What the other name knows of the load. */
static struct models_facts facts_of(const struct service *s, const struct models_weights *weights,
                                    const struct models_facts *own) {
  struct models_facts facts = *own;
  uint32_t first = idmap_find(&s->models->ids, weights->id);
  if (first) {
    facts.fingerprint = models_at(s, first)->facts.fingerprint;
    facts.load_ns = models_at(s, first)->facts.load_ns;
    facts.load_bytes = models_at(s, first)->facts.load_bytes;
    memcpy(facts.learned, models_at(s, first)->facts.learned, sizeof facts.learned);
  }
  return facts;
}

static bool is_home(const struct service *s, const struct models_weights *weights) {
  return weights->has[models_home_copy(s, weights)];
}

/* The model is one more name of weights that are there. Those of other names that are where they
 * are wanted are left in peace: they are attached and loaded meanwhile. */
static void share_weights(struct model_work *work, struct models_model *model,
                          struct models_weights *weights) {
  struct service *s = work->service;
  uint32_t index = idmap_find(&s->models->ids, model->id);
  weights->references++;
  model->weights = weights;
  if (!is_home(s, weights)) {
    weights->work = work;
    work->weights = weights;
    space_owner_hold(s, weights->owner);
  }
  model->facts = facts_of(s, weights, &model->facts);
  model->loaded_at = clock_real();
  models_touch(s, index);
  model_record_write(s, index);
}

/* The device with most room of those that were asked for: a card before host memory, unless only
 * that could ever hold it. VIEW_DEVICES: there is none. */
static uint32_t best_device(const struct service *s, const struct model_work *work) {
  uint32_t best = VIEW_DEVICES, named = VIEW_DEVICES;
  struct problem ignored;
  if (work->params.device[0] && !state_find_device(s, work->params.device, &named, &ignored))
    return named;
  for (uint32_t i = 0; i < s->device_count; i++) {
    const struct state_device *device = &s->devices[i];
    if (!device->answering || device->gone || need_on(s, work, i) > device->limit)
      continue;
    const struct state_device *other = best == VIEW_DEVICES ? NULL : &s->devices[best];
    bool card = !device->info->host_memory;
    bool more = other && state_available(s, device) > state_available(s, other);
    if (!other || (card && other->info->host_memory) || (card == !other->info->host_memory && more))
      best = i;
  }
  return best;
}

/* Host memory for the copy beside the card's, VIEW_DEVICES: none, or not wanted. When nothing was
 * said there must be a tenth of the pool left, and nobody who waits for memory; ahead of a request,
 * nobody who comes near. */
static uint32_t ram_device(const struct service *s, const struct model_work *work) {
  enum pressure_level most = work->params.ahead ? PRESSURE_LOW : PRESSURE_MODERATE;
  uint32_t best = VIEW_DEVICES;
  for (uint32_t i = 0; work->params.keep_ram_copy && i < s->device_count; i++) {
    const struct state_device *device = &s->devices[i];
    uint64_t need = need_on(s, work, i), available = state_available(s, device);
    uint64_t left = work->params.keep_ram_copy < 0 ? device->limit / 10 : 0;
    if (!device->info->host_memory || device->gone ||
        (work->params.keep_ram_copy < 0 &&
         (available < need + left || device->pressure.level > most)))
      continue;
    if (best == VIEW_DEVICES || available > state_available(s, &s->devices[best]))
      best = i;
  }
  return best;
}

/* Under the lock: weights for the files of the card. */
static enum status make_weights(struct model_work *work, struct models_model *model,
                                uint32_t home) {
  struct service *s = work->service;
  uint32_t n = work->card.head->files, owner = state_owner_of(s, &work->caller, 0, model->id);
  struct models_new new = {model->id, owner, home, n, work->image, work->image_bytes};
  struct models_weights *weights = owner ? models_weights_new(s, &new) : NULL;
  if (!weights)
    return problem_set(&work->problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  work->image = NULL;
  space_owner_hold(s, owner);
  snprintf(state_owner(s, owner)->name, sizeof state_owner(s, owner)->name, "%s", model->name);
  weights->work = work;
  models_weights_inherit(s, model, weights);
  work->weights = model->weights = weights;
  for (uint32_t i = 0; i < n; i++) {
    const struct card_file *file = &work->card.files[i];
    weights->parts[i].size = file->size;
    weights->parts[i].pad = models_pad(file->data_offset);
    weights->parts[i].identity = model_open_part(work, i)->identity;
    weights->parts[i].name = calloc(1, file->name_bytes + (size_t)1);
    if (!weights->parts[i].name)
      return problem_set(&work->problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
    memcpy(weights->parts[i].name, work->card.text + file->name, file->name_bytes);
  }
  return STATUS_OK;
}

/* Only into RAM, although its home is a card. */
static bool is_ahead(const struct model_work *work, uint32_t home) {
  return work->params.ahead && !work->service->devices[home].info->host_memory;
}

/* Under the lock: which copies will be made, and where. */
static enum status choose_copies(struct model_work *work, uint32_t home) {
  const struct service *s = work->service;
  bool host = s->devices[home].info->host_memory;
  bool has_ram = work->weights->has[MODELS_RAM];
  bool ahead = is_ahead(work, home);
  work->takes[host ? MODELS_RAM : MODELS_CARD] = !ahead;
  work->devices[host ? MODELS_RAM : MODELS_CARD] = home;
  uint32_t ram = host || has_ram ? VIEW_DEVICES : ram_device(s, work);
  if (ram == VIEW_DEVICES)
    return ahead ? problem_set(&work->problem, STATUS_INSUFFICIENT_MEMORY,
                               "there is no host memory to spare")
                 : STATUS_OK;
  work->takes[MODELS_RAM] = true;
  work->optional = work->params.keep_ram_copy < 0 && !ahead;
  work->devices[MODELS_RAM] = ram;
  return STATUS_OK;
}

/* ---- where to ---- */

struct aim {
  uint32_t device;
  struct estimate estimate;
  bool fits;   /* as estimated, or it is there already */
  bool barely; /* its segments do */
};

/* Under the lock. `same`: weights that it would share, or NULL. */
static struct aim aim_at(const struct model_work *work, const struct models_weights *same,
                         uint32_t device) {
  const struct service *s = work->service;
  const struct models_model *model = models_at(s, idmap_find(&s->models->ids, work->model));
  struct models_facts facts = same ? facts_of(s, same, &model->facts) : model->facts;
  uint64_t known = need_on(s, work, device), available = state_available(s, &s->devices[device]);
  if (!work->weights)
    facts.weights_bytes = work->card.head->weight_bytes;
  struct aim aim = {.device = device, .barely = known <= available};
  aim.estimate = model_estimate_on(s, &facts, device, known);
  aim.fits = aim.estimate.total_bytes <= available || (same && is_home(s, same));
  return aim;
}

/* Under the lock. What was learned may be wrong: no load fails for its sake alone. */
static enum status make_room(struct model_work *work, const struct aim *aim) {
  enum status status = model_room_make(work, aim->device, aim->estimate.total_bytes);
  if (status == STATUS_PENDING || !aim->barely)
    return status;
  work->problem = (struct problem){.status = STATUS_OK};
  return STATUS_OK;
}

/* ---- a trial ---- */

static void set_trial(struct job_view *view, void *arg) {
  view->result.trial = *(const struct job_trial *)arg;
}

static void answer_trial(struct model_work *work, const struct aim *aim) {
  struct job_trial trial = {.would_fit = aim->fits, .estimate = aim->estimate};
  if (!aim->fits)
    model_room_foretell(work, aim->device, aim->estimate.total_bytes, &trial);
  if (!trial.would_fit && aim->barely)
    trial = (struct job_trial){.would_fit = true, .estimate = aim->estimate};
  job_update(work->job, set_trial, &trial);
}

/* ---- the plan ---- */

/* Under the lock. OK: make the copies. PENDING: something else comes first, and then the plan
 * again. NOT_FOUND: nothing is to be made. Else the problem says why. */
static enum status plan(struct model_work *work) {
  struct service *s = work->service;
  struct models_model *model = models_at(s, idmap_find(&s->models->ids, work->model));
  struct models_weights *same = NULL;
  bool trial = work->params.dry_run;
  if (job_cancelled(work->job))
    return problem_set(&work->problem, STATUS_CANCELLED, "cancelled");
  if (!work->weights && find_same(work, &same)) {
    if (!work->waited)
      effects_weights(s, same);
    work->waited = true;
    return STATUS_PENDING;
  }
  if (same && work->params.ahead)
    return STATUS_NOT_FOUND; /* it is there, under another name */
  if (!work->weights && !trial)
    learn_facts(model, work);
  if (same && !trial)
    share_weights(work, model, same);
  if (model->weights && is_home(s, model->weights))
    return STATUS_NOT_FOUND;
  uint32_t home = work->weights ? work->weights->home : best_device(s, work);
  if (home == VIEW_DEVICES)
    return problem_set(&work->problem, STATUS_ALLOCATION_TOO_LARGE,
                       "no device is large enough for the model");
  struct aim aim = aim_at(work, same, home);
  if (trial) {
    answer_trial(work, &aim);
    return STATUS_NOT_FOUND;
  }
  enum status status = aim.fits || is_ahead(work, home) ? STATUS_OK : make_room(work, &aim);
  if (!status && !work->weights)
    status = make_weights(work, model, home);
  return status ? status : choose_copies(work, home);
}

void model_load_plan(struct task *task) {
  struct model_work *work = model_work_of_hop(task);
  struct service *s = work->service;
  lock_take(&s->lock);
  enum status status = plan(work);
  bool waits = status == STATUS_PENDING && !work->victim;
  lock_give(&s->lock);
  if (waits)
    queue_post_at(s->decision, &work->hop, clock_now() + LOAD_LOOK_NS);
  else if (status == STATUS_PENDING)
    model_room_wait(work);
  else if (status == STATUS_NOT_FOUND)
    model_work_end(work);
  else if (status)
    model_work_fail(work);
  else
    model_work_make(work);
}
