/* Models: loaded, parked, shared, evicted; and that a load that fails leaves nothing behind. */
#include "service_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "model_fixture.h"
#include "service/state.h"

static const char *const devices[] = {"host:0=64MiB", "fake:0=16MiB", NULL};

static int setup(void **state) {
  *state = model_fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

static struct model_view loaded(void **state, const char *path, const char *name,
                                const char *device) {
  struct model_load params = model_fixture_load(path, name, device);
  struct job_view view;
  if (model_fixture_run(*state, &params, &view))
    fail_msg("%s", view.problem.text);
  return model_fixture_look(*state, name);
}

static enum status unload(void **state, const char *name, bool to_ram, uint64_t *freed) {
  struct model_unload params = {.to_ram = to_ram};
  struct model_started started;
  struct problem problem;
  struct job_view view;
  snprintf(params.model, sizeof params.model, "%s", name);
  enum status status =
      model_unload_start(fixture_service(*state), &fixture_admin, &params, &started, &problem);
  if (status || !started.job)
    return status;
  fixture_end(started.job, &view);
  *freed = view.result.model.freed_bytes;
  assert_true(view.problem.status || view.started_at);
  return view.problem.status;
}

static void assert_empty(void **state) {
  for (unsigned i = 0; i < 2; i++) {
    struct view_figures figures = fixture_figures(*state, i ? "fake:0" : "host:0");
    assert_int_equal(figures.committed_bytes, 0);
    assert_int_equal(figures.active_allocations, 0);
  }
}

static void on_host_memory_it_is_its_own_copy(void **state) {
  const char *path = model_fixture_file("a", 3000001, 1);
  uint64_t freed = 0;
  struct model_view view = loaded(state, path, "a", "host:0");
  assert_int_equal(view.state, MODEL_READY);
  assert_int_equal(view.residency, MODEL_IN_RAM);
  assert_int_equal(view.tensors, 1);
  assert_int_equal(view.estimate.weights_bytes, 3000001);
  assert_false(view.ram_copy);
  model_fixture_same(*state, "a", path);
  assert_int_equal(unload(state, "a", true, &freed), STATUS_CONFLICT);
  assert_int_equal(unload(state, "a", false, &freed), STATUS_OK);
  assert_true(freed >= view.size_bytes);
  assert_int_equal(model_fixture_look(*state, "a").state, MODEL_UNLOADED);
  assert_int_equal(model_fixture_look(*state, "a").tensors, 1);
  assert_empty(state);
  unlink(path);
}

static void with_a_copy_in_ram_it_is_parked_without_copying(void **state) {
  const char *path = model_fixture_file("b", 4 * MIB, 2);
  uint64_t freed = 0;
  struct model_view view = loaded(state, path, "b", "fake:0");
  assert_int_equal(view.residency, MODEL_ON_DEVICE);
  assert_true(view.ram_copy);
  fixture_mover(*state, FIXTURE_FAILS);
  assert_int_equal(unload(state, "b", true, &freed), STATUS_OK);
  fixture_mover(*state, FIXTURE_WORKS);
  assert_true(freed >= 4 * MIB);
  assert_int_equal(model_fixture_look(*state, "b").state, MODEL_PARKED);
  assert_int_equal(fixture_figures(*state, "fake:0").committed_bytes, 0);
  unlink(path); /* it comes back from RAM */
  view = loaded(state, path, "b", "");
  assert_int_equal(view.state, MODEL_READY);
  assert_string_equal(view.device_id, "fake:0");
  assert_int_equal(unload(state, "b", false, &freed), STATUS_OK);
  assert_empty(state);
}

static void without_one_it_is_copied_when_it_is_parked(void **state) {
  const char *path = model_fixture_file("c", 2 * MIB, 3);
  struct model_load params = model_fixture_load(path, "c", "fake:0");
  struct job_view end;
  uint64_t freed;
  params.keep_ram_copy = 0;
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  assert_int_equal(fixture_figures(*state, "host:0").active_allocations, 0);
  assert_int_equal(unload(state, "c", true, &freed), STATUS_OK);
  assert_int_equal(model_fixture_look(*state, "c").residency, MODEL_IN_RAM);
  assert_int_equal(fixture_figures(*state, "fake:0").committed_bytes, 0);
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  model_fixture_same(*state, "c", path);
  unlink(path);
}

static void the_same_file_under_two_names_is_one_copy(void **state) {
  const char *path = model_fixture_file("d", MIB, 4);
  uint64_t freed = 0, once;
  loaded(state, path, "d", "host:0");
  once = fixture_figures(*state, "host:0").committed_bytes;
  loaded(state, path, "twin", "host:0");
  assert_int_equal(fixture_figures(*state, "host:0").committed_bytes, once);
  model_fixture_same(*state, "twin", path);
  assert_int_equal(unload(state, "d", false, &freed), STATUS_OK);
  assert_int_equal(freed, 0);
  assert_int_equal(model_fixture_look(*state, "twin").state, MODEL_READY);
  model_fixture_same(*state, "twin", path);
  assert_int_equal(unload(state, "twin", false, &freed), STATUS_OK);
  assert_true(freed >= MIB);
  assert_empty(state);
  unlink(path);
}

static void a_name_is_one_file_s(void **state) {
  const char *one = model_fixture_file("e", 1000, 5), *two = model_fixture_file("f", 1000, 6);
  struct job_view end;
  loaded(state, one, "x", "host:0");
  struct model_load params = model_fixture_load(two, "x", "host:0");
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_CONFLICT);
  params = model_fixture_load(one, "x", "fake:0");
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  assert_string_equal(model_fixture_look(*state, "x").device_id, "host:0");
  unlink(one);
  unlink(two);
}

static void the_oldest_makes_room(void **state) {
  char name[8];
  struct job_view end;
  for (unsigned i = 0; i < 4; i++) {
    snprintf(name, sizeof name, "m%u", i);
    const char *path = model_fixture_file(name, 5 * MIB, i);
    struct model_load params = model_fixture_load(path, name, "fake:0");
    params.keep_ram_copy = 0;
    if (model_fixture_run(*state, &params, &end))
      fail_msg("%s", end.problem.text);
    unlink(path);
  }
  assert_int_equal(model_fixture_look(*state, "m0").state, MODEL_PARKED);
  assert_int_equal(model_fixture_look(*state, "m1").state, MODEL_READY);
  assert_int_equal(model_fixture_look(*state, "m3").state, MODEL_READY);
}

static void who_is_pinned_or_attached_stays_and_the_refusal_names_the_rest(void **state) {
  const char *path = model_fixture_file("p", 7 * MIB, 1),
             *other = model_fixture_file("q", 7 * MIB, 2),
             *third = model_fixture_file("r", 7 * MIB, 3);
  struct caller caller = fixture_admin;
  struct model_attached attached;
  struct problem problem;
  struct job_view end;
  caller.connection = 5;
  struct model_load params = model_fixture_load(path, "p", "fake:0");
  params.pinned = true;
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  loaded(state, other, "q", "fake:0");
  assert_int_equal(model_attach(fixture_service(*state), &caller, "q", &attached, &problem),
                   STATUS_OK);
  params = model_fixture_load(third, "r", "fake:0");
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_INSUFFICIENT_MEMORY);
  assert_true(end.problem.has_space);
  assert_int_equal(end.problem.space.model_count, 0);
  model_attach_free(&attached);
  struct model_detached left;
  assert_int_equal(model_attach_end(fixture_service(*state), &caller, "q", &left, &problem),
                   STATUS_OK);
  params.evict = false;
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_INSUFFICIENT_MEMORY);
  assert_int_equal(end.problem.space.model_count, 1);
  assert_int_equal(end.problem.space.models[0].model, model_fixture_look(*state, "q").id);
  params.evict = true;
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  assert_int_equal(model_fixture_look(*state, "p").state, MODEL_READY);
  assert_int_equal(model_fixture_look(*state, "q").state, MODEL_PARKED);
  unlink(path);
  unlink(other);
  unlink(third);
}

static void a_load_that_fails_leaves_nothing(void **state) {
  const char *path = model_fixture_file("g", 3 * MIB, 7);
  struct job_view end;
  struct model_load params = model_fixture_load(path, "g", "fake:0");
  fixture_mover(*state, FIXTURE_FAILS);
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_WORKER_UNAVAILABLE);
  assert_empty(state);
  assert_int_equal(model_fixture_look(*state, "g").state, MODEL_FAILED);
  assert_int_equal(model_fixture_look(*state, "g").error.status, STATUS_WORKER_UNAVAILABLE);
  fixture_mover(*state, FIXTURE_DIFFERS);
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_INTERNAL_ERROR);
  assert_empty(state);
  fixture_mover(*state, FIXTURE_WORKS);
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  model_fixture_same(*state, "g", path);
  unlink(path);
}

static void what_leaves_host_memory_must_be_what_was_loaded(void **state) {
  const char *path = model_fixture_file("y", 3 * MIB, 9);
  struct model_load params = model_fixture_load(path, "y", "fake:0");
  struct job_view end;
  uint64_t freed = 0;
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  assert_int_equal(unload(state, "y", true, &freed), STATUS_OK);
  fixture_mover(*state, FIXTURE_DIFFERS);
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_INTERNAL_ERROR);
  assert_non_null(strstr(end.problem.text, "not those that were loaded"));
  assert_int_equal(model_fixture_look(*state, "y").residency, MODEL_IN_RAM);
  fixture_mover(*state, FIXTURE_WORKS);
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  assert_int_equal(model_fixture_look(*state, "y").residency, MODEL_ON_DEVICE);
  model_fixture_same(*state, "y", path);
  unlink(path);
}

static void a_load_that_is_cancelled_leaves_nothing(void **state) {
  const char *path = model_fixture_file("h", 3 * MIB, 7);
  struct model_load params = model_fixture_load(path, "h", "fake:0");
  struct model_started started;
  struct problem problem;
  struct job_view end;
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(
      model_load_start(fixture_service(*state), &fixture_admin, &params, &started, &problem),
      STATUS_OK);
  fixture_until_held(*state, 1);
  assert_int_equal(model_fixture_look(*state, "h").state, MODEL_LOADING);
  assert_int_equal(job_cancel(started.job, &fixture_admin, &problem), STATUS_OK);
  fixture_end(started.job, &end);
  assert_int_equal(end.state, JOB_CANCELLED);
  fixture_mover(*state, FIXTURE_WORKS);
  assert_empty(state);
  unlink(path);
}

static void what_is_no_model_is_not_listed(void **state) {
  struct model_page page;
  struct job_view end;
  struct model_load params = model_fixture_load("/tmp/memkeep-there-is-no-such-file", "n", "");
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_MODEL_NOT_FOUND);
  params = model_fixture_load("/etc/passwd", "n", "");
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_FORBIDDEN);
  const char *path = model_fixture_file("i", 100, 1);
  FILE *file = fopen(path, "w");
  fputs("this is no model at all", file);
  fclose(file);
  params = model_fixture_load(path, "n", "");
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_MODEL_FORMAT_INVALID);
  assert_int_equal(model_list(fixture_service(*state), 0, 10, &page), STATUS_OK);
  assert_int_equal(page.count, 0);
  free(page.models);
  unlink(path);
}

static void a_trial_changes_nothing(void **state) {
  const char *path = model_fixture_file("j", 10 * MIB, 1),
             *other = model_fixture_file("k", 10 * MIB, 2);
  struct job_view end;
  struct model_page page;
  struct model_load params = model_fixture_load(path, "j", "fake:0");
  params.dry_run = true;
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  assert_true(end.result.trial.would_fit);
  assert_int_equal(end.result.trial.count, 0);
  assert_int_equal(model_list(fixture_service(*state), 0, 10, &page), STATUS_OK);
  assert_int_equal(page.count, 0);
  free(page.models);
  assert_empty(state);
  loaded(state, other, "k", "fake:0");
  unlink(path);
  unlink(other);
}

static struct job_view optimized(void **state, const char *device, uint64_t percent) {
  struct model_optimize params = {
      .target_percent = percent, .max_models = UINT64_MAX, .max_time_ms = 5000};
  struct model_optimized out;
  struct problem problem;
  struct job_view end;
  snprintf(params.device, sizeof params.device, "%s", device);
  assert_int_equal(
      model_optimize_start(fixture_service(*state), &fixture_admin, &params, &out, &problem),
      STATUS_OK);
  fixture_end(out.job, &end);
  assert_int_equal(end.state, JOB_COMPLETED);
  return end;
}

static void an_optimisation_frees_what_was_asked_for(void **state) {
  const char *one = model_fixture_file("o", 4 * MIB, 1), *two = model_fixture_file("s", 4 * MIB, 2);
  struct model_optimize params = {
      .target_percent = 70, .max_models = UINT64_MAX, .max_time_ms = 5000};
  struct model_optimized out;
  struct problem problem;
  loaded(state, one, "o", "fake:0");
  loaded(state, two, "s", "fake:0");
  loaded(state, two, "s", "fake:0"); /* used three times, the other once */
  loaded(state, two, "s", "fake:0");
  assert_int_equal(
      model_optimize_start(fixture_service(*state), &fixture_admin, &params, &out, &problem),
      STATUS_OK);
  assert_null(out.job);
  assert_false(out.plan.triggered);
  assert_true(out.plan.reason[0]);
  struct job_view end = optimized(state, "fake:0", 40);
  assert_int_equal(end.result.optimize.count, 1);
  assert_int_equal(end.result.optimize.victims[0].model, model_fixture_look(*state, "o").id);
  assert_true(end.result.optimize.freed_bytes >= 4 * MIB);
  assert_int_equal(end.result.optimize.impact, 2500);
  assert_int_equal(model_fixture_look(*state, "o").state, MODEL_PARKED);
  unlink(one);
  unlink(two);
}

/* The copy in RAM is what host memory gets back: the model stays on its card, pinned and in use. */
static void host_memory_takes_copies_before_models(void **state) {
  const char *card = model_fixture_file("A", 10 * MIB, 1),
             *ram = model_fixture_file("B", 9 * MIB, 2);
  struct model_load params = model_fixture_load(card, "A", "fake:0");
  struct caller caller = fixture_admin;
  struct model_attached attached;
  struct problem problem;
  struct job_view end;
  params.pinned = true;
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  loaded(state, ram, "B", "host:0");
  assert_true(model_fixture_look(*state, "A").ram_copy);
  caller.connection = 5;
  assert_int_equal(model_attach(fixture_service(*state), &caller, "A", &attached, &problem),
                   STATUS_OK);
  end = optimized(state, "host:0", 20);
  assert_int_equal(end.result.optimize.count, 1);
  assert_int_equal(end.result.optimize.victims[0].model, model_fixture_look(*state, "A").id);
  assert_int_equal(end.result.optimize.victims[0].to, MODEL_ON_DEVICE);
  assert_int_equal(end.result.optimize.impact, 0);
  assert_true(end.result.optimize.freed_bytes >= 10 * MIB);
  assert_int_equal(model_fixture_look(*state, "A").state, MODEL_READY);
  assert_int_equal(model_fixture_look(*state, "A").residency, MODEL_ON_DEVICE);
  assert_false(model_fixture_look(*state, "A").ram_copy);
  model_attach_free(&attached);
  end = optimized(state, "host:0", 5);
  assert_int_equal(end.result.optimize.victims[0].to, MODEL_ON_DISK);
  assert_int_equal(model_fixture_look(*state, "B").state, MODEL_UNLOADED);
  assert_int_equal(model_fixture_look(*state, "A").state, MODEL_READY);
  unlink(card);
  unlink(ram);
}

static void a_trial_of_what_is_there_says_so(void **state) {
  const char *path = model_fixture_file("y", MIB, 1);
  struct model_load params = model_fixture_load(path, "y", "fake:0");
  struct job_view end;
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  params.dry_run = true;
  uint64_t uses = model_fixture_look(*state, "y").use_count;
  memset(&end, 0xff, sizeof end);
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  assert_int_equal(end.id, 0); /* no job */
  assert_int_equal(model_fixture_look(*state, "y").use_count, uses);
  unlink(path);
}

static bool is_parked(struct fixture *fixture, void *name) {
  struct model_view view;
  struct problem problem;
  return !model_look(fixture_service(fixture), name, &view, &problem) && view.state == MODEL_PARKED;
}

static void an_allocation_may_ask_models_to_make_room(void **state) {
  const char *path = model_fixture_file("z", 10 * MIB, 1);
  struct alloc_params params = fixture_params("fake:0", 10 * MIB);
  struct problem problem;
  struct view_alloc made;
  struct model_load high = model_fixture_load(path, "z", "fake:0");
  struct job_view end;
  high.priority = VIEW_PRIORITY_HIGH;
  assert_int_equal(model_fixture_run(*state, &high, &end), STATUS_OK);
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, &made, &problem),
                   STATUS_INSUFFICIENT_MEMORY);
  params.evict = true;
  params.priority = VIEW_PRIORITY_NORMAL;
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, &made, &problem),
                   STATUS_INSUFFICIENT_MEMORY);
  assert_int_equal(model_fixture_look(*state, "z").state, MODEL_READY);
  params.priority = VIEW_PRIORITY_HIGH;
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, &made, &problem), STATUS_OK);
  fixture_until(*state, is_parked, "z");
  unlink(path);
}

static void an_idle_one_goes_when_its_time_is_over(void **state) {
  const char *one = model_fixture_file("w", MIB, 1), *two = model_fixture_file("x", MIB, 2);
  struct model_load params = model_fixture_load(one, "w", "fake:0");
  struct job_view end;
  params.keep_alive_seconds = 1;
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  params = model_fixture_load(two, "x", "fake:0");
  params.keep_alive_seconds = 1;
  params.pinned = true;
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  fixture_until(*state, is_parked, "w");
  assert_int_equal(model_fixture_look(*state, "x").state, MODEL_READY);
  unlink(one);
  unlink(two);
}

static void its_bytes_are_its_own(void **state) {
  const char *path = model_fixture_file("l", MIB, 1);
  struct alloc_page page;
  struct problem problem;
  struct work_started started;
  struct alloc_filter filter = {.purpose = VIEW_MODEL_WEIGHTS, .limit = 10};
  loaded(state, path, "l", "host:0");
  assert_int_equal(alloc_list(fixture_service(*state), &filter, &page, &problem), STATUS_OK);
  assert_int_equal(page.count, 1);
  uint64_t id = page.allocations[0].id;
  assert_int_equal(page.allocations[0].owner.kind, VIEW_OWNER_MODEL);
  free(page.allocations);
  assert_int_equal(fixture_free(*state, id, true), STATUS_CONFLICT);
  assert_int_equal(work_fill_start(fixture_service(*state), &fixture_admin,
                                   &(struct work_fill){.allocation = id, .value = 1}, &started,
                                   &problem),
                   STATUS_CONFLICT);
  model_fixture_same(*state, "l", path);
  unlink(path);
}

static void what_a_load_does_not_name_stays(void **state) {
  const char *path = model_fixture_file("keeps", MIB, 41);
  struct model_load params = model_fixture_load(path, "keeps", "host:0");
  struct job_view end;
  params.keep_alive_seconds = 3600;
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  params.keep_alive_seconds = 0;
  for (unsigned i = 0; i < 2; i++) {
    params.keeps.keep_alive = !i;
    model_fixture_unload(*state, "keeps");
    assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
    assert_int_equal(model_fixture_look(*state, "keeps").keep_alive_seconds, i ? 0 : 3600);
  }
  model_fixture_unload(*state, "keeps");
  unlink(path);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(on_host_memory_it_is_its_own_copy),
      TEST(with_a_copy_in_ram_it_is_parked_without_copying),
      TEST(without_one_it_is_copied_when_it_is_parked),
      TEST(the_same_file_under_two_names_is_one_copy),
      TEST(a_name_is_one_file_s),
      TEST(the_oldest_makes_room),
      TEST(who_is_pinned_or_attached_stays_and_the_refusal_names_the_rest),
      TEST(a_load_that_fails_leaves_nothing),
      TEST(what_leaves_host_memory_must_be_what_was_loaded),
      TEST(a_load_that_is_cancelled_leaves_nothing),
      TEST(what_is_no_model_is_not_listed),
      TEST(a_trial_changes_nothing),
      TEST(a_trial_of_what_is_there_says_so),
      TEST(an_optimisation_frees_what_was_asked_for),
      TEST(host_memory_takes_copies_before_models),
      TEST(an_allocation_may_ask_models_to_make_room),
      TEST(an_idle_one_goes_when_its_time_is_over),
      TEST(its_bytes_are_its_own),
      TEST(what_a_load_does_not_name_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
