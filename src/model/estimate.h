/*
 * estimate: how much of a device's memory a model will take. Pure; any thread.
 *
 * The weights are known to the byte from the model's card. What they take is more: each file gets a
 * segment of its own, in whole granules of the device, and whatever serves the model may take its
 * part. That part is learned: a correction for each model and device, the ratio of what was
 * measured to what the card says, newer loads counting more.
 */
#ifndef MODEL_ESTIMATE_H
#define MODEL_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "model/card.h"

/* A measurement beyond this is of something else: another process's memory, a load given up. */
#define ESTIMATE_CORRECTION_MIN 0.5
#define ESTIMATE_CORRECTION_MAX 4.0

enum estimate_source { ESTIMATE_EXACT, ESTIMATE_LEARNED };

/* For a model on a device; kept by the caller, {0} before the first load. */
struct estimate_learned {
  double correction;
  uint32_t loads;
};

struct estimate {
  uint64_t total_bytes;    /* to reserve */
  uint64_t weights_bytes;  /* exact, from the card */
  uint64_t overhead_bytes; /* total less weights; 0 when the weights shrink on their way */
  uint64_t known_bytes;    /* the total without correction: what a measurement is compared to */
  double correction;       /* 1 when exact */
  enum estimate_source source;
};

/* granule: of the device, a power of two. learned: NULL or {0} when there was no load yet.
 * ALLOCATION_TOO_LARGE: over 2^62 bytes, which no device has. */
enum status estimate_make(const struct card *card, uint64_t granule,
                          const struct estimate_learned *learned, struct estimate *out);

/* After a load: known_bytes of its estimate, and what the device's own figure grew by. A measured 0
 * says nothing and is ignored. */
void estimate_learn(struct estimate_learned *learned, uint64_t known_bytes,
                    uint64_t measured_bytes);

const char *estimate_source_name(enum estimate_source source); /* "exact", "learned" */

#endif
