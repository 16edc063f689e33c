/* What is foretold after room was made ahead of time: use fell by that, and goes on rising. */
#include "service_fixture.h"

#include <string.h>

#include "base/clock.h"
#include "service/state.h"
#include "service/usage.h"

#define RISE (3 * MIB) /* a second */
#define BEFORE 60      /* seconds of it, before the step and after */
#define AFTER 20

static int setup(void **state) {
  static const char *const devices[] = {"host:0=1GiB", NULL};
  *state = fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

/* A rise with a fall in it. Under the lock. */
static void pretend(struct state_device *device, uint64_t fall, uint64_t step_at) {
  uint64_t now = clock_real();
  for (uint64_t i = 0; i < BEFORE + AFTER; i++)
    device->samples[i] =
        (struct state_sample){.time = now - (BEFORE + AFTER - i) * CLOCK_SECOND,
                              .used = 400 * MIB + i * RISE - (i < BEFORE ? 0 : fall)};
  device->sample_count = BEFORE + AFTER;
  device->step_at = step_at;
  device->foretold_at = 0;
}

/* Again when the second's own sample came in between. */
static struct forecast foretold(void **state, uint64_t fall, uint64_t step_at) {
  struct service *s = fixture_service(*state);
  struct forecast found;
  bool alone = false;
  while (!alone) {
    lock_take(&s->lock);
    pretend(&s->devices[0], fall, step_at);
    lock_give(&s->lock);
    found = usage_forecast(s, 0);
    lock_take(&s->lock);
    alone = s->devices[0].sample_count == BEFORE + AFTER;
    lock_give(&s->lock);
  }
  return found;
}

static void a_rise_that_goes_on_is_seen_after_the_step(void **state) {
  struct forecast found = foretold(state, 120 * MIB, BEFORE);
  assert_int_equal(found.direction, FORECAST_RISING);
  assert_in_range((uint64_t)found.bytes_per_second, RISE * 9 / 10, RISE * 11 / 10);
}

static void a_fall_that_is_not_ours_counts(void **state) {
  assert_int_equal(foretold(state, 0, 0).direction, FORECAST_RISING);
  assert_int_not_equal(foretold(state, 120 * MIB, 0).direction, FORECAST_RISING);
}

static void too_soon_after_it_nothing_is_foretold(void **state) {
  assert_int_equal(foretold(state, 120 * MIB, BEFORE + AFTER - 5).direction, FORECAST_STEADY);
  assert_int_equal(foretold(state, 120 * MIB, BEFORE + AFTER + 1).direction, FORECAST_STEADY);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(a_rise_that_goes_on_is_seen_after_the_step),
      TEST(a_fall_that_is_not_ours_counts),
      TEST(too_soon_after_it_nothing_is_foretold),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
