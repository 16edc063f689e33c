/*
 * restore: the books made anew from a ledger and descriptors that an earlier daemon left.
 */
#ifndef SERVICE_RESTORE_H
#define SERVICE_RESTORE_H

#include "service/state.h"

/* What the vault held. Shares of segments that enter the books move there and become SHARE_NONE;
 * what is left then has no record. */
struct restore_found {
  uint64_t identity[2]; /* of the ledger, as the vault says */
  uint64_t epoch;       /* of the connection that it came over */
  struct share ledger;  /* borrowed */
  struct keeper_segment *segments;
  uint32_t count;
};

/* The ledger, validated as a whole. CONFLICT with the reason: nothing was touched. */
enum status restore_ledger(struct service *s, const struct restore_found *found,
                           struct problem *problem);
/* Limits, owners, segments, allocations; and the devices that hold memory but are not configured
 * any more. After the others were opened. Fails for want of memory, or when such a device cannot be
 * opened; the process has to end then, and nothing was changed that the next one would miss. */
enum status restore_books(struct service *s, struct restore_found *found, struct problem *problem);
/* What a crash left half done: segments without a block that nobody will use. Under the lock, when
 * operations may begin. */
void restore_tidy(struct service *s);

#endif
