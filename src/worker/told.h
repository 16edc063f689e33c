/*
 * told: what the daemon said of its devices, in memory.initialize and since: limits and pressure.
 * Only it can know: this process sees its own mappings and nothing else. Reading thread only.
 */
#ifndef WORKER_TOLD_H
#define WORKER_TOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/reader.h"
#include "device/spec.h"

#define TOLD_DEVICES 32

enum told_level { TOLD_LOW, TOLD_MODERATE, TOLD_HIGH, TOLD_CRITICAL, TOLD_LEVELS };

struct told_device {
  char id[SPEC_ID];
  uint64_t max_bytes;
  double percent;
  enum told_level level;
  bool limit_known, pressure_known;
};
struct told {
  struct told_device devices[TOLD_DEVICES];
  unsigned count;
};

/* The data of memory.initialize. */
void told_initialize(struct told *told, struct reader_value data);
/* An event: pressure, or numbers that have changed; those that say nothing of this are ignored. */
void told_hear(struct told *told, const char *event, struct reader_value data);
/* One device, or ("") all: limits are added up and the worst pressure counts. What was not told is
 * not known. */
struct told_device told_of(const struct told *told, const char *device);
/* The word of a level; NULL: where it is not known. */
const char *told_word(const struct told_device *device);
/* By these thresholds instead (percent; {"moderate","high","critical"}); the same where they are
 * none. */
void told_judge(struct told_device *device, struct reader_value thresholds);

#endif
