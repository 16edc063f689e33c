/*
 * bench_span: the offset allocator at 1,000,000 live blocks.
 *
 *   span.free_take_median_ns, _p99_ns  free a random block and take one of a random size
 *   span.same_block_ns                 take a block and give it back at once
 *   span.machine_random_access_ns      one dependent load at random in as much memory as the nodes
 * fill
 *
 * Each of the first three is the best of several medians: other programs only make them worse.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "memory/span.h"

#define LIVE 1000000
#define ROUNDS 5
#define STEPS 200000
#define BATCH 100 /* of takes of the same block, so that reading the clock does not count */

struct field {
  struct pool nodes;
  struct span *span;
  uint32_t *blocks;
  uint64_t seed;
};

static uint64_t draw(struct field *field) {
  field->seed ^= field->seed << 13;
  field->seed ^= field->seed >> 7;
  field->seed ^= field->seed << 17;
  return field->seed;
}

static uint32_t take_some(struct field *field) {
  struct span_request request = {256 * (1 + draw(field) % 256), 256, 1};
  uint32_t node = 0;
  uint64_t offset;
  if (span_take(field->span, &request, &node, &offset)) {
    fputs("bench_span: the span is full\n", stderr);
    exit(1);
  }
  return node;
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static uint64_t sorted_median(uint64_t *times, size_t count) {
  qsort(times, count, sizeof *times, by_value);
  return times[count / 2];
}

static uint64_t clock_cost(void) {
  static uint64_t times[STEPS];
  for (int i = 0; i < STEPS; i++) {
    uint64_t start = clock_now();
    times[i] = clock_now() - start;
  }
  return sorted_median(times, STEPS);
}

static void churn(struct field *field, uint64_t *median, uint64_t *p99) {
  static uint64_t times[STEPS];
  uint64_t clock = clock_cost();
  for (int i = 0; i < STEPS; i++) {
    uint32_t *block = &field->blocks[draw(field) % LIVE];
    uint32_t node = *block; /* the caller has it at hand */
    uint64_t start = clock_now();
    span_give(field->span, node);
    *block = take_some(field);
    uint64_t took = clock_now() - start;
    times[i] = took > clock ? took - clock : 0;
  }
  uint64_t middle = sorted_median(times, STEPS);
  if (middle < *median)
    *median = middle;
  if (times[STEPS / 100 * 99] < *p99)
    *p99 = times[STEPS / 100 * 99];
}

static double same_block(struct field *field) {
  const struct span_request request = {4096, 256, 1};
  static uint64_t times[STEPS / BATCH];
  uint64_t offset;
  for (int i = 0; i < STEPS / BATCH; i++) {
    uint64_t start = clock_now();
    for (int j = 0; j < BATCH; j++) {
      uint32_t node;
      if (!span_take(field->span, &request, &node, &offset))
        span_give(field->span, node);
    }
    times[i] = clock_now() - start;
  }
  return (double)sorted_median(times, STEPS / BATCH) / BATCH;
}

static double random_access(struct field *field) {
  size_t count = (size_t)field->nodes.live * 32 / sizeof(uint64_t), at = 0;
  uint64_t *chain = malloc(count * sizeof *chain);
  if (!chain)
    exit(1);
  for (size_t i = 0; i < count; i++)
    chain[i] = draw(field) % count;
  uint64_t start = clock_now();
  for (int i = 0; i < STEPS; i++)
    at = (size_t)((chain[at] + (uint64_t)i * 7919) % count);
  double took = (double)(clock_now() - start) / STEPS;
  free(chain);
  field->seed += at; /* so that the walk is not optimised away */
  return took;
}

int main(void) {
  struct field field = {.seed = 88172645463325252};
  uint64_t median = UINT64_MAX, p99 = UINT64_MAX;
  double same = 1e9;
  field.blocks = calloc(LIVE, sizeof *field.blocks);
  if (!field.blocks || span_nodes_init(&field.nodes, 4 * LIVE) ||
      span_create(&field.nodes, UINT64_C(64) << 30, 256, &field.span))
    return 1;
  for (int i = 0; i < LIVE; i++)
    field.blocks[i] = take_some(&field);
  for (int i = 0; i < 2 * LIVE; i++) { /* until it is as fragmented as it gets */
    uint32_t *block = &field.blocks[draw(&field) % LIVE];
    span_give(field.span, *block);
    *block = take_some(&field);
  }
  for (int i = 0; i < ROUNDS; i++) {
    churn(&field, &median, &p99);
    double now = same_block(&field);
    if (now < same)
      same = now;
  }
  printf("span.free_take_median_ns=%llu\nspan.free_take_p99_ns=%llu\nspan.same_block_ns=%.1f\n"
         "span.machine_random_access_ns=%.1f\n",
         (unsigned long long)median, (unsigned long long)p99, same, random_access(&field));
  return 0;
}
