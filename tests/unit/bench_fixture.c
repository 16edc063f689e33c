#include "bench_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct bench_fixture bench_fixture_make(const struct backend *backend, const struct spec *spec) {
  struct bench_fixture bench = {
      .backend = backend, .bytes = malloc(BENCH_SIZE), .back = calloc(1, BENCH_SIZE)};
  for (size_t i = 0; i < BENCH_SIZE; i++)
    bench.bytes[i] = (char)(i * 31 + i / 977);
  assert_int_equal(STATUS_OK, backend->open(spec, &bench.owner));
  assert_int_equal(STATUS_OK, backend->create(bench.owner, BENCH_SIZE, &bench.share));
  assert_int_equal(STATUS_OK, backend->start(spec, &bench.mover));
  return bench;
}

void bench_fixture_import(struct bench_fixture *bench) {
  assert_int_equal(
      STATUS_OK, bench->backend->import(bench->mover, &bench->share, BENCH_SIZE, &bench->segment));
}

uint64_t bench_fixture_done(struct bench_fixture *bench) {
  const struct backend *backend = bench->backend;
  struct device_budget budget;
  if (bench->segment)
    backend->drop(bench->mover, bench->segment, BENCH_SIZE);
  backend->stop(bench->mover);
  backend->release(bench->owner, &bench->share, BENCH_SIZE, true);
  assert_int_equal(STATUS_OK, backend->budget(bench->owner, &budget));
  backend->close(bench->owner);
  free(bench->bytes);
  free(bench->back);
  return budget.used_bytes;
}

enum status bench_fixture_write(struct bench_fixture *bench, uint64_t offset, uint64_t size) {
  const struct device_range range = {bench->segment, offset, size};
  return bench->backend->write(bench->mover, &range, bench->bytes + offset);
}

enum status bench_fixture_read(struct bench_fixture *bench, uint64_t offset, uint64_t size) {
  const struct device_range range = {bench->segment, offset, size};
  return bench->backend->read(bench->mover, &range, bench->back + offset);
}

void bench_fixture_go_and_come_back(struct bench_fixture *bench) {
  static const uint64_t sizes[] = {1,       4095,    256 * KIB,   MIB - 1,       MIB,
                                   MIB + 1, 2 * MIB, 5 * MIB + 7, BENCH_SIZE - 3};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    memset(bench->back, 0, BENCH_SIZE);
    assert_int_equal(STATUS_OK, bench_fixture_write(bench, 3, sizes[i]));
    assert_int_equal(STATUS_OK, bench_fixture_read(bench, 3, sizes[i]));
    assert_memory_equal(bench->bytes + 3, bench->back + 3, sizes[i]);
  }
}
