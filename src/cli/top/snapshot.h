/*
 * snapshot: what the daemon said in one round of questions. Once made it does not change; any
 * thread may read it.
 */
#ifndef CLI_TOP_SNAPSHOT_H
#define CLI_TOP_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>

#include "base/reader.h"

#define TOP_PAGES_MAX 10 /* of 1,000 allocations each */

enum top_part {
  TOP_STATUS,
  TOP_USAGE,
  TOP_MODELS,
  TOP_TRANSFERS,
  TOP_ALLOCATIONS,
  TOP_PARTS = TOP_ALLOCATIONS + TOP_PAGES_MAX
};

struct top_snapshot {
  struct reader_doc *parts[TOP_PARTS]; /* envelopes; NULL: not asked, or refused */
};

/* Frees it and its parts; NULL is fine. */
void top_snapshot_free(struct top_snapshot *snapshot);
/* The `data` of a part; nothing where there is none. The snapshot may be NULL. */
struct reader_value top_snapshot_data(const struct top_snapshot *snapshot, enum top_part part);
/* The daemon's clock when it answered; 0: it did not. */
uint64_t top_snapshot_time(const struct top_snapshot *snapshot);
/* What usage says of a device. */
struct reader_value top_snapshot_usage(const struct top_snapshot *snapshot, const char *device);
/* Nanoseconds since 1970 of "2026-11-23T08:32:08.123Z"; 0: it is no such text. */
uint64_t top_snapshot_parse_time(const char *text);

#endif
