/*
 * model_record: a record for each model, put when it is first whole; its name and path are one
 * text. After a restart an owner of kind `model` stands for weights, and its allocations, by rising
 * id, are the files in order: first those of one copy, then those of the other.
 */
#include "service/model_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "service/model_table.h"
#include "service/record.h"
#include "service/space.h"

#define FLAG_PINNED 1

/* ---- writing ---- */

static void drop_text(struct service *s, uint32_t slot) {
  for (uint32_t next; slot; slot = next) {
    next = ledger_next_text(s->ledger, slot);
    ledger_drop(s->ledger, slot);
  }
}

static struct ledger_record record_of(const struct service *s, const struct models_model *model) {
  const struct models_facts *facts = &model->facts;
  uint32_t home = model->weights ? model->weights->home : model->home;
  struct ledger_record record = {.kind = LEDGER_MODEL,
                                 .id = model->id,
                                 .last_access_real_ns = model->last_used_at,
                                 .access_count = model->use_count};
  record.u.model = (struct ledger_model){
      .weights = model->weights ? model->weights->id : 0,
      .size_bytes = facts->size,
      .weight_bytes = facts->weights_bytes,
      .fingerprint = facts->fingerprint,
      .load_ns = facts->load_ns,
      .loaded_real_ns = model->loaded_at,
      .created_real_ns = model->created_at,
      .keep_alive_seconds =
          units_min(model->keep_alive_seconds, LEDGER_ID_COUNTED) & LEDGER_ID_COUNTED,
      .priority = model->priority,
      .flags = model->pinned ? FLAG_PINNED : 0,
      .home = home < s->device_count ? s->devices[home].record & LEDGER_ID_COUNTED : 0,
      .format = facts->format & 15,
      .files = facts->files & 4095,
      .domain = model->domain,
      .tensors = facts->tensors};
  return record;
}

static enum status put_text(struct service *s, const struct models_model *model,
                            struct ledger_record *record, uint32_t *slot) {
  char text[MODEL_NAME + MODEL_PATH];
  size_t n = strlen(model->name) + 1;
  memcpy(text, model->name, n);
  size_t rest = strlen(model->path);
  memcpy(text + n, model->path, rest);
  return ledger_put_text(s->ledger, text, n + rest, &record->u.model.text, slot);
}

void model_record_write(struct service *s, uint32_t index) {
  struct models_model *model = models_at(s, index);
  struct ledger_record record = record_of(s, model);
  uint32_t text = 0;
  state_ledger_ahead(s);
  enum status status = put_text(s, model, &record, &text);
  if (!status)
    status = model->slot ? ledger_replace(s->ledger, &model->slot, &record)
                         : ledger_put(s->ledger, &record, &model->slot);
  if (status) {
    log_warning("service", "model %s is not recorded: the ledger is full", model->name);
    drop_text(s, text);
    model_record_drop(s, index);
    return;
  }
  drop_text(s, model->text_slot);
  model->text_slot = text;
}

void model_record_drop(struct service *s, uint32_t index) {
  struct models_model *model = models_at(s, index);
  if (model->slot)
    ledger_drop(s->ledger, model->slot);
  drop_text(s, model->text_slot);
  model->slot = model->text_slot = 0;
}

/* ---- after a restart ---- */

static uint32_t device_of(const struct service *s, uint64_t counted) {
  uint32_t index = 0;
  while (index < s->device_count && (s->devices[index].record & LEDGER_ID_COUNTED) != counted)
    index++;
  return counted && index < s->device_count ? index : UINT32_MAX;
}

enum status model_record_adopt(struct service *s, const struct model_record_left *left) {
  const struct ledger_record *record = ledger_at(s->ledger, left->slot);
  const struct ledger_model *facts = &record->u.model;
  uint32_t index = models_add(s, record->id, left->name, left->path);
  if (!index)
    return STATUS_INTERNAL_ERROR;
  struct models_model *model = models_at(s, index);
  model->slot = left->slot;
  model->text_slot = left->text_slot;
  model->facts = (struct models_facts){.size = facts->size_bytes,
                                       .weights_bytes = facts->weight_bytes,
                                       .fingerprint = facts->fingerprint,
                                       .load_ns = facts->load_ns,
                                       .load_bytes = facts->size_bytes,
                                       .format = facts->format,
                                       .tensors = facts->tensors,
                                       .files = facts->files};
  model->priority = facts->priority;
  model->pinned = facts->flags & FLAG_PINNED;
  model->keep_alive_seconds = facts->keep_alive_seconds;
  model->domain = facts->domain;
  model->home = device_of(s, facts->home);
  model->loaded_at = facts->loaded_real_ns;
  model->created_at = facts->created_real_ns;
  model->last_used_at = record->last_access_real_ns;
  model->use_count = record->access_count;
  return STATUS_OK;
}

/* The names of an owner's number get weights without parts. */
static struct models_weights *claim(struct service *s, uint32_t owner) {
  uint64_t number = state_owner(s, owner)->pid_start;
  struct models_weights *weights = NULL;
  const struct idmap_entry *entry = idmap_next(&s->models->ids, 0);
  for (; entry; entry = idmap_next(&s->models->ids, entry->id)) {
    struct models_model *model = models_at(s, entry->value);
    if (ledger_at(s->ledger, model->slot)->u.model.weights != number)
      continue;
    struct models_new new = {number, owner, model->home, model->facts.files, NULL, 0};
    if (!weights && new.part_count)
      weights = models_weights_new(s, &new);
    else if (weights)
      weights->references++;
    model->weights = weights;
  }
  return weights;
}

/* One allocation of the owner is the next part of its copy. */
static void take_part(struct service *s, struct models_weights *weights, uint32_t index,
                      uint32_t counts[MODELS_COPIES]) {
  const struct state_alloc *alloc = state_alloc(s, index);
  const struct state_segment *segment = state_segment(s, alloc->segment);
  unsigned copy = s->devices[segment->device].info->host_memory ? MODELS_RAM : MODELS_CARD;
  bool hidden = state_record(s, alloc)->flags & STATE_HIDDEN;
  if (segment->share.kind == SHARE_NONE)
    return;
  if (hidden)
    (void)model_table_adopt(s, weights, index);
  if (hidden || counts[copy] == weights->part_count)
    return;
  struct models_part *part = &weights->parts[counts[copy]++];
  part->at[copy] = alloc->id;
  part->size = state_record(s, alloc)->size_bytes;
  if (!part->name)
    part->name = strdup(alloc->label ? alloc->label : "");
  weights->has[copy] = part->name && counts[copy] == weights->part_count;
  if (copy == MODELS_CARD || weights->home >= s->device_count)
    weights->home = segment->device;
}

/* Takes the owner's allocations as parts. A copy that is not whole is none. */
static void gather(struct service *s, struct models_weights *weights, uint32_t owner) {
  uint32_t counts[MODELS_COPIES] = {0};
  const struct idmap_entry *entry = idmap_next(&s->alloc_ids, 0);
  for (; entry; entry = idmap_next(&s->alloc_ids, entry->id))
    if (state_alloc(s, entry->value)->owner == owner)
      take_part(s, weights, entry->value, counts);
  for (uint32_t i = 0; i < weights->part_count; i++)
    for (unsigned copy = 0; copy < MODELS_COPIES; copy++)
      if (!weights->has[copy])
        weights->parts[i].at[copy] = 0;
}

static void unclaim(struct service *s, struct models_weights *weights) {
  const struct idmap_entry *entry = idmap_next(&s->models->ids, 0);
  for (; entry; entry = idmap_next(&s->models->ids, entry->id)) {
    struct models_model *model = models_at(s, entry->value);
    if (model->weights == weights)
      model->weights = NULL;
  }
  models_weights_forget(s, weights);
}

static void adopt_owner(struct service *s, uint32_t owner) {
  struct models_weights *weights = claim(s, owner);
  if (!weights)
    return;
  gather(s, weights, owner);
  weights->resident_since = clock_now();
  if (!weights->has[MODELS_RAM] && !weights->has[MODELS_CARD])
    unclaim(s, weights);
}

void model_record_adopted(struct service *s) {
  uint64_t id = 0;
  for (const struct idmap_entry *entry; (entry = idmap_next(&s->owner_ids, id));) {
    id = entry->id;
    if (state_owner(s, entry->value)->kind == VIEW_OWNER_MODEL)
      adopt_owner(s, entry->value);
  }
}

/* Whether an allocation of a model's owner is part of what was claimed. */
static bool is_claimed(const struct service *s, uint64_t allocation) {
  for (const struct models_weights *w = s->models->weights; w; w = w->next) {
    bool found = w->table == allocation;
    for (uint32_t i = 0; !found && i < w->part_count; i++)
      found = w->parts[i].at[MODELS_RAM] == allocation || w->parts[i].at[MODELS_CARD] == allocation;
    if (found)
      return true;
  }
  return false;
}

/* An owner of weights that are not there. */
static bool is_orphan(const struct service *s, uint32_t owner) {
  const struct models_weights *weights = s->models->weights;
  while (weights && weights->owner != owner)
    weights = weights->next;
  return !weights && state_owner(s, owner)->kind == VIEW_OWNER_MODEL;
}

void model_record_tidy(struct service *s) {
  uint64_t id = 0;
  for (const struct idmap_entry *entry; (entry = idmap_next(&s->alloc_ids, id));) {
    id = entry->id;
    uint32_t owner = state_alloc(s, entry->value)->owner;
    if (state_owner(s, owner)->kind != VIEW_OWNER_MODEL || is_claimed(s, id))
      continue;
    record_drop(s, entry->value, &(struct record_end){.why = EVENTS_ALLOCATION_FREED});
  }
  id = 0;
  for (const struct idmap_entry *entry; (entry = idmap_next(&s->owner_ids, id));) {
    id = entry->id;
    if (!is_orphan(s, entry->value))
      continue;
    state_owner(s, entry->value)->dead = true;
    space_owner_done(s, entry->value);
  }
}
