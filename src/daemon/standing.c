/*
 * standing: an answer holds when nothing changed since its question left, and when it is not of an
 * older generation than the worker told of. A worker that never counts generations is at 0 always.
 */
#include "daemon/standing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"

bool standing_ask(struct standing *standing) {
  if (standing->asking || standing->unable)
    return false;
  standing->asking = true;
  standing->again = false;
  standing->asked_real = clock_real();
  return true;
}

bool standing_asked(struct standing *standing) {
  standing->asking = false;
  return standing->again;
}

void standing_changed(struct standing *standing, struct reader_value data) {
  uint64_t generation = reader_uint(reader_get(data, "generation"), 0);
  standing->generation = units_max(standing->generation, generation);
  standing->valid = false;
  standing->again = true;
}

/* By its id, or as {"model_id", "size_bytes"}. */
static bool take_model(struct reader_value value, struct view_worker_model *out) {
  const char *id = reader_text(value, NULL);
  struct reader_value size = reader_get(value, "size_bytes");
  *out =
      (struct view_worker_model){.bytes_known = size.json != NULL, .bytes = reader_uint(size, 0)};
  if (!id)
    id = reader_text(reader_get(value, "model_id"), "");
  snprintf(out->model, sizeof out->model, "%s", id);
  return id[0] && strlen(id) < sizeof out->model;
}

static void take_models(struct standing *standing, struct reader_value list) {
  size_t count = reader_count(list);
  bool whole = count <= STANDING_MODELS;
  struct view_worker_model *models = calloc(STANDING_MODELS, sizeof *models);
  free(standing->models);
  standing->models = models;
  standing->model_count = 0;
  for (size_t i = 0; models && i < count && standing->model_count < STANDING_MODELS; i++)
    standing->model_count += take_model(reader_at(list, i), &models[standing->model_count]);
  /* One that never named a model has nothing to do with them. */
  standing->lists = models && whole && (standing->lists || standing->model_count);
}

static void take_text(struct reader_value value, const char *key, char *out, size_t size) {
  snprintf(out, size, "%s", reader_text(reader_get(value, key), ""));
}

/* One of nothing is none. */
static bool take_opportunity(struct reader_value value, struct view_opportunity *out) {
  *out = (struct view_opportunity){.bytes = reader_uint(reader_get(value, "bytes"), 0)};
  take_text(value, "kind", out->kind, sizeof out->kind);
  take_text(value, "device_id", out->device, sizeof out->device);
  take_text(value, "model_id", out->model, sizeof out->model);
  take_text(value, "why", out->why, sizeof out->why);
  return out->kind[0] && out->bytes;
}

static void take_opportunities(struct standing *standing, struct reader_value list) {
  size_t count = units_min(reader_count(list), STANDING_OPPORTUNITIES);
  free(standing->opportunities);
  standing->opportunities = count ? calloc(count, sizeof *standing->opportunities) : NULL;
  standing->opportunity_count = 0;
  for (size_t i = 0; standing->opportunities && i < count; i++)
    standing->opportunity_count +=
        take_opportunity(reader_at(list, i), &standing->opportunities[standing->opportunity_count]);
}

/* True: it is not known, and 0 stands there. */
static bool take_figure(struct reader_value value, uint64_t *out) {
  *out = reader_uint(value, UINT64_MAX);
  bool unknown = *out == UINT64_MAX;
  if (unknown)
    *out = 0;
  return unknown;
}

void standing_heard(struct standing *standing, struct reader_value data) {
  uint64_t generation = reader_uint(reader_get(data, "generation"), 0);
  standing->memory_unknown =
      take_figure(reader_get(data, "memory_usage_bytes"), &standing->memory_bytes);
  standing->reclaimable_unknown =
      take_figure(reader_get(data, "reclaimable_bytes"), &standing->reclaimable_bytes);
  take_models(standing, reader_get(data, "loaded_models"));
  take_opportunities(standing, reader_get(data, "optimization_opportunities"));
  standing->valid = !standing->again && generation >= standing->generation;
  standing->generation = units_max(standing->generation, generation);
  standing->answered_ns = clock_now();
}

void standing_answered(struct standing *standing, struct reader_value root) {
  const char *code = reader_text(reader_get(root, "error_code"), "");
  if (reader_bool(reader_get(root, "success"), false))
    standing_heard(standing, reader_get(root, "data"));
  else if (status_parse(code) == STATUS_NOT_FOUND)
    standing->unable = true;
}

void standing_done(struct standing *standing) {
  free(standing->models);
  free(standing->opportunities);
  standing->models = NULL;
  standing->opportunities = NULL;
  standing->model_count = standing->opportunity_count = 0;
}

void standing_view(const struct standing *standing, bool reports, struct view_worker *out) {
  out->reports = reports;
  out->synchronized = !reports || standing->valid;
  out->lists = standing->lists;
  out->generation = standing->generation;
  out->asked_at = standing->asked_real;
  out->status_ns = standing->valid ? standing->answered_ns : 0;
  out->memory_bytes = standing->memory_bytes;
  out->reclaimable_bytes = standing->reclaimable_bytes;
  out->memory_unknown = standing->memory_unknown;
  out->reclaimable_unknown = standing->reclaimable_unknown;
}
