/*
 * runtime: the runtime directory: ours alone, one daemon in it (a lock), and memkeepd.json, which
 * is there while the daemon serves.
 */
#ifndef DAEMON_RUNTIME_H
#define DAEMON_RUNTIME_H

#include <stdint.h>

#include "base/problem.h"
#include "base/share.h"

struct runtime {
  struct share folder, lock;
};

/* Makes the directory (0700; not its parents) and takes the lock. CONFLICT: another daemon is
 * there, the problem names its pid. FORBIDDEN: others could write there. */
enum status runtime_take(const char *path, struct runtime *out, struct problem *problem);
/* Lets pass through the directory, not list it, whom a socket in it with this mode and group (-1:
 * as it is) lets in. */
enum status runtime_admit(const struct runtime *runtime, int64_t group, uint32_t mode,
                          struct problem *problem);
/* Removes the file and gives the lock back; harmless on a zeroed struct. */
void runtime_give(struct runtime *runtime);

struct runtime_facts {
  const char *address, *socket, *version;
  uint16_t port;
  int32_t vault_pid;
};
/* memkeepd.json, whole or not at all. */
enum status runtime_announce(struct runtime *runtime, const struct runtime_facts *facts,
                             struct problem *problem);
void runtime_withdraw(struct runtime *runtime);

#endif
