/* Whole models on their way between devices: there, or here as before. */
#include "crash_fixture.h"
#include "service_fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "model_fixture.h"
#include "service/state.h"

static const char *const devices[] = {"host:0=64MiB", "host:1=64MiB", "fake:0=16MiB",
                                      "fake:1=16MiB", "fake:2=1MiB",  NULL};

static const char *path;

static int setup(void **state) {
  *state = model_fixture_start(devices);
  path = model_fixture_file("moved", 2 * MIB + 5, 3);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  unlink(path);
  return 0;
}

static void load(void **state, const char *name, const char *device, int keep_ram_copy) {
  struct model_load params = model_fixture_load(path, name, device);
  struct job_view end;
  params.keep_ram_copy = keep_ram_copy;
  if (model_fixture_run(*state, &params, &end))
    fail_msg("%s", end.problem.text);
}

static struct work_transfer transfer_of(const char *name, const char *from, const char *to) {
  struct work_transfer params = {.mode = 1, .verify = true, .priority = VIEW_PRIORITY_NORMAL};
  snprintf(params.model, sizeof params.model, "%s", name);
  snprintf(params.source, sizeof params.source, "%s", from);
  snprintf(params.target, sizeof params.target, "%s", to);
  return params;
}

static enum status start(void **state, const struct work_transfer *params,
                         struct work_started *out) {
  struct problem problem;
  return work_transfer_start(fixture_service(*state), &fixture_admin, params, out, &problem);
}

static struct job_view run(void **state, const struct work_transfer *params) {
  struct work_started started;
  struct job_view end;
  assert_int_equal(start(state, params, &started), STATUS_OK);
  fixture_end(started.job, &end);
  return end;
}

static void move(void **state, const char *from, const char *to) {
  struct work_transfer params = transfer_of("m", from, to);
  struct job_view end = run(state, &params);
  if (end.problem.status)
    fail_msg("%s", end.problem.text);
  assert_int_equal(end.result.transfer.model, end.result.transfer.target_model);
  assert_int_equal(end.bytes_done, end.result.transfer.size_bytes);
  assert_string_equal(model_fixture_look(*state, "m").device_id, to);
  assert_int_equal(model_fixture_look(*state, "m").state, MODEL_READY);
  assert_int_equal(fixture_figures(*state, from).allocated_bytes, 0);
  model_fixture_same(*state, "m", path);
}

static uint64_t committed(void **state, const char *device) {
  return fixture_figures(*state, device).committed_bytes;
}

/* Its copy in host memory stays, and it can be parked there. */
static void between_cards(void **state) {
  load(state, "m", "fake:0", 1);
  uint64_t card = committed(state, "fake:0");
  move(state, "fake:0", "fake:1");
  assert_true(model_fixture_look(*state, "m").ram_copy);
  assert_int_equal(committed(state, "fake:0"), 0);
  assert_int_equal(committed(state, "fake:1"), card);
  move(state, "fake:1", "fake:0");
}

static void through_host_memory_and_back(void **state) {
  load(state, "m", "fake:0", 0);
  move(state, "fake:0", "host:1");
  assert_false(model_fixture_look(*state, "m").ram_copy);
  assert_int_equal(committed(state, "fake:0"), 0);
  assert_int_equal(committed(state, "host:0"), 0); /* nor is its card there */
  move(state, "host:1", "host:0");
  assert_int_equal(committed(state, "host:1"), 0);
  move(state, "host:0", "fake:1");
  move(state, "fake:1", "host:1");
}

/* Nothing has to be copied: the worker is not asked. */
static void to_where_its_copy_is(void **state) {
  load(state, "m", "fake:0", 1);
  const char *ram = fixture_figures(*state, "host:0").allocated_bytes ? "host:0" : "host:1";
  uint64_t before = fixture_figures(*state, ram).allocated_bytes;
  fixture_mover(*state, FIXTURE_FAILS);
  struct work_transfer params = transfer_of("m", "fake:0", ram);
  struct job_view end = run(state, &params);
  assert_int_equal(end.state, JOB_COMPLETED);
  fixture_mover(*state, FIXTURE_WORKS);
  assert_string_equal(model_fixture_look(*state, "m").device_id, ram);
  assert_int_equal(fixture_figures(*state, ram).allocated_bytes, before);
  assert_int_equal(committed(state, "fake:0"), 0);
  model_fixture_same(*state, "m", path);
}

static void all_its_names_move(void **state) {
  load(state, "m", "fake:0", 0);
  load(state, "second", "", 0);
  move(state, "fake:0", "fake:1");
  assert_string_equal(model_fixture_look(*state, "second").device_id, "fake:1");
  model_fixture_same(*state, "second", path);
}

/* A copy is a model of its own, made while somebody reads the first. */
static void a_copy_is_a_second_model(void **state) {
  struct caller caller = fixture_admin;
  struct model_attached attached;
  struct model_detached left;
  struct problem problem;
  load(state, "m", "fake:0", 0);
  caller.connection = 5;
  assert_int_equal(model_attach(fixture_service(*state), &caller, "m", &attached, &problem),
                   STATUS_OK);
  struct work_transfer params = transfer_of("m", "fake:0", "fake:1");
  params.mode = 0;
  struct job_view end = run(state, &params);
  assert_int_equal(end.state, JOB_COMPLETED);
  assert_true(end.result.transfer.verified_known && end.result.transfer.verified);
  assert_int_equal(end.result.transfer.target_model, model_fixture_look(*state, "m@fake:1").id);
  assert_string_equal(model_fixture_look(*state, "m").device_id, "fake:0");
  assert_int_equal(model_fixture_look(*state, "m@fake:1").tensors, 1);
  model_fixture_same(*state, "m@fake:1", path);
  struct work_started started;
  assert_int_equal(start(state, &params, &started), STATUS_CONFLICT);
  model_attach_free(&attached);
  assert_int_equal(model_attach_end(fixture_service(*state), &caller, "m", &left, &problem),
                   STATUS_OK);
  struct model_started unloaded;
  assert_int_equal(model_unload_start(fixture_service(*state), &fixture_admin,
                                      &(struct model_unload){.model = "m"}, &unloaded, &problem),
                   STATUS_OK);
  fixture_end(unloaded.job, &end);
  model_fixture_same(*state, "m@fake:1", path);
}

static void while_it_is_copied_it_is_as_ready_as_before(void **state) {
  struct caller caller = fixture_admin;
  struct model_attached attached;
  struct model_detached left;
  struct problem problem;
  struct work_started started;
  struct job_view end;
  load(state, "m", "fake:0", 0);
  struct work_transfer params = transfer_of("m", "fake:0", "fake:1");
  params.mode = 0;
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(start(state, &params, &started), STATUS_OK);
  fixture_until_held(*state, 1);
  load(state, "m", "fake:0", 0); /* is there */
  caller.connection = 5;
  assert_int_equal(model_attach(fixture_service(*state), &caller, "m", &attached, &problem),
                   STATUS_OK);
  model_attach_free(&attached);
  assert_int_equal(model_attach_end(fixture_service(*state), &caller, "m", &left, &problem),
                   STATUS_OK);
  fixture_mover(*state, FIXTURE_WORKS);
  fixture_end(started.job, &end);
  assert_int_equal(end.state, JOB_COMPLETED);
}

static void what_is_refused(void **state) {
  struct work_started started;
  struct caller caller = fixture_admin;
  struct model_attached attached;
  struct model_detached left;
  struct problem problem;
  load(state, "m", "fake:0", 0);
  struct work_transfer params = transfer_of("none", "fake:0", "fake:1");
  assert_int_equal(start(state, &params, &started), STATUS_MODEL_NOT_FOUND);
  params = transfer_of("m", "fake:1", "fake:0");
  assert_int_equal(start(state, &params, &started), STATUS_CONFLICT);
  params = transfer_of("m", "fake:0", "fake:2");
  assert_int_equal(start(state, &params, &started), STATUS_ALLOCATION_TOO_LARGE);
  params = transfer_of("m", "fake:0", "fake:1");
  params.part = true;
  assert_int_equal(start(state, &params, &started), STATUS_INVALID_ARGUMENT);
  params.part = false;
  caller.connection = 5;
  assert_int_equal(model_attach(fixture_service(*state), &caller, "m", &attached, &problem),
                   STATUS_OK);
  assert_int_equal(start(state, &params, &started), STATUS_MODEL_BUSY);
  params.dry_run = true;
  assert_int_equal(start(state, &params, &started), STATUS_MODEL_BUSY);
  params.mode = 0;
  assert_int_equal(start(state, &params, &started), STATUS_OK);
  assert_true(started.impact.would_fit && started.impact.of_model && started.impact.model.busy);
  assert_int_equal(started.impact.attachments, 1);
  model_attach_free(&attached);
  assert_int_equal(model_attach_end(fixture_service(*state), &caller, "m", &left, &problem),
                   STATUS_OK);
  assert_string_equal(model_fixture_look(*state, "m").device_id, "fake:0");
}

/* While it moves nobody gets it, takes it away or moves it elsewhere. */
static void one_thing_at_a_time(void **state) {
  struct work_started started, second;
  struct model_started other;
  struct model_attached attached;
  struct caller caller = fixture_admin;
  struct problem problem;
  struct job_view end;
  load(state, "m", "fake:0", 0);
  struct work_transfer params = transfer_of("m", "fake:0", "fake:1");
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(start(state, &params, &started), STATUS_OK);
  fixture_until_held(*state, 1);
  caller.connection = 5;
  assert_int_equal(model_fixture_look(*state, "m").state, MODEL_READY);
  assert_int_equal(model_attach(fixture_service(*state), &caller, "m", &attached, &problem),
                   STATUS_MODEL_BUSY);
  assert_int_equal(start(state, &params, &second), STATUS_MODEL_BUSY);
  assert_int_equal(model_unload_start(fixture_service(*state), &fixture_admin,
                                      &(struct model_unload){.model = "m", .force = true}, &other,
                                      &problem),
                   STATUS_MODEL_BUSY);
  fixture_mover(*state, FIXTURE_WORKS);
  fixture_end(started.job, &end);
  assert_int_equal(end.state, JOB_COMPLETED);
}

/* Nothing is left at the target, and the model is as it was. */
static void assert_nothing_happened(void **state, uint64_t before) {
  assert_int_equal(committed(state, "fake:0"), before);
  assert_int_equal(committed(state, "fake:1"), 0);
  assert_string_equal(model_fixture_look(*state, "m").device_id, "fake:0");
  assert_int_equal(model_fixture_look(*state, "m").error.status, STATUS_OK);
  model_fixture_same(*state, "m", path);
}

static void one_that_fails_or_is_cancelled_leaves_nothing(void **state) {
  struct problem problem;
  load(state, "m", "fake:0", 0);
  uint64_t before = committed(state, "fake:0");
  for (int i = 0; i < 4; i++) {
    struct work_transfer params = transfer_of("m", "fake:0", "fake:1");
    struct work_started started;
    struct model_view view;
    struct job_view end;
    params.mode = i & 1;
    fixture_mover(*state, FIXTURE_HOLDS);
    assert_int_equal(start(state, &params, &started), STATUS_OK);
    fixture_until_held(*state, 1);
    if (i & 2)
      assert_int_equal(job_cancel(started.job, &fixture_admin, &problem), STATUS_OK);
    else
      fixture_mover(*state, FIXTURE_FAILS);
    fixture_end(started.job, &end);
    assert_int_equal(end.state, i & 2 ? JOB_CANCELLED : JOB_FAILED);
    fixture_mover(*state, FIXTURE_WORKS);
    assert_nothing_happened(state, before);
    assert_int_equal(model_look(fixture_service(*state), "m@fake:1", &view, &problem),
                     STATUS_MODEL_NOT_FOUND);
  }
}

static struct service *crash(void **state, struct crash_fixture *next) {
  crash_fixture(fixture_service(*state), next);
  return crash_fixture_next(next, devices);
}

static void assert_is_on(struct service *s, const char *device) {
  struct model_view view;
  struct problem problem;
  struct caller caller = fixture_admin;
  struct model_attached attached;
  caller.connection = 9;
  assert_int_equal(model_look(s, "m", &view, &problem), STATUS_OK);
  assert_string_equal(view.device_id, device);
  assert_int_equal(view.state, MODEL_READY);
  assert_int_equal(model_attach(s, &caller, "m", &attached, &problem), STATUS_OK);
  model_attach_free(&attached);
}

/* Half of the way is not gone; the whole way is. */
static void a_crash_finds_it_here_or_there(void **state) {
  struct work_started started;
  struct crash_fixture next;
  struct job_view end;
  load(state, "m", "fake:0", 1);
  struct work_transfer params = transfer_of("m", "fake:0", "fake:1");
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(start(state, &params, &started), STATUS_OK);
  fixture_until_held(*state, 1);
  struct service *s = crash(state, &next);
  assert_is_on(s, "fake:0");
  assert_int_equal(s->devices[3].committed, 0);
  crash_fixture_end(&next);
  fixture_mover(*state, FIXTURE_WORKS);
  fixture_end(started.job, &end);
  s = crash(state, &next);
  assert_is_on(s, "fake:1");
  assert_int_equal(s->devices[2].committed, 0);
  struct job *job;
  struct job_view kept;
  assert_int_equal(job_find(s, end.id, true, &job), STATUS_OK);
  job_look(job, &kept);
  job_give(job);
  assert_int_equal(kept.state, JOB_COMPLETED);
  assert_int_equal(kept.result.transfer.target_model, end.result.transfer.target_model);
  crash_fixture_end(&next);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(between_cards),
      TEST(through_host_memory_and_back),
      TEST(to_where_its_copy_is),
      TEST(all_its_names_move),
      TEST(a_copy_is_a_second_model),
      TEST(while_it_is_copied_it_is_as_ready_as_before),
      TEST(what_is_refused),
      TEST(one_thing_at_a_time),
      TEST(one_that_fails_or_is_cancelled_leaves_nothing),
      TEST(a_crash_finds_it_here_or_there),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
