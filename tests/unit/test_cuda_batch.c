/*
 * device/cuda/batch, by way of the mover, on FAKE cards: many moves at once, compared on the card.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "cuda_fixture.h"
#include "device/cuda/mover.h"
#include "device/cuda/owner.h"

#define SIZE (16 * MIB)
#define HALF (SIZE / 2)
#define MOVES 100
#define PARTS 4
#define NO_SECOND                                                                                  \
  "cuMemAlloc_v2:2:2,cuMemAlloc_v2:3:2,cuMemAlloc_v2:4:2,cuMemAlloc_v2:5:2,cuMemAlloc_v2:6:2,"     \
  "cuMemAlloc_v2:7:2,cuMemAlloc_v2:8:2"

struct bench {
  void *owner, *mover, *segment;
  struct share share;
  struct device_budget before;
  char *bytes, *back;
  struct device_pair pairs[MOVES];
};

/* Odd sizes at odd places, from the first half to the second; the last takes several pieces. */
static void plan(struct bench *bench) {
  uint64_t at = 0;
  for (unsigned i = 0; i < MOVES; i++) {
    uint64_t size = i == MOVES - 1 ? 3 * MIB + 5 : 1 + i * 577 % 40000;
    bench->pairs[i] = (struct device_pair){.from = {bench->segment, at, size},
                                           .to = {bench->segment, HALF + at, size}};
    at += size + i % 17;
  }
  assert_true(at <= HALF);
}

static struct bench *bench_make(const char *library, const char *fail) {
  static const struct spec spec = {.id = "cuda:0", .backend = "cuda"};
  struct bench *bench = calloc(1, sizeof *bench);
  bench->bytes = malloc(SIZE);
  bench->back = malloc(SIZE);
  cuda_fixture_use(library);
  if (fail)
    setenv("FAKE_CUDA_FAIL", fail, 1);
  for (size_t i = 0; i < SIZE; i++)
    bench->bytes[i] = (char)(i * 31 + i / 977 + 1);
  assert_int_equal(STATUS_OK, cuda_owner_open(&spec, &bench->owner));
  assert_int_equal(STATUS_OK, cuda_owner_budget(bench->owner, &bench->before));
  assert_int_equal(STATUS_OK, cuda_owner_create(bench->owner, SIZE, &bench->share));
  assert_int_equal(STATUS_OK, cuda_mover_start(&spec, &bench->mover));
  assert_int_equal(STATUS_OK,
                   cuda_mover_import(bench->mover, &bench->share, SIZE, &bench->segment));
  struct device_range first = {bench->segment, 0, HALF};
  assert_int_equal(STATUS_OK, cuda_mover_write(bench->mover, &first, bench->bytes));
  plan(bench);
  return bench;
}

static void bench_done(struct bench *bench) {
  struct device_budget budget;
  cuda_mover_drop(bench->mover, bench->segment, SIZE);
  cuda_mover_stop(bench->mover);
  cuda_owner_release(bench->owner, &bench->share, SIZE, true);
  assert_int_equal(STATUS_OK, cuda_owner_budget(bench->owner, &budget));
  assert_int_equal(bench->before.used_bytes, budget.used_bytes); /* no list either */
  cuda_owner_close(bench->owner);
  free(bench->bytes);
  free(bench->back);
  free(bench);
}

static void assert_moved(struct bench *bench) {
  struct device_range all = {bench->segment, 0, SIZE};
  assert_int_equal(STATUS_OK, cuda_mover_read(bench->mover, &all, bench->back));
  for (unsigned i = 0; i < MOVES; i++) {
    const struct device_pair *pair = &bench->pairs[i];
    assert_true(pair->same);
    assert_memory_equal(bench->bytes + pair->from.offset, bench->back + pair->to.offset,
                        pair->to.size);
  }
}

static void many_moves_at_once(void **state) {
  (void)state;
  struct bench *bench = bench_make("fake_libcuda", NULL);
  for (unsigned round = 0; round < 2; round++) {
    assert_int_equal(STATUS_OK, cuda_mover_copy_all(bench->mover, bench->pairs, MOVES));
    assert_moved(bench);
  }
  bench_done(bench);
}

struct part {
  struct bench *bench;
  pthread_t thread;
  unsigned first;
  enum status status;
};

static void *move_part(void *arg) {
  struct part *part = arg;
  for (unsigned round = 0; round < 8 && !part->status; round++)
    part->status =
        cuda_mover_copy_all(part->bench->mover, &part->bench->pairs[part->first], MOVES / PARTS);
  return NULL;
}

static void move_in_parts(struct bench *bench) {
  struct part parts[PARTS];
  for (unsigned i = 0; i < PARTS; i++) {
    parts[i] = (struct part){.bench = bench, .first = MOVES / PARTS * i, .status = STATUS_OK};
    assert_int_equal(0, pthread_create(&parts[i].thread, NULL, move_part, &parts[i]));
  }
  for (unsigned i = 0; i < PARTS; i++) {
    pthread_join(parts[i].thread, NULL);
    assert_int_equal(STATUS_OK, parts[i].status);
  }
  assert_moved(bench);
}

static void many_batches_at_once(void **state) {
  (void)state;
  struct bench *bench = bench_make("fake_libcuda", NULL);
  move_in_parts(bench);
  bench_done(bench);
}

/* The one that there is serves all. */
static void a_card_without_room_for_a_second_list(void **state) {
  (void)state;
  struct bench *bench = bench_make("fake_libcuda", NO_SECOND);
  move_in_parts(bench);
  bench_done(bench);
}

static void a_move_that_differs_is_told_from_the_others(void **state) {
  (void)state;
  struct bench *bench = bench_make("fake_libcuda", "piece:3:1,piece:120:1");
  assert_int_equal(STATUS_OK, cuda_mover_copy_all(bench->mover, bench->pairs, MOVES));
  for (unsigned i = 0; i < MOVES; i++)
    assert_int_equal(i != 2 && i != MOVES - 1, bench->pairs[i].same);
  bench_done(bench);
}

/* Each step fails once, that of the kernel also when it is tried ahead; the next time it works.
 */
static void a_batch_that_fails_says_so(void **state) {
  (void)state;
  static const char *const steps[] = {"cuModuleLoadData:1:2,cuModuleLoadData:2:2",
                                      "cuModuleGetFunction:1:2,cuModuleGetFunction:2:2",
                                      "cuMemAlloc_v2:1:2", "cuLaunchKernelEx:1:2"};
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    struct bench *bench = bench_make("fake_libcuda", steps[i]);
    assert_int_equal(STATUS_INSUFFICIENT_MEMORY,
                     cuda_mover_copy_all(bench->mover, bench->pairs, MOVES));
    assert_int_equal(STATUS_OK, cuda_mover_copy_all(bench->mover, bench->pairs, MOVES));
    assert_moved(bench);
    bench_done(bench);
  }
}

static void an_older_driver_has_none(void **state) {
  (void)state;
  struct bench *bench = bench_make("fake_libcuda_old", NULL);
  assert_int_equal(STATUS_DEVICE_NOT_FOUND, cuda_mover_copy_all(bench->mover, bench->pairs, MOVES));
  assert_int_equal(STATUS_OK,
                   cuda_mover_copy(bench->mover, &bench->pairs[0].from, &bench->pairs[0].to));
  bench_done(bench);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(many_moves_at_once),
      cmocka_unit_test(many_batches_at_once),
      cmocka_unit_test(a_card_without_room_for_a_second_list),
      cmocka_unit_test(a_move_that_differs_is_told_from_the_others),
      cmocka_unit_test(a_batch_that_fails_says_so),
      cmocka_unit_test(an_older_driver_has_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
