/*
 * keeper: what the service wants from the vault, without knowing how it is said on the wire:
 * descriptors that are held over our death. daemon/keeper.c implements the table; without one,
 * memory ends with the daemon.
 *
 * Each connection to a vault has a number, its epoch, from 1 up: a vault that took the place of a
 * dead one starts empty. A segment knows the epoch at which it was put.
 */
#ifndef SERVICE_KEEPER_H
#define SERVICE_KEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/problem.h"
#include "base/queue.h"
#include "base/share.h"

struct service;

struct keeper_segment {
  uint64_t id, size;
  struct share share;
};

/* Embedded by the caller, untouched by him from drop to done. */
struct keeper_drop {
  uint64_t segment;
  void (*done)(struct keeper_drop *drop); /* the vault closed it, or is dead; no lock held */
  struct task task;                       /* the rest is the implementation's */
  struct keeper_drop *next;
  void *ctx;
};

struct keeper_state {
  int32_t pid;   /* of the vault, 0: none */
  bool durable;  /* it has all that is in the books */
  char why[120]; /* if not */
};

struct keeper_table {
  /* Owner threads, no lock held but the service's of segments that enter; the share is borrowed.
   * Returns the epoch, 0: nobody has it. */
  uint64_t (*put)(void *ctx, const struct keeper_segment *segment);
  /* The rest on any thread, also under the state lock: they only post, or read. */
  void (*drop)(void *ctx, struct keeper_drop *drop);
  /* A segment entered the books that was put at this epoch. */
  void (*entered)(void *ctx, uint64_t epoch);
  void (*state)(void *ctx, struct keeper_state *out);
};

/* For the implementation. A segment that was not put at `epoch`, with an id above *after: *after
 * moves on, `out->share` is borrowed and stays open until its keeper_drop is done. False: no more.
 */
bool keeper_next(struct service *service, uint64_t epoch, uint64_t *after,
                 struct keeper_segment *out);
void keeper_kept(struct service *service, uint64_t id, uint64_t epoch);
/* The ledger: borrowed, for as long as the service lives. */
const struct share *keeper_ledger(struct service *service, uint64_t identity[2]);

/* Whether anything would be missed if the ledger went: memory, or limits set at run time. */
bool keeper_is_needed(struct service *service);

/* ---- for this room ---- */

/* No lock held. 0 without a keeper. */
uint64_t keeper_put(struct service *service, const struct keeper_segment *segment);

#endif
