/*
 * snapshot: the answers as they came. Ages are told by the daemon's clock, not by this host's.
 */
#include "cli/top/snapshot.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

void top_snapshot_free(struct top_snapshot *snapshot) {
  for (int i = 0; snapshot && i < TOP_PARTS; i++)
    if (snapshot->parts[i])
      reader_free(snapshot->parts[i]);
  free(snapshot);
}

struct reader_value top_snapshot_data(const struct top_snapshot *snapshot, enum top_part part) {
  const struct reader_doc *doc = snapshot ? snapshot->parts[part] : NULL;
  return doc ? reader_get(reader_root(doc), "data") : (struct reader_value){.json = NULL};
}

uint64_t top_snapshot_parse_time(const char *text) {
  struct tm tm = {.tm_year = 0};
  const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
  if (!rest)
    return 0;
  time_t seconds = timegm(&tm);
  uint64_t ms = *rest == '.' ? strtoull(rest + 1, NULL, 10) : 0;
  return seconds > 0 && ms < 1000 ? (uint64_t)seconds * CLOCK_SECOND + ms * CLOCK_MS : 0;
}

uint64_t top_snapshot_time(const struct top_snapshot *snapshot) {
  const struct reader_doc *doc = snapshot ? snapshot->parts[TOP_STATUS] : NULL;
  if (!doc)
    return 0;
  return top_snapshot_parse_time(reader_text(reader_get(reader_root(doc), "timestamp"), ""));
}

struct reader_value top_snapshot_usage(const struct top_snapshot *snapshot, const char *device) {
  struct reader_value devices = reader_get(top_snapshot_data(snapshot, TOP_USAGE), "devices");
  for (size_t i = 0; i < reader_count(devices); i++) {
    struct reader_value one = reader_at(devices, i);
    if (strcmp(reader_text(reader_get(one, "deviceId"), ""), device) == 0)
      return one;
  }
  return (struct reader_value){.json = NULL};
}
