/*
 * device/wrap: what a device's spec says shall go wrong does, and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/units.h"
#include "device/device.h"

#define SIZE (4 * MIB)

struct bench {
  struct spec spec;
  struct device *device;
  struct device_mover *mover;
};

static struct bench bench_make(const char *text) {
  struct bench bench = {.device = NULL};
  struct problem problem;
  assert_int_equal(STATUS_OK, spec_parse(text, &bench.spec, &problem));
  assert_int_equal(STATUS_OK, device_open(&bench.spec, NULL, &bench.device));
  assert_int_equal(STATUS_OK, device_mover_open(&bench.spec, &bench.mover));
  return bench;
}

static void bench_done(struct bench *bench) {
  device_mover_close(bench->mover);
  device_close(bench->device);
}

static enum status create(struct bench *bench, uint64_t size, struct share *out) {
  struct device_call call = {.action = DEVICE_CREATE, .size = size};
  enum status status = device_run(bench->device, &call);
  *out = call.share;
  return status;
}

static void release(struct bench *bench, struct share share, uint64_t size) {
  struct device_call call = {.action = DEVICE_RELEASE, .size = size, .share = share};
  assert_int_equal(STATUS_OK, device_run(bench->device, &call));
}

static void every_nth_call_fails_and_the_next_works(void **state) {
  (void)state;
  struct bench bench = bench_make("fake:0=1GiB,fail=create:3");
  struct share share;
  for (unsigned i = 1; i <= 9; i++) {
    assert_int_equal(i % 3 ? STATUS_OK : STATUS_INSUFFICIENT_MEMORY, create(&bench, SIZE, &share));
    if (i % 3)
      release(&bench, share, SIZE);
  }
  bench_done(&bench);
}

static void moving_bytes_can_be_made_to_fail(void **state) {
  (void)state;
  static const char *const texts[] = {"fake:0=1GiB,fail=write:2", "host:0=1GiB,fail=write:2"};
  static const char bytes[4096];
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct bench bench = bench_make(texts[i]);
    struct share share;
    struct device_place place = {NULL, 0};
    assert_int_equal(STATUS_OK, create(&bench, SIZE, &share));
    assert_int_equal(STATUS_OK, device_import(bench.mover, &share, SIZE, &place.segment));
    assert_int_equal(STATUS_OK, device_write(place, sizeof bytes, bytes));
    assert_int_equal(STATUS_DEVICE_UNAVAILABLE, device_write(place, sizeof bytes, bytes));
    assert_int_equal(STATUS_OK, device_write(place, sizeof bytes, bytes));
    device_drop(place.segment);
    release(&bench, share, SIZE);
    bench_done(&bench);
  }
}

static void a_quota_holds(void **state) {
  (void)state;
  struct bench bench = bench_make("host:0=1GiB,quota=4MiB");
  struct share share, other;
  assert_int_equal(STATUS_OK, create(&bench, SIZE, &share));
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, create(&bench, 4096, &other));
  release(&bench, share, SIZE);
  assert_int_equal(STATUS_OK, create(&bench, 4096, &other));
  release(&bench, other, 4096);
  bench_done(&bench);
}

static void a_full_card_says_so(void **state) {
  (void)state;
  struct bench bench = bench_make("fake:0=8MiB");
  struct share shares[2], more;
  struct device_call budget = {.action = DEVICE_BUDGET};
  for (unsigned i = 0; i < 2; i++)
    assert_int_equal(STATUS_OK, create(&bench, SIZE, &shares[i]));
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, create(&bench, 4096, &more));
  assert_int_equal(STATUS_OK, device_run(bench.device, &budget));
  assert_int_equal(0, budget.budget.free_bytes);
  for (unsigned i = 0; i < 2; i++)
    release(&bench, shares[i], SIZE);
  bench_done(&bench);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_nth_call_fails_and_the_next_works),
      cmocka_unit_test(moving_bytes_can_be_made_to_fail),
      cmocka_unit_test(a_quota_holds),
      cmocka_unit_test(a_full_card_says_so),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
