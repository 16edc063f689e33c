/* placement: which device, and why not the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "memory/placement.h"

static const struct placement_candidate devices[] = {
    {"host:10", PLACEMENT_RAM, true, true, false, 4000, 8000, 5000},
    {"host:2", PLACEMENT_RAM, true, true, false, 4000, 8000, 5000},
    {"host:3", PLACEMENT_RAM, true, true, false, 4000, 8000, 1000},
    {"fake:0", PLACEMENT_VRAM, true, true, false, 6000, 8000, 2500},
    {"host:4", PLACEMENT_RAM, true, true, false, 2000, 3000, 9000},
    {"host:5", PLACEMENT_RAM, false, true, false, 9000, 9000, 0},
};
#define COUNT (sizeof devices / sizeof *devices)

static void expect_order(const struct placement_request *request, uint32_t fitting,
                         const char *const *ids) {
  struct placement_verdict verdicts[COUNT];
  assert_int_equal(fitting, placement_rank(request, devices, COUNT, verdicts));
  for (uint32_t i = 0; i < fitting; i++) {
    assert_string_equal(ids[i], devices[verdicts[i].index].id);
    assert_null(verdicts[i].rejected);
    if (i)
      assert_true(verdicts[i].score <= verdicts[i - 1].score);
  }
  for (uint32_t i = fitting; i < COUNT; i++)
    assert_non_null(verdicts[i].rejected);
}

static void spread_takes_the_most_available_then_the_idlest_then_the_lowest_id(void **state) {
  (void)state;
  const struct placement_request request = {1000, PLACEMENT_ANY, PLACEMENT_SPREAD};
  expect_order(&request, 5, (const char *[]){"fake:0", "host:3", "host:2", "host:10", "host:4"});
}

/* What is equal in all else goes by id, whatever the order it came in. */
static void ids_are_in_their_natural_order(void **state) {
  (void)state;
  static const char *const pairs[][2] = {{"host:2", "host:10"},  {"d3d12:2", "d3d12:10"},
                                         {"d3d12:0", "d3d12:1"}, {"cuda:9", "host:0"},
                                         {"fake:0", "fake:00a"}, {"a", "a:0"}};
  const struct placement_request request = {1, PLACEMENT_ANY, PLACEMENT_SPREAD};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
    for (uint32_t first = 0; first < 2; first++) {
      struct placement_verdict verdicts[2];
      struct placement_candidate two[] = {devices[0], devices[0]};
      two[first].id = pairs[i][0];
      two[!first].id = pairs[i][1];
      assert_int_equal(2, placement_rank(&request, two, 2, verdicts));
      assert_int_equal(first, verdicts[0].index);
    }
}

static void best_fit_leaves_least_over(void **state) {
  (void)state;
  const struct placement_request request = {1000, PLACEMENT_ANY, PLACEMENT_BEST_FIT};
  expect_order(&request, 5, (const char *[]){"host:4", "host:3", "host:2", "host:10", "fake:0"});
}

static void pack_takes_the_fullest(void **state) {
  (void)state;
  const struct placement_request request = {1000, PLACEMENT_RAM, PLACEMENT_PACK};
  expect_order(&request, 4, (const char *[]){"host:4", "host:2", "host:10", "host:3"});
}

static const char *why(const struct placement_request *request,
                       struct placement_candidate candidate) {
  struct placement_verdict verdict;
  placement_rank(request, &candidate, 1, &verdict);
  return verdict.rejected;
}

static void each_rejection_has_its_reason(void **state) {
  (void)state;
  const struct placement_request request = {1000, PLACEMENT_RAM, PLACEMENT_SPREAD};
  struct placement_candidate good = {"host:0", PLACEMENT_RAM, true, true, false, 1000, 1000, 0},
                             bad = good;
  assert_null(why(&request, good));
  bad.available_bytes = 999;
  assert_string_equal("not enough memory", why(&request, bad));
  bad.strained = true;
  assert_string_equal("pressure", why(&request, bad));
  bad.limit_bytes = 999;
  assert_string_equal("over its limit", why(&request, bad));
  bad.healthy = false;
  assert_string_equal("unhealthy", why(&request, bad));
  bad.memory = PLACEMENT_VRAM;
  assert_string_equal("wrong memory type", why(&request, bad));
  bad.named = false;
  assert_string_equal("not asked for", why(&request, bad));
}

static void the_reason_tells_what_decided(void **state) {
  (void)state;
  struct placement_request request = {1, PLACEMENT_ANY, PLACEMENT_SPREAD};
  assert_string_equal("nothing fits", placement_reason(&request, 0));
  assert_string_equal("the only one that fits", placement_reason(&request, 1));
  assert_string_equal("most available memory", placement_reason(&request, 2));
  request.strategy = PLACEMENT_PACK;
  assert_string_equal("the fullest that fits", placement_reason(&request, 2));
}

static void no_candidates_no_verdicts(void **state) {
  (void)state;
  struct placement_request request = {1, PLACEMENT_ANY, PLACEMENT_SPREAD};
  struct placement_verdict verdict;
  assert_int_equal(0, placement_rank(&request, devices, 0, &verdict));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(spread_takes_the_most_available_then_the_idlest_then_the_lowest_id),
      cmocka_unit_test(ids_are_in_their_natural_order),
      cmocka_unit_test(best_fit_leaves_least_over),
      cmocka_unit_test(pack_takes_the_fullest),
      cmocka_unit_test(each_rejection_has_its_reason),
      cmocka_unit_test(the_reason_tells_what_decided),
      cmocka_unit_test(no_candidates_no_verdicts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
