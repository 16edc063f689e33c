/*
 * bench_batch: what kernels of ours do on the card: blocks of a defragmentation moved and compared,
 * a thousand at once as the worker does it, beside one copy of as many bytes; and chunks of 8 MiB
 * summed up as those of a model are, beside the same by a card that did nothing for a while, whose
 * clock is an idle one's.
 *
 *   bench_batch     card.batch card.batch_small card.batch_whole: GB/s (bytes moved)
 *                   card.sum card.sum_idle: GB/s (bytes summed up)
 *
 * Half of 16 GiB in scattered blocks of 64 KiB to 1 MiB, small: of 64 KiB; each the best of five,
 * idle: the median. Ends with 1 when there is no card, or when a byte differs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/queue.h"
#include "base/units.h"
#include "device/device.h"

#define SIZE (16 * GIB)
#define HALF (SIZE / 2)
#define BATCH 1000
#define ROUNDS 5
#define HOLE (4 * KIB)
#define MOVES (HALF / (64 * KIB))
#define CHUNK (8 * MIB)
#define IDLE_US 300000

static const struct spec first = {.id = "cuda:0", .backend = "cuda"};

static void must(enum status status, const char *what) {
  if (!status)
    return;
  fprintf(stderr, "bench_batch: %s: %s\n", what, status_text(status));
  exit(1);
}

static struct device_segment *make(void) {
  struct queue *reaper;
  struct device *device;
  struct device_mover *mover;
  struct device_segment *segment;
  struct device_call call = {.action = DEVICE_CREATE, .size = SIZE};
  must(queue_create("reaper", &reaper), "start");
  must(device_open(&first, reaper, &device), "open the card");
  must(device_run(device, &call), "take memory");
  must(device_mover_open(&first, &mover), "start");
  must(device_import(mover, &call.share, SIZE, &segment), "map memory");
  share_close(&call.share);
  return segment;
}

/* From the first half to the same places of the second. */
static uint32_t scatter(struct device_segment *segment, struct device_move *moves, bool small) {
  uint32_t count = 0;
  uint64_t size;
  for (uint64_t at = 0; at < HALF; at += size + HOLE) {
    size = small ? 64 * KIB : 64 * KIB + (uint64_t)(rand() % 241) * 4 * KIB;
    size = units_min(size, HALF - at);
    moves[count++] = (struct device_move){{segment, at}, {segment, HALF + at}, size, false};
  }
  return count;
}

static double run(struct device_move *moves, uint32_t count) {
  uint64_t bytes = 0, start = clock_now();
  for (uint32_t i = 0; i < count; i += BATCH)
    must(device_copy_all(moves + i, (uint32_t)units_min(BATCH, count - i)), "move");
  uint64_t took = clock_now() - start;
  for (uint32_t i = 0; i < count; i++) {
    must(moves[i].same ? STATUS_OK : STATUS_CHECKSUM_MISMATCH, "compare");
    bytes += moves[i].size;
  }
  return (double)bytes / (double)took;
}

static double run_whole(struct device_segment *segment) {
  const struct device_copy copy = {{segment, 0}, {segment, HALF}, HALF, NULL};
  uint64_t start = clock_now();
  must(device_copy(&copy), "copy");
  return (double)HALF / (double)(clock_now() - start);
}

static void measure(const char *name, struct device_move *moves, uint32_t count) {
  double best = 0;
  for (int round = 0; round < ROUNDS; round++) {
    double rate = count ? run(moves, count) : run_whole(moves->from.segment);
    best = rate > best ? rate : best;
  }
  printf("card.%s=%.1f\n", name, best);
}

static int by_rate(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void measure_sums(struct device_segment *segment, bool idle) {
  static uint64_t sums[HALF / CHUNK];
  double rates[ROUNDS];
  if (!device_sums(segment))
    return;
  for (int round = 0; round < ROUNDS; round++) {
    if (idle)
      usleep(IDLE_US);
    uint64_t start = clock_now();
    must(device_sum((struct device_place){segment, 0}, HALF, CHUNK, sums), "sum up");
    rates[round] = (double)HALF / (double)(clock_now() - start);
  }
  qsort(rates, ROUNDS, sizeof *rates, by_rate);
  printf("card.%s=%.1f\n", idle ? "sum_idle" : "sum", rates[idle ? ROUNDS / 2 : ROUNDS - 1]);
}

int main(void) {
  struct device_segment *segment = make();
  struct device_move *moves = calloc(MOVES, sizeof *moves);
  if (!moves)
    return 1;
  must(device_fill((struct device_place){segment, 0}, HALF, 7), "fill");
  measure("batch", moves, scatter(segment, moves, false));
  measure("batch_small", moves, scatter(segment, moves, true));
  measure("batch_whole", moves, 0);
  free(moves);
  measure_sums(segment, false);
  measure_sums(segment, true);
  device_drop(segment);
  return 0;
}
