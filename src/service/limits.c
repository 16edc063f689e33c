/*
 * limits: numbers that decide what is given out. Changes hold at once; what waits for memory is
 * tried again.
 */
#include "service/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/units.h"
#include "service/kept.h"
#include "service/state.h"
#include "service/waiting.h"

static enum status check(const struct state_device *device, const struct limits_set *set,
                         struct problem *problem) {
  uint64_t max = set->has_max ? set->max_bytes : device->limit;
  uint64_t total = device->info->total_bytes;
  if (max > total)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "maxBytes", "%s has %llu bytes in all",
                         device->info->id, (unsigned long long)total);
  uint64_t reserved = set->has_reserved ? set->reserved_bytes : device->reserved;
  if (reserved > max)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "reservedBytes",
                         "cannot be more than maxBytes, %llu", (unsigned long long)max);
  return STATUS_OK;
}

/* The caller that a name is of; false: of none. What number a token has is not known here. */
static bool caller_named(const char *name, struct caller *out) {
  char text[sizeof out->domain_name];
  bool user = !strncmp(name, "uid:", 4);
  *out = (struct caller){.domain = STATE_DOMAIN_UNKNOWN};
  snprintf(out->domain_name, sizeof out->domain_name, "%s", name);
  if (!user)
    return !strncmp(name, "token:", 6) && name[6];
  out->domain = (uint32_t)strtoul(name + 4, NULL, 10);
  snprintf(text, sizeof text, "uid:%u", out->domain);
  return out->domain != STATE_DOMAIN_UNKNOWN && !strcmp(text, name);
}

/* The domain of that name, which need not have asked for anything yet. */
static struct state_domain *domain_named(struct service *s, const char *name) {
  struct caller caller;
  uint32_t index = caller_named(name, &caller) ? state_domain_of(s, &caller) : UINT32_MAX;
  return index == UINT32_MAX ? NULL : &s->domains[index];
}

static enum status check_quotas(struct service *s, const struct limits_set *set,
                                struct problem *problem) {
  for (uint32_t i = 0; i < set->quota_count; i++)
    if (!domain_named(s, set->quotas[i].domain))
      return problem_field(problem, STATUS_INVALID_ARGUMENT, "quotas",
                           "there is no domain %.40s: it is uid:N or token:NAME",
                           set->quotas[i].domain);
  return STATUS_OK;
}

static void report(struct service *s, const struct state_device *device, struct limits_set *set) {
  set->has_max = set->has_reserved = set->has_quotas = true;
  set->max_bytes = device->limit;
  set->reserved_bytes = device->reserved;
  set->quota_count = 0;
  for (uint32_t i = 0; i < s->domain_count && set->quota_count < LIMITS_QUOTAS; i++) {
    const struct state_domain *domain = &s->domains[i];
    if (domain->max_bytes == UINT64_MAX && domain->max_allocations == UINT64_MAX)
      continue;
    struct limits_quota *quota = &set->quotas[set->quota_count++];
    memcpy(quota->domain, domain->name, sizeof quota->domain);
    quota->max_bytes = domain->max_bytes;
    quota->max_allocations = domain->max_allocations;
  }
}

static enum status keep_quotas(struct service *s, const struct limits_set *set) {
  enum status status = STATUS_OK;
  for (uint32_t i = 0; !status && set->has_quotas && i < set->quota_count; i++)
    status = kept_quota(s, (uint32_t)(domain_named(s, set->quotas[i].domain) - s->domains));
  return status;
}

static enum status change(struct service *s, const struct caller *caller, uint32_t index,
                          struct limits_set *set, struct problem *problem) {
  struct state_device *device = &s->devices[index];
  LOCK_SCOPE(&s->lock);
  state_ledger_ahead(s);
  state_domain_of(s, caller);
  if (check(device, set, problem) || (set->has_quotas && check_quotas(s, set, problem)))
    return problem->status;
  uint64_t limit = device->limit, reserved = device->reserved;
  if (set->has_max)
    device->limit = set->max_bytes;
  if (set->has_reserved)
    device->reserved = set->reserved_bytes;
  if (limit != device->limit || reserved != device->reserved)
    state_tell_numbers(s);
  for (uint32_t i = 0; set->has_quotas && i < set->quota_count; i++) {
    struct state_domain *domain = domain_named(s, set->quotas[i].domain);
    domain->max_bytes = set->quotas[i].max_bytes;
    domain->max_allocations = set->quotas[i].max_allocations;
  }
  if (kept_device(s, index, !set->configured) || keep_quotas(s, set))
    log_warning("service", "no room in the ledger: these limits end with the daemon");
  report(s, device, set);
  state_pressure(s);
  waiting_kick(s);
  return STATUS_OK;
}

enum status limits_change(struct service *s, const struct caller *caller, const char *name,
                          struct limits_set *set, struct problem *problem) {
  uint32_t index;
  if (state_find_device(s, name, &index, problem) || change(s, caller, index, set, problem))
    return problem->status;
  log_info("service", "%s: limit %llu, reserved %llu bytes (by %s, %s)", s->devices[index].info->id,
           (unsigned long long)set->max_bytes, (unsigned long long)set->reserved_bytes,
           caller->domain_name, caller->correlation);
  return STATUS_OK;
}

struct pressure_thresholds limits_thresholds(struct service *s) {
  LOCK_SCOPE(&s->lock);
  return s->thresholds;
}

enum status limits_change_thresholds(struct service *s, const struct caller *caller,
                                     const struct pressure_thresholds *thresholds,
                                     struct problem *problem) {
  if (!pressure_thresholds_valid(thresholds))
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "moderate",
                         "thresholds must rise: 0 < moderate < high < critical <= 100");
  lock_take(&s->lock);
  s->thresholds = *thresholds;
  state_pressure(s);
  state_tell_numbers(s);
  lock_give(&s->lock);
  log_info("service", "pressure thresholds changed (by %s, %s)", caller->domain_name,
           caller->correlation);
  return STATUS_OK;
}
