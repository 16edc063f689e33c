/*
 * attachment: the books of what clients have attached. Private to this room; under the state lock,
 * but for create and free.
 */
#ifndef SERVICE_ATTACHMENT_H
#define SERVICE_ATTACHMENT_H

#include "service/state.h"

enum status attachment_create(struct service *s);
void attachment_free(struct service *s);

/* Notes one for the caller's connection, in the ledger too. False: over a cap, or no room. Each
 * that comes or goes is an event. */
bool attachment_add(struct service *s, const struct caller *caller, uint32_t alloc, bool writable);
/* The connection's newest of an allocation, 0: none. */
uint32_t attachment_find(const struct service *s, uint64_t connection, uint64_t allocation);
/* How many of them there are. */
uint32_t attachment_count(const struct service *s, uint64_t connection, uint64_t allocation);
/* The processes that have it attached, also when it is no more; at most `max`. */
uint32_t attachment_pids(const struct service *s, uint64_t allocation, int32_t *pids, uint32_t max);
/* Its record goes as well. `correlation`: of the request behind it, NULL: there is none. */
void attachment_drop(struct service *s, uint32_t index, const char *correlation);
/* Some of the connection's. True: there are more. */
bool attachment_drop_some(struct service *s, uint64_t connection);
/* Some of a process that ended, of all its connections. True: there are more. */
bool attachment_bury_some(struct service *s, uint32_t owner);
/* The segment goes back to the driver; it lingers until what was attached of it is not. */
void attachment_segment_leaves(struct service *s, const struct state_segment *segment);

/* ---- left by an earlier daemon: the process's ---- */

/* False: no room. */
bool attachment_adopt(struct service *s, uint32_t slot, uint32_t alloc, uint32_t owner);
/* One that was left of an allocation, of the same kind if there is, becomes the connection's.
 * False: there is none, or the connection has too many. */
struct attachment_kind {
  uint64_t allocation;
  bool writable;
};
bool attachment_take_left(struct service *s, const struct caller *caller,
                          const struct attachment_kind *kind);
/* Some of what is left ends. True: there is more. */
bool attachment_drop_left(struct service *s, const struct caller *caller);

#endif
