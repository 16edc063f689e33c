/* ledger_index: ids in, slots out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ledger/ledger_index.h"

static void an_index_finds_what_it_was_given(void **state) {
  (void)state;
  enum { COUNT = 2000 };
  struct ledger_index index;
  assert_true(ledger_index_init(&index, COUNT));
  for (uint32_t i = 1; i <= COUNT; i++) {
    /* two ages, each dense */
    uint32_t *place = ledger_index_place(&index, i + (i % 2 ? UINT64_C(1) << 32 : 0));
    assert_int_equal(0, *place);
    *place = i;
  }
  for (uint32_t i = 1; i <= COUNT; i++) {
    assert_int_equal(i % 2 ? 0 : i, ledger_index_find(&index, i));
    assert_int_equal(i % 2 ? i : 0, ledger_index_find(&index, i + (UINT64_C(1) << 32)));
  }
  assert_int_equal(0, ledger_index_find(&index, 0));
  ledger_index_done(&index);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_index_finds_what_it_was_given),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
