/*
 * inherit: what a vault holds when a daemon finds it. Main thread, before the wire is watched: one
 * question, one answer.
 */
#ifndef DAEMON_INHERIT_H
#define DAEMON_INHERIT_H

#include "base/vaultwire.h"
#include "service/restore.h"

/* All entries, `total` at most: the ledger, and segments by rising id. CONFLICT: it says anything
 * else; what came is still given back with inherit_done. */
enum status inherit_take(const struct share *wire, uint64_t total, struct restore_found *found);
/* What no record names leaves the vault: it was being made or being given back when the daemon
 * died. Its pages go even if somebody still maps them. */
enum status inherit_drop_rest(const struct share *wire, struct restore_found *found);
/* Closes what nobody took. Harmless on a zeroed struct. */
void inherit_done(struct restore_found *found);

#endif
