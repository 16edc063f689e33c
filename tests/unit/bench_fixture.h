/*
 * bench_fixture: a segment of a card, made by the backend's owner half and known to its mover half,
 * with bytes to put there and room for them to come back; for tests of any backend's mover.
 */
#ifndef TESTS_BENCH_FIXTURE_H
#define TESTS_BENCH_FIXTURE_H

#include "base/units.h"
#include "device/backend.h"

#define BENCH_SIZE (16 * MIB)

struct bench_fixture {
  const struct backend *backend;
  void *owner, *mover;
  void *segment; /* NULL before it is imported */
  struct share share;
  char *bytes, *back; /* BENCH_SIZE each; back is zeros */
};

struct bench_fixture bench_fixture_make(const struct backend *backend, const struct spec *spec);
void bench_fixture_import(struct bench_fixture *bench);
/* How much of the card is in use when all is given back. */
uint64_t bench_fixture_done(struct bench_fixture *bench);
/* From the same place of the bytes; to the same place of what came back. */
enum status bench_fixture_write(struct bench_fixture *bench, uint64_t offset, uint64_t size);
enum status bench_fixture_read(struct bench_fixture *bench, uint64_t offset, uint64_t size);
/* Sizes around those of a mover's pieces go there, and come back as they were. */
void bench_fixture_go_and_come_back(struct bench_fixture *bench);

#endif
