/* Quotas and idempotency keys, and what the keys of requests under way mean. */
#include "service_fixture.h"

#include <stdio.h>
#include <string.h>

static const char *const devices[] = {"host:0=64MiB", "fake:0=128MiB", NULL};

static int setup(void **state) {
  *state = fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

static void quotas_hold_and_are_given_back(void **state) {
  struct service *s = fixture_service(*state);
  struct problem problem;
  struct limits_set set = {.has_quotas = true,
                           .quota_count = 1,
                           .quotas = {{.domain = "uid:0", .max_bytes = MIB, .max_allocations = 2}}};
  assert_int_equal(limits_change(s, &fixture_admin, "host:0", &set, &problem), STATUS_OK);
  assert_int_equal(set.quota_count, 1);
  struct alloc_params params = fixture_params("host:0", MIB + 1);
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, NULL, &problem),
                   STATUS_QUOTA_EXCEEDED);
  assert_true(problem.has_space);
  assert_string_equal(problem.space.reason, "quota");
  struct view_alloc first = fixture_make(*state, "host:0", 4096);
  fixture_make(*state, "host:0", 4096);
  params.size_bytes = 4096;
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, NULL, &problem),
                   STATUS_QUOTA_EXCEEDED);
  assert_int_equal(fixture_free(*state, first.id, false), STATUS_OK);
  fixture_make(*state, "host:0", 4096);
}

static void a_quota_may_be_named_before_its_user_comes(void **state) {
  struct caller other = {.role = CALLER_WRITE, .domain = 1234, .domain_name = "uid:1234"};
  struct problem problem;
  struct limits_set set = {
      .has_quotas = true,
      .quota_count = 1,
      .quotas = {{.domain = "uid:1234", .max_bytes = 100, .max_allocations = UINT64_MAX}}};
  assert_int_equal(limits_change(fixture_service(*state), &fixture_admin, "host:0", &set, &problem),
                   STATUS_OK);
  struct alloc_params params = fixture_params("host:0", 101);
  assert_int_equal(fixture_allocate(*state, &other, &params, NULL, NULL), STATUS_QUOTA_EXCEEDED);
  snprintf(set.quotas[0].domain, sizeof set.quotas[0].domain, "%s", "token:ci");
  assert_int_equal(limits_change(fixture_service(*state), &fixture_admin, "host:0", &set, &problem),
                   STATUS_OK);
  struct caller token = {.role = CALLER_WRITE, .domain = 0x80001234, .domain_name = "token:ci"};
  assert_int_equal(fixture_allocate(*state, &token, &params, NULL, NULL), STATUS_QUOTA_EXCEEDED);
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, NULL, NULL), STATUS_OK);
}

static void a_quota_of_nobody_is_refused(void **state) {
  static const char *const names[] = {
      "ci", "", "token:", "uid:", "uid:x", "uid:01", "uid:4294967295"};
  struct limits_set set = {.has_quotas = true, .quota_count = 1};
  struct problem problem;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(set.quotas[0].domain, sizeof set.quotas[0].domain, "%s", names[i]);
    assert_int_equal(
        limits_change(fixture_service(*state), &fixture_admin, "host:0", &set, &problem),
        STATUS_INVALID_ARGUMENT);
  }
}

static void a_key_answers_with_the_first_result(void **state) {
  struct caller caller = fixture_admin;
  struct view_alloc first, second;
  for (uint64_t size = 4096; size <= 2 * MIB; size += 2 * MIB - 4096) {
    struct alloc_params params = fixture_params("host:0", size);
    snprintf(caller.key, sizeof caller.key, "key-%llu", (unsigned long long)size);
    assert_int_equal(fixture_allocate(*state, &caller, &params, &first, NULL), STATUS_OK);
    assert_int_equal(fixture_allocate(*state, &caller, &params, &second, NULL), STATUS_OK);
    assert_int_equal(first.id, second.id);
    params.size_bytes++;
    assert_int_equal(fixture_allocate(*state, &caller, &params, NULL, NULL), STATUS_CONFLICT);
    params.size_bytes--;
    assert_int_equal(fixture_free(*state, first.id, false), STATUS_OK);
    assert_int_equal(fixture_allocate(*state, &caller, &params, &second, NULL), STATUS_OK);
    assert_int_not_equal(first.id, second.id);
  }
}

static void a_refusal_does_not_use_the_key_up(void **state) {
  struct caller caller = fixture_admin;
  snprintf(caller.key, sizeof caller.key, "%s", "k");
  struct alloc_params params = fixture_params("host:0", GIB);
  assert_int_equal(fixture_allocate(*state, &caller, &params, NULL, NULL),
                   STATUS_ALLOCATION_TOO_LARGE);
  params.size_bytes = 4096;
  assert_int_equal(fixture_allocate(*state, &caller, &params, NULL, NULL), STATUS_OK);
}

/* The first one is still under way when the second asks. */
static void a_key_that_is_under_way_is_joined(void **state) {
  struct service *s = fixture_service(*state);
  struct caller caller = fixture_admin;
  struct alloc_made made[2], other;
  struct job_view views[2];
  struct problem problem;
  snprintf(caller.key, sizeof caller.key, "%s", "same");
  struct view_alloc used = fixture_make(*state, "host:0", 4096);
  assert_int_equal(fixture_free(*state, used.id, false), STATUS_OK);
  struct alloc_params params = fixture_params("host:0", 4096);
  params.zero = true; /* by the mover, who waits */
  fixture_mover(*state, FIXTURE_HOLDS);
  for (unsigned i = 0; i < 2; i++)
    assert_int_equal(alloc_make(s, &caller, &params, &made[i], &problem), STATUS_PENDING);
  params.size_bytes = 1;
  assert_int_equal(alloc_make(s, &caller, &params, &other, &problem), STATUS_CONFLICT);
  fixture_until_held(*state, 1);
  fixture_mover(*state, FIXTURE_WORKS);
  for (unsigned i = 0; i < 2; i++) {
    fixture_end(made[i].job, &views[i]);
    assert_int_equal(views[i].problem.status, STATUS_OK);
  }
  assert_int_equal(views[0].result.allocate.allocation.id, views[1].result.allocate.allocation.id);
  assert_int_equal(fixture_figures(*state, "host:0").active_allocations, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(quotas_hold_and_are_given_back),    TEST(a_quota_may_be_named_before_its_user_comes),
      TEST(a_quota_of_nobody_is_refused),      TEST(a_key_answers_with_the_first_result),
      TEST(a_refusal_does_not_use_the_key_up), TEST(a_key_that_is_under_way_is_joined),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
