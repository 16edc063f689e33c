/*
 * vault/table: it behaves like a list of (id, bytes, descriptor) searched from end to end, closes
 * what it no longer holds and nothing else, and holds exactly as many as it was made for.
 */
#include "files_fixture.h"
#include "vault/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX 32
#define IDS 100 /* that the random walk draws from, thrice what fits */
#define MANY (4 * VAULTWIRE_BATCH + 1)

/* Held under each id: the size of its memfd, which is the entry's size too. 0: nothing. */
struct model {
  uint64_t sizes[IDS], live, bytes;
};

static struct share memory(uint64_t size) {
  int fd = memfd_create("test_vault_table", MFD_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(ftruncate(fd, (off_t)size), 0);
  return (struct share){SHARE_FILE, fd};
}

static bool put(struct table *table, uint64_t id, uint64_t size) {
  struct vaultwire_entry entry = {id, size};
  struct share share = memory(size);
  bool kept = table_put(table, &entry, &share);
  assert_int_equal(share.kind, kept ? SHARE_NONE : SHARE_FILE);
  share_close(&share);
  return kept;
}

static struct table table_of(uint32_t max) {
  struct table table;
  assert_int_equal(table_init(&table, max), STATUS_OK);
  return table;
}

static void check(const struct table *table, const struct model *model) {
  struct vaultwire message;
  struct share shares[VAULTWIRE_BATCH];
  bool seen[IDS] = {false};
  table_list(table, 0, &message, shares);
  assert_int_equal(message.cursor, 0);
  assert_int_equal(message.count, model->live);
  assert_int_equal(table->live, model->live);
  assert_int_equal(table->bytes, model->bytes);
  for (unsigned i = 0; i < message.count; i++) {
    const struct vaultwire_entry *entry = &message.entries[i];
    struct stat stat;
    assert_true(entry->id < IDS && !seen[entry->id]);
    seen[entry->id] = true;
    assert_int_equal(entry->bytes, model->sizes[entry->id]);
    assert_int_equal(fstat((int)shares[i].value, &stat), 0);
    assert_int_equal(stat.st_size, entry->bytes);
  }
}

static void model_put(struct model *model, uint64_t id, uint64_t size) {
  model->live += !model->sizes[id];
  model->bytes += size - model->sizes[id];
  model->sizes[id] = size;
}

static void model_drop(struct model *model, uint64_t id) {
  model->live -= model->sizes[id] != 0;
  model->bytes -= model->sizes[id];
  model->sizes[id] = 0;
}

static void a_random_walk_agrees_with_a_list(void **state) {
  (void)state;
  struct table table = table_of(MAX);
  struct model model = {.live = 0};
  unsigned seed = 20261126, before = files_fixture_count();
  for (uint64_t step = 1; step <= 10000; step++) {
    uint64_t id = (uint64_t)rand_r(&seed) % IDS;
    bool held = model.sizes[id] != 0;
    if (rand_r(&seed) % 3) {
      bool fits = held || model.live < MAX;
      assert_int_equal(put(&table, id, step), fits);
      if (fits)
        model_put(&model, id, step);
    } else {
      assert_int_equal(table_drop(&table, id), held);
      model_drop(&model, id);
    }
    check(&table, &model);
    assert_int_equal(files_fixture_count(), before + model.live);
  }
  table_done(&table);
  assert_int_equal(files_fixture_count(), before);
}

/* Every one that is left can still be reached: putting it again replaces it. */
static void deletion_leaves_no_gap_in_front_of_another(void **state) {
  (void)state;
  struct table table = table_of(MAX);
  unsigned seed = 1;
  for (int round = 0; round < 50; round++) {
    uint64_t ids[MAX];
    for (int i = 0; i < MAX; i++) {
      ids[i] = (uint64_t)rand_r(&seed) << 20 | (uint64_t)i;
      assert_true(put(&table, ids[i], 1));
    }
    for (unsigned left = MAX; left; left--) {
      unsigned victim = (unsigned)rand_r(&seed) % left;
      assert_true(table_drop(&table, ids[victim]));
      assert_false(table_drop(&table, ids[victim]));
      ids[victim] = ids[left - 1];
      for (unsigned i = 0; i < left - 1; i++) {
        assert_true(put(&table, ids[i], 1));
        assert_int_equal(table.live, left - 1);
      }
    }
  }
  table_done(&table);
}

static void it_holds_what_it_was_made_for_and_not_one_more(void **state) {
  (void)state;
  struct table table = table_of(5);
  for (uint64_t id = 1; id <= 5; id++)
    assert_true(put(&table, id, id));
  assert_false(put(&table, 6, 6));
  assert_true(put(&table, 5, 50));
  assert_int_equal(table.bytes, 1 + 2 + 3 + 4 + 50);
  assert_true(table_drop(&table, 1));
  assert_true(put(&table, 6, 6));
  table_done(&table);
}

static void one_made_for_nothing_refuses(void **state) {
  (void)state;
  struct table table = table_of(0);
  assert_false(put(&table, 1, 1));
  assert_false(table_drop(&table, 1));
  table_done(&table);
}

static void a_list_goes_on_where_it_ended(void **state) {
  (void)state;
  struct table table = table_of(MANY);
  struct vaultwire message;
  struct share shares[VAULTWIRE_BATCH];
  bool seen[MANY] = {false};
  uint64_t cursor = 0;
  unsigned count = 0;
  for (uint64_t id = 0; id < MANY; id++)
    assert_true(put(&table, id, id));
  do {
    table_list(&table, cursor, &message, shares);
    for (unsigned i = 0; i < message.count; i++) {
      assert_false(seen[message.entries[i].id]);
      seen[message.entries[i].id] = true;
    }
    count += message.count;
    cursor = message.cursor;
  } while (cursor);
  assert_int_equal(count, MANY);
  table_list(&table, UINT64_MAX, &message, shares);
  assert_int_equal(message.count, 0);
  assert_int_equal(message.cursor, 0);
  table_done(&table);
}

static void the_ledgers_identity_goes_with_the_ledger(void **state) {
  (void)state;
  struct table table = table_of(2);
  assert_true(put(&table, 0, 1));
  assert_true(put(&table, 7, 1));
  table.ledger[0] = 5;
  table.ledger[1] = 6;
  assert_true(table_drop(&table, 7));
  assert_int_equal(table.ledger[0], 5);
  assert_true(table_drop(&table, 0));
  assert_int_equal(table.ledger[0], 0);
  assert_int_equal(table.ledger[1], 0);
  table_done(&table);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_random_walk_agrees_with_a_list),
      cmocka_unit_test(deletion_leaves_no_gap_in_front_of_another),
      cmocka_unit_test(it_holds_what_it_was_made_for_and_not_one_more),
      cmocka_unit_test(one_made_for_nothing_refuses),
      cmocka_unit_test(a_list_goes_on_where_it_ended),
      cmocka_unit_test(the_ledgers_identity_goes_with_the_ledger),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
