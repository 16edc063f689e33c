/* ledger_check: allocations have a place in their segment, and nobody else is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ledger/ledger.h"

static struct ledger *make(uint32_t records) {
  struct ledger *ledger;
  assert_int_equal(STATUS_OK, ledger_create(records, &ledger));
  return ledger;
}

static uint64_t put(struct ledger *ledger, struct ledger_record record) {
  uint32_t slot;
  record.id = ledger_next_id(ledger);
  assert_int_equal(STATUS_OK, ledger_put(ledger, &record, &slot));
  return record.id;
}

static uint64_t put_segment(struct ledger *ledger, uint64_t size) {
  struct ledger_record record = {.kind = LEDGER_SEGMENT};
  record.u.segment.size_bytes = size;
  return put(ledger, record);
}

static void put_allocation(struct ledger *ledger, uint64_t segment, uint64_t start, uint64_t size) {
  struct ledger_record record = {.kind = LEDGER_ALLOCATION};
  record.u.allocation =
      (struct ledger_allocation){.segment = segment, .offset_bytes = start, .size_bytes = size};
  put(ledger, record);
}

/* Refused for this reason; NULL: not refused. Frees the ledger. */
static void judge(struct ledger *ledger, const char *told) {
  struct problem problem = {0};
  enum status status = ledger_check_overlaps(ledger, &problem);
  assert_int_equal(told ? STATUS_CONFLICT : STATUS_OK, status);
  assert_int_equal(status, problem.status);
  if (told && !strstr(problem.text, told))
    fail_msg("%s, but not for: %s", problem.text, told);
  ledger_free(ledger);
}

/* Beside one from 2,048 to 2,304 in a segment of 4,096, whichever is recorded first. */
static void check_place(uint64_t start, uint64_t size, const char *told) {
  for (unsigned first = 0; first < 2; first++) {
    struct ledger *ledger = make(3);
    uint64_t segment = put_segment(ledger, 4096);
    if (first)
      put_allocation(ledger, segment, start, size);
    put_allocation(ledger, segment, 2048, 256);
    if (!first)
      put_allocation(ledger, segment, start, size);
    judge(ledger, told);
  }
}

static void allocations_lie_in_their_segment_and_apart(void **state) {
  (void)state;
  check_place(0, 2048, NULL);
  check_place(2304, 1792, NULL);
  check_place(0, 2049, "overlaps");
  check_place(2303, 1, "overlaps");
  check_place(2048, 256, "overlaps");
  check_place(2100, 1, "overlaps");
  check_place(0, 4096, "overlaps");
  check_place(2304, 1793, "leaves");
  check_place(4096, 1, "leaves");
  check_place(1024, UINT64_MAX - 512, "leaves");
  check_place(UINT64_MAX, 1, "leaves");
  check_place(0, 0, "empty");
}

static void an_allocation_has_a_segment(void **state) {
  (void)state;
  struct ledger *ledger = make(2);
  put_allocation(ledger, put(ledger, (struct ledger_record){.kind = LEDGER_OWNER}), 0, 1);
  judge(ledger, "no segment");
}

static void nothing_overlaps_in_an_empty_one(void **state) {
  (void)state;
  judge(make(1), NULL);
}

/* Places in no order, by turns in two segments, to the last byte: apart, then one a byte longer. */
static void one_byte_too_many_is_found_among_many(void **state) {
  (void)state;
  enum { COUNT = 3000, SIZE = 1 << 20 };
  for (unsigned wrong = 0; wrong < 2; wrong++) {
    struct ledger *ledger = make(2 * COUNT + 2);
    uint64_t segments[] = {put_segment(ledger, (uint64_t)COUNT * SIZE),
                           put_segment(ledger, (uint64_t)COUNT * SIZE)};
    for (uint64_t i = 0; i < COUNT; i++) {
      uint64_t place = i * 1009 % COUNT; /* each once: 1,009 is prime */
      uint64_t more = wrong && place == COUNT / 2 ? 1 : 0;
      put_allocation(ledger, segments[0], place * SIZE, SIZE + more);
      put_allocation(ledger, segments[1], (COUNT - 1 - place) * SIZE, SIZE);
    }
    judge(ledger, wrong ? "overlaps" : NULL);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(allocations_lie_in_their_segment_and_apart),
      cmocka_unit_test(an_allocation_has_a_segment),
      cmocka_unit_test(nothing_overlaps_in_an_empty_one),
      cmocka_unit_test(one_byte_too_many_is_found_among_many),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
