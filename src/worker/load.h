/*
 * load: a model file's bytes, verbatim, into a segment, chunk by chunk over a few threads: while
 * one writes its chunk into the segment, another reads the next. Each chunk is summed up on its
 * way. Any thread; one struct load_work is one thread's business.
 */
#ifndef WORKER_LOAD_H
#define WORKER_LOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/os_file.h"
#include "base/problem.h"
#include "base/units.h"
#include "device/device.h"

/* Part of what a fingerprint is: never another. Small beside a second. */
#define LOAD_CHUNK (8 * MIB)

struct load_progress {
  uint64_t bytes_done;     /* in the segment */
  uint64_t bytes_verified; /* read again; rises after bytes_done is complete */
  uint64_t rate_bytes;     /* per second, of what goes on now; 0: not known yet */
  uint64_t left_ms;        /* of what goes on now; without meaning while the rate is not known */
};

struct load_work {
  const struct share *file; /* regular, readable; borrowed */
  uint64_t file_offset, size;
  struct device_place to;
  bool verify; /* read the target again and compare it with the sums */
  atomic_bool *cancel;
  /* Any of the threads, one at a time; NULL: none. Neither figure of bytes ever falls. */
  void (*progress)(void *arg, const struct load_progress *progress);
  void *arg;
  uint64_t *chunk_sums; /* the caller's, load_chunks(size) of them; results */

  /* results */
  uint64_t fingerprint;             /* XXH3-64 of chunk_sums; of a load that is OK only */
  uint64_t bytes_done;              /* after CANCELLED: the target's first bytes_done are loaded */
  uint64_t read_us, device_us;      /* of the time it took, in reads of the file, in writes and
                                       readings of the segment: the mean of the threads */
  struct os_file_identity identity; /* of the file before the first read */
  bool identity_changed; /* ... and it was another after the last: what came is of no use */
  bool verified;         /* the target, read again, has the same sums */
  struct os_file_figures figures; /* how the file's bytes came */
  struct problem problem;         /* of what failed; not set after a cancel */
};

/* Chunks of so many bytes; all but the last are whole. */
uint64_t load_chunks(uint64_t size);
/* XXH3-64 over the sums of a whole file's chunks. */
uint64_t load_fingerprint(const uint64_t *chunk_sums, uint64_t chunks);

/* After anything but OK the target holds part of the bytes, in CANCELLED's case a first part.
 * CANCELLED: between chunks. INVALID_ARGUMENT: no regular file, or the segment is too small.
 * MODEL_FORMAT_INVALID: the file ends before. INSUFFICIENT_MEMORY: the target's pages cannot be
 * had. INTERNAL_ERROR: a read failed, no memory of our own. Else what the device said. A target
 * that differs and a file that changed are no errors here: see verified and identity_changed. */
enum status load_run(struct load_work *work);

#endif
