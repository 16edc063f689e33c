/*
 * bench_link: what the worker's copy engine does between host memory and the cards of one backend,
 * without a daemon, beside one core's memcpy in the same run.
 *
 *   bench_link KIND [MIB]   KIND: cuda, vulkan; of 256 MiB
 *
 * In GB/s, each the median of seven rounds, in which all take their turn:
 *
 *   link.memcpy   between two memfds, by one thread
 *   link.in       host memory to the first card
 *   link.out      and back
 *   link.inside   from one place of the card to another
 *   link.across   from the first card to the second
 *
 * and, as medians of the rounds' ratios:
 *
 *   link.in_memcpy link.out_memcpy
 *   link.across_sum   to `out` and then `in`, one after the other
 *
 * All memory was touched before. What is not there is not printed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/os_memfd.h"
#include "base/units.h"
#include "device/backend.h"
#include "device/probe.h"
#include "worker/mover.h"

#define ROUNDS 7
#define PLACES 2 /* on each device */

struct place {
  const struct backend *backend;
  void *owner;
  struct device_mover *mover;
  struct share shares[PLACES];
  struct device_segment *segments[PLACES];
};

static void must(enum status status, const char *what) {
  if (!status)
    return;
  fprintf(stderr, "bench_link: %s: %s\n", what, status_text(status));
  exit(1);
}

static struct spec spec_of(const char *kind, unsigned number) {
  struct spec spec = {.size_bytes = 0};
  snprintf(spec.id, sizeof spec.id, "%.15s:%u", kind, number);
  snprintf(spec.backend, sizeof spec.backend, "%s", kind);
  return spec;
}

/* False: there is no such device. */
static bool place_make(const char *kind, unsigned number, uint64_t size, struct place *place) {
  struct spec spec = spec_of(kind, number);
  place->backend = probe_backend(kind);
  if (!place->backend || place->backend->open(&spec, &place->owner))
    return false;
  must(device_mover_open(&spec, &place->mover), "a mover");
  for (unsigned i = 0; i < PLACES; i++) {
    must(place->backend->create(place->owner, size, &place->shares[i]), "memory");
    must(device_import(place->mover, &place->shares[i], size, &place->segments[i]), "import");
    must(device_fill((struct device_place){place->segments[i], 0}, size, (uint8_t)(i + 1)), "fill");
  }
  return true;
}

static void place_done(struct place *place, uint64_t size) {
  for (unsigned i = 0; i < PLACES; i++) {
    device_drop(place->segments[i]);
    place->backend->release(place->owner, &place->shares[i], size, true);
  }
  device_mover_close(place->mover);
  place->backend->close(place->owner);
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double values[ROUNDS]) {
  double sorted[ROUNDS];
  memcpy(sorted, values, sizeof sorted);
  qsort(sorted, ROUNDS, sizeof *sorted, compare);
  return sorted[ROUNDS / 2];
}

/* ---- the ways ---- */

enum way { MEMCPY, IN, OUT, INSIDE, ACROSS, WAYS };

static const char *const names[WAYS] = {"memcpy", "in", "out", "inside", "across"};

struct bench {
  uint64_t size;
  unsigned cards;
  struct place host, card[2];
  void *from, *to; /* the host's places, mapped */
  double seconds[WAYS][ROUNDS];
};

static void move(struct device_segment *from, struct device_segment *to, uint64_t size) {
  atomic_bool never = false;
  struct mover_work work = {.from = {from, 0}, .to = {to, 0}, .size = size, .cancel = &never};
  must(mover_copy(&work), "copy");
}

static void go(struct bench *bench, enum way way) {
  struct device_segment **host = bench->host.segments, **card = bench->card[0].segments;
  struct device_segment *const ends[WAYS][2] = {[IN] = {host[0], card[0]},
                                                [OUT] = {card[0], host[1]},
                                                [INSIDE] = {card[0], card[1]},
                                                [ACROSS] = {card[0], bench->card[1].segments[0]}};
  if (way == MEMCPY)
    memcpy(bench->to, bench->from, bench->size);
  else
    move(ends[way][0], ends[way][1], bench->size);
}

static void run(struct bench *bench) {
  unsigned ways = bench->cards > 1 ? WAYS : ACROSS;
  for (unsigned way = 0; way < ways; way++)
    go(bench, way);
  for (unsigned i = 0; i < ROUNDS; i++)
    for (unsigned way = 0; way < ways; way++) {
      uint64_t start = clock_now();
      go(bench, way);
      bench->seconds[way][i] = (double)(clock_now() - start) / 1e9;
    }
}

static void tell_ratio(const struct bench *bench, enum way way) {
  double ratios[ROUNDS];
  for (unsigned i = 0; i < ROUNDS; i++)
    ratios[i] = (way == ACROSS ? bench->seconds[OUT][i] + bench->seconds[IN][i]
                               : bench->seconds[MEMCPY][i]) /
                bench->seconds[way][i];
  printf("link.%s_%s=%.3f\n", names[way], way == ACROSS ? "sum" : "memcpy", median(ratios));
}

static void tell(struct bench *bench) {
  unsigned ways = bench->cards > 1 ? WAYS : ACROSS;
  for (unsigned way = 0; way < ways; way++)
    printf("link.%s=%.3f\n", names[way], (double)bench->size / 1e9 / median(bench->seconds[way]));
  tell_ratio(bench, IN);
  tell_ratio(bench, OUT);
  if (bench->cards > 1)
    tell_ratio(bench, ACROSS);
}

int main(int argc, char **argv) {
  static struct bench bench;
  if (argc < 2)
    return fputs("usage: bench_link KIND [MIB]\n", stderr), 2;
  uint64_t size = bench.size = (argc > 2 ? strtoull(argv[2], NULL, 10) : 256) * MIB;
  if (!place_make("host", 0, size, &bench.host))
    return fputs("bench_link: no memory\n", stderr), 1;
  while (bench.cards < 2 && place_make(argv[1], bench.cards, size, &bench.card[bench.cards]))
    bench.cards++;
  if (!bench.cards)
    return fprintf(stderr, "bench_link: no %s here\n", argv[1]), 1;
  must(os_memfd_map(&bench.host.shares[0], size, true, &bench.from), "map");
  must(os_memfd_map(&bench.host.shares[1], size, true, &bench.to), "map");
  run(&bench);
  tell(&bench);
  os_memfd_unmap(bench.from, size);
  os_memfd_unmap(bench.to, size);
  while (bench.cards)
    place_done(&bench.card[--bench.cards], size);
  place_done(&bench.host, size);
  return 0;
}
