/* ledger_order: entries in any order in, sorted out; and found by id. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ledger/ledger_order.h"

#define COUNT 5000

/* Two ages of ids, each dense, in an order of chance; three groups. */
static struct idmap_entry entry_of(uint32_t i) {
  uint32_t mixed = i * UINT32_C(2654435761) % COUNT;
  return (struct idmap_entry){1 + mixed + (mixed % 2 ? UINT64_C(1) << 40 : 0), i + 1, mixed % 3};
}

static void fill(struct ledger_order *order) {
  assert_true(ledger_order_init(order, COUNT));
  for (uint32_t i = 0; i < COUNT; i++)
    ledger_order_add(order, entry_of(i));
}

static void entries_are_sorted_by_id_and_found(void **state) {
  (void)state;
  struct ledger_order order;
  fill(&order);
  assert_true(ledger_order_sort(&order, LEDGER_ORDER_ID));
  assert_int_equal(COUNT, order.count);
  for (uint32_t i = 1; i < COUNT; i++)
    assert_true(order.entries[i - 1].id <= order.entries[i].id);
  for (uint32_t i = 0; i < COUNT; i++) {
    const struct idmap_entry *found = ledger_order_find(&order, entry_of(i).id);
    assert_non_null(found);
    assert_int_equal(entry_of(i).id, found->id);
    assert_int_equal(entry_of(found->value - 1).id, found->id);
  }
  assert_null(ledger_order_find(&order, 0));
  assert_null(ledger_order_find(&order, COUNT + 1));
  assert_null(ledger_order_find(&order, UINT64_MAX));
  ledger_order_done(&order);
}

static void groups_come_before_ids(void **state) {
  (void)state;
  struct ledger_order order;
  fill(&order);
  assert_true(ledger_order_sort(&order, LEDGER_ORDER_NOTE_ID));
  for (uint32_t i = 1; i < COUNT; i++) {
    const struct idmap_entry *last = &order.entries[i - 1], *now = &order.entries[i];
    assert_true(last->note < now->note || (last->note == now->note && last->id <= now->id));
  }
  ledger_order_done(&order);
}

static void equals_stay_as_they_stood(void **state) {
  (void)state;
  struct ledger_order order;
  assert_true(ledger_order_init(&order, COUNT));
  for (uint32_t i = 0; i < COUNT; i++)
    ledger_order_add(&order, (struct idmap_entry){COUNT - i / 4, i, 0});
  assert_true(ledger_order_sort(&order, LEDGER_ORDER_ID));
  for (uint32_t i = 1; i < COUNT; i++)
    if (order.entries[i - 1].id == order.entries[i].id)
      assert_true(order.entries[i - 1].value < order.entries[i].value);
  ledger_order_done(&order);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(entries_are_sorted_by_id_and_found),
      cmocka_unit_test(groups_come_before_ids),
      cmocka_unit_test(equals_stay_as_they_stood),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
