/*
 * estimate: how much of a device's memory a model takes. Pure; any thread.
 *
 * The weights are known to the byte from the model's header. What they take is more: each file gets
 * a segment of its own, in whole granules of the device, and whatever serves the model may take its
 * part. That part is learned: a correction for each model and device, the ratio of what was
 * measured to what was known, newer loads counting more.
 */
#ifndef MODEL_ESTIMATE_H
#define MODEL_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

/* A measurement beyond this is of something else: another process's memory, a load given up. */
#define ESTIMATE_CORRECTION_MIN 0.5
#define ESTIMATE_CORRECTION_MAX 4.0

/* For a model on a device; kept by the caller, {0} before the first load. */
struct estimate_learned {
  double correction;
  uint32_t loads;
};

struct estimate {
  uint64_t total_bytes;   /* to make room for; never less than known_bytes, which it takes surely */
  uint64_t weights_bytes; /* of the tensors */
  uint64_t overhead_bytes; /* the total less the weights */
  uint32_t correction;     /* hundredths; 100 before the first load */
  bool measured;           /* else it is what the header says */
};

/* known_bytes: of the segments. learned: NULL or {0} when there was no load yet. */
struct estimate estimate_make(uint64_t weights_bytes, uint64_t known_bytes,
                              const struct estimate_learned *learned);

/* After a load: the bytes of its segments, and what the device's own figure grew by. A measured 0
 * says nothing and is ignored. */
void estimate_learn(struct estimate_learned *learned, uint64_t known_bytes,
                    uint64_t measured_bytes);

#endif
