/* Relief: models make room when a device's use crosses the trigger, once per crossing. */
#include "service_fixture.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "model_fixture.h"
#include "service/state.h"

#define CARD 1
#define LOOKS 3 /* relief is thought of with each sample: once a second */

static const char *const devices[] = {"host:0=64MiB", "fake:0=16MiB", NULL};

static int setup(void **state) {
  *state = model_fixture_start(devices);
  service_set_relief(fixture_service(*state), &(struct service_relief){8000, 7000, 0, false});
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

/* From a file that is gone again. */
static struct model_view load(void **state, const char *name, uint64_t size, bool pinned) {
  const char *path = model_fixture_file(name, size, 1);
  struct model_load params = model_fixture_load(path, name, "fake:0");
  struct job_view end;
  params.pinned = pinned;
  if (model_fixture_run(*state, &params, &end))
    fail_msg("%s", end.problem.text);
  unlink(path);
  return model_fixture_look(*state, name);
}

static bool is_parked(struct fixture *fixture, void *name) {
  return model_fixture_look(fixture, name).state == MODEL_PARKED;
}

static uint64_t samples(struct fixture *fixture) {
  struct service *s = fixture_service(fixture);
  LOCK_SCOPE(&s->lock);
  return s->devices[CARD].sample_count;
}

static bool are_taken(struct fixture *fixture, void *count) {
  return samples(fixture) >= *(uint64_t *)count;
}

static void wait_for_looks(void **state) {
  uint64_t count = samples(*state) + LOOKS;
  fixture_until(*state, are_taken, &count);
}

static void over_the_trigger_models_make_room_down_to_the_target(void **state) {
  load(state, "first", 5 * MIB, false);
  load(state, "second", 5 * MIB, false);
  load(state, "third", 4 * MIB, false);
  fixture_until(*state, is_parked, "first");
  assert_int_equal(model_fixture_look(*state, "second").state, MODEL_READY);
  assert_int_equal(model_fixture_look(*state, "third").state, MODEL_READY);
}

/* It does not come between a load and the attach that follows. */
static void it_leaves_alone_what_was_used_just_now(void **state) {
  uint64_t used = load(state, "large", 14 * MIB, false).last_used_at;
  fixture_until(*state, is_parked, "large");
  assert_true(clock_real() >= used + CLOCK_SECOND);
}

/* What nobody can give back is asked for once: whoever comes later does not pay for it. */
static void it_comes_again_only_when_use_was_well_below_the_trigger(void **state) {
  load(state, "pinned", 13 * MIB, true);
  wait_for_looks(state);
  load(state, "late", MIB, false);
  wait_for_looks(state);
  assert_int_equal(model_fixture_look(*state, "late").state, MODEL_READY);
  model_fixture_unload(*state, "pinned");
  wait_for_looks(state);
  load(state, "large", 13 * MIB, false);
  fixture_until(*state, is_parked, "large"); /* without it the other one need not go */
}

static bool has_no_copy(struct fixture *fixture, void *name) {
  return !model_fixture_look(fixture, name).ram_copy;
}

/* However little of it is used. Some programs that wait are no reason yet: to have them again takes
 * as long as to read the files. */
static void when_all_programs_stall_second_copies_go(void **state) {
  assert_true(load(state, "one", MIB, false).ram_copy);
  service_stalled(fixture_service(*state), false);
  wait_for_looks(state);
  assert_true(model_fixture_look(*state, "one").ram_copy);
  service_stalled(fixture_service(*state), true);
  fixture_until(*state, has_no_copy, "one");
  assert_int_equal(model_fixture_look(*state, "one").state, MODEL_READY);
  assert_false(load(state, "two", MIB, false).ram_copy); /* nor are there new ones */
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(over_the_trigger_models_make_room_down_to_the_target),
      TEST(it_leaves_alone_what_was_used_just_now),
      TEST(it_comes_again_only_when_use_was_well_below_the_trigger),
      TEST(when_all_programs_stall_second_copies_go),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
