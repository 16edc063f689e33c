/*
 * vaultwire: what memkeepd and memkeep-vault say to each other, frozen at version 1, so that any
 * daemon works with any vault. Messages over a SOCK_SEQPACKET Unix socket, one struct each, cut
 * after its last entry; descriptors ride along.
 *
 *   daemon -> vault               vault -> daemon
 *   HELLO                         HELLO    ledger, total, bytes: what it holds
 *   PUT  entries[0] + 1 fd        –        (REFUSED entries[0], unasked, if it could not keep it)
 *   DROP entries[0].id            DROPPED  entries[0].id, also when there was none
 *   LIST cursor                   LISTED   entries[count] + count fds; cursor for more, 0: the end
 *   STATUS                        STATUS   ledger, total, bytes
 *   RELEASE                       RELEASED everything is closed; the vault ends
 *
 * A PUT is not answered: a descriptor whose sendmsg returned is in the kernel's hands and outlives
 * its sender. Putting an id again replaces what was held under it. Id 0 is the ledger; its
 * message's `ledger` names it.
 */
#ifndef BASE_VAULTWIRE_H
#define BASE_VAULTWIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/share.h"
#include "base/spawn.h"
#include "base/status.h"

#define VAULTWIRE_MAGIC UINT32_C(0x314b4d56) /* "VMK1" */
#define VAULTWIRE_BATCH 64                   /* entries, and descriptors, of one message */
#define VAULTWIRE_SOCKET "vault.sock"        /* in the runtime directory */
#define VAULTWIRE_LOCK "vault.lock"          /* held by the living vault */

enum vaultwire_kind {
  VAULTWIRE_HELLO = 1,
  VAULTWIRE_PUT,
  VAULTWIRE_REFUSED,
  VAULTWIRE_DROP,
  VAULTWIRE_DROPPED,
  VAULTWIRE_LIST,
  VAULTWIRE_LISTED,
  VAULTWIRE_STATUS,
  VAULTWIRE_RELEASE,
  VAULTWIRE_RELEASED,
  VAULTWIRE_KINDS
};

struct vaultwire_entry {
  uint64_t id;    /* of the segment; 0: the ledger */
  uint64_t bytes; /* its size */
};

struct vaultwire {
  uint32_t magic;
  uint16_t kind;
  uint16_t count;        /* of entries */
  uint64_t ledger[2];    /* identity of the ledger that it is about; both 0: none */
  uint64_t cursor;       /* LIST, LISTED */
  uint64_t total, bytes; /* HELLO, STATUS: entries held, and their sizes together */
  struct vaultwire_entry entries[VAULTWIRE_BATCH];
};

/* Blocks as long as the socket's own timeout (SO_SNDTIMEO) allows. `shares` are borrowed; their
 * number is message->count or 0. NOT_FOUND: the peer is gone. RATE_LIMITED: it did not read in
 * time. Thread-safe: a message is one sendmsg. magic is filled in. */
enum status vaultwire_send(const struct share *end, struct vaultwire *message,
                           const struct share *shares, unsigned count);
/* One message; *count descriptors come in shares[VAULTWIRE_BATCH], the caller's to close, of kind
 * SHARE_FILE until the reader knows better. NOT_FOUND: the peer is gone, and all it sent was read.
 * RATE_LIMITED: nothing came within the socket's SO_RCVTIMEO. INTERNAL_ERROR: no message of this
 * protocol, or descriptors were cut off; nothing is kept then. */
enum status vaultwire_receive(const struct share *end, struct vaultwire *message,
                              struct share *shares, unsigned *count);

/* Sends the message and waits for what comes in its place; errors as of the two. Before the end is
 * watched by anybody. */
enum status vaultwire_ask(const struct share *end, struct vaultwire *message, struct share *shares,
                          unsigned *count);

/* To the vault of that runtime directory; calls block for timeout_ms at most. NOT_FOUND: nobody
 * listens there. INVALID_ARGUMENT: the path is too long for a socket. */
enum status vaultwire_connect(const char *runtime_dir, unsigned timeout_ms, struct share *out);
/* Whether a vault lives that holds the directory's lock, answering or not. */
bool vaultwire_is_locked(const char *runtime_dir);
/* To whoever listens there, else to a new vault in a session of its own, whose child the caller
 * reaps (*child is untouched when none was started). INVALID_ARGUMENT as above. NOT_FOUND: there is
 * no such program. RATE_LIMITED: the one that is there does not answer, the new one ended, or there
 * is none and none is to be started. */
struct vaultwire_reach {
  const char *runtime_dir;
  const char *program; /* NULL: start none */
  unsigned timeout_ms;
};
enum status vaultwire_reach(const struct vaultwire_reach *reach, struct share *out,
                            struct spawn_child *child);
/* The process that listened where we connected; pid 0: not known. Certain only if it answers after
 * this. The caller gives it back with spawn_done. */
void vaultwire_peer(const struct share *end, struct spawn_child *out);
/* Until a message would go, or one has come, or the peer is gone; for timeout_ms at most. */
enum vaultwire_event { VAULTWIRE_ROOM, VAULTWIRE_ANSWER };
void vaultwire_wait(const struct share *end, enum vaultwire_event event, unsigned timeout_ms);

#endif
