/*
 * line: a stream of lines, one JSON object each, over a pipe pair or a Unix socket, file
 * descriptors riding along with the line that announces them (contract 5). Never blocks. Not
 * thread-safe: one thread per line.
 *
 * Reading: fds are kept in order of arrival; the reader of a line takes those that it announced
 * with line_take_share. Writing: a line and its fds are one sendmsg; after a partial send the rest
 * goes without them. What the peer does not read waits here up to max_queue bytes; beyond that
 * line_send refuses.
 */
#ifndef BASE_LINE_H
#define BASE_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/share.h"
#include "base/status.h"

#define LINE_MAX_SHARES 250  /* per line; a sendmsg takes at most 253 */
#define LINE_MAX_WAITING 500 /* shares that may wait for a peer that does not read */

struct line;

struct line_params {
  int in, out;      /* may be the same socket; borrowed: the caller closes them after line_free */
  bool shares;      /* it is a Unix socket: fds may come and go */
  size_t max_line;  /* longer: the connection is broken (BODY_TOO_LARGE) */
  size_t max_queue; /* bytes that may wait for the peer */
};

/* Called for each whole line, without its newline, NUL-terminated, writable. Return false to stop
 * reading (the line may have been freed by then: nothing is touched after that; if not, the lines
 * behind it are told by the next line_read). */
typedef bool line_fn(void *arg, char *text, size_t n);

/* Sets both fds nonblocking. Over pipes the program must ignore SIGPIPE. */
enum status line_create(const struct line_params *params, struct line **out);
/* Closes fds that nobody took; NULL is fine. */
void line_free(struct line *line);
/* Reads what is there, about 1 MiB at most. fn may send, and take shares. NOT_FOUND: the peer
 * closed (a torn last line is dropped). BODY_TOO_LARGE: line too long. INTERNAL_ERROR: broken, or
 * more fds than LINE_MAX_SHARES wait, or control data was truncated. */
enum status line_read(struct line *line, line_fn *fn, void *arg);
/* The next fd in order of arrival; false when there is none. */
bool line_take_share(struct line *line, enum share_kind kind, struct share *out);
unsigned line_shares(const struct line *line);
/* Queues text (without newline) and fds (borrowed: duplicated when they must wait), and sends what
 * fits. RATE_LIMITED: over max_queue or LINE_MAX_WAITING, nothing was queued. INTERNAL_ERROR:
 * broken. */
enum status line_send(struct line *line, const char *text, size_t n, const struct share *shares,
                      unsigned count);
/* Sends what waits; OK also when some still waits. */
enum status line_flush(struct line *line);
bool line_wants_write(const struct line *line);
/* Bytes that wait for the peer. */
size_t line_waiting(const struct line *line);
/* How many fds wait for the peer. */
unsigned line_shares_waiting(const struct line *line);

#endif
