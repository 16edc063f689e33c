/* A load under another file's name: what is wrong with its path is said first. */
#include "service_fixture.h"

#include <stdio.h>
#include <unistd.h>

#include "model_fixture.h"
#include "service/model_taken.h"

static const char *const devices[] = {"host:0=64MiB", NULL};
static const char *file, *other;

static int setup(void **state) {
  struct job_view view;
  *state = model_fixture_start(devices);
  file = model_fixture_file("a", 1000, 1);
  other = model_fixture_file("b", 1000, 2);
  struct model_load params = model_fixture_load(file, "m", "host:0");
  return model_fixture_run(*state, &params, &view) != STATUS_OK;
}

static int teardown(void **state) {
  fixture_stop(*state);
  unlink(file);
  unlink(other);
  return 0;
}

/* The job; NULL: it is refused at once, *status says how. */
static struct job *start(void **state, const char *path, enum status *status) {
  struct model_load params = model_fixture_load(path, "m", "host:0");
  struct model_started started;
  struct problem problem;
  *status = model_load_start(fixture_service(*state), &fixture_admin, &params, &started, &problem);
  return *status ? NULL : started.job;
}

static enum status refused(void **state, const char *path) {
  struct job_view view = {.state = JOB_PENDING};
  enum status status;
  struct job *job = start(state, path, &status);
  if (!job)
    return status;
  fixture_end(job, &view);
  assert_int_equal(view.id, 0); /* nobody finds it in the list of jobs */
  return view.problem.status;
}

static void assert_as_it_was(void **state) {
  assert_string_equal(model_fixture_look(*state, "m").path, file);
  assert_int_equal(model_fixture_look(*state, "m").state, MODEL_READY);
}

static void a_path_that_is_wrong_comes_first(void **state) {
  assert_int_equal(refused(state, other), STATUS_CONFLICT);
  assert_int_equal(refused(state, "/nobody/has/this"), STATUS_MODEL_NOT_FOUND);
  assert_int_equal(refused(state, "not/absolute"), STATUS_INVALID_ARGUMENT);
  assert_as_it_was(state);
}

/* A file system that lets its callers wait: so many do, and the next hear what is known. */
static void those_who_wait_for_a_file_system_are_few(void **state) {
  struct job *jobs[MODEL_TAKEN_LOOKS];
  struct job_view view;
  enum status status;
  model_fixture_shut(*state);
  for (unsigned i = 0; i < MODEL_TAKEN_LOOKS; i++)
    assert_non_null(jobs[i] = start(state, "/nobody/has/this", &status));
  assert_null(start(state, "/nobody/has/this", &status));
  assert_int_equal(status, STATUS_CONFLICT);
  model_fixture_open();
  for (unsigned i = 0; i < MODEL_TAKEN_LOOKS; i++) {
    fixture_end(jobs[i], &view);
    assert_int_equal(view.problem.status, STATUS_MODEL_NOT_FOUND);
  }
  assert_int_equal(refused(state, other), STATUS_CONFLICT);
  assert_as_it_was(state);
}

/* The stop of the fixture finds it under way, and waits for it. */
static void a_stop_waits_for_who_looks(void **state) {
  enum status status;
  model_fixture_shut(*state);
  struct job *job = start(state, other, &status);
  assert_non_null(job);
  job_give(job);
  model_fixture_open();
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(a_path_that_is_wrong_comes_first),
      TEST(those_who_wait_for_a_file_system_are_few),
      TEST(a_stop_waits_for_who_looks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
