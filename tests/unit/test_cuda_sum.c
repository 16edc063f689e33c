/*
 * device/cuda/sum, by way of the mover, on FAKE cards: sums are those of the bytes, wherever a
 * range begins and ends; what a driver refuses is told. The kernel itself is run by
 * test_cuda_kernels, and on a card by the device suite.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cmocka.h>

#include "base/units.h"
#include "bench_fixture.h"
#include "cuda_fixture.h"
#include "device/cuda/backend.h"
#include "device/cuda/mover.h"

#define SIZE BENCH_SIZE
#define RESERVED (8 * MIB) /* of a FAKE card, which an older NVML counts as used */
#define CHUNK (4 * KIB)
#define CHUNKS (SIZE / CHUNK)
#define THREADS 12 /* more than there are lanes */

static struct bench_fixture bench_make(const char *library, const char *fail) {
  static const struct spec spec = {.id = "cuda:0", .backend = "cuda"};
  cuda_fixture_use(library);
  if (fail)
    setenv("FAKE_CUDA_FAIL", fail, 1);
  struct bench_fixture bench = bench_fixture_make(&cuda_backend, &spec);
  bench_fixture_import(&bench);
  assert_int_equal(STATUS_OK, bench_fixture_write(&bench, 0, SIZE));
  return bench;
}

static void bench_done(struct bench_fixture *bench) {
  assert_int_equal(0, bench_fixture_done(bench));
}

static void assert_sums(const struct bench_fixture *bench, uint64_t offset, uint64_t size,
                        uint64_t chunk) {
  struct device_range range = {bench->segment, offset, size};
  uint64_t *sums = malloc((size / chunk + 1) * sizeof *sums);
  assert_int_equal(STATUS_OK, cuda_mover_sum(bench->mover, &range, chunk, sums));
  for (uint64_t i = 0; i * chunk < size; i++)
    assert_int_equal(
        XXH3_64bits(bench->bytes + offset + i * chunk, units_min(chunk, size - i * chunk)),
        sums[i]);
  free(sums);
}

/* More chunks than one start takes; a last one that the kernel is too large for. */
static void sums_are_those_of_the_bytes(void **state) {
  (void)state;
  static const struct {
    uint64_t offset, size, chunk;
  } ranges[] = {{0, SIZE, CHUNK},
                {7, SIZE - 7, CHUNK},
                {0, SIZE, 8 * MIB},
                {3, MIB + 1, MIB},
                {3, MIB + 240, MIB},
                {3, MIB + 241, MIB},
                {5, 1, MIB},
                {5, 240, CHUNK},
                {5, 0, CHUNK},
                {1, CHUNK, CHUNK},
                {9, 1030 * CHUNK + 5, CHUNK},
                {0, 1024 * CHUNK + 1, CHUNK},
                {0, 100000, 1000}};
  struct bench_fixture bench = bench_make("fake_libcuda", NULL);
  for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
    assert_sums(&bench, ranges[i].offset, ranges[i].size, ranges[i].chunk);
  bench_done(&bench);
}

static void *sum_up(void *arg) {
  for (unsigned i = 0; i < 4; i++)
    assert_sums(arg, i, SIZE - 9 * i, CHUNK);
  return NULL;
}

static void many_threads_sum_up_at_once(void **state) {
  (void)state;
  struct bench_fixture bench = bench_make("fake_libcuda", NULL);
  pthread_t threads[THREADS];
  for (unsigned i = 0; i < THREADS; i++)
    assert_int_equal(0, pthread_create(&threads[i], NULL, sum_up, &bench));
  for (unsigned i = 0; i < THREADS; i++)
    pthread_join(threads[i], NULL);
  bench_done(&bench);
}

/* What fails ahead is tried again by who needs it, and then is the driver's last word. */
static void a_driver_that_compiles_nothing_cannot(void **state) {
  (void)state;
  static const char *const steps[] = {
      "cuModuleLoadData sum:1:221,cuModuleLoadData sum:2:221",
      "cuModuleGetFunction sum:1:500,cuModuleGetFunction sum:2:500"};
  uint64_t sums[CHUNKS];
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    struct bench_fixture bench = bench_make("fake_libcuda", steps[i]);
    struct device_range all = {bench.segment, 0, SIZE};
    assert_int_equal(STATUS_DEVICE_NOT_FOUND, cuda_mover_sum(bench.mover, &all, CHUNK, sums));
    assert_sums(&bench, 0, SIZE, CHUNK);
    bench_done(&bench);
  }
}

static void an_older_driver_cannot(void **state) {
  (void)state;
  uint64_t sums[CHUNKS];
  struct bench_fixture bench = bench_make("fake_libcuda_old", NULL);
  struct device_range all = {bench.segment, 0, SIZE};
  assert_int_equal(STATUS_DEVICE_NOT_FOUND, cuda_mover_sum(bench.mover, &all, CHUNK, sums));
  assert_int_equal(RESERVED, bench_fixture_done(&bench));
}

static void a_start_that_fails_says_so(void **state) {
  (void)state;
  uint64_t sums[CHUNKS];
  struct bench_fixture bench = bench_make("fake_libcuda", "cuLaunchKernelEx:1:2");
  struct device_range all = {bench.segment, 0, SIZE};
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, cuda_mover_sum(bench.mover, &all, CHUNK, sums));
  assert_sums(&bench, 0, SIZE, CHUNK);
  bench_done(&bench);
}

static void a_lost_card_sums_up_nothing(void **state) {
  (void)state;
  uint64_t sums[CHUNKS];
  struct bench_fixture bench = bench_make("fake_libcuda", "cuLaunchKernelEx:1:700");
  struct device_range all = {bench.segment, 0, SIZE};
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, cuda_mover_sum(bench.mover, &all, CHUNK, sums));
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, cuda_mover_sum(bench.mover, &all, CHUNK, sums));
  (void)bench_fixture_done(&bench); /* its context took its mappings along */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sums_are_those_of_the_bytes),
      cmocka_unit_test(many_threads_sum_up_at_once),
      cmocka_unit_test(a_driver_that_compiles_nothing_cannot),
      cmocka_unit_test(an_older_driver_cannot),
      cmocka_unit_test(a_start_that_fails_says_so),
      cmocka_unit_test(a_lost_card_sums_up_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
