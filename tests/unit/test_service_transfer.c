/* Transfers: the bytes arrive, or the source is as it was and nothing is left behind. */
#include "service_fixture.h"

#include <stdio.h>
#include <string.h>

#include "service/attach.h"
#include "service/job_work.h"
#include "service/state.h"

static const char *const devices[] = {"host:0=256MiB", "fake:0=128MiB", NULL};

static int setup(void **state) {
  *state = fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

static uint64_t written(struct fixture *fixture, const char *device, uint64_t size, unsigned seed) {
  uint64_t id = fixture_make(fixture, device, size).id;
  fixture_write(fixture, id, seed);
  return id;
}

static void assert_empty(struct fixture *fixture, const char *device) {
  struct view_figures figures = fixture_figures(fixture, device);
  assert_int_equal(figures.allocated_bytes, 0);
  assert_int_equal(figures.committed_bytes, 0);
  assert_int_equal(figures.active_allocations, 0);
}

static enum status fill(struct fixture *fixture, const struct work_fill *params,
                        struct job_view *view) {
  struct work_started started;
  struct problem problem = {0};
  enum status status =
      work_fill_start(fixture_service(fixture), &fixture_admin, params, &started, &problem);
  if (!status)
    fixture_end(started.job, view);
  return status ? status : view->problem.status;
}

static struct work_transfer transfer_of(uint64_t id, int mode) {
  return (struct work_transfer){.source = "host:0",
                                .target = "fake:0",
                                .allocation = id,
                                .mode = mode,
                                .verify = true,
                                .priority = VIEW_PRIORITY_NORMAL};
}

static struct job *start(struct fixture *fixture, const struct work_transfer *params) {
  struct work_started started;
  struct problem problem;
  if (work_transfer_start(fixture_service(fixture), &fixture_admin, params, &started, &problem))
    fail_msg("%s", problem.text);
  return started.job;
}

static void a_copy_is_a_new_allocation(void **state) {
  static const uint64_t sizes[] = {1000, 300 * KIB + 1, 5 * MIB};
  for (unsigned i = 0; i < 3; i++) {
    struct alloc_params params = fixture_params("host:0", 1);
    struct view_alloc made;
    struct job_view view;
    snprintf(params.label, sizeof params.label, "weights");
    params.size_bytes = sizes[i];
    params.purpose = VIEW_TENSORS;
    assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, &made, NULL), STATUS_OK);
    fixture_write(*state, made.id, i);
    struct work_transfer transfer = transfer_of(made.id, 0);
    fixture_end(start(*state, &transfer), &view);
    assert_int_equal(view.state, JOB_COMPLETED);
    assert_int_equal(view.bytes_done, sizes[i]);
    assert_true(view.bytes_per_second > 0);
    assert_true(view.result.transfer.verified_known && view.result.transfer.verified);
    struct view_alloc target = fixture_look(*state, view.result.transfer.target_allocation);
    assert_string_equal(target.device_id, "fake:0");
    assert_string_equal(target.label, "weights");
    assert_int_equal(target.purpose, VIEW_TENSORS);
    assert_int_equal(target.size_bytes, sizes[i]);
    assert_true(fixture_holds(*state, target.id, i) && fixture_holds(*state, made.id, i));
  }
}

static void a_part_may_be_copied(void **state) {
  uint64_t id = written(*state, "host:0", 9000, 1);
  struct job_view view;
  assert_int_equal(fill(*state,
                        &(struct work_fill){
                            .allocation = id, .value = 7, .offset_bytes = 5000, .size_bytes = 1000},
                        &view),
                   STATUS_OK);
  struct work_transfer transfer = transfer_of(id, 0);
  transfer.part = true;
  transfer.offset_bytes = 5000;
  transfer.size_bytes = 1000;
  fixture_end(start(*state, &transfer), &view);
  uint64_t target = view.result.transfer.target_allocation;
  assert_int_equal(fixture_look(*state, target).size_bytes, 1000);
  assert_true(fixture_is_all(*state, target, 7));
}

static void a_move_keeps_the_id(void **state) {
  static const uint64_t sizes[] = {10000, 5 * MIB};
  for (unsigned i = 0; i < 2; i++) {
    uint64_t id = written(*state, "host:0", sizes[i], i);
    struct work_transfer transfer = transfer_of(id, 1);
    struct job_view view;
    fixture_end(start(*state, &transfer), &view);
    assert_int_equal(view.state, JOB_COMPLETED);
    assert_int_equal(view.result.transfer.target_allocation, id);
    struct view_alloc moved = fixture_look(*state, id);
    assert_string_equal(moved.device_id, "fake:0");
    assert_int_equal(moved.status, VIEW_ACTIVE);
    assert_true(fixture_holds(*state, id, i));
    assert_empty(*state, "host:0");
    assert_int_equal(fixture_free(*state, id, false), STATUS_OK);
    assert_empty(*state, "fake:0");
  }
}

static void a_trial_leaves_nothing(void **state) {
  struct work_transfer transfer = transfer_of(0, 0);
  struct job_view view;
  transfer.size_bytes = 32 * MIB;
  fixture_end(start(*state, &transfer), &view);
  assert_int_equal(view.state, JOB_COMPLETED);
  assert_int_equal(view.result.transfer.target_allocation, 0);
  assert_true(view.bytes_per_second > 0);
  assert_empty(*state, "host:0");
  assert_empty(*state, "fake:0");
  assert_int_equal(fixture_figures(*state, "host:0").segments, 0);
  struct report_link links[8];
  uint32_t count = report_links(fixture_service(*state), links, 8);
  bool measured = false;
  for (uint32_t i = 0; i < count; i++)
    measured |= !strcmp(links[i].from, "host:0") && links[i].gigabytes_per_second > 0;
  assert_true(measured);
}

/* What a trial holds meanwhile is Memkeep's own. */
static void a_trial_is_not_among_the_allocated(void **state) {
  struct work_transfer transfer = transfer_of(0, 0);
  struct job_view view;
  transfer.size_bytes = 32 * MIB;
  fixture_mover(*state, FIXTURE_HOLDS);
  struct job *job = start(*state, &transfer);
  fixture_until_held(*state, 1);
  assert_int_equal(fixture_figures(*state, "host:0").allocated_bytes, 0);
  assert_int_equal(fixture_figures(*state, "fake:0").committed_bytes, 32 * MIB);
  fixture_mover(*state, FIXTURE_WORKS);
  fixture_end(job, &view);
}

static void a_failed_transfer_gives_back_before_it_says_so(void **state) {
  struct service *s = fixture_service(*state);
  for (int mode = 0; mode < 2; mode++)
    for (uint64_t size = 4096; size < 10 * MIB; size *= 1024) {
      uint64_t id = written(*state, "host:0", size, 5);
      struct work_transfer transfer = transfer_of(id, mode);
      struct job_view view;
      fixture_mover(*state, FIXTURE_FAILS);
      fixture_end(start(*state, &transfer), &view);
      assert_int_equal(view.problem.status, STATUS_WORKER_UNAVAILABLE);
      assert_int_equal(view.state, JOB_FAILED);
      lock_take(&s->lock);
      assert_int_equal(s->devices[1].releasing + s->devices[1].pending, 0);
      lock_give(&s->lock);
      assert_empty(*state, "fake:0");
      struct view_alloc kept = fixture_look(*state, id);
      assert_string_equal(kept.device_id, "host:0");
      assert_int_equal(kept.status, VIEW_ACTIVE);
      assert_true(fixture_holds(*state, id, 5));
      fixture_mover(*state, FIXTURE_WORKS);
      assert_int_equal(fixture_free(*state, id, false), STATUS_OK);
    }
}

static void a_cancelled_transfer_leaves_the_source(void **state) {
  for (int mode = 0; mode < 2; mode++) {
    uint64_t id = written(*state, "host:0", 5 * MIB, 6);
    struct work_transfer transfer = transfer_of(id, mode);
    struct problem problem;
    struct job_view view;
    fixture_mover(*state, FIXTURE_HOLDS);
    struct job *job = start(*state, &transfer);
    fixture_until_held(*state, 1);
    assert_int_equal(fixture_look(*state, id).status, mode ? VIEW_MOVING : VIEW_BUSY);
    assert_int_equal(job_cancel(job, &fixture_admin, &problem), STATUS_OK);
    fixture_end(job, &view);
    assert_int_equal(view.state, JOB_CANCELLED);
    assert_empty(*state, "fake:0");
    assert_true(fixture_holds(*state, id, 6));
    assert_int_equal(fixture_look(*state, id).status, VIEW_ACTIVE);
    fixture_mover(*state, FIXTURE_WORKS);
    assert_int_equal(fixture_free(*state, id, false), STATUS_OK);
  }
}

static void a_finished_one_cannot_be_cancelled(void **state) {
  struct service *s = fixture_service(*state);
  struct work_transfer transfer = transfer_of(written(*state, "host:0", 4096, 1), 0);
  struct job *job;
  struct job_view view;
  struct problem problem;
  fixture_end(start(*state, &transfer), &view);
  assert_int_equal(job_find(s, view.id, true, &job), STATUS_OK);
  assert_int_equal(job_cancel(job, &fixture_admin, &problem), STATUS_CONFLICT);
  job_give(job);
  assert_int_equal(job_find(s, view.id + 1000, true, &job), STATUS_TRANSFER_NOT_FOUND);
}

static void refusals_change_nothing(void **state) {
  struct service *s = fixture_service(*state);
  uint64_t id = written(*state, "host:0", MIB, 1);
  struct alloc_params pinned = fixture_params("host:0", 4096);
  struct view_alloc fixed;
  pinned.pinned = true;
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &pinned, &fixed, NULL), STATUS_OK);
  struct work_transfer good = transfer_of(id, 0), cases[9];
  for (unsigned i = 0; i < 9; i++)
    cases[i] = good;
  snprintf(cases[0].target, sizeof cases[0].target, "host:0");
  snprintf(cases[1].target, sizeof cases[1].target, "cuda:0");
  cases[2].allocation = 1;
  snprintf(cases[3].source, sizeof cases[3].source, "fake:0");
  snprintf(cases[3].target, sizeof cases[3].target, "host:0");
  cases[4].offset_bytes = UINT64_C(1) << 62;
  cases[5].size_bytes = UINT64_C(1) << 62;
  cases[6].mode = 1;
  cases[6].part = true;
  cases[7].allocation = 0;
  cases[8].allocation = fixed.id;
  cases[8].mode = 1;
  static const enum status expected[] = {
      STATUS_INVALID_ARGUMENT, STATUS_DEVICE_NOT_FOUND,  STATUS_ALLOCATION_NOT_FOUND,
      STATUS_CONFLICT,         STATUS_INVALID_ARGUMENT,  STATUS_INVALID_ARGUMENT,
      STATUS_INVALID_ARGUMENT, STATUS_MISSING_PARAMETER, STATUS_CONFLICT};
  for (unsigned i = 0; i < 9; i++) {
    struct work_started started;
    struct problem problem;
    assert_int_equal(work_transfer_start(s, &fixture_admin, &cases[i], &started, &problem),
                     expected[i]);
    assert_null(started.job);
  }
  struct work_transfer trial = transfer_of(0, 0);
  struct work_started started;
  struct problem problem;
  trial.size_bytes = GIB;
  assert_int_equal(work_transfer_start(s, &fixture_admin, &trial, &started, &problem),
                   STATUS_ALLOCATION_TOO_LARGE);
  assert_true(problem.has_space);
  assert_empty(*state, "fake:0");
  assert_int_equal(fixture_look(*state, id).status, VIEW_ACTIVE);
}

static void a_transfer_of_one_key_is_started_once(void **state) {
  struct service *s = fixture_service(*state);
  struct caller caller = fixture_admin;
  struct work_transfer transfer = transfer_of(written(*state, "host:0", 4096, 1), 0);
  struct work_started first, second;
  struct problem problem;
  struct job_view views[2];
  snprintf(caller.key, sizeof caller.key, "%s", "once");
  assert_int_equal(work_transfer_start(s, &caller, &transfer, &first, &problem), STATUS_OK);
  assert_int_equal(work_transfer_start(s, &caller, &transfer, &second, &problem), STATUS_OK);
  fixture_end(first.job, &views[0]);
  fixture_end(second.job, &views[1]);
  assert_int_equal(views[0].id, views[1].id);
  assert_int_equal(fixture_figures(*state, "fake:0").active_allocations, 1);
  transfer.verify = false;
  assert_int_equal(work_transfer_start(s, &caller, &transfer, &first, &problem), STATUS_CONFLICT);
}

static void a_dry_run_foretells(void **state) {
  struct work_transfer transfer = transfer_of(written(*state, "host:0", 10 * MIB, 1), 0);
  struct work_started started;
  struct problem problem;
  struct job_view view;
  transfer.dry_run = true;
  assert_int_equal(
      work_transfer_start(fixture_service(*state), &fixture_admin, &transfer, &started, &problem),
      STATUS_OK);
  assert_null(started.job);
  assert_true(started.impact.would_fit);
  assert_true(started.impact.expected_seconds < 0);
  transfer.dry_run = false;
  fixture_end(start(*state, &transfer), &view);
  assert_int_equal(fixture_figures(*state, "fake:0").available_bytes,
                   started.impact.target_available_after);
}

static void transfers_are_listed_in_pages(void **state) {
  struct work_transfer transfer = transfer_of(written(*state, "host:0", 4096, 1), 0);
  struct job_view view;
  struct job *page[2];
  struct job_list asked = {.kind = JOB_TRANSFER, .state = JOB_ANY, .max = 2};
  uint64_t last = 0, seen = 0;
  for (unsigned i = 0; i < 5; i++)
    fixture_end(start(*state, &transfer), &view);
  do {
    uint32_t count = job_list(fixture_service(*state), &asked, page, &asked.cursor);
    for (uint32_t i = 0; i < count; i++) {
      job_look(page[i], &view);
      job_give(page[i]);
      assert_true(view.id > last);
      last = view.id;
      seen++;
    }
  } while (asked.cursor);
  assert_int_equal(seen, 5);
  asked.newest_first = true;
  do {
    uint32_t count = job_list(fixture_service(*state), &asked, page, &asked.cursor);
    for (uint32_t i = 0; i < count; i++) {
      assert_true(job_id(page[i]) <= last);
      last = job_id(page[i]) - 1;
      job_give(page[i]);
      seen--;
    }
  } while (asked.cursor);
  assert_int_equal(seen, 0);
}

/* ---- a source that a client can write to ---- */

static const struct caller client = {
    .role = CALLER_ADMIN, .domain_name = "uid:0", .correlation = "test", .connection = 7};

static void attach(void **state, uint64_t id, bool read_only) {
  struct attach_made made;
  struct problem problem;
  assert_int_equal(attach_begin(fixture_service(*state), &client,
                                &(struct attach_want){id, read_only}, &made, &problem),
                   STATUS_OK);
  share_close(&made.share);
}

static void detach(void **state, uint64_t id) {
  struct problem problem;
  uint32_t left;
  assert_int_equal(attach_end(fixture_service(*state), &client, id, &left, &problem), STATUS_OK);
}

/* Its result; it ends well in any case, and the copy is there. */
static struct job_transfer end_of(void **state, struct job *job) {
  struct job_view view;
  fixture_end(job, &view);
  assert_int_equal(view.state, JOB_COMPLETED);
  assert_true(fixture_is_there(*state, view.result.transfer.target_allocation));
  return view.result.transfer;
}

static struct job_transfer copy(void **state, uint64_t id) {
  struct work_transfer transfer = transfer_of(id, 0);
  return end_of(state, start(*state, &transfer));
}

static void readings_that_differ_say_nothing_where_a_client_can_write(void **state) {
  uint64_t id = written(*state, "host:0", 4096, 1);
  fixture_mover(*state, FIXTURE_DIFFERS);
  struct job_transfer result = copy(state, id);
  assert_true(result.verified_known && !result.verified);
  attach(state, id, true);
  result = copy(state, id);
  assert_true(result.verified_known && !result.verified);
  attach(state, id, false);
  assert_false(copy(state, id).verified_known);
  detach(state, id);
  result = copy(state, id);
  assert_true(result.verified_known && !result.verified);
}

/* A copy leaves the source, and who asked for it to judge; a move would leave only the flaw. */
static void what_arrives_changed_is_not_moved(void **state) {
  uint64_t id = written(*state, "host:0", 4096, 1);
  struct work_transfer transfer = transfer_of(id, 1);
  struct job_view view;
  fixture_mover(*state, FIXTURE_DIFFERS);
  fixture_end(start(*state, &transfer), &view);
  assert_int_equal(view.state, JOB_FAILED);
  assert_int_equal(view.problem.status, STATUS_INTERNAL_ERROR);
  assert_true(view.result.transfer.verified_known && !view.result.transfer.verified);
  assert_string_equal(fixture_look(*state, id).device_id, "host:0");
  assert_true(fixture_holds(*state, id, 1));
  assert_empty(*state, "fake:0");
}

static void readings_that_agree_are_believed_in_any_case(void **state) {
  uint64_t id = written(*state, "host:0", 4096, 1);
  attach(state, id, false);
  struct job_transfer result = copy(state, id);
  assert_true(result.verified_known && result.verified);
}

/* Somebody had it between the readings and is gone before the second one ends. */
static void who_could_write_only_meanwhile_counts_too(void **state) {
  uint64_t id = written(*state, "host:0", 4096, 1);
  struct work_transfer transfer = transfer_of(id, 0);
  fixture_mover(*state, FIXTURE_HOLDS);
  struct job *job = start(*state, &transfer);
  fixture_until_held(*state, 1);
  attach(state, id, false);
  detach(state, id);
  fixture_mover(*state, FIXTURE_DIFFERS);
  assert_false(end_of(state, job).verified_known);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_copy_is_a_new_allocation),
      TEST(a_part_may_be_copied),
      TEST(a_move_keeps_the_id),
      TEST(a_trial_leaves_nothing),
      TEST(a_trial_is_not_among_the_allocated),
      TEST(a_failed_transfer_gives_back_before_it_says_so),
      TEST(a_cancelled_transfer_leaves_the_source),
      TEST(a_finished_one_cannot_be_cancelled),
      TEST(refusals_change_nothing),
      TEST(a_transfer_of_one_key_is_started_once),
      TEST(a_dry_run_foretells),
      TEST(transfers_are_listed_in_pages),
      TEST(readings_that_differ_say_nothing_where_a_client_can_write),
      TEST(what_arrives_changed_is_not_moved),
      TEST(readings_that_agree_are_believed_in_any_case),
      TEST(who_could_write_only_meanwhile_counts_too),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
