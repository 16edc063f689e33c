/*
 * caller: who asks. Filled by a door from what the kernel or a token says, never from what the peer
 * claims.
 */
#ifndef SERVICE_CALLER_H
#define SERVICE_CALLER_H

#include <stdbool.h>
#include <stdint.h>

enum caller_role { CALLER_NONE, CALLER_READ, CALLER_WRITE, CALLER_ADMIN };

struct caller {
  enum caller_role role;
  uint32_t domain; /* who is trusted as one: the uid on the socket and on tokenless loopback, else
                      2^31 + digest of the token's name */
  char domain_name[40]; /* "uid:1000", "token:ci" */
  uint32_t uid;
  int32_t pid;        /* socket peers; 0: not known, then memory belongs to the domain (kind api) */
  uint64_t pid_start; /* with pid: the process for good */
  uint64_t connection; /* socket connection number, 0 over HTTP */
  bool detached;       /* the request said so: nothing is attached */
  char correlation[65];
  char key[65]; /* Idempotency-Key, "" none */
};

#endif
