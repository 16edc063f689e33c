/*
 * device/vulkan/batch, through the mover, on a software driver as a FAKE card: many copies at once,
 * what differs afterwards, and what fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "device/vulkan/mover.h"
#include "device/vulkan/owner.h"
#include "vulkan_fixture.h"

#define SIZE (32 * MIB)
#define HALF (SIZE / 2)
#define MOVES 300

static const struct spec spec = {.id = "vulkan:0", .backend = "vulkan"};

struct bench {
  void *owner, *mover, *segments[2];
  struct share shares[2];
  char *bytes, *back;
  struct device_pair pairs[MOVES];
};

/* Odd sizes at odd places, from the first segment to both; the last takes several turns. */
static void plan(struct bench *bench) {
  uint64_t at = 0;
  for (unsigned i = 0; i < MOVES; i++) {
    uint64_t size = i == MOVES - 1 ? 9 * MIB + 5 : 1 + i * 577 % 40000;
    bench->pairs[i] = (struct device_pair){.from = {bench->segments[0], at, size},
                                           .to = {bench->segments[i / 5 % 2], HALF + at, size}};
    at += size + i % 17;
  }
  assert_true(at <= HALF);
}

static struct bench *bench_make(void) {
  struct bench *bench = calloc(1, sizeof *bench);
  bench->bytes = malloc(HALF);
  bench->back = malloc(SIZE);
  vulkan_fixture_use(1, true);
  for (size_t i = 0; i < HALF; i++)
    bench->bytes[i] = (char)(i * 31 + i / 977 + 1);
  assert_int_equal(STATUS_OK, vulkan_owner_open(&spec, &bench->owner));
  assert_int_equal(STATUS_OK, vulkan_mover_start(&spec, &bench->mover));
  for (unsigned i = 0; i < 2; i++) {
    assert_int_equal(STATUS_OK, vulkan_owner_create(bench->owner, SIZE, &bench->shares[i]));
    assert_int_equal(
        STATUS_OK, vulkan_mover_import(bench->mover, &bench->shares[i], SIZE, &bench->segments[i]));
    struct device_range all = {bench->segments[i], 0, SIZE};
    assert_int_equal(STATUS_OK, vulkan_mover_fill(bench->mover, &all, 0));
  }
  struct device_range first = {bench->segments[0], 0, HALF};
  assert_int_equal(STATUS_OK, vulkan_mover_write(bench->mover, &first, bench->bytes));
  plan(bench);
  return bench;
}

static void bench_done(struct bench *bench) {
  for (unsigned i = 0; i < 2; i++)
    vulkan_mover_drop(bench->mover, bench->segments[i], SIZE);
  vulkan_mover_stop(bench->mover);
  for (unsigned i = 0; i < 2; i++)
    vulkan_owner_release(bench->owner, &bench->shares[i], SIZE, true);
  vulkan_owner_close(bench->owner);
  free(bench->bytes);
  free(bench->back);
  free(bench);
}

static enum status go(struct bench *bench) {
  return vulkan_mover_copy_all(bench->mover, bench->pairs, MOVES);
}

static bool arrived(struct bench *bench, const struct device_pair *pair) {
  assert_int_equal(STATUS_OK, vulkan_mover_read(bench->mover, &pair->to, bench->back));
  return !memcmp(bench->bytes + pair->from.offset, bench->back, pair->to.size);
}

static void many_moves_at_once(void **state) {
  (void)state;
  struct bench *bench = bench_make();
  for (unsigned round = 0; round < 2; round++) {
    assert_int_equal(STATUS_OK, go(bench));
    for (unsigned i = 0; i < MOVES; i++)
      assert_true(bench->pairs[i].same && arrived(bench, &bench->pairs[i]));
  }
  bench_done(bench);
}

/* Of the first five, which are one command: that is how many go to one segment. */
static void a_move_that_differs_is_told_from_the_others(void **state) {
  (void)state;
  struct bench *bench = bench_make();
  vulkan_fixture_set("torn", "");
  assert_int_equal(STATUS_OK, go(bench));
  for (unsigned i = 0; i < MOVES; i++) {
    assert_int_equal(i != 4, bench->pairs[i].same);
    assert_int_equal(i != 4, arrived(bench, &bench->pairs[i]));
  }
  assert_int_equal(STATUS_OK, go(bench));
  assert_true(bench->pairs[4].same && arrived(bench, &bench->pairs[4]));
  bench_done(bench);
}

static void none_is_nothing(void **state) {
  (void)state;
  struct bench *bench = bench_make();
  assert_int_equal(STATUS_OK, vulkan_mover_copy_all(bench->mover, bench->pairs, 0));
  bench_done(bench);
}

static void a_card_that_fell_off_says_so(void **state) {
  (void)state;
  struct bench *bench = bench_make();
  vulkan_fixture_set("lost", "");
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, go(bench));
  vulkan_fixture_unset("lost");
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, go(bench));
  bench_done(bench);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(many_moves_at_once),
      cmocka_unit_test(a_move_that_differs_is_told_from_the_others),
      cmocka_unit_test(none_is_nothing),
      cmocka_unit_test(a_card_that_fell_off_says_so),
  };
  return cmocka_run_group_tests(tests, NULL, vulkan_fixture_done);
}
