/* Jobs after a restart. A crash is a second service over a copy of the ledger as it is at some
 * moment; the first goes on meanwhile. */
#include "crash_fixture.h"
#include "service_fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/os_memfd.h"
#include "service/job_record.h"
#include "service/job_work.h"

#define KEPT 10000

static const char *const devices[] = {"host:0=256MiB", "fake:0=128MiB", NULL};

static int setup(void **state) {
  *state = fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

/* ---- the next daemon ---- */

static struct job_view view_of(struct service *s, uint64_t id) {
  struct job_view view;
  struct job *job = NULL;
  assert_int_equal(job_find(s, id, false, &job), STATUS_OK);
  job_look(job, &view);
  job_give(job);
  return view;
}

static uint32_t records(const struct service *s) {
  uint32_t count = 0;
  for (uint32_t slot = ledger_next(s->ledger, 0); slot; slot = ledger_next(s->ledger, slot))
    count += ledger_at(s->ledger, slot)->kind == LEDGER_JOB;
  return count;
}

/* ---- jobs ---- */

static struct work_transfer transfer_of(uint64_t id, int mode) {
  return (struct work_transfer){.source = "host:0",
                                .target = "fake:0",
                                .allocation = id,
                                .mode = mode,
                                .verify = true,
                                .priority = VIEW_PRIORITY_NORMAL};
}

static enum status start(struct service *s, const struct work_transfer *params, const char *key,
                         struct job **job) {
  struct work_started started;
  struct problem problem;
  struct caller caller = fixture_admin;
  snprintf(caller.key, sizeof caller.key, "%s", key);
  enum status status = work_transfer_start(s, &caller, params, &started, &problem);
  if (!status)
    *job = started.job;
  return status;
}

static struct job_view transfer(struct fixture *fixture, const struct work_transfer *params,
                                const char *key) {
  struct job *job = NULL;
  struct job_view view;
  assert_int_equal(start(fixture_service(fixture), params, key, &job), STATUS_OK);
  fixture_end(job, &view);
  return view;
}

static struct job *fill_started(struct fixture *fixture, uint64_t id) {
  struct work_fill params = {.allocation = id, .value = 7};
  struct work_started started;
  struct problem problem;
  if (work_fill_start(fixture_service(fixture), &fixture_admin, &params, &started, &problem))
    fail_msg("%s", problem.text);
  return started.job;
}

static struct job_view fill(struct fixture *fixture, uint64_t id) {
  struct job_view view;
  fixture_end(fill_started(fixture, id), &view);
  return view;
}

static struct job_view cleared(struct fixture *fixture) {
  struct work_clear params = {.scope = WORK_CLEAR_CACHE};
  struct work_started started;
  struct problem problem;
  struct job_view view;
  if (work_clear_start(fixture_service(fixture), &fixture_admin, &params, &started, &problem))
    fail_msg("%s", problem.text);
  fixture_end(started.job, &view);
  return view;
}

/* ---- finished ones ---- */

static void assert_same_transfer(const struct job_transfer *now, const struct job_transfer *then) {
  assert_string_equal(now->source_device, then->source_device);
  assert_string_equal(now->target_device, then->target_device);
  assert_int_equal(now->allocation, then->allocation);
  assert_int_equal(now->target_allocation, then->target_allocation);
  assert_int_equal(now->move, then->move);
  assert_int_equal(now->trial, then->trial);
  assert_int_equal(now->verify, then->verify);
  assert_int_equal(now->path_known, then->path_known);
  assert_int_equal(now->size_bytes, then->size_bytes);
  assert_int_equal(now->verified_known, then->verified_known);
  assert_int_equal(now->verified, then->verified);
  assert_int_equal(now->checksum_known, then->checksum_known);
  assert_int_equal(now->checksum, then->checksum);
}

static void assert_same(struct service *s, const struct job_view *then) {
  struct job_view now = view_of(s, then->id);
  assert_int_equal(now.kind, then->kind);
  assert_int_equal(now.state, then->state);
  assert_int_equal(now.bytes_done, then->bytes_done);
  assert_int_equal(now.bytes_total, then->bytes_total);
  assert_int_equal(now.bytes_per_second, then->bytes_per_second);
  assert_int_equal(now.created_at, then->created_at);
  assert_int_equal(now.started_at, then->started_at);
  assert_int_equal(now.completed_at, then->completed_at);
  assert_int_equal(now.problem.status, then->problem.status);
  if (then->problem.status)
    assert_string_equal(now.problem.text, status_text(then->problem.status));
  if (then->kind == JOB_TRANSFER)
    assert_same_transfer(&now.result.transfer, &then->result.transfer);
  if (then->kind == JOB_FILL)
    assert_int_equal(now.result.bytes.bytes, then->result.bytes.bytes);
  assert_int_equal(now.result_lost, then->kind == JOB_CLEAR);
}

static void finished_jobs_are_listed_again(void **state) {
  struct job_view views[6];
  struct job *listed[6];
  struct crash_fixture next;
  uint64_t more;
  uint64_t id = fixture_make(*state, "host:0", 5 * MIB).id;
  struct work_transfer copy = transfer_of(id, 0), move = transfer_of(id, 1),
                       trial = transfer_of(0, 0);
  trial.size_bytes = MIB;
  views[0] = fill(*state, id);
  views[1] = transfer(*state, &copy, "");
  views[2] = transfer(*state, &trial, "");
  fixture_mover(*state, FIXTURE_FAILS);
  views[3] = transfer(*state, &copy, "");
  fixture_mover(*state, FIXTURE_WORKS);
  views[4] = transfer(*state, &move, "");
  views[5] = cleared(*state);
  assert_int_equal(views[3].state, JOB_FAILED);
  assert_int_equal(views[4].state, JOB_COMPLETED);
  crash_fixture(fixture_service(*state), &next);
  struct service *s = crash_fixture_next(&next, devices);
  for (unsigned i = 0; i < 6; i++)
    assert_same(s, &views[i]);
  struct job_list asked = {.kind = JOB_TRANSFER, .state = JOB_ANY, .max = 6};
  assert_int_equal(job_list(s, &asked, listed, &more), 4);
  assert_int_equal(job_id(listed[0]), views[1].id);
  for (unsigned i = 0; i < 4; i++)
    job_give(listed[i]);
  assert_int_equal(records(s), 6);
  assert_int_equal(job_unfinished(s), 0);
  crash_fixture_end(&next);
}

static void what_has_ended_cannot_be_cancelled(void **state) {
  static const struct caller other = {.role = CALLER_WRITE, .domain = 1234};
  struct job_view view = fill(*state, fixture_make(*state, "host:0", 4096).id);
  struct problem problem;
  struct crash_fixture next;
  struct job *job = NULL;
  crash_fixture(fixture_service(*state), &next);
  assert_int_equal(job_find(crash_fixture_next(&next, devices), view.id, false, &job), STATUS_OK);
  assert_int_equal(job_cancel(job, &other, &problem), STATUS_FORBIDDEN);
  assert_int_equal(job_cancel(job, &fixture_admin, &problem), STATUS_CONFLICT);
  job_give(job);
  crash_fixture_end(&next);
}

static void a_key_answers_with_the_first_result(void **state) {
  struct work_transfer params = transfer_of(fixture_make(*state, "host:0", 5 * MIB).id, 0);
  struct job_view first = transfer(*state, &params, "again"), again;
  struct crash_fixture next;
  struct job *job = NULL;
  crash_fixture(fixture_service(*state), &next);
  struct service *s = crash_fixture_next(&next, devices);
  assert_int_equal(start(s, &params, "again", &job), STATUS_OK);
  fixture_end(job, &again);
  assert_int_equal(again.id, first.id);
  assert_int_equal(again.result.transfer.target_allocation,
                   first.result.transfer.target_allocation);
  params.verify = false;
  assert_int_equal(start(s, &params, "again", &job), STATUS_CONFLICT);
  crash_fixture_end(&next);
}

/* ---- unfinished ones ---- */

static void assert_restarted(struct service *s, uint64_t id) {
  struct job_view view = view_of(s, id);
  assert_int_equal(view.state, JOB_FAILED);
  assert_int_equal(view.problem.status, STATUS_DAEMON_RESTARTED);
  assert_true(view.created_at <= view.started_at && view.started_at <= view.completed_at);
  assert_int_equal(view.bytes_done, 0);
}

static void what_was_under_way_has_failed(void **state) {
  struct crash_fixture next, third;
  struct job *jobs[3] = {NULL};
  struct job_view view;
  uint64_t ids[3], a = fixture_make(*state, "host:0", 5 * MIB).id,
                   b = fixture_make(*state, "host:0", 5 * MIB).id;
  struct work_transfer copy = transfer_of(a, 0), move = transfer_of(b, 1);
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(start(fixture_service(*state), &copy, "key", &jobs[0]), STATUS_OK);
  assert_int_equal(start(fixture_service(*state), &move, "", &jobs[1]), STATUS_OK);
  jobs[2] = fill_started(*state, a);
  fixture_until_held(*state, 3);
  crash_fixture(fixture_service(*state), &next);
  struct service *s = crash_fixture_next(&next, devices);
  for (unsigned i = 0; i < 3; i++)
    assert_restarted(s, ids[i] = job_id(jobs[i]));
  assert_int_equal(view_of(s, ids[0]).result.transfer.target_allocation, 0);
  assert_int_equal(s->allocs.live, 2);
  assert_int_equal(s->devices[0].allocations, 2);
  struct job *again = NULL;
  assert_int_equal(start(s, &copy, "key", &again), STATUS_OK);
  assert_int_equal(job_id(again), ids[0]);
  job_give(again);
  uint64_t ended = view_of(s, ids[0]).completed_at;
  crash_fixture(s, &third);
  crash_fixture_end(&next);
  assert_int_equal(view_of(crash_fixture_next(&third, devices), ids[0]).completed_at, ended);
  for (unsigned i = 0; i < 3; i++)
    assert_restarted(third.service, ids[i]);
  crash_fixture_end(&third);
  fixture_mover(*state, FIXTURE_WORKS);
  for (unsigned i = 0; i < 3; i++) {
    fixture_end(jobs[i], &view);
    assert_int_equal(view.state, JOB_COMPLETED);
  }
}

struct moment {
  struct task gate, look;
  pthread_mutex_t shut; /* while the loop has to wait */
  struct service *service;
  struct crash_fixture next;
  bool finished;
  struct job *job;
};

static void wait_at_gate(struct task *task) {
  struct moment *moment = (struct moment *)task;
  pthread_mutex_lock(&moment->shut);
  pthread_mutex_unlock(&moment->shut);
}

static void look(struct task *task) {
  struct moment *moment = (struct moment *)((char *)task - offsetof(struct moment, look));
  struct job_view view;
  job_look(moment->job, &view);
  moment->finished = view.state == JOB_COMPLETED;
  crash_fixture(moment->service, &moment->next);
}

/* The loop runs what is posted in order: the last step of the move, our look, and then only what
 * the old place still waits for. */
static void a_crash_after_the_step_that_counts(void **state) {
  struct moment moment = {.gate.run = wait_at_gate,
                          .look.run = look,
                          .shut = PTHREAD_MUTEX_INITIALIZER,
                          .service = fixture_service(*state)};
  struct job_view view, restored;
  uint64_t id = fixture_make(*state, "host:0", 5 * MIB).id;
  struct work_transfer move = transfer_of(id, 1);
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(start(moment.service, &move, "", &moment.job), STATUS_OK);
  fixture_until_held(*state, 1);
  pthread_mutex_lock(&moment.shut);
  loop_post(moment.service->loop, &moment.gate);
  fixture_mover(*state, FIXTURE_WORKS);
  loop_post(moment.service->loop, &moment.look);
  pthread_mutex_unlock(&moment.shut);
  fixture_end(moment.job, &view);
  assert_int_equal(view.state, JOB_COMPLETED);
  assert_false(moment.finished);
  restored = view_of(crash_fixture_next(&moment.next, devices), view.id);
  assert_int_equal(restored.state, JOB_COMPLETED);
  assert_int_equal(restored.bytes_done, 5 * MIB);
  assert_true(restored.completed_at <= view.completed_at);
  assert_same_transfer(&restored.result.transfer, &view.result.transfer);
  assert_int_equal(moment.next.service->devices[1].allocations, 1);
  crash_fixture_end(&moment.next);
}

/* A record as a crash may leave it. */
static uint64_t left(struct service *s, struct job_view view) {
  LOCK_SCOPE(&s->lock);
  struct job_record record = {.source = s->devices[0].record, .target = s->devices[1].record};
  view.id = ledger_next_id(s->ledger);
  assert_int_equal(job_record_put(s, &record, &view), STATUS_OK);
  return view.id;
}

static void a_promise_counts_if_the_target_is_there(void **state) {
  struct service *s = fixture_service(*state);
  uint64_t at_source = fixture_make(*state, "host:0", 4096).id,
           at_target = fixture_make(*state, "fake:0", 4096).id, now = clock_real();
  struct job_view promise = {.kind = JOB_TRANSFER,
                             .state = JOB_RUNNING,
                             .created_at = now,
                             .started_at = now,
                             .completed_at = now,
                             .result.transfer.allocation = at_source};
  struct crash_fixture next;
  promise.result.transfer.target_allocation = at_target;
  uint64_t kept = left(s, promise);
  promise.result.transfer.target_allocation = 1;
  uint64_t gone = left(s, promise);
  promise.result.transfer.target_allocation = at_source;
  promise.result.transfer.move = true;
  uint64_t elsewhere = left(s, promise);
  promise.completed_at = 0;
  promise.result.transfer.target_allocation = at_target;
  uint64_t none = left(s, promise);
  crash_fixture(s, &next);
  struct service *restored = crash_fixture_next(&next, devices);
  assert_int_equal(view_of(restored, kept).state, JOB_COMPLETED);
  assert_int_equal(view_of(restored, kept).completed_at, now);
  assert_restarted(restored, gone);
  assert_restarted(restored, elsewhere);
  assert_restarted(restored, none);
  crash_fixture_end(&next);
}

/* ---- forgetting ---- */

static void an_hour_later_it_is_forgotten(void **state) {
  struct service *s = fixture_service(*state);
  uint64_t now = clock_real();
  struct job_view view = {.kind = JOB_CLEAR, .state = JOB_COMPLETED};
  struct crash_fixture next;
  struct job *job = NULL;
  view.completed_at = now - 3590 * CLOCK_SECOND;
  uint64_t young = left(s, view);
  view.completed_at = now - 3601 * CLOCK_SECOND;
  uint64_t old = left(s, view);
  crash_fixture(s, &next);
  struct service *restored = crash_fixture_next(&next, devices);
  view_of(restored, young);
  assert_int_equal(job_find(restored, old, false, &job), STATUS_NOT_FOUND);
  assert_int_equal(records(restored), 1);
  crash_fixture_end(&next);
}

static void no_more_than_ten_thousand_are_kept(void **state) {
  struct service *s = fixture_service(*state);
  struct crash_fixture next;
  struct job *job = NULL;
  uint64_t id = fixture_make(*state, "host:0", 4096).id, first = fill(*state, id).id,
           second = fill(*state, id).id;
  for (unsigned i = 0; i < KEPT - 1; i++)
    fill(*state, id);
  assert_int_equal(records(s), KEPT);
  assert_int_equal(job_find(s, first, false, &job), STATUS_NOT_FOUND);
  view_of(s, second);
  crash_fixture(s, &next);
  assert_int_equal(records(crash_fixture_next(&next, devices)), KEPT);
  view_of(next.service, second);
  crash_fixture_end(&next);
}

/* One that fails with as many words as a problem can hold. */
static uint64_t failed_at_length(struct service *s) {
  struct problem problem;
  lock_take(&s->lock);
  struct job *job =
      job_make(s, &(struct job_params){
                      .kind = JOB_FILL, .caller = &fixture_admin, .id = ledger_next_id(s->ledger)});
  lock_give(&s->lock);
  assert_non_null(job);
  uint64_t id = job_id(job);
  problem_field(&problem, STATUS_INVALID_ARGUMENT, "field", "%0255d", 0);
  snprintf(problem.allowed, sizeof problem.allowed, "%0511d", 0);
  job_finish(job, &problem);
  return id;
}

static void fewer_are_kept_where_they_are_large(void **state) {
  struct service *s = fixture_service(*state);
  struct job *job = NULL;
  uint64_t first = failed_at_length(s), last = first;
  for (unsigned i = 1; i < KEPT; i++)
    last = failed_at_length(s);
  assert_int_equal(job_find(s, first, false, &job), STATUS_NOT_FOUND);
  assert_int_equal(strlen(view_of(s, last).problem.allowed), 511);
  assert_in_range(records(s), KEPT / 2, KEPT - 1);
}

static void lists_are_of_a_state(void **state) {
  struct service *s = fixture_service(*state);
  struct job *found[3];
  struct job_view view;
  uint64_t next, id = fixture_make(*state, "host:0", 4096).id, done = fill(*state, id).id,
                 bad = failed_at_length(s);
  fixture_mover(*state, FIXTURE_HOLDS);
  struct job *held = fill_started(*state, id);
  fixture_until_held(*state, 1);
  const uint64_t ids[] = {[JOB_RUNNING] = job_id(held), [JOB_COMPLETED] = done, [JOB_FAILED] = bad};
  for (int i = JOB_RUNNING; i <= JOB_FAILED; i++) {
    struct job_list asked = {.kind = JOB_ANY, .state = i, .max = 3};
    assert_int_equal(job_list(s, &asked, found, &next), 1);
    assert_int_equal(job_id(found[0]), ids[i]);
    assert_int_equal(next, 0);
    job_give(found[0]);
  }
  fixture_mover(*state, FIXTURE_WORKS);
  fixture_end(held, &view);
}

static void a_refused_transfer_leaves_no_record(void **state) {
  struct work_transfer params = transfer_of(fixture_make(*state, "host:0", 200 * MIB).id, 0);
  struct job *job = NULL;
  assert_int_equal(start(fixture_service(*state), &params, "key", &job),
                   STATUS_ALLOCATION_TOO_LARGE);
  assert_int_equal(records(fixture_service(*state)), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(finished_jobs_are_listed_again, setup, teardown),
      cmocka_unit_test_setup_teardown(what_has_ended_cannot_be_cancelled, setup, teardown),
      cmocka_unit_test_setup_teardown(a_key_answers_with_the_first_result, setup, teardown),
      cmocka_unit_test_setup_teardown(what_was_under_way_has_failed, setup, teardown),
      cmocka_unit_test_setup_teardown(a_crash_after_the_step_that_counts, setup, teardown),
      cmocka_unit_test_setup_teardown(a_promise_counts_if_the_target_is_there, setup, teardown),
      cmocka_unit_test_setup_teardown(an_hour_later_it_is_forgotten, setup, teardown),
      cmocka_unit_test_setup_teardown(no_more_than_ten_thousand_are_kept, setup, teardown),
      cmocka_unit_test_setup_teardown(fewer_are_kept_where_they_are_large, setup, teardown),
      cmocka_unit_test_setup_teardown(lists_are_of_a_state, setup, teardown),
      cmocka_unit_test_setup_teardown(a_refused_transfer_leaves_no_record, setup, teardown)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
