/* model_uses: an hour, to five minutes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "service/model_uses.h"

#define MINUTE (60 * CLOCK_SECOND)

static void uses_count_for_an_hour(void **state) {
  (void)state;
  struct model_uses uses = {.slot = 0};
  uint64_t start = 1000 * MINUTE;
  assert_int_equal(model_uses_hour(&uses, start), 0);
  for (unsigned i = 0; i < 3; i++)
    model_uses_add(&uses, start);
  model_uses_add(&uses, start + 30 * MINUTE);
  assert_int_equal(model_uses_hour(&uses, start + 54 * MINUTE), 4);
  assert_int_equal(model_uses_hour(&uses, start + 66 * MINUTE), 1);
  assert_int_equal(model_uses_hour(&uses, start + 96 * MINUTE), 0);
}

static void what_is_long_past_is_not_counted_again(void **state) {
  (void)state;
  struct model_uses uses = {.slot = 0};
  model_uses_add(&uses, MINUTE);
  assert_int_equal(model_uses_hour(&uses, 2 * MINUTE), 1);
  model_uses_add(&uses, 10000 * MINUTE);
  assert_int_equal(model_uses_hour(&uses, 10000 * MINUTE), 1);
  for (unsigned i = 0; i < 70000; i++)
    model_uses_add(&uses, 10001 * MINUTE);
  assert_true(model_uses_hour(&uses, 10001 * MINUTE) >= UINT16_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(uses_count_for_an_hour),
      cmocka_unit_test(what_is_long_past_is_not_counted_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
