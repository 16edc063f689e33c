/*
 * url: a daemon's HTTP door, asked one thing at a time. The only file that includes libcurl.
 */
#ifndef CLI_URL_H
#define CLI_URL_H

#include <stdint.h>

#include "base/buf.h"
#include "base/problem.h"
#include "cli/route.h"

struct url;

/* Nothing is connected yet. `token_file` may be NULL; else what is in it, without the blanks
 * around, goes along with each request. INVALID_ARGUMENT: no such URL, or no token. */
enum status url_open(const char *base, const char *token_file, struct url **out,
                     struct problem *problem);
/* NULL is fine. */
void url_free(struct url *url);

/* Appends the answer, one JSON object: a success or a refusal. NOT_FOUND: nobody was reached.
 * WORKER_TIMEOUT: no answer came in time (timeout_ns, 0: as long as it takes). */
enum status url_call(struct url *url, const struct route *route, uint64_t timeout_ns,
                     struct buf *answer, struct problem *problem);

#endif
