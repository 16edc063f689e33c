/* Allocate and free: where things go, what is refused, and that nothing is lost. */
#include "service_fixture.h"

#include <unistd.h>

static const char *const devices[] = {"host:0=64MiB", "fake:0=128MiB", NULL};

static int setup(void **state) {
  *state = fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

static void small_ones_share_a_segment(void **state) {
  struct view_alloc first = fixture_make(*state, "host:0", 4096);
  struct view_alloc second = fixture_make(*state, "host:0", 4096);
  assert_false(first.dedicated);
  assert_int_equal(first.segment_id, second.segment_id);
  assert_true(second.offset_bytes >= first.offset_bytes + 4096 ||
              first.offset_bytes >= second.offset_bytes + 4096);
}

static void large_ones_have_their_own_and_give_it_back(void **state) {
  struct view_alloc first = fixture_make(*state, "host:0", 4 * MIB);
  struct view_alloc second = fixture_make(*state, "host:0", 4 * MIB);
  assert_true(first.dedicated);
  assert_int_not_equal(first.segment_id, second.segment_id);
  assert_int_equal(fixture_free(*state, first.id, false), STATUS_OK);
  assert_int_equal(fixture_free(*state, second.id, false), STATUS_OK);
  struct view_figures figures = fixture_figures(*state, "host:0");
  assert_int_equal(figures.segments, 0);
  assert_int_equal(figures.committed_bytes + figures.cached_bytes + figures.allocated_bytes, 0);
  assert_int_equal(figures.available_bytes, 64 * MIB);
}

static void shared_small_ones_have_their_own(void **state) {
  struct alloc_params params = fixture_params("host:0", 4096);
  struct view_alloc made;
  params.share = VIEW_SHARE_READ;
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, &made, NULL), STATUS_OK);
  assert_true(made.dedicated);
  assert_int_equal(made.share, VIEW_SHARE_READ);
}

static void an_empty_slab_is_kept(void **state) {
  struct view_alloc made = fixture_make(*state, "host:0", 4096);
  assert_int_equal(fixture_free(*state, made.id, false), STATUS_OK);
  struct view_figures figures = fixture_figures(*state, "host:0");
  assert_int_equal(figures.committed_bytes, 0);
  assert_true(figures.cached_bytes > 0);
  assert_int_equal(figures.available_bytes, 64 * MIB);
}

static void cached_slabs_make_way_for_what_needs_the_room(void **state) {
  uint64_t ids[16];
  for (unsigned i = 0; i < 16; i++)
    ids[i] = fixture_make(*state, "host:0", 512 * KIB).id;
  for (unsigned i = 0; i < 16; i++)
    assert_int_equal(fixture_free(*state, ids[i], false), STATUS_OK);
  assert_true(fixture_figures(*state, "host:0").cached_bytes > 0);
  struct view_alloc all = fixture_make(*state, "host:0", 64 * MIB);
  struct view_figures figures = fixture_figures(*state, "host:0");
  assert_int_equal(figures.cached_bytes, 0);
  assert_int_equal(figures.committed_bytes, 64 * MIB);
  assert_int_equal(fixture_free(*state, all.id, false), STATUS_OK);
}

static void the_best_device_has_most_room(void **state) {
  assert_string_equal(fixture_make(*state, "", 8 * MIB).device_id, "fake:0");
  struct alloc_params params = fixture_params("", 8 * MIB);
  struct view_alloc made;
  params.memory = PLACEMENT_RAM;
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, &made, NULL), STATUS_OK);
  assert_string_equal(made.device_id, "host:0");
}

static void a_dry_run_takes_nothing(void **state) {
  struct service *s = fixture_service(*state);
  struct alloc_params params = fixture_params("", 8 * MIB);
  struct alloc_made made;
  struct problem problem;
  params.dry_run = true;
  assert_int_equal(alloc_make(s, &fixture_admin, &params, &made, &problem), STATUS_OK);
  assert_string_equal(made.placement.device_id, "fake:0");
  assert_null(made.job);
  params.size_bytes = GIB;
  assert_int_equal(alloc_make(s, &fixture_admin, &params, &made, &problem), STATUS_OK);
  assert_null(made.placement.device_id);
  assert_int_equal(fixture_figures(*state, "fake:0").committed_bytes, 0);
}

static void what_does_not_fit_is_told_with_figures(void **state) {
  static const struct {
    uint64_t size;
    enum status status;
  } cases[] = {{64 * MIB + 1, STATUS_ALLOCATION_TOO_LARGE},
               {UINT64_C(1) << 62, STATUS_ALLOCATION_TOO_LARGE},
               {60 * MIB, STATUS_INSUFFICIENT_MEMORY}};
  fixture_make(*state, "host:0", 8 * MIB);
  for (unsigned i = 0; i < 3; i++) {
    struct alloc_params params = fixture_params("host:0", cases[i].size);
    struct problem problem;
    assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, NULL, &problem),
                     cases[i].status);
    assert_true(problem.has_space);
    assert_int_equal(problem.space.requested_bytes, cases[i].size);
    assert_int_equal(problem.space.available_bytes, 56 * MIB);
  }
  assert_int_equal(fixture_figures(*state, "host:0").committed_bytes, 8 * MIB);
}

static void wrong_arguments_are_named(void **state) {
  struct problem problem;
  struct alloc_params params = fixture_params("host:9", 1);
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, NULL, &problem),
                   STATUS_DEVICE_NOT_FOUND);
  assert_string_equal(problem.allowed, "host:0,fake:0");
  params = fixture_params("host:0", 1);
  params.memory = PLACEMENT_VRAM;
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, NULL, &problem),
                   STATUS_INVALID_ARGUMENT);
  assert_string_equal(problem.field, "memoryType");
  /* 2^32 more than a pid there is: not to be mistaken for it. */
  params = fixture_params("host:0", 1);
  params.owner_pid = (UINT64_C(1) << 32) + (uint64_t)getpid();
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, NULL, &problem),
                   STATUS_INVALID_ARGUMENT);
  assert_string_equal(problem.field, "ownerPid");
}

static void zero_gives_zeros_where_something_else_was(void **state) {
  struct view_alloc dirty[4], clean;
  for (unsigned i = 0; i < 4; i++) {
    dirty[i] = fixture_make(*state, "host:0", 8192);
    fixture_write(*state, dirty[i].id, i);
  }
  for (unsigned i = 1; i < 4; i++)
    assert_int_equal(fixture_free(*state, dirty[i].id, false), STATUS_OK);
  struct alloc_params params = fixture_params("host:0", 8192);
  params.zero = true;
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, &clean, NULL), STATUS_OK);
  assert_true(fixture_is_all(*state, clean.id, 0));
  assert_true(fixture_holds(*state, dirty[0].id, 0));
}

static void a_zeroing_that_fails_leaves_nothing(void **state) {
  struct view_alloc first = fixture_make(*state, "host:0", 8192);
  assert_int_equal(fixture_free(*state, first.id, false), STATUS_OK);
  struct alloc_params params = fixture_params("host:0", 8192);
  params.zero = true;
  fixture_mover(*state, FIXTURE_FAILS);
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, NULL, NULL),
                   STATUS_WORKER_UNAVAILABLE);
  struct view_figures figures = fixture_figures(*state, "host:0");
  assert_int_equal(figures.active_allocations, 0);
  assert_int_equal(figures.allocated_bytes + figures.committed_bytes, 0);
}

static void commit_takes_the_pages(void **state) {
  struct alloc_params params = fixture_params("host:0", 8 * MIB);
  params.commit = true;
  assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, NULL, NULL), STATUS_OK);
}

static void protected_ones_need_force(void **state) {
  struct alloc_params params = fixture_params("host:0", 4096);
  struct view_alloc made;
  for (unsigned i = 0; i < 2; i++) {
    params.pinned = i == 0;
    params.persistent = i == 1;
    assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, &made, NULL), STATUS_OK);
    assert_int_equal(fixture_free(*state, made.id, false), STATUS_ALLOCATION_BUSY);
    assert_int_equal(fixture_free(*state, made.id, true), STATUS_OK);
    assert_int_equal(fixture_free(*state, made.id, true), STATUS_ALLOCATION_NOT_FOUND);
  }
}

static void another_domains_is_forbidden(void **state) {
  struct view_alloc made = fixture_make(*state, "host:0", 4096);
  struct caller other = {.role = CALLER_WRITE, .domain = 1000, .domain_name = "uid:1000"};
  struct alloc_victim victim = {made.id, true};
  struct alloc_freed freed;
  struct problem problem;
  assert_int_equal(alloc_free(fixture_service(*state), &other, &victim, &freed, &problem),
                   STATUS_FORBIDDEN);
  assert_true(fixture_is_there(*state, made.id));
}

static void owners_never_share_a_slab(void **state) {
  struct caller other = {.role = CALLER_WRITE, .domain = 1000, .domain_name = "uid:1000"};
  struct view_alloc mine = fixture_make(*state, "host:0", 4096), theirs;
  struct alloc_params params = fixture_params("host:0", 4096);
  assert_int_equal(fixture_allocate(*state, &other, &params, &theirs, NULL), STATUS_OK);
  assert_int_not_equal(mine.segment_id, theirs.segment_id);
}

static void the_nth_segment_fails_and_nothing_is_lost(void **state) {
  (void)state;
  static const char *const failing[] = {"fake:0=128MiB,fail=create:3", NULL};
  struct fixture *fixture = fixture_start(failing);
  struct alloc_params params = fixture_params("fake:0", 8 * MIB);
  enum status statuses[6];
  unsigned good = 0;
  for (unsigned i = 0; i < 6; i++) {
    statuses[i] = fixture_allocate(fixture, &fixture_admin, &params, NULL, NULL);
    assert_true(statuses[i] == STATUS_OK || statuses[i] == STATUS_DEVICE_UNAVAILABLE ||
                statuses[i] == STATUS_INSUFFICIENT_MEMORY);
    good += statuses[i] == STATUS_OK;
  }
  assert_int_equal(good, 4);
  struct view_figures figures = fixture_figures(fixture, "fake:0");
  assert_int_equal(figures.committed_bytes, 32 * MIB);
  assert_int_equal(figures.available_bytes, 96 * MIB);
  assert_int_equal(figures.active_allocations, 4);
  fixture_stop(fixture);
}

static void every_alignment_is_kept(void **state) {
  for (unsigned power = 0; power <= 21; power++) {
    struct alloc_params params = fixture_params("host:0", 300);
    struct view_alloc made;
    params.alignment_bytes = UINT64_C(1) << power;
    assert_int_equal(fixture_allocate(*state, &fixture_admin, &params, &made, NULL), STATUS_OK);
    assert_int_equal(made.offset_bytes % params.alignment_bytes, 0);
    assert_int_equal(made.alignment_bytes, params.alignment_bytes);
  }
}

static void the_largest_size_overflows_nothing(void **state) {
  (void)state;
  struct fixture *fixture = fixture_start(devices);
  struct alloc_params params = fixture_params("", (UINT64_C(1) << 62));
  params.alignment_bytes = 2 * MIB;
  params.ttl_seconds = UINT64_MAX / 2;
  params.wait_ms = UINT64_MAX / 2;
  assert_int_equal(fixture_allocate(fixture, &fixture_admin, &params, NULL, NULL),
                   STATUS_ALLOCATION_TOO_LARGE);
  params.size_bytes = 4096;
  struct view_alloc made;
  assert_int_equal(fixture_allocate(fixture, &fixture_admin, &params, &made, NULL), STATUS_OK);
  assert_true(made.expires_at > made.created_at);
  fixture_stop(fixture);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(small_ones_share_a_segment),
      TEST(large_ones_have_their_own_and_give_it_back),
      TEST(shared_small_ones_have_their_own),
      TEST(an_empty_slab_is_kept),
      TEST(cached_slabs_make_way_for_what_needs_the_room),
      TEST(the_best_device_has_most_room),
      TEST(a_dry_run_takes_nothing),
      TEST(what_does_not_fit_is_told_with_figures),
      TEST(wrong_arguments_are_named),
      TEST(zero_gives_zeros_where_something_else_was),
      TEST(a_zeroing_that_fails_leaves_nothing),
      TEST(commit_takes_the_pages),
      TEST(protected_ones_need_force),
      TEST(another_domains_is_forbidden),
      TEST(owners_never_share_a_slab),
      cmocka_unit_test(the_nth_segment_fails_and_nothing_is_lost),
      TEST(every_alignment_is_kept),
      cmocka_unit_test(the_largest_size_overflows_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
