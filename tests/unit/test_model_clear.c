/* A clear takes the copies in RAM of models that stay where they are, and no model. */
#include "service_fixture.h"

#include <stdio.h>
#include <unistd.h>

#include "model_fixture.h"
#include "service/work.h"

static const char *const devices[] = {"host:0=64MiB", "fake:0=32MiB", NULL};

static int setup(void **state) {
  *state = model_fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

static void load(void **state, const char *path, const char *name, const char *device) {
  struct model_load params = model_fixture_load(path, name, device);
  struct job_view view;
  assert_int_equal(model_fixture_run(*state, &params, &view), STATUS_OK);
}

static struct job_clear clear(void **state, const struct caller *caller, const char *device) {
  struct work_clear params = {.scope = WORK_CLEAR_CACHE};
  struct work_started started;
  struct problem problem;
  struct job_view view;
  snprintf(params.device, sizeof params.device, "%s", device);
  assert_int_equal(work_clear_start(fixture_service(*state), caller, &params, &started, &problem),
                   STATUS_OK);
  fixture_end(started.job, &view);
  assert_int_equal(view.state, JOB_COMPLETED);
  return view.result.clear;
}

static void copies_go_and_models_stay(void **state) {
  const char *first = model_fixture_file("a", 4 * MIB, 1);
  const char *second = model_fixture_file("b", 2 * MIB, 2);
  const char *third = model_fixture_file("c", 2 * MIB, 3);
  load(state, first, "a", "fake:0");
  load(state, second, "b", "fake:0");
  load(state, third, "c", "host:0");
  uint64_t before = fixture_figures(*state, "host:0").committed_bytes;
  struct job_clear cleared = clear(state, &fixture_admin, "");
  assert_int_equal(cleared.cleared_allocations, 2);
  assert_true(cleared.cleared_bytes >= 6 * MIB);
  assert_int_equal(before - cleared.cleared_bytes,
                   fixture_figures(*state, "host:0").committed_bytes);
  assert_false(model_fixture_look(*state, "a").ram_copy);
  assert_false(model_fixture_look(*state, "b").ram_copy);
  assert_int_equal(model_fixture_look(*state, "a").state, MODEL_READY);
  assert_int_equal(model_fixture_look(*state, "c").state, MODEL_READY);
  model_fixture_same(*state, "a", first);
  model_fixture_same(*state, "c", third);
  assert_int_equal(clear(state, &fixture_admin, "").cleared_bytes, 0);
  unlink(first);
  unlink(second);
  unlink(third);
}

static void not_those_of_others_nor_of_other_devices(void **state) {
  const char *path = model_fixture_file("a", 4 * MIB, 1);
  struct caller other = fixture_admin;
  other.role = CALLER_WRITE;
  other.domain++;
  load(state, path, "a", "fake:0");
  assert_int_equal(clear(state, &other, "").cleared_bytes, 0);
  assert_int_equal(clear(state, &fixture_admin, "fake:0").cleared_bytes, 0);
  assert_true(model_fixture_look(*state, "a").ram_copy);
  unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(copies_go_and_models_stay, setup, teardown),
      cmocka_unit_test_setup_teardown(not_those_of_others_nor_of_other_devices, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
