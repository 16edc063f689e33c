#include "base/idmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FIRST_ID (UINT64_C(0x1f0c) << 48)

/* The model: ids and values of what is live, in order, without gaps. */
struct model {
  struct idmap map;
  struct idmap_entry live[2048];
  uint32_t count;
  uint64_t last_id;
  uint64_t random;
};

static uint64_t draw(struct model *m, uint64_t below) {
  m->random ^= m->random << 13;
  m->random ^= m->random >> 7;
  m->random ^= m->random << 17;
  return m->random % below;
}

static void start(struct model *m, uint32_t max, uint64_t seed) {
  *m = (struct model){.last_id = FIRST_ID, .random = seed * 2654435761u + 88172645463325252u};
  assert_int_equal(idmap_init(&m->map, max), STATUS_OK);
}

static void append(struct model *m, uint64_t step) {
  m->last_id += step;
  uint32_t value = (uint32_t)draw(m, UINT32_MAX) + 1;
  bool fits = m->count < m->map.max;
  assert_int_equal(idmap_append(&m->map, m->last_id, value), fits);
  if (fits)
    m->live[m->count++] = (struct idmap_entry){.id = m->last_id, .value = value};
}

static void erase(struct model *m, uint32_t at) {
  uint64_t id = m->live[at].id;
  assert_true(idmap_erase(&m->map, id));
  assert_false(idmap_erase(&m->map, id));
  memmove(&m->live[at], &m->live[at + 1], (--m->count - at) * sizeof *m->live);
}

static void same(const struct idmap_entry *got, const struct idmap_entry *expected) {
  assert_int_equal(!got, !expected);
  if (!got)
    return;
  assert_int_equal(got->id, expected->id);
  assert_int_equal(got->value, expected->value);
}

/* What the map says about one id, there or not. */
static void look(const struct model *m, uint64_t id) {
  uint32_t at = 0;
  while (at < m->count && m->live[at].id < id)
    at++;
  bool there = at < m->count && m->live[at].id == id;
  assert_int_equal(idmap_find(&m->map, id), there ? m->live[at].value : 0);
  uint32_t next = at + there;
  same(idmap_next(&m->map, id), next < m->count ? &m->live[next] : NULL);
  same(idmap_prev(&m->map, id), at ? &m->live[at - 1] : NULL);
}

static void look_at_all(const struct model *m) {
  assert_int_equal(m->map.live, m->count);
  uint64_t id = 0;
  for (uint32_t i = 0; i < m->count; i++) {
    const struct idmap_entry *entry = idmap_next(&m->map, id);
    same(entry, &m->live[i]);
    same(idmap_after(&m->map, entry), i + 1 < m->count ? &m->live[i + 1] : NULL);
    id = entry->id;
  }
  assert_null(idmap_next(&m->map, id));
  id = UINT64_MAX;
  for (uint32_t i = m->count; i--;) {
    const struct idmap_entry *entry = idmap_prev(&m->map, id);
    same(entry, &m->live[i]);
    id = entry->id;
  }
  assert_null(idmap_prev(&m->map, id));
}

/* Ids are dense, with jumps of a restart now and then, or thinned out at random. */
static uint64_t id_step(struct model *m, unsigned kind) {
  switch (kind % 3) {
  case 0:
    return 1;
  case 1:
    return draw(m, 50) ? 1 : 1 + draw(m, 1u << 20);
  default:
    return UINT64_C(1) << draw(m, 24);
  }
}

/* Where the next victim lies: anywhere, the oldest, the youngest, or a run in the middle. */
static uint32_t victim(struct model *m, unsigned kind) {
  switch (kind % 4) {
  case 0:
    return (uint32_t)draw(m, m->count);
  case 1:
    return 0;
  case 2:
    return m->count - 1;
  default:
    return m->count / 3;
  }
}

static void behaves_like_a_sorted_list(void **state) {
  (void)state;
  for (unsigned seed = 0; seed < 48; seed++) {
    struct model m;
    uint32_t max = 1 + (uint32_t)(seed * 37 % 1500);
    start(&m, max, seed + 1);
    unsigned weight = 50;
    for (int i = 0; i < 6000; i++) {
      if (i % 500 == 0)
        weight = 10 + (unsigned)draw(&m, 81); /* phases that grow and phases that shrink */
      if (!m.count || draw(&m, 100) < weight)
        append(&m, id_step(&m, seed));
      else
        erase(&m, victim(&m, seed / 3));
      look(&m, FIRST_ID + draw(&m, m.last_id - FIRST_ID + 2));
      if (m.count)
        look(&m, m.live[draw(&m, m.count)].id);
      if (i % 256 == 0)
        look_at_all(&m);
    }
    look_at_all(&m);
    idmap_done(&m.map);
  }
}

static void ends_of_the_number_range(void **state) {
  (void)state;
  struct model m;
  start(&m, 4, 1);
  assert_null(idmap_next(&m.map, 0));
  assert_null(idmap_prev(&m.map, UINT64_MAX));
  append(&m, 1);
  look(&m, 0);
  look(&m, UINT64_MAX);
  assert_false(idmap_erase(&m.map, 0));
  assert_false(idmap_erase(&m.map, UINT64_MAX));
  idmap_done(&m.map);
}

static void refuses_more_than_max_and_takes_again_after_an_erase(void **state) {
  (void)state;
  struct idmap map;
  assert_int_equal(idmap_init(&map, 3), STATUS_OK);
  uint64_t id = 0;
  for (uint32_t i = 0; i < 3; i++)
    assert_true(idmap_append(&map, ++id, 1));
  for (int i = 0; i < 1000; i++) {
    assert_false(idmap_append(&map, id + 1, 1));
    assert_true(idmap_erase(&map, id - (uint64_t)(i % 3 ? 1 : 2)) || idmap_erase(&map, id));
    assert_true(idmap_append(&map, ++id, 1));
    assert_int_equal(map.live, 3);
  }
  idmap_done(&map);
}

/* A map at its limit, used as a queue for long, stays within what init reserved (a step beyond
 * would be a fault). */
static void a_full_map_never_outgrows_its_space(void **state) {
  (void)state;
  const uint32_t max = 5000;
  struct idmap map;
  assert_int_equal(idmap_init(&map, max), STATUS_OK);
  uint64_t id = 0;
  while (id < max)
    assert_true(idmap_append(&map, ++id, 1));
  uint64_t keep = 1; /* the oldest stays, so that nothing can be dropped at the front */
  uint32_t highest = 0;
  for (uint64_t oldest = keep + 1; oldest < 20 * max; oldest++) {
    assert_true(idmap_erase(&map, oldest));
    assert_true(idmap_append(&map, ++id, 1));
    highest = map.count > highest ? map.count : highest;
  }
  assert_in_range(highest, max, 3 * max);
  assert_int_equal(idmap_next(&map, 0)->id, keep);
  assert_int_equal(map.live, max);
  idmap_done(&map);
}

static void no_single_erase_packs_the_whole_map(void **state) {
  (void)state;
  struct idmap map;
  const uint32_t max = 100000;
  assert_int_equal(idmap_init(&map, max), STATUS_OK);
  for (uint32_t id = 1; id <= max; id++)
    idmap_append(&map, id, id);
  bool packed = false;
  for (uint32_t id = 2; id < max && !(packed && !map.packing); id += id % 4 ? 1 : 2) {
    uint32_t rest = map.rest, packed_before = map.packed;
    assert_true(idmap_erase(&map, id));
    packed |= map.packing;
    if (map.packing) {
      assert_in_range(map.rest - rest, 0, 8);
      assert_in_range(map.packed - packed_before, 0, 8);
    }
  }
  assert_true(packed);
  assert_int_equal(map.packing, false);
  idmap_done(&map);
}

static void an_empty_map_starts_over(void **state) {
  (void)state;
  struct model m;
  start(&m, 100, 3);
  for (int round = 0; round < 5; round++) {
    for (int i = 0; i < 100; i++)
      append(&m, 1);
    while (m.count)
      erase(&m, (uint32_t)draw(&m, m.count));
    assert_int_equal(m.map.count, 0);
  }
  idmap_done(&m.map);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(behaves_like_a_sorted_list),
      cmocka_unit_test(ends_of_the_number_range),
      cmocka_unit_test(refuses_more_than_max_and_takes_again_after_an_erase),
      cmocka_unit_test(a_full_map_never_outgrows_its_space),
      cmocka_unit_test(no_single_erase_packs_the_whole_map),
      cmocka_unit_test(an_empty_map_starts_over),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
