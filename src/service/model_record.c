/*
 * model_record: a record for each model, put when it is first whole; its name, its path and what
 * the record has no room for are one text. After a restart an owner of kind `model` stands for
 * weights, and its allocations on a device, by rising id, are the files in order. The record says
 * which device is the home: what else is found on cards was on its way.
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

/* Behind the NUL of the path, where there is anything to be said. In the ledger: new fields go to
 * its end. */
struct tail {
  struct models_key key;
  struct models_learned learned[MODELS_LEARNED];
};
_Static_assert(MODEL_NAME + MODEL_PATH + sizeof(struct tail) < MODEL_RECORD_TEXT, "it fits");

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
  char text[MODEL_RECORD_TEXT];
  struct tail tail;
  memset(&tail, 0, sizeof tail);
  tail.key = model->key;
  memcpy(tail.learned, model->facts.learned, sizeof tail.learned);
  size_t n = strlen(model->name) + 1, rest = strlen(model->path);
  memcpy(text, model->name, n);
  memcpy(text + n, model->path, rest + 1);
  n += rest;
  if (model->key.hash[0] || tail.learned[0].device) {
    memcpy(text + n + 1, &tail, sizeof tail);
    n += 1 + sizeof tail;
  }
  return ledger_put_text(s->ledger, text, n, &record->u.model.text, slot);
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

static void adopt_tail(struct models_model *model, const char *bytes) {
  struct tail tail;
  memcpy(&tail, bytes, sizeof tail);
  model->key = tail.key;
  memcpy(model->facts.learned, tail.learned, sizeof tail.learned);
}

enum status model_record_adopt(struct service *s, const struct model_record_left *left) {
  const struct ledger_record *record = ledger_at(s->ledger, left->slot);
  const struct ledger_model *facts = &record->u.model;
  const char *path = left->text + strnlen(left->text, MODEL_NAME) + 1;
  size_t path_bytes = strnlen(path, MODEL_PATH);
  if (path == left->text + 1 || path > left->text + MODEL_NAME || path_bytes == MODEL_PATH)
    return STATUS_CONFLICT;
  uint32_t index = models_add(s, record->id, left->text, path);
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
  adopt_tail(model, path + path_bytes + 1);
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

/* One that is there, of this owner: its device; VIEW_DEVICES: another one. */
static uint32_t device_of_part(const struct service *s, uint32_t index, uint32_t owner) {
  const struct state_alloc *alloc = state_alloc(s, index);
  const struct state_segment *segment = state_segment(s, alloc->segment);
  bool lost = segment->share.kind == SHARE_NONE;
  return alloc->owner != owner || lost ? VIEW_DEVICES : segment->device;
}

/* How many parts there are on each device; the card, if it is met, is taken. */
static void count_parts(struct service *s, struct models_weights *weights,
                        uint32_t counts[VIEW_DEVICES]) {
  const struct idmap_entry *entry = idmap_next(&s->alloc_ids, 0);
  for (; entry; entry = idmap_next(&s->alloc_ids, entry->id)) {
    uint32_t device = device_of_part(s, entry->value, weights->owner);
    if (device == VIEW_DEVICES)
      continue;
    if (state_record(s, state_alloc(s, entry->value))->flags & STATE_HIDDEN)
      (void)model_table_adopt(s, weights, entry->value);
    else
      counts[device]++;
  }
}

/* Where a copy is whole, VIEW_DEVICES: nowhere. Only its home has a copy on a card: another one is
 * what a move had not yet given back, or not yet made its own; and only there has a model of host
 * memory its bytes. */
static uint32_t device_of_copy(const struct service *s, const struct models_weights *weights,
                               unsigned copy, const uint32_t counts[VIEW_DEVICES]) {
  uint32_t home = weights->home;
  bool known = home < s->device_count;
  bool there_only = known && (copy == MODELS_CARD || s->devices[home].info->host_memory);
  for (uint32_t i = 0; i < s->device_count; i++) {
    bool host = s->devices[i].info->host_memory;
    if (host == (copy == MODELS_RAM) && counts[i] >= weights->part_count &&
        (!there_only || i == home))
      return i;
  }
  return VIEW_DEVICES;
}

/* The allocations on a device are the parts of a copy in order. */
static void take_parts(struct service *s, struct models_weights *weights, unsigned copy,
                       uint32_t device) {
  uint32_t count = 0;
  const struct idmap_entry *entry = idmap_next(&s->alloc_ids, 0);
  for (; entry && count < weights->part_count; entry = idmap_next(&s->alloc_ids, entry->id)) {
    const struct state_alloc *alloc = state_alloc(s, entry->value);
    if (device_of_part(s, entry->value, weights->owner) != device ||
        state_record(s, alloc)->flags & STATE_HIDDEN)
      continue;
    struct models_part *part = &weights->parts[count++];
    part->at[copy] = alloc->id;
    part->size = state_record(s, alloc)->size_bytes;
    if (!part->name)
      part->name = strdup(alloc->label ? alloc->label : "");
    weights->has[copy] = part->name && count == weights->part_count;
  }
}

/* Takes the owner's allocations as parts. A copy that is not whole is none. */
static void gather(struct service *s, struct models_weights *weights) {
  uint32_t counts[VIEW_DEVICES] = {0};
  count_parts(s, weights, counts);
  for (unsigned copy = MODELS_COPIES; copy-- > 0;) {
    uint32_t device = device_of_copy(s, weights, copy, counts);
    if (device == VIEW_DEVICES)
      continue;
    take_parts(s, weights, copy, device);
    if (weights->home >= s->device_count)
      weights->home = device;
  }
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
  gather(s, weights);
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
