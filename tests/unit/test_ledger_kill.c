/* ledger: SIGKILL at every instruction, not at some. A child works on a ledger and is stepped
 * through it; whenever a step changed the memfd, its bytes of that moment are adopted as an heir
 * would, and must be lawful. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/os_memfd.h"
#include "ledger/ledger.h"

#define ROOM 16
#define BYTES ((size_t)(ROOM + 1) * LEDGER_RECORD)
#define TEXT                                                                                       \
  "a label that is longer than the sixty-four bytes that one record holds, and so takes two"

struct world {
  struct ledger *ledger;
  uint64_t segment, kept; /* ids: one is replaced and dropped, the other is not touched */
  uint32_t slot;
};

static uint32_t put_segment(struct ledger *ledger, uint64_t id, uint64_t size) {
  struct ledger_record record = {.kind = LEDGER_SEGMENT, .id = id};
  record.u.segment = (struct ledger_segment){.size_bytes = size, .created_real_ns = ~size};
  uint32_t slot = 0;
  assert_int_equal(STATUS_OK, ledger_put(ledger, &record, &slot));
  return slot;
}

static struct world make(void) {
  struct world world;
  assert_int_equal(STATUS_OK, ledger_create(ROOM, &world.ledger));
  world.kept = ledger_next_id(world.ledger);
  put_segment(world.ledger, world.kept, 77);
  world.segment = ledger_next_id(world.ledger);
  world.slot = put_segment(world.ledger, world.segment, 1);
  return world;
}

/* ---- what is stepped through ---- */

typedef void work_fn(struct world *world);

static void work_put(struct world *world) {
  put_segment(world->ledger, ledger_next_id(world->ledger), 5);
}

static void work_replace(struct world *world) {
  struct ledger_record record = *ledger_at(world->ledger, world->slot);
  for (uint64_t size = 2; size < 5; size++) {
    record.u.segment.size_bytes = size;
    record.u.segment.created_real_ns = ~size;
    (void)ledger_replace(world->ledger, &world->slot, &record);
  }
}

/* Drops, and takes the slot of what was dropped. */
static void work_drop(struct world *world) {
  ledger_drop(world->ledger, world->slot);
  put_segment(world->ledger, ledger_next_id(world->ledger), 6);
}

static void work_text(struct world *world) {
  uint64_t id;
  uint32_t slot;
  (void)ledger_put_text(world->ledger, TEXT, strlen(TEXT), &id, &slot);
}

static void work_ids(struct world *world) {
  for (int i = 0; i < 4096; i++)
    (void)ledger_next_id(world->ledger);
  put_segment(world->ledger, ledger_next_id(world->ledger), 7);
}

static uint64_t put(struct ledger *ledger, struct ledger_record record, uint32_t *slot) {
  record.id = ledger_next_id(ledger);
  (void)ledger_put(ledger, &record, slot);
  return record.id;
}

/* What an allocation needs, itself and an attachment come and go, in the header's order. */
static void work_allocation(struct world *world) {
  struct ledger *ledger = world->ledger;
  uint32_t owner_slot, text_slot, slot, attachment_slot;
  uint64_t owner = put(ledger, (struct ledger_record){.kind = LEDGER_OWNER}, &owner_slot), text;
  (void)ledger_put_text(ledger, TEXT, strlen(TEXT), &text, &text_slot);
  struct ledger_record record = {.kind = LEDGER_ALLOCATION};
  record.u.allocation = (struct ledger_allocation){
      .segment = world->segment, .owner = owner, .text = text, .size_bytes = 1};
  uint64_t allocation = put(ledger, record, &slot);
  record = (struct ledger_record){.kind = LEDGER_ATTACHMENT};
  record.u.attachment = (struct ledger_attachment){.allocation = allocation, .owner = owner};
  put(ledger, record, &attachment_slot);
  record = *ledger_at(ledger, slot);
  record.u.allocation.segment = world->kept;
  (void)ledger_replace(ledger, &slot, &record);
  ledger_drop(ledger, slot);
  for (uint32_t next; text_slot; text_slot = next) {
    next = ledger_next_text(ledger, text_slot);
    ledger_drop(ledger, text_slot);
  }
  ledger_drop(ledger, attachment_slot);
  ledger_drop(ledger, world->slot);
  ledger_drop(ledger, owner_slot);
}

/* ---- what an heir finds ---- */

struct found {
  unsigned live, texts, allocations, attachments;
  uint64_t size; /* of the segment that is worked on, 0: it is not there */
};

static void look_at(struct ledger *heir, const struct world *world, struct found *found) {
  uint64_t ids[ROOM], next = ledger_next_id(heir);
  bool kept = false;
  *found = (struct found){0};
  for (uint32_t slot = ledger_next(heir, 0); slot; slot = ledger_next(heir, slot)) {
    const struct ledger_record *record = ledger_at(heir, slot);
    for (unsigned i = 0; i < found->live; i++)
      assert_int_not_equal(ids[i], record->id);
    ids[found->live++] = record->id;
    assert_true(record->id < next);
    if (record->kind == LEDGER_TEXT_CHAIN) {
      found->texts++;
      uint32_t following = ledger_next_text(heir, slot);
      assert_int_equal(record->u.text.next, following ? ledger_at(heir, following)->id : 0);
      continue;
    }
    found->allocations += record->kind == LEDGER_ALLOCATION;
    found->attachments += record->kind == LEDGER_ATTACHMENT;
    if (record->kind != LEDGER_SEGMENT)
      continue;
    assert_int_equal(~record->u.segment.size_bytes, record->u.segment.created_real_ns);
    kept |= record->id == world->kept && record->u.segment.size_bytes == 77;
    if (record->id == world->segment)
      found->size = record->u.segment.size_bytes;
  }
  assert_true(kept);
  assert_int_equal(found->live, ledger_live(heir));
  assert_int_equal(ROOM - found->live, ledger_free_slots(heir));
}

/* An heir must also be able to go on: every free slot can be used, once. */
static void fill(struct ledger *heir) {
  uint32_t slot, live = ledger_live(heir);
  struct ledger_record record = {.kind = LEDGER_SEGMENT};
  do
    record.id = ledger_next_id(heir);
  while (!ledger_put(heir, &record, &slot));
  assert_int_equal(ROOM, ledger_live(heir));
  unsigned count = 0;
  for (slot = ledger_next(heir, 0); slot; slot = ledger_next(heir, slot))
    count++;
  assert_int_equal(ROOM, count);
  assert_true(live <= ROOM);
}

static void adopt(const void *image, const struct world *world, struct found *found) {
  struct share share;
  struct ledger *heir;
  struct problem problem = {0};
  void *map;
  assert_int_equal(STATUS_OK, os_memfd_create("image", BYTES, &share));
  assert_int_equal(STATUS_OK, os_memfd_seal(&share, OS_MEMFD_SEAL_SHRINK));
  assert_int_equal(STATUS_OK, os_memfd_map(&share, BYTES, true, &map));
  memcpy(map, image, BYTES);
  os_memfd_unmap(map, BYTES);
  if (ledger_adopt(&share, &heir, &problem))
    fail_msg("%s", problem.text);
  if (ledger_check_overlaps(heir, &problem))
    fail_msg("%s", problem.text);
  look_at(heir, world, found);
  fill(heir);
  ledger_free(heir);
  share_close(&share);
}

/* ---- stepping ---- */

static pid_t start(work_fn *work, struct world *world) {
  pid_t child = fork();
  if (!child) {
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
      _exit(77);
    raise(SIGSTOP);
    work(world);
    _exit(0);
  }
  int how;
  assert_int_equal(child, waitpid(child, &how, WUNTRACED));
  if (WIFEXITED(how) && WEXITSTATUS(how) == 77)
    skip(); /* ptrace is not allowed here */
  assert_true(WIFSTOPPED(how));
  return child;
}

/* False when it has ended. */
static bool step(pid_t child) {
  int how;
  assert_int_equal(0, ptrace(PTRACE_SINGLESTEP, child, NULL, NULL));
  assert_int_equal(child, waitpid(child, &how, 0));
  if (!WIFSTOPPED(how))
    assert_true(WIFEXITED(how) && !WEXITSTATUS(how));
  return WIFSTOPPED(how);
}

typedef void law_fn(const struct found *before, const struct found *now);

/* Returns the number of different images; *last is what the last one holds. */
static unsigned step_through(work_fn *work, law_fn *law, struct found *last) {
  struct world world = make();
  char image[BYTES];
  void *map;
  unsigned images = 0;
  assert_int_equal(STATUS_OK, os_memfd_map(ledger_share(world.ledger), BYTES, false, &map));
  memcpy(image, map, BYTES);
  adopt(image, &world, last);
  pid_t child = start(work, &world);
  do {
    if (!memcmp(image, map, BYTES))
      continue;
    struct found now;
    memcpy(image, map, BYTES);
    adopt(image, &world, &now);
    law(last, &now);
    *last = now;
    images++;
  } while (step(child));
  os_memfd_unmap(map, BYTES);
  ledger_free(world.ledger);
  return images;
}

/* ---- laws ---- */

/* A record is there or not, and once it is there it stays. */
static void one_comes(const struct found *before, const struct found *now) {
  assert_int_equal(1, now->size);
  assert_true(now->live == before->live || now->live == before->live + 1);
}

static void a_put_is_whole_or_not_there(void **state) {
  (void)state;
  struct found last;
  assert_true(step_through(work_put, one_comes, &last) > 1);
  assert_int_equal(3, last.live);
}

static void one_version_follows_another(const struct found *before, const struct found *now) {
  assert_int_equal(2, now->live);
  assert_true(now->size == before->size || now->size == before->size + 1);
}

static void a_replacement_is_the_old_or_the_new(void **state) {
  (void)state;
  struct found last;
  assert_true(step_through(work_replace, one_version_follows_another, &last) > 6);
  assert_int_equal(4, last.size);
}

static void it_goes_and_another_comes(const struct found *before, const struct found *now) {
  assert_true(now->size == 1 || now->size == 0);
  assert_true(now->size <= before->size);
  assert_true(now->live == 2 || (now->live == 1 && !now->size));
}

static void a_drop_is_done_or_not(void **state) {
  (void)state;
  struct found last;
  assert_true(step_through(work_drop, it_goes_and_another_comes, &last) > 2);
  assert_int_equal(2, last.live);
  assert_int_equal(0, last.size);
}

static void pieces_come(const struct found *before, const struct found *now) {
  assert_true(now->texts == before->texts || now->texts == before->texts + 1);
  assert_int_equal(2 + now->texts, now->live);
}

static void a_live_piece_of_text_names_live_ones(void **state) {
  (void)state;
  struct found last;
  assert_true(step_through(work_text, pieces_come, &last) > 2);
  assert_int_equal(2, last.texts);
}

static void ids_are_ahead_of_records(void **state) {
  (void)state;
  struct found last;
  assert_true(step_through(work_ids, one_comes, &last) > 1);
  assert_int_equal(3, last.live);
}

/* That all of it names what is there, adoption has judged. */
static void one_goes_with_its_attachment(const struct found *before, const struct found *now) {
  (void)before;
  assert_true(now->allocations <= 1);
  assert_true(now->attachments <= now->allocations);
  assert_true(now->live <= 7);
}

static void every_moment_of_an_allocation_is_lawful(void **state) {
  (void)state;
  struct found last;
  assert_true(step_through(work_allocation, one_goes_with_its_attachment, &last) > 20);
  assert_int_equal(1, last.live);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_put_is_whole_or_not_there),
      cmocka_unit_test(a_replacement_is_the_old_or_the_new),
      cmocka_unit_test(a_drop_is_done_or_not),
      cmocka_unit_test(a_live_piece_of_text_names_live_ones),
      cmocka_unit_test(ids_are_ahead_of_records),
      cmocka_unit_test(every_moment_of_an_allocation_is_lawful),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
