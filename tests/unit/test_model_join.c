/* Who asks for a model that is being loaded has a load of his own when that one is stopped. */
#include "service_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "model_fixture.h"
#include "service/model.h"

#define MOST 5000 /* more than the daemon has jobs under way */

static const char *const devices[] = {"host:0=64MiB", "fake:0=16MiB", NULL};

static int setup(void **state) {
  *state = model_fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

static struct job *start(void **state, const struct model_load *params) {
  struct model_started started;
  struct problem problem;
  if (model_load_start(fixture_service(*state), &fixture_admin, params, &started, &problem))
    fail_msg("%s", problem.text);
  assert_non_null(started.job);
  return started.job;
}

static enum job_state ended(struct job *job) {
  struct job_view view;
  fixture_end(job, &view);
  return view.state;
}

static void cancel(struct job *job) {
  struct problem problem;
  assert_int_equal(job_cancel(job, &fixture_admin, &problem), STATUS_OK);
}

static void two_that_join_one_that_is_cancelled_load_it(void **state) {
  const char *path = model_fixture_file("a", 3 * MIB, 1);
  struct model_load params = model_fixture_load(path, "m", "fake:0");
  fixture_mover(*state, FIXTURE_HOLDS);
  struct job *first = start(state, &params), *second = start(state, &params),
             *third = start(state, &params);
  fixture_until_held(*state, 1);
  cancel(first);
  assert_int_equal(ended(first), JOB_CANCELLED);
  fixture_until_held(*state, 1);
  fixture_mover(*state, FIXTURE_WORKS);
  assert_int_equal(ended(second), JOB_COMPLETED);
  assert_int_equal(ended(third), JOB_COMPLETED);
  model_fixture_same(*state, "m", path);
  unlink(path);
}

/* Before its card is read nothing is listed: the second's is another model. */
static void who_goes_on_is_told_the_model_that_it_is(void **state) {
  const char *path = model_fixture_file("h", MIB, 8);
  struct model_load params = model_fixture_load(path, "m", "fake:0");
  struct job_view view;
  struct job *jobs[3];
  model_fixture_shut(*state);
  for (unsigned i = 0; i < 3; i++)
    jobs[i] = start(state, &params);
  cancel(jobs[0]);
  model_fixture_open();
  assert_int_equal(ended(jobs[0]), JOB_CANCELLED);
  for (unsigned i = 1; i < 3; i++) {
    fixture_end(jobs[i], &view);
    assert_int_equal(view.state, JOB_COMPLETED);
    assert_int_equal(view.result.model.model, model_fixture_look(*state, "m").id);
  }
  unlink(path);
}

static void who_cancels_his_own_leaves_the_other_s(void **state) {
  const char *path = model_fixture_file("b", 3 * MIB, 2);
  struct model_load params = model_fixture_load(path, "m", "fake:0");
  fixture_mover(*state, FIXTURE_HOLDS);
  struct job *first = start(state, &params), *second = start(state, &params);
  fixture_until_held(*state, 1);
  cancel(second);
  assert_int_equal(ended(second), JOB_CANCELLED); /* at once: the other is held */
  fixture_mover(*state, FIXTURE_WORKS);
  assert_int_equal(ended(first), JOB_COMPLETED);
  assert_int_equal(model_fixture_look(*state, "m").residency, MODEL_ON_DEVICE);
  unlink(path);
}

struct shown {
  struct job *job;
  uint64_t bytes;
  struct job_view view;
};

static bool is_shown(struct fixture *fixture, void *arg) {
  struct shown *shown = arg;
  (void)fixture;
  job_look(shown->job, &shown->view);
  return shown->view.bytes_done == shown->bytes;
}

static struct job_view until_shown(void **state, struct job *job, uint64_t bytes) {
  struct shown shown = {.job = job, .bytes = bytes};
  fixture_until(*state, is_shown, &shown);
  return shown.view;
}

static void he_is_shown_the_progress_of_the_one_he_waits_for(void **state) {
  const char *path = model_fixture_file("n", 3 * MIB, 14);
  struct model_load params = model_fixture_load(path, "m", "fake:0");
  struct job_view first_view, view;
  params.keep_ram_copy = 0;
  fixture_mover(*state, FIXTURE_HOLDS);
  struct job *first = start(state, &params), *second = start(state, &params);
  fixture_until_held(*state, 1);
  fixture_progress(*state, MIB);
  until_shown(state, second, MIB);
  struct job *late = start(state, &params);
  until_shown(state, late, MIB); /* as it stands, without waiting for more of it */
  fixture_progress(*state, 2 * MIB);
  for (unsigned i = 0; i < 2; i++) {
    view = until_shown(state, i ? late : second, 2 * MIB);
    job_look(first, &first_view);
    assert_int_equal(view.state, JOB_RUNNING);
    assert_int_equal(view.bytes_total, first_view.bytes_total);
    assert_int_equal(view.started_at, first_view.started_at);
    assert_int_equal(view.bytes_per_second, first_view.bytes_per_second);
  }
  cancel(first);
  assert_int_equal(ended(first), JOB_CANCELLED);
  until_shown(state, second, 0); /* now it is theirs, and begins anew */
  until_shown(state, late, 0);
  fixture_mover(*state, FIXTURE_WORKS);
  assert_int_equal(ended(second), JOB_COMPLETED);
  assert_int_equal(ended(late), JOB_COMPLETED);
  unlink(path);
}

static void what_was_brought_on_a_guess_goes_on_when_the_guess_is_given_up(void **state) {
  const char *path = model_fixture_file("c", 3 * MIB, 3);
  struct model_load params = model_fixture_load(path, "m", "fake:0"), guess = params;
  struct job_view view;
  params.keep_ram_copy = 0;
  assert_int_equal(model_fixture_run(*state, &params, &view), STATUS_OK);
  model_fixture_unload(*state, "m");
  guess.ahead = true;
  guess.evict = false;
  fixture_mover(*state, FIXTURE_HOLDS);
  struct job *first = start(state, &guess);
  fixture_until_held(*state, 1);
  struct job *second = start(state, &params);
  cancel(first);
  assert_int_equal(ended(first), JOB_CANCELLED);
  fixture_mover(*state, FIXTURE_WORKS);
  assert_int_equal(ended(second), JOB_COMPLETED);
  assert_int_equal(model_fixture_look(*state, "m").residency, MODEL_ON_DEVICE);
  unlink(path);
}

static void who_may_evict_is_not_refused_with_one_who_may_not(void **state) {
  const char *there = model_fixture_file("d", 12 * MIB, 4),
             *path = model_fixture_file("e", 12 * MIB, 5);
  struct model_load old = model_fixture_load(there, "old", "fake:0"),
                    params = model_fixture_load(path, "m", "fake:0"), shy = params;
  struct job_view view;
  assert_int_equal(model_fixture_run(*state, &old, &view), STATUS_OK);
  shy.evict = false;
  struct job *first = start(state, &shy), *second = start(state, &params);
  assert_int_equal(ended(first), JOB_FAILED);
  assert_int_equal(ended(second), JOB_COMPLETED);
  assert_int_equal(model_fixture_look(*state, "m").residency, MODEL_ON_DEVICE);
  unlink(there);
  unlink(path);
}

static void what_is_wrong_with_the_file_is_told_to_both(void **state) {
  const char *path = model_fixture_file("f", MIB, 6);
  struct model_load params = model_fixture_load(path, "m", "fake:0");
  struct job_view view;
  assert_int_equal(truncate(path, 5), 0);
  struct job *first = start(state, &params), *second = start(state, &params);
  fixture_end(first, &view);
  assert_int_equal(view.problem.status, STATUS_MODEL_FORMAT_INVALID);
  fixture_end(second, &view);
  assert_int_equal(view.problem.status, STATUS_MODEL_FORMAT_INVALID);
  unlink(path);
}

static void what_stopped_the_one_is_told_to_who_joined_it(void **state) {
  const char *path = model_fixture_file("h", MIB, 8);
  struct model_load params = model_fixture_load(path, "m", "fake:0");
  struct job_view view;
  fixture_mover(*state, FIXTURE_HOLDS);
  struct job *jobs[] = {start(state, &params), start(state, &params)};
  fixture_until_held(*state, 1);
  fixture_mover(*state, FIXTURE_FAILS);
  for (unsigned i = 0; i < 2; i++) {
    fixture_end(jobs[i], &view);
    assert_int_equal(view.problem.status, STATUS_WORKER_UNAVAILABLE);
  }
  unlink(path);
}

/* ---- a client's own files ---- */

/* As the socket does it: open for the call alone. */
static enum status start_given(void **state, const char *path, rlim_t fds, struct job **out) {
  struct model_file file = {.name = "m", .share = {SHARE_FILE, open(path, O_RDONLY)}};
  struct model_load params = model_fixture_load("", "m", "fake:0");
  struct model_started started = {.job = NULL};
  struct problem problem;
  struct rlimit before, limit;
  params.files = &file;
  params.file_count = 1;
  getrlimit(RLIMIT_NOFILE, &before);
  limit = (struct rlimit){fds < before.rlim_cur ? fds : before.rlim_cur, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &limit);
  enum status status =
      model_load_start(fixture_service(*state), &fixture_admin, &params, &started, &problem);
  setrlimit(RLIMIT_NOFILE, &before);
  share_close(&file.share);
  *out = started.job;
  return status;
}

static void files_are_kept_until_it_is_his_turn(void **state) {
  const char *path = model_fixture_file("i", 3 * MIB, 9);
  struct job *first, *second;
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(start_given(state, path, RLIM_INFINITY, &first), STATUS_OK);
  fixture_until_held(*state, 1);
  assert_int_equal(start_given(state, path, RLIM_INFINITY, &second), STATUS_OK);
  cancel(first);
  assert_int_equal(ended(first), JOB_CANCELLED);
  fixture_mover(*state, FIXTURE_WORKS);
  assert_int_equal(ended(second), JOB_COMPLETED);
  model_fixture_same(*state, "m", path);
  unlink(path);
}

static void files_that_cannot_be_kept_are_no_harm_to_the_other(void **state) {
  const char *path = model_fixture_file("j", 3 * MIB, 10);
  struct job *first, *second;
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(start_given(state, path, RLIM_INFINITY, &first), STATUS_OK);
  fixture_until_held(*state, 1);
  assert_int_equal(start_given(state, path, 0, &second), STATUS_INTERNAL_ERROR);
  assert_null(second);
  fixture_mover(*state, FIXTURE_WORKS);
  assert_int_equal(ended(first), JOB_COMPLETED);
  model_fixture_same(*state, "m", path);
  unlink(path);
}

/* ---- too many, and the end ---- */

static void there_is_an_end_to_those_who_join(void **state) {
  const char *path = model_fixture_file("k", MIB, 11);
  struct model_load params = model_fixture_load(path, "m", "fake:0");
  struct model_started started = {.job = NULL};
  struct job *jobs[MOST];
  struct problem problem;
  enum status status = STATUS_OK;
  unsigned count = 0;
  fixture_mover(*state, FIXTURE_HOLDS);
  while (count < MOST && !status) {
    status = model_load_start(fixture_service(*state), &fixture_admin, &params, &started, &problem);
    if (!status)
      jobs[count++] = started.job;
  }
  assert_int_equal(status, STATUS_RATE_LIMITED);
  fixture_until_held(*state, 1);
  fixture_mover(*state, FIXTURE_WORKS);
  for (unsigned i = 0; i < count; i++)
    assert_int_equal(ended(jobs[i]), JOB_COMPLETED);
  model_fixture_same(*state, "m", path);
  unlink(path);
}

static void a_stop_ends_who_waits_for_another(void **state) {
  const char *path = model_fixture_file("g", MIB, 7);
  struct model_load params = model_fixture_load(path, "m", "fake:0");
  fixture_mover(*state, FIXTURE_HOLDS);
  job_give(start(state, &params));
  job_give(start(state, &params));
  fixture_until_held(*state, 1);
  unlink(path);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(two_that_join_one_that_is_cancelled_load_it),
      TEST(who_goes_on_is_told_the_model_that_it_is),
      TEST(who_cancels_his_own_leaves_the_other_s),
      TEST(he_is_shown_the_progress_of_the_one_he_waits_for),
      TEST(what_was_brought_on_a_guess_goes_on_when_the_guess_is_given_up),
      TEST(who_may_evict_is_not_refused_with_one_who_may_not),
      TEST(what_is_wrong_with_the_file_is_told_to_both),
      TEST(what_stopped_the_one_is_told_to_who_joined_it),
      TEST(files_are_kept_until_it_is_his_turn),
      TEST(files_that_cannot_be_kept_are_no_harm_to_the_other),
      TEST(there_is_an_end_to_those_who_join),
      TEST(a_stop_ends_who_waits_for_another),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
