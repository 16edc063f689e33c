/*
 * recommendations: the daemon's own are a table; a worker's are what it says it could free, scaled
 * by how it kept its word so far, with the request that asks it to.
 */
#include "ops/op/recommendations.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/id.h"
#include "service/worker_optimize.h"

static const char *severity_of(enum pressure_level level) {
  return level == PRESSURE_CRITICAL ? "critical" : level == PRESSURE_HIGH ? "warning" : "info";
}

struct head {
  const char *id, *title, *why, *source;
  enum pressure_level level;
};

static void begin(struct writer *w, const struct head *head) {
  writer_object(w, NULL);
  writer_text(w, "id", head->id);
  writer_text(w, "severity", severity_of(head->level));
  writer_text(w, "title", head->title);
  writer_text(w, "why", head->why);
  writer_text(w, "source", head->source);
}

/* Leaves the body open. */
static void begin_action(struct writer *w, const char *path) {
  writer_object(w, "action");
  writer_text(w, "method", "POST");
  writer_text(w, "path", path);
  writer_object(w, "body");
}

static void end_action(struct writer *w) {
  writer_end(w);
  writer_end(w);
  writer_end(w);
}

/* ---- the daemon's ---- */

static void body_clear(struct writer *w) { writer_text(w, "scope", "cache"); }
static void body_optimize(struct writer *w) { (void)w; }

struct own {
  enum pressure_level from;
  const char *id, *title, *why, *path;
  void (*body)(struct writer *w);
};

static const struct own owns[] = {
    {PRESSURE_MODERATE, "drain_caches", "Give cached memory back",
     "empty segments are kept for reuse, and use is over the moderate threshold",
     "/api/memory/operations/clear", body_clear},
    {PRESSURE_HIGH, "park", "Let idle models go",
     "models that nobody uses are in memory, and use is over the high threshold",
     "/api/memory/models/optimize", body_optimize},
};

static void write_own(struct writer *w, const struct own *own, const struct view_host *host,
                      uint64_t bytes) {
  const struct head head = {own->id, own->title, own->why, "daemon", host->pressure.level};
  if (host->pressure.level < own->from || !bytes)
    return;
  begin(w, &head);
  writer_object(w, "evidence");
  writer_hundredths(w, "pressurePercent", host->pressure.percent);
  writer_uint(w, "reclaimableBytes", bytes);
  writer_end(w);
  writer_uint(w, "expectedBytes", bytes);
  begin_action(w, own->path);
  own->body(w);
  end_action(w);
}

/* ---- a worker's ---- */

static void write_evidence(struct writer *w, const struct worker_offer *offer) {
  char id[ID_SIZE];
  writer_object(w, "evidence");
  writer_text(w, "kind", offer->said.kind);
  writer_text_or_null(w, "deviceId", offer->said.device);
  writer_text_or_null(w, "modelId",
                      offer->model ? id_format(ID_MODEL, offer->model, id) : offer->said.model);
  writer_uint(w, "bytes", offer->said.bytes);
  writer_uint(w, "promisedBytes", offer->promised_bytes);
  writer_uint(w, "freedBytes", offer->freed_bytes);
  writer_end(w);
}

static void write_offer(struct writer *w, const struct worker_offer *offer,
                        enum pressure_level level) {
  const struct view_opportunity *said = &offer->said;
  char id[sizeof *said], title[sizeof *said];
  snprintf(id, sizeof id, "%s:%s:%s:%s", said->worker, said->kind, said->device, said->model);
  snprintf(title, sizeof title, "Let worker %s %s%s%s", said->worker, said->kind,
           said->model[0] ? " " : "", said->model);
  const struct head head = {id, title, said->why, said->worker, level};
  begin(w, &head);
  write_evidence(w, offer);
  writer_uint(w, "expectedBytes", offer->expected_bytes);
  begin_action(w, "/api/memory/models/optimize");
  writer_text(w, "workerId", said->worker);
  if (offer->device_id)
    writer_text(w, "deviceId", offer->device_id);
  writer_uint(w, "minBytesToFree", said->bytes);
  end_action(w);
}

void op_recommendations_write(struct ops_call *call, struct writer *w, const struct view_host *host,
                              uint64_t reclaimable_bytes) {
  struct worker_offer *offers = calloc(VIEW_OPPORTUNITIES, sizeof *offers);
  uint32_t count =
      offers ? worker_optimize_offers(ops_service(call->ops), offers, VIEW_OPPORTUNITIES) : 0;
  writer_array(w, "recommendations");
  write_own(w, &owns[0], host, host->figures.cached_bytes);
  write_own(w, &owns[1], host, reclaimable_bytes);
  for (uint32_t i = 0; i < count; i++)
    write_offer(w, &offers[i], host->pressure.level);
  writer_end(w);
  free(offers);
}
