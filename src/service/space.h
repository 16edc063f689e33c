/*
 * space: room for a block: in one of its owner's slabs, or in a new segment. Private to this room.
 *
 * A new segment is: reserve under the lock, create without it, commit under it. Requests that
 * arrive while an owner's slab is being made join it. All under the state lock unless said.
 */
#ifndef SERVICE_SPACE_H
#define SERVICE_SPACE_H

#include "service/segment.h"

struct space {
  uint32_t segment, node; /* node 0: the whole segment */
  uint64_t offset, size;  /* size as asked for, not rounded */
};

struct space_want {
  uint32_t device, owner;
  uint64_t size, alignment;
  uint64_t pad;   /* where it begins in a segment of its own */
  bool dedicated; /* a segment of its own whatever the size */
  bool open;      /* the same, and it takes more seals, the caller's to put on; in host memory it
                     reads as a file of exactly `pad` and `size` */
};

struct space_waiter {
  struct space_want want;
  struct service *service;
  /* After PENDING: once, on the owner's thread, without the lock. status OK: `place` is taken. */
  void (*ready)(struct space_waiter *waiter);
  enum status status;
  struct space place;
  bool fresh; /* nobody has written there since the device made it */
  struct space_waiter *next;
};

/* OK: waiter->place is taken. PENDING. INSUFFICIENT_MEMORY (reason[16] says "segments" when it is
 * those) or ALLOCATION_TOO_LARGE: nothing changed. */
enum status space_take(struct service *s, struct space_waiter *waiter, char reason[16]);
/* Gives a place back. A slab that is empty then may be kept for its owner; any other segment that
 * is empty then is released. True: it is, and then(arg) (may be NULL) will be called when the
 * driver has it back. */
bool space_give(struct service *s, const struct space *place, segment_then_fn *then, void *arg);
/* The same at once for all that is in a closed slab, which none but the caller has. Its span is the
 * caller's, to be freed under the lock some time. */
struct span *space_give_slab(struct service *s, uint32_t index, segment_then_fn *then, void *arg);
/* A range of an open slab, for a planned move: the request's user does not matter. NOT_FOUND: it
 * takes none. */
enum status space_take_in(struct service *s, uint32_t index, const struct span_request *request,
                          struct space *out);
/* Exactly this range of a slab, which a record says. False: it is not free. */
bool space_take_at(struct service *s, uint32_t index, uint64_t offset, uint64_t size,
                   struct space *out);
/* A segment of the device is back with the driver: what waits for that goes on. */
void space_came_back(struct service *s, uint32_t index);
/* All empty slabs of a device; `then` once for each. Returns their bytes, *count their number. */
uint64_t space_release_cached(struct service *s, uint32_t device, segment_then_fn *then, void *arg,
                              uint32_t *count);
/* Gives an owner without allocations back when its process is gone, its empty slabs with it. */
void space_owner_done(struct service *s, uint32_t index);
/* Between the two the owner stays, even if its process dies. */
void space_owner_hold(struct service *s, uint32_t index);
void space_owner_let_go(struct service *s, uint32_t index);

#endif
