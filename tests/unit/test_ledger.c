/* ledger: records that survive whoever wrote them, and a whole that is refused when one thing is
 * wrong. */
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

static struct ledger_record allocation_of(struct ledger *ledger, uint64_t segment, uint64_t offset,
                                          uint64_t size) {
  struct ledger_record record = {.kind = LEDGER_ALLOCATION, .id = ledger_next_id(ledger)};
  record.u.allocation =
      (struct ledger_allocation){.segment = segment, .offset_bytes = offset, .size_bytes = size};
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

static void it_cannot_be_cut(void **state) {
  (void)state;
  struct ledger *ledger = make(ROOM);
  assert_true(os_memfd_is_sealed(ledger_share(ledger), OS_MEMFD_SEAL_SHRINK));
  ledger_free(ledger);
}

/* ---- after its writer is gone ---- */

static void an_heir_finds_everything(void **state) {
  (void)state;
  struct ledger *ledger = make(ROOM);
  struct ledger_record segment = segment_of(ledger, 8192);
  uint32_t slots[3] = {put(ledger, segment), 0, 0};
  slots[1] = put(ledger, allocation_of(ledger, segment.id, 0, 4096));
  slots[2] = put(ledger, allocation_of(ledger, segment.id, 4096, 4096));
  ledger_drop(ledger, slots[1]);
  uint64_t text, identity = ledger_identity(ledger), last = ledger_next_id(ledger);
  uint32_t text_slot;
  char label[100] = "a label that is longer than one record holds, so that it takes two of them.";
  assert_int_equal(STATUS_OK, ledger_put_text(ledger, label, 80, &text, &text_slot));
  struct ledger *heir = adopted(ledger);
  ledger_free(ledger);
  assert_int_equal(identity, ledger_identity(heir));
  assert_int_equal(4, ledger_live(heir));
  assert_int_equal(8192, ledger_at(heir, slots[0])->u.segment.size_bytes);
  assert_int_equal(4096, ledger_at(heir, slots[2])->u.allocation.offset_bytes);
  assert_int_equal(16, ledger_at(heir, ledger_next_text(heir, text_slot))->u.text.size);
  assert_true(ledger_next_id(heir) > last);
  put(heir, segment_of(heir, 1));
  assert_int_equal(5, ledger_live(heir));
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

/* ---- what is refused, with nothing changed ---- */

struct harm {
  const char *told;
  size_t offset; /* in the memfd; SIZE_MAX: of the live record in slot 1 */
  uint8_t bits;
};

static void one_wrong_bit_refuses_the_whole(void **state) {
  (void)state;
  static const struct harm harms[] = {
      {"begin", 0, 0x20},
      {"version", 8, 2},
      {"size", 12, 64},
      {"never given out", 24, 0xff}, /* the next id falls below the records' */
      {"neither live nor free", LEDGER_RECORD, 8},
      {"kind", LEDGER_RECORD + offsetof(struct ledger_record, kind), 0x40},
      {"checksum", LEDGER_RECORD + offsetof(struct ledger_record, version), 1},
      {"checksum", LEDGER_RECORD + offsetof(struct ledger_record, id), 1},
      {"checksum", LEDGER_RECORD + offsetof(struct ledger_record, crc), 1},
      {"checksum", LEDGER_RECORD + offsetof(struct ledger_record, u), 1},
      {"checksum", LEDGER_RECORD + offsetof(struct ledger_record, u) + 87, 0x80},
  };
  size_t size = (ROOM + 1) * LEDGER_RECORD;
  for (size_t i = 0; i < sizeof harms / sizeof *harms; i++) {
    struct ledger *ledger = make(ROOM), *heir = NULL;
    struct problem problem = {0};
    void *map, *copy = malloc(size);
    for (unsigned n = 0; n < 5; n++)
      put(ledger, segment_of(ledger, n + 1));
    assert_int_equal(STATUS_OK, os_memfd_map(ledger_share(ledger), size, true, &map));
    ((uint8_t *)map)[harms[i].offset] ^= harms[i].bits;
    if (harms[i].offset == 24)
      memset((char *)map + 24, 0, 2), ((uint8_t *)map)[24] = 1;
    memcpy(copy, map, size);
    assert_int_equal(STATUS_CONFLICT, ledger_adopt(ledger_share(ledger), &heir, &problem));
    assert_non_null(strstr(problem.text, harms[i].told));
    assert_null(heir);
    assert_memory_equal(copy, map, size);
    os_memfd_unmap(map, size);
    free(copy);
    ledger_free(ledger);
  }
}

static void two_records_of_one_version_are_refused(void **state) {
  (void)state;
  struct ledger *ledger = make(ROOM), *heir;
  struct ledger_record record = segment_of(ledger, 1);
  struct problem problem = {0};
  put(ledger, record);
  put(ledger, record);
  assert_int_equal(STATUS_CONFLICT, ledger_adopt(ledger_share(ledger), &heir, &problem));
  ledger_free(ledger);
}

static void what_is_no_ledger_is_refused(void **state) {
  (void)state;
  static const uint64_t sizes[] = {0, 1, 127, 128, 4096};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    struct share share;
    struct ledger *heir;
    struct problem problem = {0};
    assert_int_equal(STATUS_OK, os_memfd_create("no ledger", sizes[i], &share));
    assert_int_equal(STATUS_CONFLICT, ledger_adopt(&share, &heir, &problem));
    assert_int_equal(STATUS_OK, os_memfd_seal(&share, OS_MEMFD_SEAL_SHRINK));
    assert_int_equal(STATUS_CONFLICT, ledger_adopt(&share, &heir, &problem));
    share_close(&share);
  }
}

/* A ledger that is good but for the number of its bytes. */
static void a_cut_one_is_refused(void **state) {
  (void)state;
  static const uint64_t sizes[] = {ROOM * LEDGER_RECORD - 1, ROOM * LEDGER_RECORD + 1,
                                   LEDGER_RECORD + 8};
  struct ledger *ledger = make(ROOM), *heir = NULL;
  put(ledger, segment_of(ledger, 1));
  void *from, *to;
  assert_int_equal(STATUS_OK,
                   os_memfd_map(ledger_share(ledger), ROOM * LEDGER_RECORD, true, &from));
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    struct share share;
    struct problem problem = {0};
    assert_int_equal(STATUS_OK, os_memfd_create("cut", sizes[i], &share));
    assert_int_equal(STATUS_OK, os_memfd_seal(&share, OS_MEMFD_SEAL_SHRINK));
    assert_int_equal(STATUS_OK, os_memfd_map(&share, sizes[i], true, &to));
    memcpy(to, from, sizes[i] < ROOM * LEDGER_RECORD ? sizes[i] : ROOM * LEDGER_RECORD);
    assert_int_equal(STATUS_CONFLICT, ledger_adopt(&share, &heir, &problem));
    assert_non_null(strstr(problem.text, "cut"));
    os_memfd_unmap(to, sizes[i]);
    share_close(&share);
  }
  os_memfd_unmap(from, ROOM * LEDGER_RECORD);
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

static void check_places(uint64_t first, uint64_t size, uint64_t second, const char *told) {
  struct ledger *ledger = make(ROOM);
  struct problem problem = {0};
  struct ledger_record segment = segment_of(ledger, 4096);
  put(ledger, segment);
  put(ledger, allocation_of(ledger, segment.id, first, size));
  put(ledger, allocation_of(ledger, segment.id, second, 256));
  enum status status = ledger_check_overlaps(ledger, &problem);
  assert_int_equal(told ? STATUS_CONFLICT : STATUS_OK, status);
  if (told)
    assert_non_null(strstr(problem.text, told));
  ledger_free(ledger);
}

static void allocations_lie_in_their_segment_and_apart(void **state) {
  (void)state;
  check_places(0, 256, 256, NULL);
  check_places(3840, 256, 0, NULL);
  check_places(0, 257, 256, "overlaps");
  check_places(256, 256, 256, "overlaps");
  check_places(0, 256, 3841, "leaves");
  check_places(1024, UINT64_MAX - 512, 0, "leaves");
  struct ledger *ledger = make(ROOM);
  struct problem problem = {0};
  put(ledger, allocation_of(ledger, ledger_next_id(ledger), 0, 1));
  assert_int_equal(STATUS_CONFLICT, ledger_check_overlaps(ledger, &problem));
  ledger_free(ledger);
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
      cmocka_unit_test(it_cannot_be_cut),
      cmocka_unit_test(an_heir_finds_everything),
      cmocka_unit_test(no_id_is_given_out_twice),
      cmocka_unit_test(of_two_versions_the_newer_one_counts),
      cmocka_unit_test(one_wrong_bit_refuses_the_whole),
      cmocka_unit_test(two_records_of_one_version_are_refused),
      cmocka_unit_test(what_is_no_ledger_is_refused),
      cmocka_unit_test(a_cut_one_is_refused),
      cmocka_unit_test(there_are_at_most_sixteen_million),
      cmocka_unit_test(allocations_lie_in_their_segment_and_apart),
      cmocka_unit_test(a_kill_at_any_instruction_leaves_a_lawful_ledger),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
