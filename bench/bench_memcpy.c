/*
 * bench_memcpy: what this machine's memory gives to one thread with plain memcpy, the peer that
 * transfers and copies are held against. Prints, in GiB/s:
 *
 *   memcpy.fresh_memfd  from touched memory into a new memfd (each page is touched for the first
 * time) memcpy.touched      between two memfds that were touched before
 *
 * The memory is touched and given back once before anything is measured: in a virtual machine the
 * first touch of a page since boot costs the host's work too.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/os_memfd.h"
#include "base/units.h"

#define SIZE GIB
#define ROUNDS 3

struct piece {
  struct share share;
  char *bytes;
};

static struct piece piece_make(void) {
  struct piece piece = {.share = {.kind = SHARE_NONE}};
  void *map;
  if (os_memfd_create("bench", SIZE, &piece.share) ||
      os_memfd_map(&piece.share, SIZE, true, &map)) {
    fputs("bench_memcpy: no memory\n", stderr);
    exit(1);
  }
  piece.bytes = map;
  return piece;
}

static void piece_done(struct piece *piece) {
  os_memfd_unmap(piece->bytes, SIZE);
  share_close(&piece->share);
}

static double copy(const struct piece *from, struct piece *to) {
  uint64_t start = clock_now();
  memcpy(to->bytes, from->bytes, SIZE);
  return (double)SIZE / (double)GIB / ((double)(clock_now() - start) / 1e9);
}

static double median(double values[ROUNDS]) {
  for (int i = 0; i < ROUNDS; i++)
    for (int j = i + 1; j < ROUNDS; j++)
      if (values[j] < values[i]) {
        double swap = values[i];
        values[i] = values[j];
        values[j] = swap;
      }
  return values[ROUNDS / 2];
}

int main(void) {
  double fresh[ROUNDS], touched[ROUNDS];
  struct piece from = piece_make(), first = piece_make();
  memset(from.bytes, 1, SIZE);
  memset(first.bytes, 2, SIZE);
  piece_done(&first);
  for (int i = 0; i < ROUNDS; i++) {
    struct piece to = piece_make();
    fresh[i] = copy(&from, &to);
    touched[i] = copy(&from, &to);
    piece_done(&to);
  }
  piece_done(&from);
  printf("memcpy.fresh_memfd=%.2f\nmemcpy.touched=%.2f\n", median(fresh), median(touched));
  return 0;
}
