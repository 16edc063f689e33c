/*
 * ram: adds up devices to what the host has. The whole host, pools of its memory, and cards whose
 * memory is the host's lie in one RAM, and are together no more than that. Private to this room;
 * state lock.
 *
 * How much RAM there is the host's devices tell. Where none of them is there, nobody does: then all
 * devices count in full.
 */
#ifndef SERVICE_RAM_H
#define SERVICE_RAM_H

#include "service/state.h"

struct ram {
  struct view_figures sum;             /* of what lies in it: total, used, external, available */
  uint64_t bytes;                      /* of it; 0: not known */
  uint64_t room_bytes;                 /* what the host's devices may still promise */
  uint64_t pools_bytes, largest_bytes; /* totals: of all pools, of the largest such card */
  bool whole;                          /* all of it is a device, so that such cards are a part */
};

void ram_init(struct ram *ram, const struct service *service);
/* One device's total, used, external and available, to the sum or, for later, to what lies in RAM.
 * What is not known does not count. */
void ram_add(struct ram *ram, const struct device_info *info, const struct view_figures *one,
             struct view_figures *sum);
/* All devices were added: now what lies in RAM. */
void ram_end(const struct ram *ram, struct view_figures *sum);

#endif
