/* Who waits for memory, in which order it is given, and how waiting ends. */
#include "service_fixture.h"

#include <stdio.h>

static const char *const devices[] = {"host:0=64MiB", "host:1=64MiB", NULL};

static int setup(void **state) {
  *state = fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

static struct job *ask(struct fixture *fixture, uint64_t size, int priority, uint64_t wait_ms) {
  struct alloc_params params = fixture_params("host:0", size);
  struct alloc_made made;
  struct problem problem;
  params.priority = priority;
  params.wait_ms = wait_ms;
  enum status status =
      alloc_make(fixture_service(fixture), &fixture_admin, &params, &made, &problem);
  assert_int_equal(status, STATUS_PENDING);
  return made.job;
}

static bool is_pending(struct job *job) {
  struct job_view view;
  job_look(job, &view);
  return view.state == JOB_PENDING;
}

static uint64_t served(struct job *job) {
  struct job_view view;
  fixture_end(job, &view);
  assert_int_equal(view.problem.status, STATUS_OK);
  return view.result.allocate.allocation.id;
}

static void waiting_ends_with_what_is_freed(void **state) {
  struct view_alloc held = fixture_make(*state, "host:0", 60 * MIB);
  struct job *job = ask(*state, 50 * MIB, VIEW_PRIORITY_NORMAL, 60000);
  assert_true(is_pending(job));
  assert_int_equal(fixture_free(*state, held.id, false), STATUS_OK);
  served(job);
}

static void waiting_in_vain_ends_in_time(void **state) {
  fixture_make(*state, "host:0", 60 * MIB);
  struct job_view view;
  fixture_end(ask(*state, 50 * MIB, VIEW_PRIORITY_NORMAL, 20), &view);
  assert_int_equal(view.problem.status, STATUS_INSUFFICIENT_MEMORY);
  assert_true(view.problem.has_space);
  fixture_make(*state, "host:0", 4 * MIB); /* nobody stands before it any more */
}

static void the_higher_priority_goes_first_then_the_earlier(void **state) {
  struct view_alloc held = fixture_make(*state, "host:0", 60 * MIB);
  struct job *jobs[4] = {ask(*state, 50 * MIB, VIEW_PRIORITY_LOW, 60000),
                         ask(*state, 50 * MIB, VIEW_PRIORITY_NORMAL, 60000),
                         ask(*state, 50 * MIB, VIEW_PRIORITY_NORMAL, 60000),
                         ask(*state, 50 * MIB, VIEW_PRIORITY_HIGH, 60000)};
  static const unsigned order[] = {3, 1, 2, 0};
  uint64_t last = held.id;
  for (unsigned i = 0; i < 4; i++) {
    assert_int_equal(fixture_free(*state, last, false), STATUS_OK);
    last = served(jobs[order[i]]);
    for (unsigned k = i + 1; k < 4; k++)
      assert_true(is_pending(jobs[order[k]]));
  }
}

/* Neither one that waits too, nor one that comes later and would fit at once, small or not. */
static void nobody_overtakes_the_head(void **state) {
  struct view_alloc held = fixture_make(*state, "host:0", 40 * MIB);
  struct view_alloc slab = fixture_make(*state, "host:0", 4096);
  struct job *large = ask(*state, 60 * MIB, VIEW_PRIORITY_NORMAL, 60000);
  struct job *small = ask(*state, 8 * MIB, VIEW_PRIORITY_NORMAL, 60000);
  struct alloc_params params = fixture_params("host:0", 4096);
  struct problem problem;
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, NULL, &problem),
                   STATUS_INSUFFICIENT_MEMORY);
  params.priority = VIEW_PRIORITY_HIGH;
  uint64_t high = fixture_made(*state, &params).id;
  params.priority = VIEW_PRIORITY_NORMAL;
  params.device[0] = 0; /* any: the other device has no queue */
  assert_string_equal(fixture_made(*state, &params).device_id, "host:1");
  assert_int_equal(fixture_free(*state, slab.id, false), STATUS_OK);
  assert_int_equal(fixture_free(*state, high, false), STATUS_OK);
  assert_true(is_pending(large) && is_pending(small));
  assert_int_equal(fixture_free(*state, held.id, false), STATUS_OK);
  uint64_t id = served(large);
  assert_true(is_pending(small));
  assert_int_equal(fixture_free(*state, id, false), STATUS_OK);
  served(small);
}

static void a_raised_limit_lets_in(void **state) {
  struct limits_set set = {.has_max = true, .max_bytes = 20 * MIB};
  struct problem problem;
  assert_int_equal(limits_change(fixture_service(*state), &fixture_admin, "host:0", &set, &problem),
                   STATUS_OK);
  fixture_make(*state, "host:0", 15 * MIB);
  struct job *job = ask(*state, 10 * MIB, VIEW_PRIORITY_NORMAL, 60000);
  set = (struct limits_set){.has_max = true, .max_bytes = 40 * MIB};
  assert_int_equal(limits_change(fixture_service(*state), &fixture_admin, "host:0", &set, &problem),
                   STATUS_OK);
  served(job);
}

static void never(struct job_waiter *waiter) {
  (void)waiter;
  fail_msg("a waiter that was taken back was called");
}

static void who_hangs_up_no_longer_waits(void **state) {
  struct view_alloc held = fixture_make(*state, "host:0", 60 * MIB);
  struct job *gone = ask(*state, 50 * MIB, VIEW_PRIORITY_NORMAL, 600000);
  struct job *stays = ask(*state, 40 * MIB, VIEW_PRIORITY_NORMAL, 60000);
  struct job_waiter waiter = {.ready = never};
  struct job_view view;
  assert_true(job_wait(gone, &waiter));
  assert_true(job_abandon(gone, &waiter));
  fixture_end(gone, &view);
  assert_int_equal(view.state, JOB_CANCELLED);
  assert_int_equal(fixture_free(*state, held.id, false), STATUS_OK);
  served(stays);
  assert_int_equal(fixture_figures(*state, "host:0").active_allocations, 1);
}

static void no_more_than_1024_wait(void **state) {
  static struct job *jobs[1024];
  struct view_alloc held = fixture_make(*state, "host:0", 60 * MIB);
  for (unsigned i = 0; i < 1024; i++)
    jobs[i] = ask(*state, 8 * MIB, VIEW_PRIORITY_NORMAL, 600000);
  struct alloc_params params = fixture_params("host:0", 8 * MIB);
  params.wait_ms = 1000;
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, NULL, NULL),
                   STATUS_RATE_LIMITED);
  assert_int_equal(fixture_free(*state, held.id, false), STATUS_OK);
  uint64_t first = served(jobs[0]);
  assert_true(first != 0);
  struct caller all = fixture_admin;
  struct problem problem;
  for (unsigned i = 1; i < 1024; i++) {
    struct job_view view;
    (void)job_cancel(jobs[i], &all, &problem);
    fixture_end(jobs[i], &view);
    assert_true(view.state == JOB_CANCELLED || view.state == JOB_COMPLETED);
  }
}

struct counted {
  struct job_waiter waiter; /* first */
  atomic_uint *count;
};

static void count_one(struct job_waiter *waiter) {
  atomic_fetch_add(((struct counted *)waiter)->count, 1);
}

/* A fill is in the worker's hands, an allocation waits for memory. Both are told. */
static void it_stops_with_work_under_way(void **state) {
  struct view_alloc target = fixture_make(*state, "host:0", 60 * MIB);
  struct job *waiting = ask(*state, 50 * MIB, VIEW_PRIORITY_NORMAL, 600000);
  struct work_started started;
  struct problem problem;
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(work_fill_start(fixture_service(*state), &fixture_admin,
                                   &(struct work_fill){.allocation = target.id, .value = 1},
                                   &started, &problem),
                   STATUS_OK);
  fixture_until_held(*state, 1);
  atomic_uint told = 0;
  struct counted first = {{.ready = count_one}, &told}, second = first;
  assert_true(job_wait(waiting, &first.waiter));
  assert_true(job_wait(started.job, &second.waiter));
  fixture_stop(*state);
  assert_int_equal(told, 2);
  job_give(waiting);
  job_give(started.job);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(waiting_ends_with_what_is_freed),
      TEST(waiting_in_vain_ends_in_time),
      TEST(the_higher_priority_goes_first_then_the_earlier),
      TEST(nobody_overtakes_the_head),
      TEST(a_raised_limit_lets_in),
      TEST(who_hangs_up_no_longer_waits),
      TEST(no_more_than_1024_wait),
      cmocka_unit_test_setup(it_stops_with_work_under_way, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
