/*
 * reload: the operations that an admin could send too, in the daemon's own name.
 */
#include "daemon/reload.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "service/limits.h"
#include "service/service.h"

static struct caller ourselves(void) {
  struct caller caller = {.role = CALLER_ADMIN,
                          .uid = (uint32_t)geteuid(),
                          .domain = (uint32_t)geteuid(),
                          .correlation = "config"};
  snprintf(caller.domain_name, sizeof caller.domain_name, "uid:%u", (unsigned)caller.uid);
  return caller;
}

enum status reload_limits(const struct config *config, struct service *service,
                          struct problem *problem) {
  struct caller caller = ourselves();
  for (uint32_t i = 0; i < config->limit_count; i++) {
    const struct config_limit *limit = &config->limits[i];
    struct limits_set set = {.has_max = limit->has_max,
                             .has_reserved = limit->has_reserved,
                             .configured = true,
                             .max_bytes = limit->max_bytes,
                             .reserved_bytes = limit->reserved_bytes};
    struct problem why = {.status = STATUS_OK};
    if (limits_change(service, &caller, limit->device, &set, &why))
      return problem_set(problem, why.status, "limits of %s: %s", limit->device, why.text);
  }
  return STATUS_OK;
}

static bool same(const struct pressure_thresholds *a, const struct pressure_thresholds *b) {
  return a->moderate == b->moderate && a->high == b->high && a->critical == b->critical;
}

void reload_apply(const struct config *config, struct service *service, struct http *http) {
  struct caller caller = ourselves();
  struct problem problem = {.status = STATUS_OK};
  struct pressure_thresholds now = limits_thresholds(service);
  log_set_level(config->log_level);
  if (reload_limits(config, service, &problem))
    log_error("daemon", "%s", problem.text);
  if (config->thresholds_said && !same(&now, &config->thresholds) &&
      limits_change_thresholds(service, &caller, &config->thresholds, &problem))
    log_error("daemon", "thresholds: %s", problem.text);
  service_set_relief(service,
                     &(struct service_relief){config->relief_trigger, config->relief_target,
                                              config->policy, config->last_resort});
  service_set_predict(service, &(struct service_predict){config->predict, config->predict_ns});
  if (http_set_tokens(http, config->tokens, config->token_count, &problem))
    log_error("daemon", "tokens: %s", problem.text);
  log_info("daemon", "configuration read again (%s)", config->file[0] ? config->file : "no file");
}
