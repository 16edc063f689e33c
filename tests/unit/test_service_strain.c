/* Critical pressure with nothing to take back: who stays out, and for how long. */
#include "service_fixture.h"

#include <string.h>

#include "base/clock.h"
#include "service/state.h"

static const char *const devices[] = {"host:0=64MiB", "fake:0=64MiB", NULL};
enum { CARD = 1 };

static int setup(void **state) {
  *state = fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

static enum status ask(struct fixture *fixture, const struct alloc_params *params,
                       char reason[16]) {
  struct problem problem;
  enum status status = fixture_allocate(fixture, &fixture_admin, params, NULL, &problem);
  strcpy(reason, status ? problem.space.reason : "");
  return status;
}

static void expect(struct fixture *fixture, int priority, const char *reason) {
  struct alloc_params params = fixture_params("fake:0", MIB);
  char found[16];
  params.priority = priority;
  enum status status = ask(fixture, &params, found);
  assert_int_equal(reason ? STATUS_INSUFFICIENT_MEMORY : STATUS_OK, status);
  assert_string_equal(reason ? reason : "", found);
}

static enum pressure_level level(struct fixture *fixture, const char *device) {
  struct report_pressure pressure;
  struct problem problem;
  assert_int_equal(STATUS_OK,
                   report_pressure(fixture_service(fixture), device, &pressure, &problem));
  return pressure.pressure.level;
}

static void only_what_is_critical_gets_in(void **state) {
  fixture_make(*state, "fake:0", 61 * MIB);
  expect(*state, VIEW_PRIORITY_NORMAL, "pressure");
  expect(*state, VIEW_PRIORITY_HIGH, "pressure");
  expect(*state, VIEW_PRIORITY_CRITICAL, NULL);
  fixture_make(*state, "host:0", MIB); /* the other one is not touched */
}

static void below_critical_there_are_no_rules(void **state) {
  fixture_make(*state, "fake:0", 60 * MIB);
  expect(*state, VIEW_PRIORITY_LOW, NULL);
}

/* Within a time in which nobody has waited for a minute. */
static void waiting_does_not_help(void **state) {
  fixture_make(*state, "fake:0", 61 * MIB);
  struct alloc_params params = fixture_params("fake:0", MIB);
  char reason[16];
  params.wait_ms = 60000;
  uint64_t before = clock_now();
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, ask(*state, &params, reason));
  assert_string_equal("pressure", reason);
  assert_true(clock_now() - before < 30 * CLOCK_SECOND);
}

/* A full device is no hog's yet: who asks for more than there is may wait for it. */
static void what_would_not_fit_anyway_may_wait(void **state) {
  struct view_alloc all = fixture_make(*state, "fake:0", 64 * MIB);
  struct alloc_params params = fixture_params("fake:0", 32 * MIB);
  struct alloc_made made;
  struct problem problem;
  struct job_view view;
  params.wait_ms = 60000;
  assert_int_equal(STATUS_PENDING,
                   alloc_make(fixture_service(*state), &fixture_admin, &params, &made, &problem));
  assert_int_equal(STATUS_OK, fixture_free(*state, all.id, false));
  fixture_end(made.job, &view);
  assert_int_equal(STATUS_OK, view.problem.status);
}

static void the_best_device_is_another_one(void **state) {
  fixture_make(*state, "fake:0", 61 * MIB);
  struct alloc_params params = fixture_params("", MIB);
  struct view_alloc made = fixture_made(*state, &params);
  assert_string_equal("host:0", made.device_id);
}

static bool is_low(struct fixture *fixture, void *arg) {
  return level(fixture, arg) == PRESSURE_LOW;
}

/* The clock is put ahead, not waited for. */
static bool has_calmed(struct fixture *fixture, void *arg) {
  struct service *s = fixture_service(fixture);
  struct pressure_strain *strain = &s->devices[CARD].strain;
  (void)arg;
  LOCK_SCOPE(&s->lock);
  if (!strain->calm_at)
    return false;
  strain->calm_at -= PRESSURE_CALM_NS;
  return true;
}

static void it_is_left_only_after_a_calm(void **state) {
  struct view_alloc hog = fixture_make(*state, "fake:0", 61 * MIB);
  expect(*state, VIEW_PRIORITY_NORMAL, "pressure");
  assert_int_equal(STATUS_OK, fixture_free(*state, hog.id, false));
  expect(*state, VIEW_PRIORITY_NORMAL, "pressure");
  assert_int_equal(PRESSURE_CRITICAL, level(*state, "fake:0"));
  fixture_until(*state, has_calmed, NULL);
  fixture_until(*state, is_low, "fake:0");
  expect(*state, VIEW_PRIORITY_NORMAL, NULL);
}

static void stalls_raise_the_hosts_level(void **state) {
  struct service *s = fixture_service(*state);
  service_stalled(s, false);
  assert_int_equal(PRESSURE_MODERATE, level(*state, "host:0"));
  service_stalled(s, true);
  assert_int_equal(PRESSURE_HIGH, level(*state, "host:0"));
  assert_int_equal(PRESSURE_HIGH, level(*state, ""));
  assert_int_equal(PRESSURE_LOW, level(*state, "fake:0"));
  lock_take(&s->lock);
  s->stalls.some_at -= PRESSURE_STALL_NS;
  s->stalls.full_at -= PRESSURE_STALL_NS;
  lock_give(&s->lock);
  assert_int_equal(PRESSURE_LOW, level(*state, "host:0"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(only_what_is_critical_gets_in),  TEST(below_critical_there_are_no_rules),
      TEST(waiting_does_not_help),          TEST(what_would_not_fit_anyway_may_wait),
      TEST(the_best_device_is_another_one), TEST(it_is_left_only_after_a_calm),
      TEST(stalls_raise_the_hosts_level),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
