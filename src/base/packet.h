/*
 * packet: memory handed to another process, one message per piece: a short text and the descriptor
 * that it is about, over a SOCK_SEQPACKET pair (contract 5: fd 3 of a worker).
 */
#ifndef BASE_PACKET_H
#define BASE_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/share.h"
#include "base/status.h"

#define PACKET_TEXT 512 /* longest text of a message */

/* Two connected ends, both close-on-exec. */
enum status packet_pair(struct share *ours, struct share *theirs);
/* The end that was inherited under this number ("3"); NOT_FOUND if there is none. */
enum status packet_inherited(const char *number, struct share *out);
/* Never blocks. `share` is borrowed; NULL or SHARE_NONE: none. RATE_LIMITED: the peer has not read
 * enough yet. INVALID_ARGUMENT: the text is empty or longer than PACKET_TEXT. INTERNAL_ERROR: the
 * peer is gone. */
enum status packet_send(const struct share *end, const char *text, size_t n,
                        const struct share *share);
/* Waits for one message. text gets a NUL; share is SHARE_NONE when none came, else of kind
 * SHARE_FILE until the reader knows better. NOT_FOUND: the peer is gone. INTERNAL_ERROR: not a
 * message of ours, or its descriptor found no place; nothing was kept. */
enum status packet_receive(const struct share *end, char text[PACKET_TEXT + 1],
                           struct share *share);
/* Waits until that would not wait: a message is there, or the peer is gone. False: neither before
 * `deadline_ns`, by clock_now(). */
bool packet_wait(const struct share *end, uint64_t deadline_ns);

#endif
