/*
 * keeper: the daemon's end of the wire to memkeep-vault: finds one or starts it, takes what it
 * holds, and keeps it filled; one that dies is replaced at once and filled again, one that has not
 * answered for 2 s is killed. Implements service/keeper.h.
 *
 * Threads: open and take before the loop runs; the rest as the table says.
 */
#ifndef DAEMON_KEEPER_H
#define DAEMON_KEEPER_H

#include "base/loop.h"
#include "base/problem.h"
#include "service/keeper.h"
#include "service/restore.h"

struct keeper;

struct keeper_params {
  struct loop *loop;
  const char *program;     /* memkeep-vault; NULL: somebody else starts it */
  const char *runtime_dir; /* where its socket is */
  void (*replaced)(
      void *arg); /* on the loop: there is another vault, and keeper_state has its pid */
  void *arg;
};

/* Connected: to the vault that is there, or to a new one. CONFLICT: one is there and does not
 * answer. NOT_FOUND: there is no such program. */
enum status keeper_open(const struct keeper_params *params, struct keeper **out,
                        struct problem *problem);
/* All that it holds, segments by rising id. *out stays the keeper's. NULL when it holds nothing.
 * CONFLICT: it holds segments, but no ledger. */
enum status keeper_take(struct keeper *keeper, struct restore_found **out, struct problem *problem);
/* What it holds, in words, for who cannot be served. */
void keeper_describe(const struct keeper *keeper, char *out, size_t size);
const struct keeper_table *keeper_table(void);
/* What was taken and has no record goes; the ledger is put, if it is new; from here on the wire is
 * watched. The service is borrowed until keeper_close. */
enum status keeper_start(struct keeper *keeper, struct service *service);
/* On the loop, when a stop begins that leaves memory with the vault: from here on one that hangs is
 * left as it is, for nobody may be left to fill another one. */
void keeper_hold(struct keeper *keeper);
/* On the loop, after the service has stopped. Waits up to a second for a vault that is being
 * replaced. The ledger goes too when nothing else is left, and with it the vault; release_all: all
 * goes. */
void keeper_stop(struct keeper *keeper, bool release_all);
/* Not while the loop runs; NULL is fine. */
void keeper_close(struct keeper *keeper);

#endif
