/* ledger_adopt: what an heir takes, what it tidies up, and what it refuses, with
 * nothing changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/os_memfd.h"
#include "ledger/ledger_layout.h"

#define ROOM 64
#define BYTES ((size_t)(ROOM + 1) * LEDGER_RECORD)
#define LABEL "a label that is longer than the sixty-four bytes that one record holds, so takes two"

/* One of each that can be named. */
struct world {
  struct ledger *ledger;
  uint64_t segment, owner, allocation, text;
  uint32_t segment_slot, owner_slot, allocation_slot, text_slot;
};

static uint32_t put(struct ledger *ledger, struct ledger_record record) {
  uint32_t slot = 0;
  assert_int_equal(STATUS_OK, ledger_put(ledger, &record, &slot));
  return slot;
}

static uint64_t put_new(struct ledger *ledger, struct ledger_record record, uint32_t *slot) {
  record.id = ledger_next_id(ledger);
  *slot = put(ledger, record);
  return record.id;
}

static struct ledger_record allocation_of(const struct world *world, uint64_t offset,
                                          uint64_t size) {
  struct ledger_record record = {.kind = LEDGER_ALLOCATION};
  record.u.allocation = (struct ledger_allocation){
      .segment = world->segment, .owner = world->owner, .offset_bytes = offset, .size_bytes = size};
  return record;
}

static struct world make(void) {
  struct world world;
  assert_int_equal(STATUS_OK, ledger_create(ROOM, &world.ledger));
  struct ledger_record record = {.kind = LEDGER_SEGMENT};
  record.u.segment.size_bytes = 4096;
  world.segment = put_new(world.ledger, record, &world.segment_slot);
  world.owner =
      put_new(world.ledger, (struct ledger_record){.kind = LEDGER_OWNER}, &world.owner_slot);
  assert_int_equal(STATUS_OK, ledger_put_text(world.ledger, LABEL, strlen(LABEL), &world.text,
                                              &world.text_slot));
  record = allocation_of(&world, 2048, 256);
  record.u.allocation.text = world.text;
  world.allocation = put_new(world.ledger, record, &world.allocation_slot);
  return world;
}

/* Refused for this reason (NULL: not refused), nothing changed. Frees the ledger. */
static void judge(struct ledger *ledger, const char *told) {
  struct ledger *heir = NULL;
  struct problem problem = {0};
  void *map, *copy = malloc(BYTES);
  assert_non_null(copy);
  assert_int_equal(STATUS_OK, os_memfd_map(ledger_share(ledger), BYTES, false, &map));
  memcpy(copy, map, BYTES);
  enum status status = ledger_adopt(ledger_share(ledger), &heir, &problem);
  if (told) {
    assert_int_equal(STATUS_CONFLICT, status);
    assert_int_equal(STATUS_CONFLICT, problem.status);
    if (!strstr(problem.text, told))
      fail_msg("%s, but not for: %s", problem.text, told);
    assert_null(heir);
    assert_memory_equal(copy, map, BYTES);
  } else if (status) {
    fail_msg("%s", problem.text);
  }
  os_memfd_unmap(map, BYTES);
  free(copy);
  ledger_free(heir);
  ledger_free(ledger);
}

/* ---- one thing wrong ---- */

struct harm {
  const char *told;
  size_t offset; /* in the memfd */
  uint8_t bits;
};

#define IN_HEADER(member) offsetof(struct ledger_header, member)
#define IN_FIRST(member) (LEDGER_RECORD + offsetof(struct ledger_record, member))

static void harm(struct ledger *ledger, size_t offset, uint8_t bits) {
  ((uint8_t *)ledger->header)[offset] ^= bits;
}

static void one_wrong_bit_refuses_the_whole(void **state) {
  (void)state;
  static const struct harm harms[] = {
      {"begin", IN_HEADER(magic), 0x20},
      {"another version", IN_HEADER(format), 2},
      {"another size", IN_HEADER(record_size), 64},
      {"of its header", IN_HEADER(identity), 1},
      {"of its header", IN_HEADER(identity) + 15, 0x80},
      {"of its header", IN_HEADER(crc), 1},
      {"never given out", IN_HEADER(next_id) + 7, 0x40},
      {"neither live nor free", IN_FIRST(state), 8},
      {"unknown kind", IN_FIRST(kind), 0x40},
      {"checksum is wrong", IN_FIRST(version), 1},
      {"checksum is wrong", IN_FIRST(id), 1},
      {"checksum is wrong", IN_FIRST(crc), 1},
      {"checksum is wrong", IN_FIRST(u), 1},
      {"checksum is wrong", IN_FIRST(u) + 87, 0x80},
  };
  for (size_t i = 0; i < sizeof harms / sizeof *harms; i++) {
    struct world world = make();
    harm(world.ledger, harms[i].offset, harms[i].bits);
    judge(world.ledger, harms[i].told);
  }
  judge(make().ledger, NULL);
}

static void advisory_words_and_the_rest_of_the_header_do_not_count(void **state) {
  (void)state;
  struct world world = make();
  harm(world.ledger, IN_FIRST(last_access_real_ns), 1);
  harm(world.ledger, IN_FIRST(access_count), 1);
  harm(world.ledger, IN_HEADER(next_id) + 4, 1); /* ids left out are no harm */
  harm(world.ledger, sizeof(struct ledger_header), 1);
  judge(world.ledger, NULL);
}

static void a_ledger_without_name_or_next_id_is_refused(void **state) {
  (void)state;
  struct world world = make();
  struct ledger_header *header = world.ledger->header;
  header->identity[0] = header->identity[1] = 0;
  header->crc = ledger_header_crc(header);
  judge(world.ledger, "no identity");
  world = make();
  world.ledger->header->next_id = 0;
  judge(world.ledger, "no next id");
  assert_int_equal(STATUS_OK, ledger_create(ROOM, &world.ledger));
  world.ledger->header->next_id &= ~((UINT64_C(1) << LEDGER_ID_BITS) - 1); /* none counts as 0 */
  judge(world.ledger, "no next id");
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
  static const uint64_t sizes[] = {BYTES - 1, BYTES - LEDGER_RECORD / 2, LEDGER_RECORD + 8};
  struct world world = make();
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    struct share share;
    struct ledger *heir = NULL;
    struct problem problem = {0};
    void *map;
    assert_int_equal(STATUS_OK, os_memfd_create("cut", sizes[i], &share));
    assert_int_equal(STATUS_OK, os_memfd_seal(&share, OS_MEMFD_SEAL_SHRINK));
    assert_int_equal(STATUS_OK, os_memfd_map(&share, sizes[i], true, &map));
    memcpy(map, world.ledger->header, sizes[i]);
    assert_int_equal(STATUS_CONFLICT, ledger_adopt(&share, &heir, &problem));
    assert_non_null(strstr(problem.text, "cut"));
    assert_null(heir);
    os_memfd_unmap(map, sizes[i]);
    share_close(&share);
  }
  ledger_free(world.ledger);
}

/* ---- versions ---- */

/* Puts a record as if it had this version. */
static uint32_t put_version(struct ledger *ledger, struct ledger_record record, uint32_t version) {
  uint32_t slot = put(ledger, record);
  struct ledger_record *place = ledger_slot(ledger, slot);
  place->version = version;
  place->crc = ledger_crc(place);
  return slot;
}

static void two_of_one_id_are_refused_unless_one_follows_the_other(void **state) {
  (void)state;
  static const struct {
    uint32_t first, second;
    bool lawful;
  } cases[] = {{1, 1, false}, {1, 3, false}, {3, 1, false},         {4, 5, true},
               {5, 4, true},  {0, 2, false}, {UINT32_MAX, 0, true}, {0, UINT32_MAX, true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct world world = make();
    struct ledger_record record = {.kind = LEDGER_JOB, .id = ledger_next_id(world.ledger)};
    put_version(world.ledger, record, cases[i].first);
    put_version(world.ledger, record, cases[i].second);
    judge(world.ledger, cases[i].lawful ? NULL : "neither follows");
  }
}

static void the_version_that_follows_is_kept(void **state) {
  (void)state;
  for (unsigned swapped = 0; swapped < 2; swapped++) {
    struct world world = make();
    struct ledger_record record = {.kind = LEDGER_JOB, .id = ledger_next_id(world.ledger)};
    uint32_t slots[2];
    for (unsigned i = 0; i < 2; i++)
      slots[i] = put_version(world.ledger, record, i ^ swapped ? 0 : UINT32_MAX);
    struct ledger *heir;
    struct problem problem;
    uint32_t live = ledger_live(world.ledger);
    assert_int_equal(STATUS_OK, ledger_adopt(ledger_share(world.ledger), &heir, &problem));
    assert_int_equal(live - 1, ledger_live(heir));
    assert_true(ledger_is_live(heir, slots[!swapped]));
    assert_false(ledger_is_live(heir, slots[swapped]));
    ledger_free(heir);
    ledger_free(world.ledger);
  }
}

static void one_id_is_of_one_kind(void **state) {
  (void)state;
  struct world world = make();
  put_version(world.ledger, (struct ledger_record){.kind = LEDGER_JOB, .id = world.owner}, 2);
  judge(world.ledger, "two kinds");
}

static void an_older_version_names_nothing(void **state) {
  (void)state;
  struct world world = make();
  struct ledger_record record = allocation_of(&world, 0, 1);
  record.id = ledger_next_id(world.ledger);
  record.u.allocation.segment = 0;
  put_version(world.ledger, record, 1);
  record.u.allocation.segment = world.segment;
  put_version(world.ledger, record, 2);
  record = *ledger_at(world.ledger, world.allocation_slot); /* the same text in both */
  put_version(world.ledger, record, 2);
  judge(world.ledger, NULL);
}

/* ---- what records say of each other ---- */

static void what_an_allocation_names_is_there(void **state) {
  (void)state;
  struct world world = make();
  ledger_drop(world.ledger, world.segment_slot);
  judge(world.ledger, "its segment is missing");
  world = make();
  ledger_drop(world.ledger, world.owner_slot);
  judge(world.ledger, "its owner is missing");
  world = make();
  ledger_drop(world.ledger, world.text_slot);
  judge(world.ledger, "its text is missing");
}

static void what_an_allocation_names_is_of_the_kind(void **state) {
  (void)state;
  struct world world = make();
  struct ledger_record record = allocation_of(&world, 0, 1);
  record.u.allocation.segment = world.owner;
  put_new(world.ledger, record, &world.allocation_slot);
  judge(world.ledger, "its segment is missing");
  world = make();
  record = allocation_of(&world, 0, 1);
  record.u.allocation.owner = world.text;
  put_new(world.ledger, record, &world.allocation_slot);
  judge(world.ledger, "its owner is missing");
  world = make();
  record = allocation_of(&world, 0, 1);
  record.u.allocation.text = world.segment;
  put_new(world.ledger, record, &world.allocation_slot);
  judge(world.ledger, "its text is missing");
}

static void who_has_no_allocations_may_stay(void **state) {
  (void)state;
  struct world world = make();
  ledger_drop(world.ledger, world.allocation_slot);
  judge(world.ledger, NULL);
  world = make();
  ledger_drop(world.ledger, world.allocation_slot);
  ledger_drop(world.ledger, world.segment_slot);
  ledger_drop(world.ledger, world.owner_slot);
  ledger_drop(world.ledger, world.text_slot); /* the second piece of it is still there */
  judge(world.ledger, NULL);
}

static void the_texts_of_owners_and_limits_are_there(void **state) {
  (void)state;
  struct world world = make();
  struct ledger_record record = {.kind = LEDGER_OWNER};
  record.u.owner.text = world.segment;
  put_new(world.ledger, record, &world.owner_slot);
  judge(world.ledger, "its text is missing");
  world = make();
  record = (struct ledger_record){.kind = LEDGER_LIMIT};
  record.u.limit.text = world.segment;
  put_new(world.ledger, record, &world.owner_slot);
  judge(world.ledger, "its text is missing");
}

static struct ledger_record piece_of(uint64_t next) {
  struct ledger_record record = {.kind = LEDGER_TEXT_CHAIN};
  record.u.text.next = next;
  return record;
}

static void texts_do_not_go_round(void **state) {
  (void)state;
  struct world world = make();
  uint32_t slot;
  struct ledger_record record = piece_of(ledger_next_id(world.ledger));
  record.id = ledger_next_id(world.ledger);
  put(world.ledger, record);
  uint64_t first = record.id;
  record = piece_of(first);
  record.id = first - 1;
  put(world.ledger, record);
  judge(world.ledger, "its text goes round");
  world = make();
  record = piece_of(0);
  record.id = record.u.text.next = ledger_next_id(world.ledger);
  put(world.ledger, record);
  judge(world.ledger, "its text goes round");
  world = make();
  put_new(world.ledger, piece_of(put_new(world.ledger, piece_of(0), &slot)), &slot);
  judge(world.ledger, NULL);
}

static void a_text_is_named_once(void **state) {
  (void)state;
  struct world world = make();
  struct ledger_record record = {.kind = LEDGER_OWNER};
  record.u.owner.text = world.text;
  put_new(world.ledger, record, &world.owner_slot);
  judge(world.ledger, "another's too");
}

static void a_text_is_no_longer_than_its_record(void **state) {
  (void)state;
  struct world world = make();
  struct ledger_record record = piece_of(0);
  uint32_t slot;
  record.u.text.size = LEDGER_TEXT;
  put_new(world.ledger, record, &slot);
  record.u.text.size = LEDGER_TEXT + 1;
  put_new(world.ledger, record, &slot);
  judge(world.ledger, "longer than it can be");
}

static struct ledger_record attachment_of(uint64_t allocation, uint64_t owner) {
  struct ledger_record record = {.kind = LEDGER_ATTACHMENT};
  record.u.attachment =
      (struct ledger_attachment){.allocation = allocation, .owner = owner, .pid = 7, .writable = 1};
  return record;
}

static void an_attachment_names_an_allocation_and_an_owner(void **state) {
  (void)state;
  struct world world = make();
  uint32_t slot;
  put_new(world.ledger, attachment_of(world.allocation, world.owner), &slot);
  judge(world.ledger, NULL);
  world = make();
  put_new(world.ledger, attachment_of(world.allocation, world.segment), &slot);
  judge(world.ledger, "its owner is missing");
  world = make();
  put_new(world.ledger, attachment_of(world.segment, world.owner), &slot);
  judge(world.ledger, "no allocation");
  world = make();
  put_new(world.ledger, attachment_of(world.ledger->header->next_id, world.owner), &slot);
  judge(world.ledger, "no allocation");
  world = make();
  put_new(world.ledger, attachment_of(0, world.owner), &slot);
  judge(world.ledger, "no allocation");
}

static void an_attachment_to_what_was_freed_goes_too(void **state) {
  (void)state;
  struct world world = make();
  uint32_t slot;
  put_new(world.ledger, attachment_of(world.allocation, world.owner), &slot);
  ledger_drop(world.ledger, world.allocation_slot);
  uint32_t live = ledger_live(world.ledger);
  struct ledger *heir;
  struct problem problem;
  assert_int_equal(STATUS_OK, ledger_adopt(ledger_share(world.ledger), &heir, &problem));
  assert_int_equal(live - 1, ledger_live(heir));
  assert_int_equal(ROOM - live + 1, ledger_free_slots(heir));
  assert_false(ledger_is_live(heir, slot));
  ledger_free(heir);
  ledger_drop(world.ledger, world.owner_slot);
  judge(world.ledger, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_wrong_bit_refuses_the_whole),
      cmocka_unit_test(advisory_words_and_the_rest_of_the_header_do_not_count),
      cmocka_unit_test(a_ledger_without_name_or_next_id_is_refused),
      cmocka_unit_test(what_is_no_ledger_is_refused),
      cmocka_unit_test(a_cut_one_is_refused),
      cmocka_unit_test(two_of_one_id_are_refused_unless_one_follows_the_other),
      cmocka_unit_test(the_version_that_follows_is_kept),
      cmocka_unit_test(one_id_is_of_one_kind),
      cmocka_unit_test(an_older_version_names_nothing),
      cmocka_unit_test(what_an_allocation_names_is_there),
      cmocka_unit_test(what_an_allocation_names_is_of_the_kind),
      cmocka_unit_test(who_has_no_allocations_may_stay),
      cmocka_unit_test(the_texts_of_owners_and_limits_are_there),
      cmocka_unit_test(texts_do_not_go_round),
      cmocka_unit_test(a_text_is_named_once),
      cmocka_unit_test(a_text_is_no_longer_than_its_record),
      cmocka_unit_test(an_attachment_names_an_allocation_and_an_owner),
      cmocka_unit_test(an_attachment_to_what_was_freed_goes_too),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
