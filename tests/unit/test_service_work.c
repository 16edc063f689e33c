/* Fill and copy: the bytes that were meant, no others, and what is used stays. */
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

static uint64_t written(struct fixture *fixture, const char *device, uint64_t size, unsigned seed) {
  uint64_t id = fixture_make(fixture, device, size).id;
  fixture_write(fixture, id, seed);
  return id;
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

static enum status copy(struct fixture *fixture, const struct work_copy *params,
                        struct job_view *view) {
  struct work_started started;
  struct problem problem = {0};
  enum status status =
      work_copy_start(fixture_service(fixture), &fixture_admin, params, &started, &problem);
  if (!status)
    fixture_end(started.job, view);
  return status ? status : view->problem.status;
}

static void fill_writes_its_range_and_nothing_else(void **state) {
  uint64_t left = written(*state, "host:0", 4096, 1), middle = written(*state, "host:0", 4096, 2);
  uint64_t right = written(*state, "host:0", 4096, 3);
  struct job_view view;
  assert_int_equal(fill(*state, &(struct work_fill){.allocation = middle, .value = 0x5a}, &view),
                   STATUS_OK);
  assert_int_equal(view.result.bytes.bytes, 4096);
  assert_true(fixture_is_all(*state, middle, 0x5a));
  assert_true(fixture_holds(*state, left, 1) && fixture_holds(*state, right, 3));
  assert_int_equal(fixture_look(*state, middle).access_count, 1);
  assert_int_equal(fixture_look(*state, left).access_count, 0);
}

static void ranges_beyond_the_end_are_refused(void **state) {
  static const uint64_t cases[][2] = {{0, 4097}, {4096, 1}, {4095, 2}, {1, UINT64_C(1) << 62}};
  uint64_t id = written(*state, "host:0", 4096, 1), other = written(*state, "host:0", 8192, 2);
  struct job_view view;
  for (unsigned i = 0; i < 4; i++) {
    struct work_fill params = {
        .allocation = id, .offset_bytes = cases[i][0], .size_bytes = cases[i][1]};
    assert_int_equal(fill(*state, &params, &view), STATUS_INVALID_ARGUMENT);
    struct work_copy other_params = {
        .source = other, .target = id, .target_offset = cases[i][0], .size_bytes = cases[i][1]};
    assert_int_equal(copy(*state, &other_params, &view), STATUS_INVALID_ARGUMENT);
  }
  struct work_copy onto = {.source = id, .target = id, .target_offset = 10, .size_bytes = 100};
  assert_int_equal(copy(*state, &onto, &view), STATUS_INVALID_ARGUMENT);
  assert_true(fixture_holds(*state, id, 1));
}

static void copy_moves_bytes_between_devices(void **state) {
  uint64_t source = written(*state, "host:0", 300001, 7);
  uint64_t target = fixture_make(*state, "fake:0", 300001).id;
  struct job_view view;
  assert_int_equal(
      copy(*state, &(struct work_copy){.source = source, .target = target, .verify = true}, &view),
      STATUS_OK);
  assert_true(fixture_holds(*state, target, 7) && fixture_holds(*state, source, 7));
}

static void what_is_used_cannot_be_freed_or_moved(void **state) {
  struct service *s = fixture_service(*state);
  uint64_t source = written(*state, "host:0", 4096, 1), target = written(*state, "host:0", 4096, 2);
  struct work_started copying, moving;
  struct problem problem;
  struct job_view view;
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(work_copy_start(s, &fixture_admin,
                                   &(struct work_copy){.source = source, .target = target},
                                   &copying, &problem),
                   STATUS_OK);
  assert_int_equal(fixture_look(*state, source).status, VIEW_BUSY);
  assert_int_equal(fixture_free(*state, source, true), STATUS_ALLOCATION_BUSY);
  assert_int_equal(fixture_free(*state, target, true), STATUS_ALLOCATION_BUSY);
  struct work_transfer move = {
      .source = "host:0", .target = "fake:0", .allocation = source, .mode = 1};
  assert_int_equal(work_transfer_start(s, &fixture_admin, &move, &moving, &problem),
                   STATUS_ALLOCATION_BUSY);
  fixture_mover(*state, FIXTURE_WORKS);
  fixture_end(copying.job, &view);
  assert_int_equal(fixture_look(*state, source).status, VIEW_ACTIVE);
  assert_int_equal(fixture_free(*state, source, false), STATUS_OK);
}

/* More at once than a small counter would hold. */
static void hundreds_of_jobs_may_use_one_allocation(void **state) {
  struct service *s = fixture_service(*state);
  static struct work_started started[300];
  uint64_t id = written(*state, "host:0", 4096, 1);
  struct problem problem;
  struct job_view view;
  fixture_mover(*state, FIXTURE_HOLDS);
  for (unsigned i = 0; i < 300; i++)
    assert_int_equal(work_fill_start(s, &fixture_admin,
                                     &(struct work_fill){.allocation = id, .value = 3}, &started[i],
                                     &problem),
                     STATUS_OK);
  assert_int_equal(fixture_free(*state, id, true), STATUS_ALLOCATION_BUSY);
  fixture_mover(*state, FIXTURE_WORKS);
  for (unsigned i = 0; i < 300; i++)
    fixture_end(started[i].job, &view);
  assert_int_equal(fixture_look(*state, id).status, VIEW_ACTIVE);
  assert_int_equal(fixture_free(*state, id, false), STATUS_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(fill_writes_its_range_and_nothing_else),  TEST(ranges_beyond_the_end_are_refused),
      TEST(copy_moves_bytes_between_devices),        TEST(what_is_used_cannot_be_freed_or_moved),
      TEST(hundreds_of_jobs_may_use_one_allocation),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
