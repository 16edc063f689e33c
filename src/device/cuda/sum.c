/*
 * cuda/sum: the kernel writes its sums to pinned memory of the host, of which each lane has a part.
 * What is too short for it is read and summed up here: the end of a range at most, where chunks are
 * large.
 */
#include "device/cuda/sum.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/units.h"
#include "device/cuda/sum_kernel.h"

#define SUM_ROOM 1024 /* chunks of one start */

struct cuda_sum {
  const struct cuda_load *load;
  api_module module;
  api_function kernel;
  uint64_t *sums; /* pinned: SUM_ROOM for each lane */
};

void cuda_sum_free(struct cuda_sum *sum) {
  if (!sum)
    return;
  if (sum->sums)
    (void)sum->load->host_free(sum->sums);
  if (sum->module)
    (void)sum->load->module_unload(sum->module);
  free(sum);
}

static enum status make(struct cuda_sum *sum) {
  const struct cuda_load *load = sum->load;
  void *sums = NULL;
  enum status status =
      cuda_load_check(load, "load its kernel", load->module_load(&sum->module, SUM_KERNEL));
  if (!status)
    status = cuda_load_check(load, "find its kernel",
                             load->module_function(&sum->kernel, sum->module, "sum"));
  if (!status)
    status = cuda_load_check(
        load, "pin memory",
        load->host_alloc(&sums, sizeof *sum->sums * CUDA_LANE_MOST * SUM_ROOM, API_HOST_PORTABLE));
  sum->sums = sums;
  return status;
}

enum status cuda_sum_create(const struct cuda_load *load, struct cuda_sum **out) {
  if (!load->module_load || !load->module_unload || !load->module_function || !load->launch)
    return STATUS_DEVICE_NOT_FOUND;
  struct cuda_sum *sum = calloc(1, sizeof *sum);
  if (!sum)
    return STATUS_INTERNAL_ERROR;
  sum->load = load;
  enum status status = make(sum);
  if (status)
    cuda_sum_free(sum);
  else
    *out = sum;
  return status;
}

/* At most SUM_ROOM chunks. */
static enum status run(const struct cuda_sum *sum, struct cuda_lane *lane,
                       const struct cuda_sum_range *range, uint64_t *out) {
  const struct cuda_load *load = sum->load;
  struct cuda_sum_range asked = *range;
  uint64_t *sums = sum->sums + SUM_ROOM * (size_t)cuda_lane_number(lane);
  size_t count = (asked.size + asked.chunk - 1) / asked.chunk;
  struct api_launch how = {.grid = {(unsigned)count, 1, 1},
                           .block = {SUM_THREADS, 1, 1},
                           .stream = cuda_lane_stream(lane)};
  void *arguments[] = {&asked.from, &asked.size, &asked.chunk, &sums};
  enum status status =
      cuda_load_check(load, "start a kernel", load->launch(&how, sum->kernel, arguments, NULL));
  enum status ended = cuda_load_check(load, "sum up", load->stream_wait(how.stream));
  if (!status && !ended)
    memcpy(out, sums, count * sizeof *out);
  return status ? status : ended;
}

static enum status sum_here(struct cuda_lane *lane, api_pointer from, uint64_t size,
                            uint64_t *out) {
  char bytes[SUM_LEAST];
  enum status status = cuda_lane_read(lane, from, size, bytes);
  if (!status)
    *out = XXH3_64bits(bytes, size);
  return status;
}

enum status cuda_sum_run(struct cuda_sum *sum, struct cuda_lane *lane,
                         const struct cuda_sum_range *range, uint64_t *sums) {
  uint64_t chunk = range->chunk, rest = range->size % chunk;
  uint64_t whole = range->size - (rest < SUM_LEAST ? rest : 0), n;
  enum status status = chunk < SUM_LEAST ? STATUS_INVALID_ARGUMENT : STATUS_OK;
  for (uint64_t done = 0; !status && done < whole; done += n) {
    n = units_min(SUM_ROOM * chunk, whole - done);
    const struct cuda_sum_range part = {range->from + done, n, chunk};
    status = run(sum, lane, &part, sums + done / chunk);
  }
  if (!status && whole < range->size)
    status = sum_here(lane, range->from + whole, rest, sums + whole / chunk);
  return status;
}
