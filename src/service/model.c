/*
 * model: looking at models, and the small changes to them. See model.h.
 */
#include "service/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/model_record.h"
#include "service/models.h"

const char *const model_states[] = {"loading",  "ready",  "parked", "unloading",
                                    "unloaded", "failed", NULL};
const char *const model_residencies[] = {"device", "ram", "disk", NULL};

static enum status find(struct service *s, const char *name, uint32_t *index,
                        struct problem *problem) {
  *index = models_find(s, name);
  if (*index)
    return STATUS_OK;
  problem_set(problem, STATUS_MODEL_NOT_FOUND, "no model %.60s", name);
  snprintf(problem->subject, sizeof problem->subject, "%.60s", name);
  return STATUS_MODEL_NOT_FOUND;
}

enum status model_look(struct service *s, const char *id_or_name, struct model_view *out,
                       struct problem *problem) {
  uint32_t index;
  LOCK_SCOPE(&s->lock);
  enum status status = find(s, id_or_name, &index, problem);
  if (!status)
    models_view(s, index, out);
  return status;
}

enum status model_list(struct service *s, uint64_t cursor, uint32_t limit, struct model_page *out) {
  struct model_view *views = malloc(((size_t)limit + 1) * sizeof *views);
  if (!views)
    return STATUS_INTERNAL_ERROR;
  uint64_t last = cursor;
  *out = (struct model_page){.models = views};
  LOCK_SCOPE(&s->lock);
  const struct idmap_entry *entry = idmap_next(&s->models->ids, cursor);
  for (; entry && out->count < limit; entry = idmap_next(&s->models->ids, last)) {
    models_view(s, entry->value, &views[out->count++]);
    last = entry->id;
  }
  out->next = entry ? last : 0;
  return STATUS_OK;
}

static enum status change(struct service *s, const struct caller *caller,
                          const struct model_patch *patch, uint32_t index,
                          struct problem *problem) {
  struct models_model *model = models_at(s, index);
  if (caller->role != CALLER_ADMIN && caller->domain != model->domain)
    return problem_set(problem, STATUS_FORBIDDEN, "%.100s was loaded by another domain",
                       model->name);
  if (patch->has_name && !models_rename(s, index, patch->name))
    return problem_set(problem, STATUS_CONFLICT, "there is a model %.100s already", patch->name);
  if (patch->has_pinned)
    model->pinned = patch->pinned;
  if (patch->has_priority)
    model->priority = (uint8_t)patch->priority;
  if (patch->has_keep_alive)
    model->keep_alive_seconds = patch->keep_alive_seconds;
  model_record_write(s, index);
  return STATUS_OK;
}

enum status model_change(struct service *s, const struct caller *caller,
                         const struct model_patch *patch, struct model_view *out,
                         struct problem *problem) {
  uint32_t index;
  LOCK_SCOPE(&s->lock);
  enum status status = find(s, patch->model, &index, problem);
  if (!status)
    status = change(s, caller, patch, index, problem);
  if (!status)
    models_view(s, index, out);
  return status;
}

static void count_part(const struct service *s, uint64_t id, uint64_t *bytes) {
  uint32_t index = idmap_find(&s->alloc_ids, id);
  *bytes += index ? state_record(s, state_alloc(s, index))->size_bytes : 0;
}

static void count_state(enum model_state state, struct model_totals *out) {
  out->loaded += state == MODEL_READY;
  out->parked += state == MODEL_PARKED;
}

void model_count(struct service *s, struct model_totals *out) {
  *out = (struct model_totals){0};
  LOCK_SCOPE(&s->lock);
  const struct idmap_entry *entry = idmap_next(&s->models->ids, 0);
  for (; entry; entry = idmap_next(&s->models->ids, entry->id))
    count_state(models_state(s, models_at(s, entry->value)), out);
  for (struct models_weights *w = s->models->weights; w; w = w->next)
    for (uint32_t i = 0; i < w->part_count; i++) {
      count_part(s, w->parts[i].at[MODELS_CARD], &out->device_bytes);
      count_part(s, w->parts[i].at[MODELS_RAM], &out->ram_bytes);
    }
}

static bool is_reclaimable(const struct service *s, const struct models_model *model) {
  const struct models_weights *weights = model->weights;
  return weights && weights->id == model->id && !model->work && !weights->work && !model->pinned &&
         !models_attachments(s, weights);
}

void model_status(struct service *s, struct model_status *out) {
  LOCK_SCOPE(&s->lock);
  *out = (struct model_status){.last_kind = s->models->last_kind,
                               .last_state = s->models->last_state,
                               .last_model = s->models->last_model,
                               .last_at = s->models->last_at};
  const struct idmap_entry *entry = idmap_next(&s->models->ids, 0);
  for (; entry; entry = idmap_next(&s->models->ids, entry->id)) {
    const struct models_model *model = models_at(s, entry->value);
    for (uint32_t i = 0; is_reclaimable(s, model) && i < model->weights->part_count; i++)
      for (unsigned copy = 0; copy < MODELS_COPIES; copy++)
        count_part(s, model->weights->parts[i].at[copy], &out->reclaimable_bytes);
  }
}
