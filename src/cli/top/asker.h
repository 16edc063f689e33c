/*
 * asker: a thread that asks the daemon for a snapshot each interval, and puts what is to be done in
 * between, so that the screen never waits for the daemon. When the daemon goes away it is asked
 * again at each interval, on a new connection.
 */
#ifndef CLI_TOP_ASKER_H
#define CLI_TOP_ASKER_H

#include <stdbool.h>

#include "cli/globals.h"
#include "cli/top/snapshot.h"

#define TOP_ASK_MAX 512

struct top_asker;

/* Which allocations are wanted. */
struct top_wish {
  const char *sort; /* the daemon's word, static */
  bool descending;
  int pages; /* 1 … TOP_PAGES_MAX */
};

/* The globals are borrowed. NULL: no memory, or no thread. The thread takes no signals. */
struct top_asker *top_asker_create(const struct globals *globals, uint64_t interval_ns);
/* Waits for a question that is under way, a few seconds at most. NULL is fine. */
void top_asker_free(struct top_asker *asker);

/* When it differs from the one before, there is a new snapshot soon. */
void top_asker_wish(struct top_asker *asker, const struct top_wish *wish);
/* Puts it next; the one before must have been answered. data: a JSON object, copied. */
void top_asker_do(struct top_asker *asker, const char *action, const char *data);

struct top_news {
  struct top_snapshot *snapshot;     /* the caller's now; NULL: none since the last time */
  char trouble[TOP_ASK_MAX];         /* why there is none, "" when there is */
  bool done;                         /* what was to be done is: */
  char error[64], text[TOP_ASK_MAX]; /* a contract's code, "" for success; and why */
};
void top_asker_take(struct top_asker *asker, struct top_news *out);

#endif
