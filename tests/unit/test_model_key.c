/* Idempotency keys of loads: one key, one result, also in the next daemon; a failure is none. */
#include "crash_fixture.h"
#include "service_fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "model_fixture.h"
#include "service/model.h"

static const char *const devices[] = {"host:0=64MiB", "fake:0=16MiB", NULL};

static int setup(void **state) {
  *state = model_fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

static struct caller with_key(const char *key) {
  struct caller caller = fixture_admin;
  snprintf(caller.key, sizeof caller.key, "%s", key);
  return caller;
}

/* How it ended; the model's id where it is well. */
static enum status load(struct service *s, const struct caller *caller,
                        const struct model_load *params, uint64_t *id) {
  struct model_started started;
  struct problem problem;
  struct job_view view;
  enum status status = model_load_start(s, caller, params, &started, &problem);
  if (status || !started.job) {
    *id = started.model.id;
    return status;
  }
  fixture_end(started.job, &view);
  *id = view.result.model.model;
  return view.problem.status;
}

static void a_key_answers_with_the_first_result(void **state) {
  const char *path = model_fixture_file("key", MIB, 1);
  struct model_load params = model_fixture_load(path, "", "host:0");
  struct caller caller = with_key("k"), other = with_key("k");
  struct service *s = fixture_service(*state);
  uint64_t first = 0, second = 0;
  other.domain = 1234;
  assert_int_equal(load(s, &caller, &params, &first), STATUS_OK);
  assert_int_equal(load(s, &caller, &params, &second), STATUS_OK);
  assert_int_equal(first, second);
  snprintf(params.name, sizeof params.name, "%s", "another");
  assert_int_equal(load(s, &caller, &params, &second), STATUS_CONFLICT);
  assert_int_equal(load(s, &other, &params, &second), STATUS_OK); /* its own domain's key */
  assert_int_not_equal(first, second);
  unlink(path);
}

/* It had nothing to do, and yet the key is used. */
static void a_key_may_find_what_was_there(void **state) {
  const char *path = model_fixture_file("there", MIB, 1), *two = model_fixture_file("two", MIB, 2);
  struct model_load params = model_fixture_load(path, "m", "host:0");
  struct caller caller = with_key("k");
  struct service *s = fixture_service(*state);
  struct crash_fixture next;
  uint64_t first = 0, second = 0;
  assert_int_equal(load(s, &fixture_admin, &params, &first), STATUS_OK);
  assert_int_equal(load(s, &caller, &params, &second), STATUS_OK);
  assert_int_equal(first, second);
  crash_fixture(s, &next);
  s = crash_fixture_next(&next, devices);
  assert_int_equal(load(s, &caller, &params, &second), STATUS_OK);
  assert_int_equal(first, second);
  params = model_fixture_load(two, "n", "host:0");
  assert_int_equal(load(s, &caller, &params, &second), STATUS_CONFLICT);
  crash_fixture_end(&next);
  unlink(path);
  unlink(two);
}

static void it_holds_in_the_next_daemon(void **state) {
  const char *path = model_fixture_file("next", MIB, 1);
  struct model_load params = model_fixture_load(path, "m", "fake:0");
  struct caller caller = with_key("k");
  struct crash_fixture next;
  uint64_t first = 0, second = 0;
  assert_int_equal(load(fixture_service(*state), &caller, &params, &first), STATUS_OK);
  unlink(path); /* nothing is read again */
  crash_fixture(fixture_service(*state), &next);
  struct service *s = crash_fixture_next(&next, devices);
  assert_int_equal(load(s, &caller, &params, &second), STATUS_OK);
  assert_int_equal(first, second);
  params.pinned = true;
  assert_int_equal(load(s, &caller, &params, &second), STATUS_CONFLICT);
  crash_fixture_end(&next);
}

static void a_failure_does_not_use_the_key_up(void **state) {
  const char *path = model_fixture_file("fails", MIB, 1);
  struct model_load params = model_fixture_load(path, "m", "host:0");
  struct caller caller = with_key("k");
  struct service *s = fixture_service(*state);
  uint64_t id = 0;
  fixture_mover(*state, FIXTURE_FAILS);
  assert_int_equal(load(s, &caller, &params, &id), STATUS_WORKER_UNAVAILABLE);
  fixture_mover(*state, FIXTURE_WORKS);
  assert_int_equal(load(s, &caller, &params, &id), STATUS_OK);
  unlink(path);
}

static void a_repetition_waits_for_the_same_load(void **state) {
  const char *path = model_fixture_file("waits", MIB, 1);
  struct model_load params = model_fixture_load(path, "m", "host:0");
  struct caller caller = with_key("k");
  struct service *s = fixture_service(*state);
  struct model_started first, second;
  struct problem problem;
  struct job_view view;
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(model_load_start(s, &caller, &params, &first, &problem), STATUS_OK);
  assert_int_equal(model_load_start(s, &caller, &params, &second, &problem), STATUS_OK);
  assert_ptr_equal(first.job, second.job);
  fixture_until_held(*state, 1);
  fixture_mover(*state, FIXTURE_WORKS);
  fixture_end(first.job, &view);
  assert_int_equal(view.state, JOB_COMPLETED);
  job_give(second.job);
  unlink(path);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(a_key_answers_with_the_first_result),  TEST(a_key_may_find_what_was_there),
      TEST(it_holds_in_the_next_daemon),          TEST(a_failure_does_not_use_the_key_up),
      TEST(a_repetition_waits_for_the_same_load),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
