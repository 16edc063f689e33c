/* service/bound: which card a text says it is. What it is for, tests/e2e/test_find.py shows. */
#include "service/bound.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define PLAIN "0123abcd-4567-89ab-cdef-0123456789ab"

static void a_card_is_128_bits_however_they_are_written(void **state) {
  (void)state;
  static const char *const same[] = {PLAIN, "0123ABCD-4567-89AB-CDEF-0123456789AB", "GPU-" PLAIN,
                                     "MIG-" PLAIN, PLAIN "/ffffffff-0000-0000-0000-000000000000"};
  uint64_t card[2];
  char text[SPEC_UUID];
  for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
    bound_card(same[i], card);
    assert_true(card[0] == 0x0123abcd456789ab && card[1] == 0xcdef0123456789ab);
    bound_format(card, text);
    assert_string_equal(PLAIN, text);
  }
}

static void what_is_no_uuid_is_no_card(void **state) {
  (void)state;
  static const char *const wrong[] = {"",         "/",       "GPU-",
                                      "0123abcd", PLAIN "0", "0123abcd-4567-89ab-cdef-0123456789a"};
  uint64_t card[2];
  char text[SPEC_UUID];
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    bound_card(wrong[i], card);
    assert_true(!card[0] && !card[1]);
  }
  bound_format(card, text);
  assert_string_equal("", text);
}

static void what_is_not_known_does_not_differ(void **state) {
  (void)state;
  struct ledger_limit limit = {.card = {0, 0}};
  assert_true(bound_is_card(&limit, PLAIN));
  bound_card(PLAIN, limit.card);
  assert_true(bound_is_card(&limit, "GPU-" PLAIN));
  assert_true(bound_is_card(&limit, ""));
  assert_false(bound_is_card(&limit, "1123abcd-4567-89ab-cdef-0123456789ab"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_card_is_128_bits_however_they_are_written),
      cmocka_unit_test(what_is_no_uuid_is_no_card),
      cmocka_unit_test(what_is_not_known_does_not_differ),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
