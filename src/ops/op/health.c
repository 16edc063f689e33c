/*
 * health: whether all is well, part by part; and the document about all operations.
 */
#include <stdio.h>

#include "base/clock.h"
#include "base/version.h"
#include "ops/op.h"
#include "ops/reply.h"
#include "service/keeper.h"
#include "service/predict.h"
#include "service/report.h"
#include "service/service.h"

#define PARTS (VIEW_DEVICES + VIEW_WORKERS + 3) /* and the vault, the history, missing cards */

static bool all_well(const struct report_part *parts, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    if (!parts[i].ok)
      return false;
  return true;
}

static void write_part(struct writer *w, const struct report_part *part) {
  writer_object(w, NULL);
  writer_text(w, "name", part->name);
  writer_text(w, "status", part->ok ? "ok" : "degraded");
  writer_text_or_null(w, "reason", part->reason);
  writer_end(w);
}

static void write_prediction(const struct predict_figures *figures, const char *kind,
                             struct writer *w) {
  char reason[80] = "";
  if (figures->disabled)
    snprintf(reason, sizeof reason, "of its last %u acts %u %% were needed",
             (unsigned)figures->recent, (unsigned)figures->share / 100);
  writer_object(w, NULL);
  writer_text(w, "kind", kind);
  writer_text(w, "state", !figures->on ? "off" : figures->disabled ? "disabled" : "on");
  writer_uint(w, "made", figures->made);
  writer_uint(w, "judged", figures->judged);
  writer_uint(w, "needed", figures->needed);
  writer_text_or_null(w, "reason", reason);
  writer_end(w);
}

static void write_predictions(struct service *service, struct writer *w) {
  struct predict_figures figures[PREDICT_KINDS];
  predict_look(service, figures);
  writer_array(w, "predictions");
  for (int kind = 0; kind < PREDICT_KINDS; kind++)
    write_prediction(&figures[kind], predict_kinds[kind], w);
  writer_end(w);
}

static enum ops_progress run_short(struct ops_call *call, void *params) {
  struct report_part parts[PARTS];
  struct writer w;
  (void)params;
  uint32_t count = report_health(ops_service(call->ops), parts, PARTS);
  reply_begin(call, &w);
  writer_text(&w, "status", all_well(parts, count) ? "ok" : "degraded");
  return reply_end(call, &w);
}

static enum ops_progress run_detailed(struct ops_call *call, void *params) {
  struct report_part parts[PARTS];
  struct writer w;
  (void)params;
  struct service *service = ops_service(call->ops);
  struct keeper_state keeper;
  service_keeper_state(service, &keeper);
  uint32_t count = report_health(service, parts, PARTS);
  reply_begin(call, &w);
  writer_text(&w, "status", all_well(parts, count) ? "ok" : "degraded");
  writer_array(&w, "parts");
  for (uint32_t i = 0; i < count; i++)
    write_part(&w, &parts[i]);
  writer_end(&w);
  write_predictions(service, &w);
  writer_bool(&w, "durable", keeper.durable);
  writer_text(&w, "version", VERSION_TEXT);
  writer_uint(&w, "uptimeSeconds", (clock_real() - service_started_at(service)) / CLOCK_SECOND);
  return reply_end(call, &w);
}

static enum ops_progress run_openapi(struct ops_call *call, void *params) {
  const struct buf *document = ops_openapi(call->ops);
  (void)params;
  call->http_status = 200;
  buf_add(&call->out, document->data, document->size);
  return OPS_DONE;
}

const struct ops_row op_health_short = {.action = "memory.get_health",
                                        .method = OPS_GET,
                                        .path = "/health",
                                        .role = CALLER_NONE,
                                        .envelope = true,
                                        .summary = "Whether all is well",
                                        .answer = "Health",
                                        .schema = "Health",
                                        .handler = run_short};

const struct ops_row op_health_detailed = {.action = "memory.get_detailed_health",
                                           .method = OPS_GET,
                                           .path = "/health/detailed",
                                           .role = CALLER_READ,
                                           .envelope = true,
                                           .summary = "Whether all is well, part by part",
                                           .answer = "Health",
                                           .schema = "DetailedHealth",
                                           .handler = run_detailed};

const struct ops_row op_health_openapi = {.method = OPS_GET,
                                          .path = "/openapi.json",
                                          .role = CALLER_READ,
                                          .envelope = false,
                                          .summary = "This document",
                                          .answer = "The document",
                                          .schema = NULL,
                                          .handler = run_openapi};

static enum ops_progress run_ping(struct ops_call *call, void *params) {
  struct writer w;
  (void)params;
  reply_begin(call, &w);
  return reply_end(call, &w);
}

const struct ops_row op_health_ping = {.action = "ping",
                                       .role = CALLER_NONE,
                                       .envelope = true,
                                       .summary = "Whether anybody is there",
                                       .answer = "Here",
                                       .handler = run_ping};
