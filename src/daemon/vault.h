/*
 * vault: the process at the other end of the keeper's wire: how one is found or started, what it
 * held then, and how it is ended.
 *
 * One thread at a time. The wire may be used by others between a greeting and the next.
 */
#ifndef DAEMON_VAULT_H
#define DAEMON_VAULT_H

#include "base/problem.h"
#include "base/share.h"
#include "base/spawn.h"

struct vault {
  const char *runtime_dir; /* where its socket is */
  const char *program;     /* memkeep-vault; NULL: somebody else starts it */
  struct share wire;
  struct spawn_child process; /* pid 0: not known */
  struct spawn_child started; /* the last that we started */
  uint64_t total, bytes;      /* what it held when it was greeted, */
  uint64_t ledger[2];         /* and of which ledger */
};

/* Connected: to the one that is there, or to a new one. CONFLICT: one is there and does not answer;
 * it is left as it is. NOT_FOUND: there is no such program. */
enum status vault_find(struct vault *vault, struct problem *problem);
/* The same after the one before has gone, for who holds everything himself: what another one has is
 * given back first. Tries once. */
enum status vault_replace(struct vault *vault, struct problem *problem);
/* It gives everything back and ends. False: it does not answer. */
bool vault_release(const struct vault *vault);
/* SIGKILL, also for one that was started and never answered. Only who holds everything himself may
 * do that. */
void vault_kill(const struct vault *vault);
/* Hangs up and waits for its end, for dying_ms at most. */
void vault_forget(struct vault *vault, unsigned dying_ms);

#endif
