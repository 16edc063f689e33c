/* Defragment: the same bytes in fewer segments, whatever goes wrong. */
#include "service_fixture.h"

#include <stdio.h>

static const char *const devices[] = {"host:0=256MiB", "fake:0=128MiB", NULL};

static int setup(void **state) {
  *state = fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

#define BLOCKS 10000
#define BLOCK UINT64_C(2048)

static void make_holes(struct fixture *fixture, uint64_t ids[BLOCKS]) {
  for (unsigned i = 0; i < BLOCKS; i++)
    ids[i] = fixture_make(fixture, "host:0", BLOCK).id;
  for (unsigned i = 0; i < BLOCKS; i += 2)
    fixture_write(fixture, ids[i], i);
  for (unsigned i = 1; i < BLOCKS; i += 2)
    assert_int_equal(fixture_free(fixture, ids[i], false), STATUS_OK);
}

static void assert_blocks_are_whole(struct fixture *fixture, const uint64_t ids[BLOCKS]) {
  for (unsigned i = 0; i < BLOCKS; i += 2) {
    assert_true(fixture_holds(fixture, ids[i], i));
    assert_int_equal(fixture_look(fixture, ids[i]).status, VIEW_ACTIVE);
  }
  assert_int_equal(fixture_figures(fixture, "host:0").allocated_bytes, BLOCKS / 2 * BLOCK);
  assert_int_equal(fixture_figures(fixture, "host:0").active_allocations, BLOCKS / 2);
}

static struct work_defragment thorough(bool dry_run) {
  return (struct work_defragment){
      .strategy = DEFRAG_THOROUGH, .max_time_seconds = 300, .dry_run = dry_run};
}

static void defragment(struct fixture *fixture, struct job_view *view) {
  struct work_defragment params = thorough(false);
  struct work_started started;
  struct problem problem;
  assert_int_equal(
      work_defragment_start(fixture_service(fixture), &fixture_admin, &params, &started, &problem),
      STATUS_OK);
  fixture_end(started.job, view);
}

static void ten_thousand_blocks_are_made_whole(void **state) {
  static uint64_t ids[BLOCKS];
  make_holes(*state, ids);
  struct view_figures before = fixture_figures(*state, "host:0");
  struct work_defragment dry = thorough(true);
  struct work_started plan;
  struct problem problem;
  assert_int_equal(
      work_defragment_start(fixture_service(*state), &fixture_admin, &dry, &plan, &problem),
      STATUS_OK);
  struct job_view view;
  defragment(*state, &view);
  assert_int_equal(view.state, JOB_COMPLETED);
  const struct job_defrag_device *done = &view.result.defrag.total;
  struct view_figures after = fixture_figures(*state, "host:0");
  assert_true(done->allocations_moved > 0);
  assert_int_equal(done->moved_bytes, (uint64_t)done->allocations_moved * BLOCK);
  assert_int_equal(done->segments_released, before.segments - after.segments);
  assert_int_equal(done->released_bytes, before.committed_bytes - after.committed_bytes);
  assert_int_equal(done->fragmentation_before, before.fragmentation);
  assert_int_equal(done->fragmentation_after, after.fragmentation);
  assert_int_equal(plan.plan.total.allocations_moved, done->allocations_moved);
  assert_int_equal(plan.plan.total.released_bytes, done->released_bytes);
  assert_int_equal(plan.plan.total.fragmentation_after, done->fragmentation_after);
  assert_true(after.committed_bytes < BLOCKS / 2 * BLOCK + 2 * MIB);
  assert_blocks_are_whole(*state, ids);
  defragment(*state, &view);
  assert_int_equal(view.result.defrag.total.allocations_moved, 0);
}

/* Half of a batch was copied when the worker died: those may move, the others must not. */
static void a_worker_that_dies_in_the_middle_loses_no_block(void **state) {
  static uint64_t ids[BLOCKS];
  struct job_view view;
  make_holes(*state, ids);
  fixture_mover(*state, FIXTURE_HALF);
  defragment(*state, &view);
  assert_int_equal(view.problem.status, STATUS_WORKER_UNAVAILABLE);
  assert_blocks_are_whole(*state, ids);
  fixture_mover(*state, FIXTURE_WORKS);
  defragment(*state, &view);
  assert_int_equal(view.state, JOB_COMPLETED);
  assert_blocks_are_whole(*state, ids);
  struct view_figures figures = fixture_figures(*state, "host:0");
  assert_true(figures.committed_bytes - figures.allocated_bytes < 2 * MIB);
}

static void a_cancelled_defragmentation_stops_and_loses_nothing(void **state) {
  static uint64_t ids[BLOCKS];
  struct work_defragment params = thorough(false);
  struct work_started started;
  struct problem problem;
  struct job_view view;
  make_holes(*state, ids);
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(
      work_defragment_start(fixture_service(*state), &fixture_admin, &params, &started, &problem),
      STATUS_OK);
  fixture_until_held(*state, 1);
  assert_int_equal(job_cancel(started.job, &fixture_admin, &problem), STATUS_OK);
  fixture_end(started.job, &view);
  assert_int_equal(view.state, JOB_CANCELLED);
  assert_blocks_are_whole(*state, ids);
  uint32_t segments = fixture_figures(*state, "host:0").segments;
  for (unsigned i = 0; i < BLOCKS / 2; i++)
    fixture_make(*state, "host:0", BLOCK);
  assert_int_equal(fixture_figures(*state, "host:0").segments, segments);
}

/* A slab is emptied as a whole or not at all. What was tried in vain waits for nothing. */
static void what_finds_no_place_is_let_go(void **state) {
  struct alloc_params params = fixture_params("host:0", 1);
  struct view_alloc small[512], large;
  struct job_view view;
  params.size_bytes = 4 * KIB;
  for (unsigned i = 0; i < 512; i++) {
    params.pinned = i == 0; /* their slab stays */
    assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, &small[i], NULL), STATUS_OK);
  }
  params.size_bytes = 900 * KIB; /* more than any hole of the other slab, less than all */
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, &large, NULL), STATUS_OK);
  assert_int_not_equal(small[511].segment_id, large.segment_id);
  for (unsigned i = 1; i < 512; i += 2)
    assert_int_equal(fixture_free(*state, small[i].id, false), STATUS_OK);
  uint32_t segments = fixture_figures(*state, "host:0").segments;
  defragment(*state, &view);
  assert_int_equal(view.state, JOB_COMPLETED);
  assert_int_equal(view.result.defrag.total.allocations_moved, 0);
  assert_int_equal(fixture_look(*state, large.id).status, VIEW_ACTIVE);
  fixture_make(*state, "host:0", 800 * KIB); /* beside it: that slab is open again */
  assert_int_equal(fixture_figures(*state, "host:0").segments, segments);
  assert_int_equal(fixture_free(*state, large.id, false), STATUS_OK);
}

static void pinned_blocks_never_move(void **state) {
  struct alloc_params params = fixture_params("host:0", 1);
  struct view_alloc made[100];
  struct job_view view;
  params.size_bytes = 64 * KIB;
  params.pinned = true;
  for (unsigned i = 0; i < 100; i++)
    assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, &made[i], NULL), STATUS_OK);
  for (unsigned i = 1; i < 100; i += 2)
    assert_int_equal(fixture_free(*state, made[i].id, true), STATUS_OK);
  defragment(*state, &view);
  assert_int_equal(view.result.defrag.total.allocations_moved, 0);
  for (unsigned i = 0; i < 100; i += 2) {
    struct view_alloc now = fixture_look(*state, made[i].id);
    assert_int_equal(now.segment_id, made[i].segment_id);
    assert_int_equal(now.offset_bytes, made[i].offset_bytes);
  }
}

/* A block that moves is neither freed nor used by others; one that is freed in time does not move.
 */
static void what_moves_is_let_alone(void **state) {
  struct service *s = fixture_service(*state);
  static uint64_t ids[BLOCKS];
  struct work_defragment params = thorough(false);
  struct work_started started, other;
  struct problem problem;
  struct job_view view;
  make_holes(*state, ids);
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(work_defragment_start(s, &fixture_admin, &params, &started, &problem),
                   STATUS_OK);
  fixture_until_held(*state, 1);
  unsigned moving = 0;
  while (fixture_look(*state, ids[moving]).status != VIEW_MOVING)
    moving += 2;
  assert_int_equal(fixture_free(*state, ids[moving], true), STATUS_ALLOCATION_BUSY);
  assert_int_equal(work_fill_start(s, &fixture_admin,
                                   &(struct work_fill){.allocation = ids[moving], .value = 1},
                                   &other, &problem),
                   STATUS_ALLOCATION_BUSY);
  fixture_mover(*state, FIXTURE_WORKS);
  fixture_end(started.job, &view);
  assert_int_equal(view.state, JOB_COMPLETED);
  assert_blocks_are_whole(*state, ids);
}

/* A fill begins after the plan was made and before its block's turn comes. */
static void what_became_busy_meanwhile_does_not_move(void **state) {
  struct service *s = fixture_service(*state);
  static uint64_t ids[BLOCKS];
  struct work_defragment params = thorough(false);
  struct work_started started, fill;
  static struct view_alloc before[BLOCKS / 2];
  struct problem problem;
  struct job_view view;
  unsigned busy = 0;
  make_holes(*state, ids);
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(work_defragment_start(s, &fixture_admin, &params, &started, &problem),
                   STATUS_OK);
  fixture_until_held(*state, 3);                           /* as many as are under way at a time */
  for (unsigned i = 0; i < BLOCKS && busy < 500; i += 2) { /* jobs have a cap */
    before[busy] = fixture_look(*state, ids[i]);
    if (before[busy].status == VIEW_MOVING)
      continue;
    struct work_fill what = {.allocation = ids[i], .value = 1};
    assert_int_equal(work_fill_start(s, &fixture_admin, &what, &fill, &problem), STATUS_OK);
    job_give(fill.job);
    busy++;
  }
  fixture_until_held(*state, 3 + busy);
  fixture_mover(*state, FIXTURE_HOLDS_FILLS);
  fixture_end(started.job, &view);
  assert_int_equal(view.state, JOB_COMPLETED);
  assert_true(view.result.defrag.total.allocations_moved > 0);
  for (unsigned i = 0; i < busy; i++) {
    struct view_alloc after = fixture_look(*state, before[i].id);
    assert_int_equal(after.segment_id, before[i].segment_id);
    assert_int_equal(after.offset_bytes, before[i].offset_bytes);
  }
  fixture_mover(*state, FIXTURE_WORKS);
}

/* Both have planned before the first move is over: whose turn comes later finds blocks elsewhere.
 */
static void two_at_a_time_lose_no_block(void **state) {
  static uint64_t ids[BLOCKS];
  struct work_defragment params = thorough(false);
  struct work_started started[2];
  struct problem problem;
  struct job_view view;
  make_holes(*state, ids);
  fixture_mover(*state, FIXTURE_HOLDS);
  for (unsigned i = 0; i < 2; i++) {
    assert_int_equal(work_defragment_start(fixture_service(*state), &fixture_admin, &params,
                                           &started[i], &problem),
                     STATUS_OK);
    fixture_until_held(*state, 3 * (i + 1));
  }
  fixture_mover(*state, FIXTURE_WORKS);
  for (unsigned i = 0; i < 2; i++) {
    fixture_end(started[i].job, &view);
    assert_int_equal(view.state, JOB_COMPLETED);
  }
  assert_blocks_are_whole(*state, ids);
  defragment(*state, &view);
  assert_blocks_are_whole(*state, ids);
  struct view_figures figures = fixture_figures(*state, "host:0");
  assert_true(figures.committed_bytes - figures.allocated_bytes < 2 * MIB);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(ten_thousand_blocks_are_made_whole),
      TEST(a_worker_that_dies_in_the_middle_loses_no_block),
      TEST(a_cancelled_defragmentation_stops_and_loses_nothing),
      TEST(what_finds_no_place_is_let_go),
      TEST(pinned_blocks_never_move),
      TEST(what_moves_is_let_alone),
      TEST(what_became_busy_meanwhile_does_not_move),
      TEST(two_at_a_time_lose_no_block),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
