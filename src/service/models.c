/*
 * models: the table. Names are found through chains of a small hash table; weights are few, so they
 * are a list. See models.h.
 */
#include "service/models.h"
#include "service/predict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/units.h"
#include "memory/slab.h"
#include "service/inspector.h"
#include "service/job_work.h"
#include "service/model_estimate.h"

/* ---- life ---- */

static enum status copy_roots(struct models *models, const char *const *roots) {
  size_t count = 0;
  while (roots && roots[count])
    count++;
  models->roots = calloc(count + 1, sizeof *models->roots);
  for (size_t i = 0; models->roots && i < count; i++)
    if (!(models->roots[i] = strdup(roots[i])))
      return STATUS_INTERNAL_ERROR;
  return models->roots ? STATUS_OK : STATUS_INTERNAL_ERROR;
}

enum status models_create(struct service *s, const char *const *roots) {
  s->models = calloc(1, sizeof *s->models);
  if (!s->models)
    return STATUS_INTERNAL_ERROR;
  s->models->relief = (struct service_relief){8000, 7000, POLICY_FIFO, false};
  enum status status = copy_roots(s->models, roots);
  if (!status)
    status = pool_init(&s->models->pool, sizeof(struct models_model), MODEL_MAX);
  if (!status)
    status = idmap_init(&s->models->ids, MODEL_MAX);
  if (!status)
    status = queue_create("files", &s->models->files);
  return status;
}

static void free_weights(struct models_weights *weights) {
  for (uint32_t i = 0; i < weights->part_count; i++)
    free(weights->parts[i].name);
  free(weights->parts);
  free(weights->image);
  free(weights);
}

void models_stop(struct service *s) {
  if (s->models)
    queue_free(s->models->files);
}

void models_free(struct service *s) {
  struct models *models = s->models;
  if (!models)
    return;
  const struct idmap_entry *entry = idmap_next(&models->ids, 0);
  for (; entry; entry = idmap_next(&models->ids, entry->id)) {
    free(models_at(s, entry->value)->name);
    free(models_at(s, entry->value)->path);
  }
  for (struct models_weights *next; models->weights; models->weights = next) {
    next = models->weights->next;
    free_weights(models->weights);
  }
  for (char **root = models->roots; root && *root; root++)
    free(*root);
  free(models->roots);
  pool_done(&models->pool);
  idmap_done(&models->ids);
  free(models);
}

/* ---- names ---- */

uint64_t models_hash(const char *name) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a: 10,000 names at most */
  for (; *name; name++)
    hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
  return units_max(hash >> 1, 1);
}

static uint32_t *bucket_at(const struct service *s, uint64_t hash) {
  return &s->models->buckets[(hash ^ hash >> 32) % MODELS_BUCKETS];
}

static uint32_t *bucket_of(const struct service *s, const char *name) {
  return bucket_at(s, models_hash(name));
}

uint32_t models_find_hash(const struct service *s, uint64_t hash) {
  uint32_t index = *bucket_at(s, hash);
  while (index && models_hash(models_at(s, index)->name) != hash)
    index = models_at(s, index)->name_next;
  return index;
}

uint32_t models_find_name(const struct service *s, const char *name) {
  uint32_t index = *bucket_of(s, name);
  while (index && strcmp(models_at(s, index)->name, name) != 0)
    index = models_at(s, index)->name_next;
  return index;
}

uint32_t models_find(const struct service *s, const char *id_or_name) {
  uint64_t id = id_parse(ID_MODEL, id_or_name);
  uint32_t index = id ? idmap_find(&s->models->ids, id) : 0;
  return index ? index : models_find_name(s, id_or_name);
}

static void link_name(struct service *s, uint32_t index) {
  uint32_t *bucket = bucket_of(s, models_at(s, index)->name);
  models_at(s, index)->name_next = *bucket;
  *bucket = index;
}

static void unlink_name(struct service *s, uint32_t index) {
  uint32_t *link = bucket_of(s, models_at(s, index)->name);
  while (*link != index)
    link = &models_at(s, *link)->name_next;
  *link = models_at(s, index)->name_next;
}

bool models_rename(struct service *s, uint32_t index, const char *name) {
  struct models_model *model = models_at(s, index);
  uint32_t other = models_find_name(s, name);
  char *copy = other ? NULL : strdup(name);
  if (!copy)
    return other == index;
  unlink_name(s, index);
  free(model->name);
  model->name = copy;
  link_name(s, index);
  return true;
}

uint32_t models_add(struct service *s, uint64_t id, const char *name, const char *path) {
  uint32_t index = pool_take(&s->models->pool);
  if (!index)
    return 0;
  struct models_model *model = models_at(s, index);
  *model = (struct models_model){.id = id,
                                 .name = strdup(name),
                                 .path = strdup(path),
                                 .home = UINT32_MAX,
                                 .facts.format = CARD_FORMATS,
                                 .created_at = clock_real()};
  if (model->name && model->path && idmap_append(&s->models->ids, id, index)) {
    link_name(s, index);
    return index;
  }
  free(model->name);
  free(model->path);
  pool_give(&s->models->pool, index);
  return 0;
}

void models_remove(struct service *s, uint32_t index) {
  struct models_model *model = models_at(s, index);
  unlink_name(s, index);
  idmap_erase(&s->models->ids, model->id);
  free(model->name);
  free(model->path);
  pool_give(&s->models->pool, index);
}

/* ---- weights ---- */

struct models_weights *models_weights_new(struct service *s, const struct models_new *new) {
  struct models_weights *weights = calloc(1, sizeof *weights);
  struct models_part *parts = calloc(new->part_count, sizeof *parts);
  if (!weights || !parts) {
    free(weights);
    free(parts);
    return NULL;
  }
  *weights = (struct models_weights){.references = 1,
                                     .owner = new->owner,
                                     .id = new->id,
                                     .home = new->home,
                                     .part_count = new->part_count,
                                     .parts = parts,
                                     .image = new->image,
                                     .image_bytes = new->image_bytes,
                                     .next = s->models->weights};
  s->models->weights = weights;
  return weights;
}

void models_weights_forget(struct service *s, struct models_weights *weights) {
  struct models_weights **link = &s->models->weights;
  while (*link != weights)
    link = &(*link)->next;
  *link = weights->next;
  weights->forgotten = true;
  if (!weights->readers)
    free_weights(weights);
}

void models_weights_leave(struct models_model *model) {
  model->home = model->weights->home;
  model->credit = model->weights->credit;
  model->weights = NULL;
}

void models_weights_inherit(const struct service *s, const struct models_model *model,
                            struct models_weights *weights) {
  const struct policy_clock *clocks = s->models->clocks;
  weights->credit = model->credit;
  if (model->home < s->device_count)
    policy_moved(&clocks[model->home], &clocks[weights->home], &weights->credit);
}

void models_weights_read(struct models_weights *weights) { weights->readers++; }

void models_weights_read_end(struct models_weights *weights) {
  if (!--weights->readers && weights->forgotten)
    free_weights(weights);
}

static bool has_identities(const struct models_weights *weights,
                           const struct os_path_identity *identities) {
  for (uint32_t i = 0; i < weights->part_count; i++)
    if (!weights->parts[i].identity.inode ||
        !os_path_same(&weights->parts[i].identity, &identities[i]))
      return false;
  return true;
}

struct models_weights *models_weights_of(const struct service *s,
                                         const struct os_path_identity *identities,
                                         uint32_t part_count) {
  struct models_weights *weights = s->models->weights;
  while (weights && (weights->part_count != part_count || !has_identities(weights, identities)))
    weights = weights->next;
  return weights;
}

uint32_t models_first_of(const struct service *s, const struct models_weights *weights) {
  const struct idmap_entry *entry = idmap_next(&s->models->ids, 0);
  while (entry && models_at(s, entry->value)->weights != weights)
    entry = idmap_next(&s->models->ids, entry->id);
  return entry ? entry->value : 0;
}

uint32_t models_pad(uint64_t data_offset) { return (uint32_t)(-data_offset % MODELS_ALIGNMENT); }

uint64_t models_pad_on(const struct service *s, const struct models_part *part, uint32_t device) {
  const struct device_info *info = s->devices[device].info;
  uint64_t left = slab_dedicated_size(part->size, info->granularity) - part->size;
  return info->host_memory || part->pad > left ? 0 : part->pad;
}

uint64_t models_bytes_on(const struct service *s, const struct models_weights *weights,
                         uint32_t device) {
  uint64_t granularity = s->devices[device].info->granularity, bytes = 0;
  for (uint32_t i = 0; i < weights->part_count; i++)
    bytes += slab_dedicated_size(units_max(weights->parts[i].size, 1), granularity);
  return bytes;
}

uint32_t models_device_of(const struct service *s, const struct models_weights *weights,
                          enum models_copy copy) {
  uint32_t index = weights->has[copy] ? idmap_find(&s->alloc_ids, weights->parts[0].at[copy]) : 0;
  return index ? state_segment(s, state_alloc(s, index)->segment)->device : VIEW_DEVICES;
}

bool models_home_is_host(const struct service *s, const struct models_weights *weights) {
  return s->devices[weights->home].info->host_memory;
}

enum models_copy models_home_copy(const struct service *s, const struct models_weights *weights) {
  return models_home_is_host(s, weights) ? MODELS_RAM : MODELS_CARD;
}

uint32_t models_attachments_of(const struct service *s, const struct models_weights *weights,
                               enum models_copy copy) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < weights->part_count; i++) {
    uint32_t index = idmap_find(&s->alloc_ids, weights->parts[i].at[copy]);
    count += index ? state_alloc(s, index)->attachments : 0;
  }
  return count;
}

uint32_t models_attachments(const struct service *s, const struct models_weights *weights) {
  return models_attachments_of(s, weights, MODELS_RAM) +
         models_attachments_of(s, weights, MODELS_CARD);
}

bool models_pinned(const struct service *s, const struct models_weights *weights) {
  bool pinned = false;
  const struct idmap_entry *entry = idmap_next(&s->models->ids, 0);
  for (; entry; entry = idmap_next(&s->models->ids, entry->id))
    pinned |= models_at(s, entry->value)->weights == weights && models_at(s, entry->value)->pinned;
  return pinned;
}

/* ---- what it looks like ---- */

enum model_state models_state(const struct service *s, const struct models_model *model) {
  const struct models_weights *weights = model->weights;
  if (model->work)
    return model->leaving ? MODEL_UNLOADING : MODEL_LOADING;
  if (!weights)
    return model->error.status ? MODEL_FAILED : MODEL_UNLOADED;
  bool home = weights->has[models_home_copy(s, weights)];
  return home ? MODEL_READY : weights->has[MODELS_RAM] ? MODEL_PARKED : MODEL_UNLOADED;
}

enum model_residency models_residency(const struct service *s, const struct models_model *model) {
  (void)s;
  const struct models_weights *weights = model->weights;
  if (!weights)
    return MODEL_ON_DISK;
  return weights->has[MODELS_CARD]  ? MODEL_ON_DEVICE
         : weights->has[MODELS_RAM] ? MODEL_IN_RAM
                                    : MODEL_ON_DISK;
}

static void view_load(const struct models_model *model, struct model_view *out) {
  const struct models_facts *facts = &model->facts;
  out->load_time_ns = facts->load_ns;
  if (facts->load_ns)
    out->load_bytes_per_second =
        (uint64_t)((unsigned __int128)facts->load_bytes * CLOCK_SECOND / facts->load_ns);
  if (!model->work)
    return;
  struct job_view job;
  job_look(model_work_job(model->work), &job);
  out->progress = units_percent(job.bytes_done, job.bytes_total);
}

void models_view(const struct service *s, uint32_t index, struct model_view *out) {
  const struct models_model *model = models_at(s, index);
  const struct models_weights *weights = model->weights;
  *out = (struct model_view){.id = model->id,
                             .state = models_state(s, model),
                             .residency = models_residency(s, model),
                             .format = model->facts.format,
                             .fingerprint = model->facts.fingerprint,
                             .size_bytes = model->facts.size,
                             .estimate = model_estimate_of(s, model),
                             .tensors = model->facts.tensors,
                             .files = model->facts.files,
                             .priority = model->priority,
                             .pinned = model->pinned,
                             .keep_alive_seconds = model->keep_alive_seconds,
                             .last_used_at = model->last_used_at,
                             .use_count = model->use_count,
                             .loaded_at = model->loaded_at,
                             .created_at = model->created_at,
                             .error = model->error};
  snprintf(out->name, sizeof out->name, "%s", model->name);
  snprintf(out->path, sizeof out->path, "%s", model->path);
  uint32_t home = weights ? weights->home : model->home;
  out->device_id = home < s->device_count ? s->devices[home].info->id : NULL;
  view_load(model, out);
  memcpy(out->worker, model->worker, sizeof out->worker);
  if (!weights)
    return;
  out->busy = models_attachments(s, weights) > 0;
  out->ram_copy = weights->has[MODELS_RAM] && !models_home_is_host(s, weights);
}

void models_event(struct service *s, uint32_t index, enum events_type type,
                  const char *correlation) {
  const struct models_model *model = models_at(s, index);
  uint32_t home = model->weights ? model->weights->home : model->home;
  struct events_record event = {.type = (uint8_t)type,
                                .subject = model->id,
                                .bytes = model->facts.size,
                                .detail = (uint8_t)models_residency(s, model),
                                .device = home < s->device_count ? (uint8_t)(home + 1) : 0};
  if (correlation)
    events_set_text(&event, correlation);
  events_add(s->events, &event);
}

static void note_use(struct service *s, struct models_model *model) {
  model->last_used_at = clock_real();
  model->use_count++;
  if (model->slot)
    ledger_touch(s->ledger, model->slot, model->last_used_at);
  model_uses_add(&model->uses, clock_now());
}

static void give_credit(struct service *s, struct models_model *model) {
  predict_used(s, model);
  if (!model->weights)
    return;
  struct models_weights *weights = model->weights;
  policy_used(&s->models->clocks[weights->home], &weights->credit, model->facts.size,
              (double)model->facts.load_ns / 1e9);
}

void models_note_optimized(struct service *s, enum status status) {
  s->models->last_kind = JOB_OPTIMIZE;
  s->models->last_state = status ? JOB_FAILED : JOB_COMPLETED;
  s->models->last_model = 0;
  s->models->last_at = clock_real();
}

void models_touch(struct service *s, uint32_t index) {
  struct models_model *model = models_at(s, index);
  note_use(s, model);
  if (model->weights)
    model->weights->asked++;
  give_credit(s, model);
}

void models_touch_attached(struct service *s, uint32_t index) {
  struct models_model *model = models_at(s, index);
  note_use(s, model);
  model->weights->served = true;
  if (model->weights->asked)
    model->weights->asked--;
  else
    give_credit(s, model);
}
