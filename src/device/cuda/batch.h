/*
 * cuda/batch: many copies inside a card at once. A call of the driver a copy costs 5 us, in which a
 * card moves 8 MiB; here a kernel does all of a list, and compares what it wrote.
 *
 * Any thread, with the card's context current; one list at a time.
 */
#ifndef DEVICE_CUDA_BATCH_H
#define DEVICE_CUDA_BATCH_H

#include "device/cuda/load.h"

struct cuda_batch;

struct cuda_batch_move {
  api_pointer from, to; /* neither overlaps any other of the list */
  uint64_t size;
  bool same; /* result: the card read what it had written */
};

/* Compiles the kernel and pins host memory; a card's is taken by the first run. The table is
 * borrowed. DEVICE_NOT_FOUND: this driver starts no kernel for us. */
enum status cuda_batch_create(const struct cuda_load *load, struct cuda_batch **out);
/* Needs the context. Harmless on NULL. */
void cuda_batch_free(struct cuda_batch *batch);
/* Returns when all of them are done and compared, or with what failed. */
enum status cuda_batch_run(struct cuda_batch *batch, struct cuda_batch_move *moves, uint32_t count);

#endif
