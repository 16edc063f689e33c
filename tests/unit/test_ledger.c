/* ledger: records that survive whoever wrote them. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/os_memfd.h"
#include "ledger/ledger.h"

#define ROOM 64

static struct ledger *make(uint32_t records) {
  struct ledger *ledger;
  assert_int_equal(STATUS_OK, ledger_create(records, &ledger));
  return ledger;
}

static struct ledger_record segment_of(struct ledger *ledger, uint64_t size) {
  struct ledger_record record = {.kind = LEDGER_SEGMENT, .id = ledger_next_id(ledger)};
  record.u.segment.size_bytes = size;
  return record;
}

static struct ledger_record allocation_of(struct ledger *ledger, uint64_t segment, uint64_t owner,
                                          uint64_t offset) {
  struct ledger_record record = {.kind = LEDGER_ALLOCATION, .id = ledger_next_id(ledger)};
  record.u.allocation = (struct ledger_allocation){
      .segment = segment, .owner = owner, .offset_bytes = offset, .size_bytes = 4096};
  return record;
}

static uint32_t put(struct ledger *ledger, struct ledger_record record) {
  uint32_t slot = 0;
  assert_int_equal(STATUS_OK, ledger_put(ledger, &record, &slot));
  assert_true(slot > 0);
  return slot;
}

static struct ledger *adopted(const struct ledger *old) {
  struct ledger *ledger;
  struct problem problem;
  assert_int_equal(STATUS_OK, ledger_adopt(ledger_share(old), &ledger, &problem));
  return ledger;
}

/* ---- while it lives ---- */

static void a_record_reads_back(void **state) {
  (void)state;
  struct ledger *ledger = make(ROOM);
  struct ledger_record record = segment_of(ledger, 4096);
  uint32_t slot = put(ledger, record);
  assert_int_equal(record.id, ledger_at(ledger, slot)->id);
  assert_int_equal(4096, ledger_at(ledger, slot)->u.segment.size_bytes);
  assert_int_equal(1, ledger_live(ledger));
  assert_int_equal(ROOM - 1, ledger_free_slots(ledger));
  ledger_drop(ledger, slot);
  assert_int_equal(0, ledger_live(ledger));
  assert_int_equal(0, ledger_next(ledger, 0));
  ledger_free(ledger);
}

static void when_it_is_full_it_says_so_until_it_grows(void **state) {
  (void)state;
  struct ledger *ledger = make(2);
  struct ledger_record record = segment_of(ledger, 1);
  uint32_t slot = 0, first = put(ledger, record);
  put(ledger, segment_of(ledger, 2));
  record = segment_of(ledger, 3);
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, ledger_put(ledger, &record, &slot));
  assert_int_equal(STATUS_OK, ledger_grow(ledger, 100));
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, ledger_put(ledger, &record, &slot));
  ledger_grow_commit(ledger);
  assert_int_equal(100, ledger_free_slots(ledger));
  assert_int_equal(STATUS_OK, ledger_put(ledger, &record, &slot));
  assert_int_equal(1, ledger_at(ledger, first)->u.segment.size_bytes);
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, ledger_grow(ledger, LEDGER_MAX_RECORDS));
  ledger_free(ledger);
}

static void a_replaced_record_is_one_record(void **state) {
  (void)state;
  struct ledger *ledger = make(ROOM);
  struct ledger_record record = segment_of(ledger, 1);
  uint32_t slot = put(ledger, record), old = slot;
  record.u.segment.size_bytes = 2;
  assert_int_equal(STATUS_OK, ledger_replace(ledger, &slot, &record));
  assert_int_not_equal(old, slot);
  assert_int_equal(2, ledger_at(ledger, slot)->u.segment.size_bytes);
  assert_int_equal(2, ledger_at(ledger, slot)->version);
  assert_int_equal(1, ledger_live(ledger));
  assert_int_equal(slot, ledger_next(ledger, 0));
  ledger_free(ledger);
}

static void a_replacement_without_room_changes_nothing(void **state) {
  (void)state;
  struct ledger *ledger = make(1);
  struct ledger_record record = segment_of(ledger, 1), changed = record;
  uint32_t slot = put(ledger, record), old = slot;
  changed.u.segment.size_bytes = 2;
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, ledger_replace(ledger, &slot, &changed));
  assert_int_equal(old, slot);
  assert_int_equal(1, ledger_at(ledger, slot)->u.segment.size_bytes);
  ledger_free(ledger);
}

static void texts_of_any_length_read_back(void **state) {
  (void)state;
  static const size_t lengths[] = {0, 1, 64, 65, 128, 257};
  struct ledger *ledger = make(ROOM);
  char text[300], back[300];
  memset(text, 'x', sizeof text);
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    uint64_t id;
    uint32_t slot;
    size_t n = 0;
    text[lengths[i] ? lengths[i] - 1 : 0] = (char)('a' + i);
    assert_int_equal(STATUS_OK, ledger_put_text(ledger, text, lengths[i], &id, &slot));
    assert_int_equal(id, ledger_at(ledger, slot)->id);
    for (; slot; slot = ledger_next_text(ledger, slot)) {
      const struct ledger_text *piece = &ledger_at(ledger, slot)->u.text;
      memcpy(back + n, piece->bytes, piece->size);
      n += piece->size;
    }
    assert_int_equal(lengths[i], n);
    assert_memory_equal(text, back, n);
  }
  ledger_free(ledger);
}

static void a_text_without_room_leaves_nothing(void **state) {
  (void)state;
  struct ledger *ledger = make(3);
  char text[300] = "";
  uint64_t id = 0;
  uint32_t slot = 0;
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY,
                   ledger_put_text(ledger, text, sizeof text, &id, &slot));
  assert_int_equal(0, ledger_live(ledger));
  assert_int_equal(0, slot);
  ledger_free(ledger);
}

static void accesses_are_counted(void **state) {
  (void)state;
  struct ledger *ledger = make(ROOM);
  uint32_t slot = put(ledger, segment_of(ledger, 1));
  ledger_touch(ledger, slot, 77);
  ledger_touch(ledger, slot, 99);
  assert_int_equal(99, ledger_at(ledger, slot)->last_access_real_ns);
  assert_int_equal(2, ledger_at(ledger, slot)->access_count);
  struct ledger *heir = adopted(ledger); /* they are no part of what the checksum is over */
  assert_int_equal(2, ledger_at(heir, slot)->access_count);
  ledger_free(heir);
  ledger_free(ledger);
}

static void there_are_at_most_sixteen_million(void **state) {
  (void)state;
  struct ledger *ledger = NULL;
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, ledger_create(LEDGER_MAX_RECORDS + 1, &ledger));
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, ledger_create(UINT32_MAX, &ledger));
  assert_null(ledger);
  ledger = make(1);
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, ledger_grow(ledger, LEDGER_MAX_RECORDS));
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, ledger_grow(ledger, UINT32_MAX));
  uint64_t bytes;
  assert_int_equal(STATUS_OK, os_memfd_size(ledger_share(ledger), &bytes));
  assert_int_equal(2 * LEDGER_RECORD, bytes);
  ledger_free(ledger);
}

static void it_cannot_be_cut(void **state) {
  (void)state;
  struct ledger *ledger = make(ROOM);
  assert_true(os_memfd_is_sealed(ledger_share(ledger), OS_MEMFD_SEAL_SHRINK));
  ledger_free(ledger);
}

static void no_two_have_one_identity(void **state) {
  (void)state;
  struct ledger *ledgers[] = {make(1), make(1)};
  uint64_t one[2], other[2];
  ledger_identity(ledgers[0], one);
  ledger_identity(ledgers[1], other);
  assert_true(one[0] != other[0] && one[1] != other[1] && one[0] != one[1]);
  ledger_free(ledgers[0]);
  ledger_free(ledgers[1]);
}

/* ---- after its writer is gone ---- */

static void an_heir_finds_everything(void **state) {
  (void)state;
  struct ledger *ledger = make(ROOM);
  struct ledger_record segment = segment_of(ledger, 8192);
  struct ledger_record owner = {.kind = LEDGER_OWNER, .id = ledger_next_id(ledger)};
  uint32_t slots[3] = {put(ledger, segment), 0, 0};
  put(ledger, owner);
  slots[1] = put(ledger, allocation_of(ledger, segment.id, owner.id, 0));
  slots[2] = put(ledger, allocation_of(ledger, segment.id, owner.id, 4096));
  ledger_drop(ledger, slots[1]);
  uint64_t text, last = ledger_next_id(ledger), identity[2], same[2];
  ledger_identity(ledger, identity);
  uint32_t text_slot;
  char label[100] = "a label that is longer than one record holds, so that it takes two of them.";
  assert_int_equal(STATUS_OK, ledger_put_text(ledger, label, 80, &text, &text_slot));
  struct ledger *heir = adopted(ledger);
  ledger_free(ledger);
  ledger_identity(heir, same);
  assert_memory_equal(identity, same, sizeof same);
  assert_int_equal(5, ledger_live(heir));
  assert_int_equal(8192, ledger_at(heir, slots[0])->u.segment.size_bytes);
  assert_int_equal(4096, ledger_at(heir, slots[2])->u.allocation.offset_bytes);
  assert_int_equal(16, ledger_at(heir, ledger_next_text(heir, text_slot))->u.text.size);
  assert_true(ledger_next_id(heir) > last);
  put(heir, segment_of(heir, 1));
  assert_int_equal(6, ledger_live(heir));
  ledger_free(heir);
}

static void no_id_is_given_out_twice(void **state) {
  (void)state;
  struct ledger *ledger = make(ROOM);
  uint64_t last = 0;
  for (int life = 0; life < 5; life++) {
    for (int i = 0; i < 5000; i++) {
      uint64_t id = ledger_next_id(ledger);
      assert_true(id > last);
      last = id;
    }
    struct ledger *heir = adopted(ledger);
    ledger_free(ledger);
    ledger = heir;
  }
  ledger_free(ledger);
}

/* Every place at which a replacement can be cut short, made by hand. */
static void of_two_versions_the_newer_one_counts(void **state) {
  (void)state;
  for (unsigned stage = 0; stage < 3; stage++) {
    struct ledger *ledger = make(ROOM);
    struct ledger_record record = segment_of(ledger, 1);
    uint32_t slot = put(ledger, record), old = slot;
    struct ledger_record before = *ledger_at(ledger, old);
    record.u.segment.size_bytes = 2;
    assert_int_equal(STATUS_OK, ledger_replace(ledger, &slot, &record));
    struct ledger_record *map;
    assert_int_equal(STATUS_OK, os_memfd_map(ledger_share(ledger), (ROOM + 1) * LEDGER_RECORD, true,
                                             (void **)&map));
    if (stage < 2)
      map[old] = before; /* the old one is not freed yet … */
    if (stage < 1)
      map[slot].state = 0; /* … and the new one not live yet */
    struct ledger *heir = adopted(ledger);
    assert_int_equal(1, ledger_live(heir));
    uint32_t found = ledger_next(heir, 0);
    assert_int_equal(stage ? 2 : 1, ledger_at(heir, found)->u.segment.size_bytes);
    assert_int_equal(0, ledger_next(heir, found));
    os_memfd_unmap(map, (ROOM + 1) * LEDGER_RECORD);
    ledger_free(heir);
    ledger_free(ledger);
  }
}

/* ---- SIGKILL at any instruction ---- */

/* Changes records for ever; each record says in itself what it must look like. */
static void work_on(struct ledger *ledger) {
  uint32_t slots[20] = {0};
  for (unsigned i = 0;; i++) {
    uint32_t *slot = &slots[i * 7 % 20];
    struct ledger_record record = segment_of(ledger, 0);
    record.u.segment.size_bytes = record.id * 3;
    if (!*slot) {
      (void)ledger_put(ledger, &record, slot);
    } else if (i % 3) {
      record.id = ledger_at(ledger, *slot)->id;
      record.u.segment.size_bytes = record.id * 3;
      record.u.segment.created_real_ns = i;
      (void)ledger_replace(ledger, slot, &record);
    } else {
      ledger_drop(ledger, *slot);
      *slot = 0;
    }
  }
}

static void is_lawful(struct ledger *heir) {
  uint64_t ids[32];
  unsigned count = 0;
  for (uint32_t slot = ledger_next(heir, 0); slot; slot = ledger_next(heir, slot)) {
    const struct ledger_record *record = ledger_at(heir, slot);
    assert_int_equal(record->id * 3, record->u.segment.size_bytes);
    for (unsigned i = 0; i < count; i++)
      assert_int_not_equal(ids[i], record->id);
    ids[count++] = record->id;
    assert_true(record->id < ledger_next_id(heir));
  }
  assert_int_equal(count, ledger_live(heir));
  assert_true(count <= 20);
}

static void a_kill_at_any_instruction_leaves_a_lawful_ledger(void **state) {
  (void)state;
  struct ledger *ledger = make(ROOM);
  uint64_t seen = 0;
  for (unsigned round = 0; round < 150; round++) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child)
      work_on(ledger);
    usleep(200 + round * 13 % 700); /* any moment will do: the law holds at each */
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    struct ledger *heir = adopted(ledger);
    is_lawful(heir);
    seen += ledger_live(heir);
    for (uint32_t slot = ledger_next(heir, 0); slot; slot = ledger_next(heir, slot))
      ledger_drop(heir, slot);
    ledger_free(ledger);
    ledger = heir;
  }
  assert_true(seen > 0);
  ledger_free(ledger);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_record_reads_back),
      cmocka_unit_test(when_it_is_full_it_says_so_until_it_grows),
      cmocka_unit_test(a_replaced_record_is_one_record),
      cmocka_unit_test(a_replacement_without_room_changes_nothing),
      cmocka_unit_test(texts_of_any_length_read_back),
      cmocka_unit_test(a_text_without_room_leaves_nothing),
      cmocka_unit_test(accesses_are_counted),
      cmocka_unit_test(there_are_at_most_sixteen_million),
      cmocka_unit_test(it_cannot_be_cut),
      cmocka_unit_test(no_two_have_one_identity),
      cmocka_unit_test(an_heir_finds_everything),
      cmocka_unit_test(no_id_is_given_out_twice),
      cmocka_unit_test(of_two_versions_the_newer_one_counts),
      cmocka_unit_test(a_kill_at_any_instruction_leaves_a_lawful_ledger),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
