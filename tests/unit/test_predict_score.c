/* predict_score: who is wrong too often ends, and not before he had his chance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "service/predict_score.h"

static void judge(struct predict_score *score, unsigned count, bool needed) {
  while (count--)
    predict_score_judge(score, needed);
}

static void six_of_ten_is_enough_and_five_is_not(void **state) {
  (void)state;
  struct predict_score good = {.made = 0}, bad = {.made = 0};
  judge(&good, 4, false);
  judge(&good, 6, true);
  assert_false(good.off);
  judge(&bad, 4, false);
  judge(&bad, 5, true);
  assert_false(bad.off);
  judge(&bad, 1, false);
  assert_true(bad.off);
  judge(&bad, 20, true);
  assert_true(bad.off);
}

static void only_the_last_twenty_count(void **state) {
  (void)state;
  struct predict_score score = {.made = 0};
  uint32_t share;
  assert_int_equal(0, predict_score_recent(&score, &share));
  assert_int_equal(0, share);
  judge(&score, 100, true);
  judge(&score, 8, false);
  assert_false(score.off);
  assert_int_equal(20, predict_score_recent(&score, &share));
  assert_int_equal(6000, share);
  judge(&score, 1, false);
  assert_true(score.off);
  assert_int_equal(109, score.judged);
  assert_int_equal(100, score.needed);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(six_of_ten_is_enough_and_five_is_not),
      cmocka_unit_test(only_the_last_twenty_count),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
