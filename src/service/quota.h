/*
 * quota: what each domain may hold. A request is charged before it takes anything and uncharged
 * when it fails; a live allocation's charge ends with its record. Private to this room; under the
 * state lock.
 */
#ifndef SERVICE_QUOTA_H
#define SERVICE_QUOTA_H

#include "service/state.h"

/* QUOTA_EXCEEDED, with the figures of `device` in the problem. */
enum status quota_charge(struct service *s, uint32_t owner, uint64_t bytes,
                         const struct state_device *device, struct problem *problem);
/* The same for several at once: all of them, or none. */
struct quota_sum {
  uint32_t owner, count;
  uint64_t bytes;
};
enum status quota_charge_all(struct service *s, const struct quota_sum *sum,
                             const struct state_device *device, struct problem *problem);
void quota_uncharge_all(struct service *s, const struct quota_sum *sum);
/* What an earlier daemon gave is held, whatever the quota is now. */
void quota_adopt(struct service *s, uint32_t owner, uint64_t bytes);
void quota_adopt_all(struct service *s, const struct quota_sum *sum);
void quota_uncharge(struct service *s, uint32_t owner, uint64_t bytes);

#endif
