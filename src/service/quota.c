/*
 * quota: two sums per domain, bytes and allocations, and their limits.
 */
#include "service/quota.h"

#include <stdio.h>

#include "base/units.h"

static struct state_domain *domain_of(struct service *s, uint32_t owner) {
  return &s->domains[state_owner(s, owner)->domain];
}

enum status quota_charge(struct service *s, uint32_t owner, uint64_t bytes,
                         const struct state_device *device, struct problem *problem) {
  return quota_charge_all(s, &(struct quota_sum){owner, 1, bytes}, device, problem);
}

enum status quota_charge_all(struct service *s, const struct quota_sum *sum,
                             const struct state_device *device, struct problem *problem) {
  struct state_domain *domain = domain_of(s, sum->owner);
  if (sum->count <= units_minus(domain->max_allocations, domain->allocations) &&
      sum->bytes <= units_minus(domain->max_bytes, domain->bytes)) {
    domain->bytes += sum->bytes;
    domain->allocations += sum->count;
    return STATUS_OK;
  }
  char held[32];
  units_format(domain->bytes, held, sizeof held);
  problem_set(problem, STATUS_QUOTA_EXCEEDED,
              "%s holds %s in %llu allocations; its quota ends there", domain->name, held,
              (unsigned long long)domain->allocations);
  problem->has_space = true;
  state_space_problem(s, device, sum->bytes, &problem->space);
  snprintf(problem->space.reason, sizeof problem->space.reason, "quota");
  return STATUS_QUOTA_EXCEEDED;
}

void quota_adopt(struct service *s, uint32_t owner, uint64_t bytes) {
  quota_adopt_all(s, &(struct quota_sum){owner, 1, bytes});
}

void quota_adopt_all(struct service *s, const struct quota_sum *sum) {
  domain_of(s, sum->owner)->bytes += sum->bytes;
  domain_of(s, sum->owner)->allocations += sum->count;
}

void quota_uncharge(struct service *s, uint32_t owner, uint64_t bytes) {
  quota_uncharge_all(s, &(struct quota_sum){owner, 1, bytes});
}

void quota_uncharge_all(struct service *s, const struct quota_sum *sum) {
  domain_of(s, sum->owner)->bytes -= sum->bytes;
  domain_of(s, sum->owner)->allocations -= sum->count;
}
