/* Clear, and the pressure that rises and falls. */
#include "service_fixture.h"

#include <stdio.h>
#include <string.h>

#include "base/id.h"

static const char *const devices[] = {"host:0=64MiB", "host:1=64MiB", NULL};

static int setup(void **state) {
  *state = fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

static struct job_clear clear(struct fixture *fixture, const struct work_clear *params) {
  struct work_started started;
  struct problem problem;
  struct job_view view;
  assert_int_equal(
      work_clear_start(fixture_service(fixture), &fixture_admin, params, &started, &problem),
      STATUS_OK);
  fixture_end(started.job, &view);
  assert_int_equal(view.state, JOB_COMPLETED);
  return view.result.clear;
}

static void clear_of_the_cache_spares_allocations(void **state) {
  struct view_alloc kept = fixture_make(*state, "host:0", 4096);
  struct view_alloc gone = fixture_make(*state, "host:1", 4096);
  fixture_write(*state, kept.id, 9);
  assert_int_equal(fixture_free(*state, gone.id, false), STATUS_OK);
  uint64_t cached = fixture_figures(*state, "host:1").cached_bytes;
  struct job_clear cleared = clear(*state, &(struct work_clear){.scope = WORK_CLEAR_CACHE});
  assert_int_equal(cleared.cleared_bytes, cached);
  assert_int_equal(cleared.cleared_allocations, 0);
  assert_int_equal(fixture_figures(*state, "host:1").segments, 0);
  assert_true(fixture_holds(*state, kept.id, 9));
}

static void clear_of_all_spares_what_is_protected(void **state) {
  struct alloc_params params = fixture_params("host:0", 4096);
  uint64_t kept[2];
  for (unsigned i = 0; i < 2; i++) {
    params.pinned = i == 0;
    params.persistent = i == 1;
    kept[i] = fixture_made(*state, &params).id;
  }
  for (unsigned i = 0; i < 600; i++)
    fixture_make(*state, i % 2 ? "host:0" : "host:1", 512);
  struct job_clear cleared =
      clear(*state, &(struct work_clear){.scope = WORK_CLEAR_ALL, .device = "host:1"});
  assert_int_equal(cleared.cleared_allocations, 300);
  assert_int_equal(fixture_figures(*state, "host:0").active_allocations, 302);
  cleared = clear(*state, &(struct work_clear){.scope = WORK_CLEAR_ALL});
  assert_int_equal(cleared.cleared_allocations, 300);
  assert_true(fixture_is_there(*state, kept[0]) && fixture_is_there(*state, kept[1]));
  cleared = clear(*state, &(struct work_clear){.scope = WORK_CLEAR_ALL, .force = true});
  assert_int_equal(cleared.cleared_allocations, 2);
  assert_int_equal(fixture_figures(*state, "host:0").segments, 0);
}

static void clear_of_idle_ones_looks_at_the_clock(void **state) {
  struct view_alloc idle = fixture_make(*state, "host:0", 4096);
  struct work_clear params = {.scope = WORK_CLEAR_IDLE, .idle_seconds = 3600};
  assert_int_equal(clear(*state, &params).cleared_allocations, 0);
  params.idle_seconds = UINT64_MAX / 4; /* no wrap to something short */
  assert_int_equal(clear(*state, &params).cleared_allocations, 0);
  params.idle_seconds = 0;
  assert_int_equal(clear(*state, &params).cleared_allocations, 1);
  assert_false(fixture_is_there(*state, idle.id));
}

static void clear_of_one_owner_spares_the_others(void **state) {
  struct view_alloc alloc = fixture_make(*state, "host:0", 4096);
  struct work_clear params = {.scope = WORK_CLEAR_ALL, .owner = "nobody"};
  assert_int_equal(clear(*state, &params).cleared_allocations, 0);
  id_format('o', alloc.owner.id, params.owner);
  assert_int_equal(clear(*state, &params).cleared_allocations, 1);
  fixture_make(*state, "host:0", 4096);
  memcpy(params.owner, alloc.owner.name, sizeof alloc.owner.name);
  assert_int_equal(clear(*state, &params).cleared_allocations, 1);
}

static void pressure_rises_falls_and_is_told(void **state) {
  struct service *s = fixture_service(*state);
  uint64_t before = events_last(service_events(s)), lost;
  struct view_alloc held = fixture_make(*state, "host:0", 62 * MIB);
  struct report_pressure pressure;
  struct problem problem;
  assert_int_equal(report_pressure(s, "host:0", &pressure, &problem), STATUS_OK);
  assert_int_equal(pressure.pressure.level, PRESSURE_CRITICAL);
  assert_int_equal(fixture_free(*state, held.id, false), STATUS_OK);
  assert_int_equal(report_pressure(s, "host:0", &pressure, &problem), STATUS_OK);
  assert_int_equal(pressure.pressure.level, PRESSURE_LOW);
  struct events_record event;
  unsigned changes = 0;
  for (; events_next(service_events(s), before, &event, &lost); before = event.id)
    changes += event.type == EVENTS_PRESSURE_CHANGED && event.device == 1;
  assert_int_equal(changes, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(clear_of_the_cache_spares_allocations), TEST(clear_of_all_spares_what_is_protected),
      TEST(clear_of_idle_ones_looks_at_the_clock), TEST(clear_of_one_owner_spares_the_others),
      TEST(pressure_rises_falls_and_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
