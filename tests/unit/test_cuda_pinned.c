/*
 * device/cuda/pinned, on FAKE cards: host memory that a card copies from by itself is pinned once,
 * piece by piece, and given back; where it cannot be pinned the bytes arrive nevertheless.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/os_memfd.h"
#include "base/units.h"
#include "cuda_fixture.h"
#include "device/cuda/mover.h"
#include "device/cuda/owner.h"

#define PIECE (32 * MIB)
#define SIZE (2 * PIECE + 6 * MIB) /* three pieces */
#define THREADS 12                 /* more than there are lanes */

struct bench {
  void *owner, *mover, *card, *host;
  struct share card_share, host_share;
  char *bytes, *back;
};

static uint64_t registered(void) { return cuda_fixture_count("fake_registered"); }

static enum status import_host(struct bench *bench) {
  return cuda_mover_import(bench->mover, &bench->host_share, SIZE, &bench->host);
}

static struct bench bench_make(const char *fail) {
  static const struct spec spec = {.id = "cuda:0", .backend = "cuda"};
  struct bench bench = {.back = calloc(1, SIZE)};
  void *bytes;
  cuda_fixture_use("fake_libcuda");
  if (fail)
    setenv("FAKE_CUDA_FAIL", fail, 1);
  assert_int_equal(STATUS_OK, os_memfd_create("test", SIZE, &bench.host_share));
  assert_int_equal(STATUS_OK, os_memfd_map(&bench.host_share, SIZE, true, &bytes));
  bench.bytes = bytes;
  for (size_t i = 0; i < SIZE; i++)
    bench.bytes[i] = (char)(i * 31 + i / 977);
  assert_int_equal(STATUS_OK, cuda_owner_open(&spec, &bench.owner));
  assert_int_equal(STATUS_OK, cuda_owner_create(bench.owner, SIZE, &bench.card_share));
  assert_int_equal(STATUS_OK, cuda_mover_start(&spec, &bench.mover));
  assert_int_equal(STATUS_OK, cuda_mover_import(bench.mover, &bench.card_share, SIZE, &bench.card));
  return bench;
}

static void bench_done(struct bench *bench) {
  if (bench->host)
    cuda_mover_drop(bench->mover, bench->host, SIZE);
  assert_int_equal(0, registered());
  cuda_mover_drop(bench->mover, bench->card, SIZE);
  cuda_mover_stop(bench->mover);
  cuda_owner_release(bench->owner, &bench->card_share, SIZE, true);
  cuda_owner_close(bench->owner);
  os_memfd_unmap(bench->bytes, SIZE);
  share_close(&bench->host_share);
  free(bench->back);
}

/* To the same place of the card. */
static enum status bring(struct bench *bench, uint64_t offset, uint64_t size) {
  const struct device_range from = {bench->host, offset, size}, to = {bench->card, offset, size};
  return cuda_mover_copy(bench->mover, &from, &to);
}

static void assert_arrived(struct bench *bench, uint64_t offset, uint64_t size) {
  const struct device_range all = {bench->card, offset, size};
  assert_int_equal(STATUS_OK, cuda_mover_read(bench->mover, &all, bench->back + offset));
  assert_memory_equal(bench->bytes + offset, bench->back + offset, size);
}

static void only_pieces_that_are_copied_from_are_pinned(void **state) {
  (void)state;
  struct bench bench = bench_make(NULL);
  assert_int_equal(STATUS_OK, import_host(&bench));
  assert_int_equal(0, registered());
  assert_int_equal(STATUS_OK, bring(&bench, 3, 4 * MIB + 1));
  assert_int_equal(PIECE, registered());
  assert_int_equal(STATUS_OK, bring(&bench, 2 * PIECE - 5, 6 * MIB + 5));
  assert_int_equal(SIZE, registered());
  assert_arrived(&bench, 3, 4 * MIB + 1);
  assert_arrived(&bench, 2 * PIECE - 5, 6 * MIB + 5);
  bench_done(&bench);
}

struct worker {
  struct bench *bench;
  uint64_t offset, size;
  enum status status;
  pthread_t thread;
};

static void *go(void *arg) {
  struct worker *worker = arg;
  for (unsigned i = 0; i < 3 && !worker->status; i++)
    worker->status = bring(worker->bench, worker->offset, worker->size);
  return NULL;
}

/* Were one pinned again, the driver would say so, and the next call fails. */
static void a_piece_is_pinned_once_whoever_comes_first(void **state) {
  (void)state;
  struct bench bench = bench_make("cuMemHostRegister_v2:4:700");
  struct worker workers[THREADS];
  uint64_t each = SIZE / THREADS / 64 * 64;
  assert_int_equal(STATUS_OK, import_host(&bench));
  for (unsigned i = 0; i < THREADS; i++) {
    workers[i] = (struct worker){&bench, i * each, each, STATUS_OK, 0};
    assert_int_equal(0, pthread_create(&workers[i].thread, NULL, go, &workers[i]));
  }
  for (unsigned i = 0; i < THREADS; i++) {
    pthread_join(workers[i].thread, NULL);
    assert_int_equal(STATUS_OK, workers[i].status);
  }
  assert_arrived(&bench, 0, THREADS * each);
  assert_int_equal(SIZE, registered());
  bench_done(&bench);
}

static void what_is_refused_is_staged(void **state) {
  (void)state;
  struct bench bench = bench_make("cuMemHostRegister_v2:2:2");
  assert_int_equal(STATUS_OK, import_host(&bench));
  assert_int_equal(STATUS_OK, bring(&bench, 0, SIZE));
  assert_int_equal(PIECE, registered()); /* and the third was not even asked for */
  assert_arrived(&bench, 0, SIZE);
  bench_done(&bench);
}

static void a_driver_that_cannot_pin_for_reading_is_not_asked(void **state) {
  (void)state;
  static const struct spec spec = {.id = "cuda:0", .backend = "cuda"};
  struct bench bench = bench_make(NULL);
  void *other;
  setenv("FAKE_CUDA_LACKS", "113", 1);
  assert_int_equal(STATUS_OK, cuda_mover_start(&spec, &other));
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY,
                   cuda_mover_import(other, &bench.host_share, SIZE, &bench.host));
  assert_null(bench.host);
  cuda_mover_stop(other);
  bench_done(&bench);
}

static void nothing_beyond_the_files_end_is_mapped(void **state) {
  (void)state;
  struct bench bench = bench_make(NULL);
  void *segment = NULL;
  assert_int_equal(STATUS_INVALID_ARGUMENT,
                   cuda_mover_import(bench.mover, &bench.host_share, SIZE + 4 * KIB, &segment));
  assert_null(segment);
  bench_done(&bench);
}

static void no_more_than_half_of_the_ram_is_pinned(void **state) {
  (void)state;
  struct bench bench = bench_make(NULL);
  struct share large;
  void *segment = NULL;
  assert_int_equal(STATUS_OK, os_memfd_create("test", UINT64_C(1) << 46, &large));
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY,
                   cuda_mover_import(bench.mover, &large, UINT64_C(1) << 46, &segment));
  assert_int_equal(STATUS_OK, import_host(&bench)); /* what was refused does not count */
  share_close(&large);
  bench_done(&bench);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(only_pieces_that_are_copied_from_are_pinned),
      cmocka_unit_test(a_piece_is_pinned_once_whoever_comes_first),
      cmocka_unit_test(what_is_refused_is_staged),
      cmocka_unit_test(a_driver_that_cannot_pin_for_reading_is_not_asked),
      cmocka_unit_test(nothing_beyond_the_files_end_is_mapped),
      cmocka_unit_test(no_more_than_half_of_the_ram_is_pinned),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
