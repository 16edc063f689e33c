/*
 * recommendations: the daemon's own are a table; a worker's are what it says it could free, scaled
 * by how it kept its word so far, with the request that asks it to.
 */
#include "ops/op/recommendations.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/id.h"
#include "service/advice.h"
#include "service/report.h"
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

static void body_clear(struct writer *w, const struct advice *advice) {
  (void)advice;
  writer_text(w, "scope", "cache");
}
static void body_lost(struct writer *w, const struct advice *advice) {
  (void)advice;
  writer_text(w, "scope", "lost");
}
static void body_idle(struct writer *w, const struct advice *advice) {
  (void)advice;
  writer_text(w, "scope", "idle");
  writer_uint(w, "idleSeconds", ADVICE_IDLE_SECONDS);
}
static void body_leak(struct writer *w, const struct advice *advice) {
  writer_text(w, "scope", "idle");
  writer_uint(w, "idleSeconds", ADVICE_LEAK_SECONDS);
  writer_id(w, "owner", 'o', advice->facts.leak.owner_id);
}
static void body_quota(struct writer *w, const struct advice *advice) {
  body_idle(w, advice);
  writer_text(w, "owner", advice->facts.quota.domain);
}
static void body_defragment(struct writer *w, const struct advice *advice) {
  (void)advice;
  writer_text(w, "strategy", "balanced");
}
static void body_nothing(struct writer *w, const struct advice *advice) {
  (void)w;
  (void)advice;
}
static void body_limit(struct writer *w, const struct advice *advice) {
  (void)advice;
  writer_uint(w, "targetPercent", 100);
}

static void evidence_cache(struct writer *w, const struct advice_facts *facts) {
  writer_uint(w, "cachedBytes", facts->cached_bytes);
  writer_uint(w, "spareCopyBytes", facts->spare_bytes);
}
static void evidence_defragment(struct writer *w, const struct advice_facts *facts) {
  writer_uint(w, "committedBytes", facts->committed_bytes);
  writer_uint(w, "allocatedBytes", facts->allocated_bytes);
  writer_uint(w, "releasableSegments", facts->releasable_segments);
}
static void evidence_models(struct writer *w, const struct advice_facts *facts) {
  writer_uint(w, "reclaimableBytes", facts->model_bytes);
}
static void evidence_lost(struct writer *w, const struct advice_facts *facts) {
  writer_uint(w, "lostAllocations", facts->lost.allocations);
  writer_uint(w, "lostBytes", facts->lost.bytes);
}
static void evidence_leak(struct writer *w, const struct advice_facts *facts) {
  writer_text(w, "owner", facts->leak.owner);
  writer_uint_or_null(w, "pid", (uint64_t)facts->leak.pid);
  writer_double(w, "bytesPerSecond", facts->leak.bytes_per_second);
  writer_uint(w, "bytes", facts->leak.bytes);
  writer_time(w, "since", facts->leak.since);
  writer_uint(w, "idleAllocations", facts->leaked.allocations);
  writer_uint(w, "idleSeconds", ADVICE_LEAK_SECONDS);
}
static void write_max(struct writer *w, const char *key, uint64_t max) {
  if (max == UINT64_MAX)
    writer_null(w, key);
  else
    writer_uint(w, key, max);
}
static void evidence_quota(struct writer *w, const struct advice_facts *facts) {
  const struct advice_quota *quota = &facts->quota;
  writer_text(w, "domain", quota->domain);
  writer_uint(w, "bytes", quota->bytes);
  write_max(w, "maxBytes", quota->max_bytes);
  writer_uint(w, "allocations", quota->allocations);
  write_max(w, "maxAllocations", quota->max_allocations);
  writer_uint(w, "idleAllocations", quota->idle.allocations);
  writer_uint(w, "idleSeconds", ADVICE_IDLE_SECONDS);
}
static void evidence_idle(struct writer *w, const struct advice_facts *facts) {
  writer_uint(w, "idleAllocations", facts->idle.allocations);
  writer_uint(w, "idleSeconds", ADVICE_IDLE_SECONDS);
}
static void evidence_limit(struct writer *w, const struct advice_facts *facts) {
  writer_uint(w, "committedBytes", facts->committed_bytes);
  writer_uint(w, "maxBytes", facts->limit_bytes);
}
static void evidence_full(struct writer *w, const struct advice_facts *facts) {
  writer_double(w, "timeToFullSeconds", facts->seconds_to_full);
}

/* Where the action says its device. */
enum place { IN_PATH, IN_BODY, NOWHERE };

static const struct {
  const char *id, *title, *why, *path;
  enum place place;
  void (*body)(struct writer *w, const struct advice *advice);
  void (*evidence)(struct writer *w, const struct advice_facts *facts);
} words[ADVICE_KINDS] = {
    [ADVICE_CACHE] = {"drain_caches", "Give cached memory back",
                      "empty segments are kept for reuse, and so may be workers' caches and spare "
                      "copies of models",
                      "/api/memory/operations/clear", IN_PATH, body_clear, evidence_cache},
    [ADVICE_DEFRAGMENT] = {"defragment", "Move blocks together",
                           "blocks are scattered over segments that could be given back",
                           "/api/memory/operations/defragment", IN_PATH, body_defragment,
                           evidence_defragment},
    [ADVICE_MODELS] = {"park", "Let idle models go",
                       "models that nobody uses are in memory, and use is over the high threshold",
                       "/api/memory/models/optimize", IN_BODY, body_nothing, evidence_models},
    [ADVICE_LOST] = {"clear_lost", "Forget what is lost",
                     "the bytes of these allocations are gone for good, but they are listed and "
                     "count against quotas",
                     "/api/memory/operations/clear", IN_PATH, body_lost, evidence_lost},
    [ADVICE_LEAK] = {"leak", "Free what a leaking owner leaves behind",
                     "what this owner has only rises, and part of it nobody has attached or "
                     "touched for five minutes",
                     "/api/memory/operations/clear", IN_PATH, body_leak, evidence_leak},
    [ADVICE_QUOTA] = {"quota", "Make room in a quota",
                      "a quota is nearly full, and part of what counts against it nobody has "
                      "attached or touched for an hour",
                      "/api/memory/operations/clear", NOWHERE, body_quota, evidence_quota},
    [ADVICE_IDLE] = {"clear_idle", "Free what nobody touches",
                     "allocations that nobody has attached were not touched for an hour",
                     "/api/memory/operations/clear", IN_PATH, body_idle, evidence_idle},
    [ADVICE_LIMIT] = {"over_limit", "Come below the limit",
                      "more is promised than the limit allows, so nothing new is given out",
                      "/api/memory/operations/optimize", IN_BODY, body_limit, evidence_limit},
    [ADVICE_FULL_SOON] = {"full_soon", "Make room before the device is full",
                          "its use rises, and at this rate it is full within an hour",
                          "/api/memory/operations/optimize", IN_BODY, body_nothing, evidence_full},
};

void op_recommendations_id(char out[OP_RECOMMENDATIONS_ID], int kind, const char *subject) {
  snprintf(out, OP_RECOMMENDATIONS_ID, "%s:%s", words[kind].id, subject);
}

static void write_own(struct ops_call *call, struct writer *w, const struct advice *advice) {
  const char *device = report_device_id(ops_service(call->ops), advice->device);
  enum place place = words[advice->kind].place;
  char id[OP_RECOMMENDATIONS_ID], path[128];
  op_recommendations_id(id, (int)advice->kind, device ? device : advice->facts.quota.domain);
  snprintf(path, sizeof path, "%s%s%s", words[advice->kind].path, place == IN_PATH ? "/" : "",
           place == IN_PATH ? device : "");
  const struct head head = {id, words[advice->kind].title, words[advice->kind].why, "daemon",
                            advice->urgency};
  begin(w, &head);
  writer_object(w, "evidence");
  if (device) {
    writer_text(w, "deviceId", device);
    writer_hundredths(w, "pressurePercent", advice->facts.percent);
  }
  words[advice->kind].evidence(w, &advice->facts);
  writer_end(w);
  writer_uint(w, "expectedBytes", advice->expected_bytes);
  begin_action(w, path);
  if (place == IN_BODY)
    writer_text(w, "deviceId", device);
  words[advice->kind].body(w, advice);
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

void op_recommendations_write(struct ops_call *call, struct writer *w) {
  struct service *service = ops_service(call->ops);
  struct worker_offer *offers = calloc(VIEW_OPPORTUNITIES, sizeof *offers);
  struct advice *advice = calloc(ADVICE_MAX, sizeof *advice);
  struct view_host *host = calloc(1, sizeof *host);
  uint32_t offered = offers ? worker_optimize_offers(service, offers, VIEW_OPPORTUNITIES) : 0;
  uint32_t advised = advice ? advice_make(service, UINT32_MAX, advice, ADVICE_MAX) : 0;
  if (host)
    report_host(service, host);
  writer_array(w, "recommendations");
  for (uint32_t i = 0; i < advised; i++)
    write_own(call, w, &advice[i]);
  for (uint32_t i = 0; i < offered; i++)
    write_offer(w, &offers[i], host ? host->pressure.level : PRESSURE_LOW);
  writer_end(w);
  free(host);
  free(advice);
  free(offers);
}
