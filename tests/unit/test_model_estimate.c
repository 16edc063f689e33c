/* What a model takes of a device: the header's word at first, then what was measured, also in the
 * next daemon; and a load makes room for that. */
#include "crash_fixture.h"
#include "service_fixture.h"

#include <stdio.h>
#include <unistd.h>

#include "model_fixture.h"
#include "service/model.h"
#include "service/state.h"

#define FAKE 1
#define SIZE (4 * MIB)

static const char *const devices[] = {"host:0=64MiB", "fake:0=16MiB", NULL};

static int setup(void **state) {
  *state = model_fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

static struct job_trial try(struct fixture *fixture, const struct model_load *load) {
  struct model_load params = *load;
  struct job_view view;
  params.dry_run = true;
  assert_int_equal(model_fixture_run(fixture, &params, &view), STATUS_OK);
  return view.result.trial;
}

static void unload(struct fixture *fixture, const char *name) {
  struct model_unload params = {.force = true};
  struct model_started started;
  struct problem problem;
  struct job_view view;
  snprintf(params.model, sizeof params.model, "%s", name);
  assert_int_equal(
      model_unload_start(fixture_service(fixture), &fixture_admin, &params, &started, &problem),
      STATUS_OK);
  fixture_end(started.job, &view);
}

/* The driver is not asked any more, and says this. */
static bool set_external(struct fixture *fixture, void *arg) {
  struct service *s = fixture_service(fixture);
  LOCK_SCOPE(&s->lock);
  if (s->devices[FAKE].asked)
    return false;
  s->devices[FAKE].asked = true;
  s->devices[FAKE].external = *(uint64_t *)arg;
  return true;
}

static void ask_again(struct fixture *fixture) {
  struct service *s = fixture_service(fixture);
  LOCK_SCOPE(&s->lock);
  s->devices[FAKE].asked = false;
  s->devices[FAKE].external = 0;
}

/* Loads it while something that no ledger names grows on its device. */
static void load_while_it_grows(struct fixture *fixture, const struct model_load *params,
                                uint64_t bytes) {
  struct model_started started;
  struct problem problem;
  struct job_view view;
  fixture_mover(fixture, FIXTURE_HOLDS);
  assert_int_equal(
      model_load_start(fixture_service(fixture), &fixture_admin, params, &started, &problem),
      STATUS_OK);
  fixture_until_held(fixture, 1);
  fixture_until(fixture, set_external, &bytes);
  fixture_mover(fixture, FIXTURE_WORKS);
  fixture_end(started.job, &view);
  assert_int_equal(view.state, JOB_COMPLETED);
  ask_again(fixture);
}

static void the_header_s_word_becomes_a_measured_one(void **state) {
  const char *path = model_fixture_file("measured", SIZE, 1);
  struct model_load params = model_fixture_load(path, "m", "fake:0");
  struct job_view view;
  struct job_trial trial = try(*state, &params);
  assert_false(trial.estimate.measured);
  assert_int_equal(trial.estimate.weights_bytes, SIZE);
  assert_true(trial.estimate.overhead_bytes > 0);
  assert_int_equal(trial.estimate.correction, 100);
  assert_int_equal(model_fixture_run(*state, &params, &view), STATUS_OK);
  struct estimate estimate = model_fixture_look(*state, "m").estimate;
  assert_true(estimate.measured);
  assert_int_equal(estimate.correction, 100); /* nothing but its segments */
  assert_int_equal(estimate.total_bytes, trial.estimate.total_bytes);
  unload(*state, "m");
  assert_true(model_fixture_look(*state, "m").estimate.measured);
  snprintf(params.device, sizeof params.device, "%s", "host:0"); /* never loaded there */
  assert_false(try(*state, &params).estimate.measured);
  unlink(path);
}

static void what_grew_beside_it_is_learned_and_outlives_the_daemon(void **state) {
  const char *path = model_fixture_file("grew", SIZE, 1);
  struct model_load params = model_fixture_load(path, "m", "fake:0");
  struct crash_fixture next;
  load_while_it_grows(*state, &params, 4 * SIZE / 10);
  struct estimate estimate = model_fixture_look(*state, "m").estimate;
  assert_true(estimate.correction > 120 && estimate.correction <= 140);
  assert_true(estimate.total_bytes > SIZE * 12 / 10);
  crash_fixture(fixture_service(*state), &next);
  struct service *s = crash_fixture_next(&next, devices);
  assert_int_equal(model_fixture_find(s, "m").estimate.correction, estimate.correction);
  assert_int_equal(model_fixture_find(s, "m").estimate.total_bytes, estimate.total_bytes);
  crash_fixture_end(&next);
  unlink(path);
}

static bool would_evict_one(struct fixture *fixture, void *arg) {
  struct job_trial trial = try(fixture, arg);
  assert_true(trial.would_fit);
  return trial.count == 1;
}

/* 6 MiB more than its segments were measured: it does not fit beside the other, but nobody is kept
 * out when there is nobody who could go. */
static void room_is_made_for_what_was_measured(void **state) {
  const char *path = model_fixture_file("room", SIZE, 1), *other = model_fixture_file("o", SIZE, 2);
  struct model_load params = model_fixture_load(path, "m", "fake:0");
  struct model_load second = model_fixture_load(other, "o", "fake:0");
  struct job_view view;
  struct problem problem;
  struct view_alloc filler;
  load_while_it_grows(*state, &params, 6 * MIB);
  unload(*state, "m");
  assert_int_equal(model_fixture_run(*state, &second, &view), STATUS_OK);
  filler = fixture_make(*state, "fake:0", 4 * MIB);
  fixture_until(*state, would_evict_one, &params); /* it is too young to go for a moment */
  struct model_patch patch = {.model = "o", .has_pinned = true, .pinned = true};
  struct model_view ignored;
  assert_int_equal(
      model_change(fixture_service(*state), &fixture_admin, &patch, &ignored, &problem), STATUS_OK);
  struct job_trial trial = try(*state, &params);
  assert_true(trial.would_fit);
  assert_int_equal(trial.count, 0);
  assert_int_equal(model_fixture_run(*state, &params, &view), STATUS_OK);
  assert_int_equal(model_fixture_look(*state, "o").state, MODEL_READY);
  assert_int_equal(fixture_free(*state, filler.id, true), STATUS_OK);
  unlink(path);
  unlink(other);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(the_header_s_word_becomes_a_measured_one),
      TEST(what_grew_beside_it_is_learned_and_outlives_the_daemon),
      TEST(room_is_made_for_what_was_measured),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
