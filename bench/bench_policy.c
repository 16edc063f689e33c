/*
 * bench_policy: how many bytes each eviction policy makes a device load again, for the traces of
 * policy_trace.h. No clock is read: the figures are the same on every machine.
 *
 *   policy.zipf1.0.cost        bytes loaded under COST / bytes loaded under FIFO, over all seeds
 *   policy.zipf1.0.cost_worst  the same of the seed where it is worst
 *   policy.zipf1.0.foreseen    under an order by true popularity, which nobody can know
 *   policy.shift1.0.cost       where popularity is drawn anew every 2,000 requests
 *   policy.zipf1.0.gib_a_request  GiB loaded for a request under FIFO
 *
 * With a file's name: COST / FIFO for the trace in it, the models' sizes and then who is asked for.
 *
 *   policy.given.cost
 */
#include <stdio.h>
#include <stdlib.h>

#include "policy_trace.h"

#define SEEDS 60 /* one trace says little: the best saves 34 %, the worst 14 % */
#define SHIFT 2000

static const char *const NAMES[] = {"fifo", "lru", "lfu", "cost"};

static struct trace trace_of(uint64_t seed, unsigned tenths, uint32_t shift) {
  return (struct trace){
      .seed = UINT64_C(0x9e3779b97f4a7c15) * seed, .tenths = tenths, .shift = shift};
}

static void compare(const char *kind, unsigned tenths, uint32_t shift) {
  double total[5] = {0}, worst[5] = {0};
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    struct trace trace = trace_of(seed, tenths, shift);
    double fifo = (double)trace_run(&trace, POLICY_FIFO).bytes;
    for (unsigned i = 0; i < 5; i++) {
      trace.foreseen = i == 4;
      double bytes =
          (double)trace_run(&trace, i == 4 ? POLICY_COST : (enum policy_strategy)i).bytes;
      total[i] += bytes;
      if (bytes / fifo > worst[i])
        worst[i] = bytes / fifo;
    }
  }
  printf("policy.%s%u.%u.gib_a_request=%.3f\n", kind, tenths / 10, tenths % 10,
         total[0] / (double)GIB / SEEDS / TRACE_REQUESTS);
  for (unsigned i = 1; i < 5; i++) {
    const char *name = i < 4 ? NAMES[i] : "foreseen";
    printf("policy.%s%u.%u.%s=%.4f\n", kind, tenths / 10, tenths % 10, name, total[i] / total[0]);
    printf("policy.%s%u.%u.%s_worst=%.4f\n", kind, tenths / 10, tenths % 10, name, worst[i]);
  }
}

static bool read_number(FILE *file, uint64_t *out) {
  char word[24], *end = word;
  if (fscanf(file, "%23s", word) == 1)
    *out = strtoull(word, &end, 10);
  return end > word && !*end;
}

static int compare_given(const char *path) {
  static uint64_t sizes[TRACE_MODELS], asked[TRACE_REQUESTS];
  struct trace trace = {.sizes = sizes, .asked = asked};
  FILE *file = fopen(path, "r");
  bool whole = file;
  for (unsigned i = 0; whole && i < TRACE_MODELS; i++)
    whole = read_number(file, &sizes[i]);
  for (unsigned i = 0; whole && i < TRACE_REQUESTS; i++)
    whole = read_number(file, &asked[i]) && asked[i] < TRACE_MODELS;
  if (file)
    fclose(file);
  if (!whole)
    return 1;
  double fifo = (double)trace_run(&trace, POLICY_FIFO).bytes;
  printf("policy.given.cost=%.4f\n", (double)trace_run(&trace, POLICY_COST).bytes / fifo);
  return 0;
}

int main(int argc, char **argv) {
  if (argc > 1)
    return compare_given(argv[1]);
  static const unsigned TENTHS[] = {8, 10, 12};
  for (unsigned i = 0; i < 3; i++)
    compare("zipf", TENTHS[i], 0);
  for (unsigned i = 0; i < 3; i++)
    compare("shift", TENTHS[i], SHIFT);
  return 0;
}
