/*
 * mover: the copy engine. Bytes go chunk by chunk over as many threads as pay, with progress after
 * each chunk and a look at `cancel` before it. Any thread; one struct mover_work is one thread's
 * business.
 */
#ifndef WORKER_MOVER_H
#define WORKER_MOVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "device/device.h"

struct mover_work {
  struct device_place from, to; /* fill: only to */
  uint64_t size;
  bool verify;
  bool sums; /* copy: instead, the bytes are summed up as a load does it: where they come, if that
                is host memory or a card that sums up by itself, else as they leave */
  uint8_t value; /* fill */
  atomic_bool *cancel;
  void (*progress)(void *arg,
                   uint64_t bytes_done); /* any of the threads, one at a time; may be NULL */
  void *arg;

  /* results */
  uint64_t checksum; /* XXH3-64 of the source's bytes, in order, as they were read */
  bool checksum_known;
  uint64_t fingerprint; /* of `sums`: load.h's, as if the source were a whole file */
  bool verified;        /* the target, read again, has the same checksum */
  uint64_t device_us;   /* time spent in copies, fills and readings */

  bool brings; /* mover's: each thread makes the pages that it writes; a fill leaves it false */
};

/* INVALID_ARGUMENT: the two ranges overlap. CANCELLED between chunks: the target holds part of the
 * bytes. CHECKSUM_MISMATCH is not an error here: see verified. */
enum status mover_copy(struct mover_work *work);
/* With `verify` the checksum is read back from the target; without, nothing is read. */
enum status mover_fill(struct mover_work *work);

#endif
