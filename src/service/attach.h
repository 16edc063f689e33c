/*
 * attach: memory handed to a client's process. An attachment belongs to the connection that asked
 * for it: each attach is one and needs one detach, and closing the connection ends them all.
 * What is attached is neither moved nor freed but by force.
 *
 * Those that an earlier daemon left belong to their process, until that ends or one of its
 * connections says what it still holds. A process that the kernel does not show us (pid 0) is its
 * connection: nothing of it outlives us.
 *
 * The end of an allocation does not end its attachments: its owner's segment is `lingering` until
 * they are gone too.
 */
#ifndef SERVICE_ATTACH_H
#define SERVICE_ATTACH_H

#include "base/problem.h"
#include "base/share.h"
#include "service/caller.h"

struct service;

#define ATTACH_CONNECTION 65536 /* attachments of a connection at most */

struct attach_want {
  uint64_t allocation;
  bool read_only;
};

struct attach_made {
  uint64_t allocation, segment, offset_bytes, size_bytes;
  const char *device_id; /* the service's */
  enum share_kind kind;  /* of the segment; the share's too */
  struct share share;    /* the caller's to close: of the whole segment */
  bool writable;
  uint32_t attachments; /* of the allocation, this one included */
  uint64_t accessed_at, access_count;
};

/* A second handle on the segment of an allocation. Who is of its domain, or an admin, gets it
 * writable unless `read_only` is said; others what its `share` says, else FORBIDDEN.
 * ALLOCATION_NOT_FOUND, ALLOCATION_LOST, ALLOCATION_BUSY while it is moved, RATE_LIMITED over a
 * cap, INTERNAL_ERROR without descriptors. CONFLICT: the caller has no connection. System calls:
 * not under a lock. */
enum status attach_begin(struct service *service, const struct caller *caller,
                         const struct attach_want *want, struct attach_made *out,
                         struct problem *problem);
/* Ends the caller's newest attachment of it; also of an allocation that was freed meanwhile.
 * *attachments: how many are left of it, by anybody. CONFLICT: he has none. */
enum status attach_end(struct service *service, const struct caller *caller, uint64_t allocation,
                       uint32_t *attachments, struct problem *problem);

/* What a client says that it still holds. */
struct attach_claim {
  uint64_t allocation;
  uint64_t segment; /* where it has it, 0: not said */
  bool writable;
  bool resumed; /* result: it is attached (again) */
};
/* Each claim takes one of those that were left to the caller's process; where there is none, it is
 * attached anew if it may be and is still in that segment. Unless there is `more` to come, what is
 * left to the process then ends. */
void attach_resume(struct service *service, const struct caller *caller,
                   struct attach_claim *claims, uint32_t count, bool more);
/* Ends all that the connection has; harmless for one that has none. Any thread. */
void attach_connection_closed(struct service *service, uint64_t connection);

/* One that an earlier daemon left, in this slot of the ledger; after allocations and owners, under
 * the state lock. INTERNAL_ERROR: no memory. */
enum status attach_restore(struct service *service, uint32_t slot);

#endif
