/*
 * bench_pages: 512 MiB of host memory made, mapped and read for the first time, and given back, in
 * ms, medians:
 *
 *   pages.commit, .load       os_memfd_commit of it (`commit:true`); a write through os_view of 2
 * MiB at a time, its pages brought first where the kernel has huge ones pages.….map, .read, .end
 * what the next one waits for who maps it, reads it, and lets go last pages.huge                1:
 * /sys/kernel/mm/transparent_hugepage/shmem_enabled is `advise`
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/os_memfd.h"
#include "base/os_pages.h"
#include "base/os_view.h"
#include "base/units.h"

#define SIZE (512 * MIB)
#define PIECE (2 * MIB)
#define ROUNDS 5

enum { MAKE, MAP, READ, END, STEPS };

static void need(bool holds, const char *what) {
  if (holds)
    return;
  fprintf(stderr, "bench_pages: %s\n", what);
  exit(1);
}

static void load(const struct share *share, const char *from) {
  struct os_view *view;
  need(!os_view_open(share, SIZE, &view), "view");
  for (uint64_t at = 0; at < SIZE; at += PIECE) {
    if (os_pages_huge_if_asked())
      os_view_bring(view, at, PIECE);
    need(!os_view_write(view, at, from, PIECE), "write");
  }
  os_view_close(view);
}

static double step(uint64_t *since) {
  uint64_t now = clock_now(), from = *since;
  *since = now;
  return (double)(now - from) / 1e6;
}

static void run(const char *from, double out[STEPS]) {
  struct share share;
  void *map;
  volatile uint64_t sum = 0;
  need(!os_memfd_create("bench", SIZE, &share) && !os_memfd_seal(&share, OS_MEMFD_SEAL_SIZE),
       "memfd");
  uint64_t at = clock_now();
  if (from)
    load(&share, from);
  else
    need(!os_memfd_commit(&share, 0, SIZE), "commit");
  out[MAKE] = step(&at);
  need(!os_memfd_map(&share, SIZE, false, &map), "map");
  os_pages_prefer_huge(map, SIZE);
  need(os_pages_touch(map, SIZE), "touch");
  out[MAP] = step(&at);
  for (uint64_t i = 0; i < SIZE / sizeof(uint64_t); i++)
    sum += ((const uint64_t *)map)[i];
  out[READ] = step(&at);
  os_memfd_unmap(map, SIZE);
  share_close(&share);
  out[END] = step(&at);
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void measure(const char *name, const char *from) {
  static const char *const steps[] = {"", ".map", ".read", ".end"};
  double found[ROUNDS][STEPS], values[ROUNDS];
  for (int i = 0; i < ROUNDS; i++)
    run(from, found[i]);
  for (int k = 0; k < STEPS; k++) {
    for (int i = 0; i < ROUNDS; i++)
      values[i] = found[i][k];
    qsort(values, ROUNDS, sizeof *values, by_value);
    printf("pages.%s%s=%.1f\n", name, steps[k], values[ROUNDS / 2]);
  }
}

int main(void) {
  char *from = malloc(PIECE);
  need(from != NULL, "memory");
  memset(from, 7, PIECE);
  printf("pages.huge=%d\n", os_pages_huge_if_asked());
  measure("commit", NULL);
  measure("load", from);
  free(from);
  return 0;
}
