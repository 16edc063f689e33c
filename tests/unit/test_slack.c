/* slack: by figures alone what memory/defrag finds block by block. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/units.h"
#include "memory/defrag.h"
#include "memory/slack.h"

#define GRANULE 256
#define SLABS 48
#define PLACES 64 /* blocks that find room in a slab */

struct picture {
  struct defrag_segment segments[SLABS];
  struct defrag_block blocks[SLABS * PLACES];
  struct slack_slab slabs[SLABS];
  uint32_t block_count;
  unsigned seed;
  bool hole; /* what came last was one */
};

static unsigned draw(struct picture *picture, unsigned below) {
  picture->seed = picture->seed * 1664525u + 1013904223u;
  return (picture->seed >> 8) % below;
}

/* A block or a hole of `size`. */
static void next(struct picture *picture, uint32_t slab, uint64_t *offset, uint64_t size) {
  struct defrag_segment *segment = &picture->segments[slab];
  struct slack_slab *sum = &picture->slabs[slab];
  unsigned dense = slab % 8;
  bool used = !segment->blocks || draw(picture, 8) < dense;
  if (used) {
    picture->blocks[picture->block_count++] = (struct defrag_block){*offset, size, GRANULE, false};
    segment->blocks++;
    segment->taken += size;
    segment->bytes += size;
    sum->blocks++;
    sum->used += size;
    sum->allocated += size;
  }
  sum->holes += !used && (*offset == 0 || !picture->hole);
  picture->hole = !used;
  *offset += size;
}

/* Slabs from nearly empty to nearly full, of blocks between `least` and `most`. */
static void make(struct picture *picture, uint64_t least, uint64_t most) {
  unsigned seed = picture->seed;
  *picture = (struct picture){.seed = seed};
  for (uint32_t i = 0; i < SLABS; i++) {
    uint64_t size = PLACES * most, offset = 0;
    picture->segments[i] =
        (struct defrag_segment){.size = size, .first_block = picture->block_count};
    picture->slabs[i].size = size;
    for (unsigned k = 0; k < PLACES; k++)
      next(picture, i, &offset,
           least + GRANULE * draw(picture, (unsigned)((most - least) / GRANULE) + 1));
    picture->slabs[i].holes += offset < size;
  }
}

static uint64_t planned(const struct picture *picture) {
  const struct defrag_snapshot snapshot = {.segments = picture->segments,
                                           .segment_count = SLABS,
                                           .blocks = picture->blocks,
                                           .block_count = picture->block_count,
                                           .granule = GRANULE};
  struct defrag_plan plan;
  assert_int_equal(
      defrag_plan_make(&snapshot, &(struct defrag_params){.strategy = DEFRAG_BALANCED}, &plan),
      STATUS_OK);
  uint64_t bytes = plan.released_bytes;
  defrag_plan_free(&plan);
  return bytes;
}

static void of_blocks_of_one_size_it_is_what_the_plan_gives(void **state) {
  static struct picture picture;
  (void)state;
  for (picture.seed = 1; picture.seed < 50;) {
    unsigned seed = picture.seed;
    make(&picture, 4 * KIB, 4 * KIB);
    uint64_t plan = planned(&picture);
    struct slack slack = slack_of(picture.slabs, SLABS);
    assert_true(plan > 0);
    assert_int_equal(slack.bytes, plan);
    assert_int_equal(slack.slabs, plan / (PLACES * 4 * KIB));
    picture.seed = seed + 1;
  }
}

static void of_blocks_that_differ_it_is_nearly_that(void **state) {
  static struct picture picture;
  (void)state;
  for (picture.seed = 1; picture.seed < 50;) {
    unsigned seed = picture.seed;
    make(&picture, GRANULE, 64 * KIB);
    uint64_t plan = planned(&picture), slack = slack_of(picture.slabs, SLABS).bytes;
    assert_true(slack >= plan && slack <= plan + plan / 10);
    picture.seed = seed + 1;
  }
}

static struct slack_slab slab(uint64_t used, uint32_t holes) {
  return (struct slack_slab){
      .size = MIB, .used = used, .allocated = used, .blocks = 4, .holes = holes};
}

static void what_is_fixed_stays_and_takes_in(void **state) {
  (void)state;
  struct slack_slab slabs[] = {slab(100 * KIB, 1), slab(200 * KIB, 1), slab(300 * KIB, 1)};
  slabs[0].fixed = slabs[2].fixed = true;
  assert_int_equal(slack_of(slabs, 3).bytes, MIB);
  struct slack_slab all[] = {slab(100 * KIB, 1), slab(200 * KIB, 1)};
  all[0].fixed = all[1].fixed = true;
  assert_int_equal(slack_of(all, 2).bytes, 0);
}

static void holes_that_are_too_small_take_nothing_in(void **state) {
  (void)state;
  struct slack_slab slabs[] = {slab(500 * KIB, 1), slab(500 * KIB, 1)};
  assert_int_equal(slack_of(slabs, 2).slabs, 1);
  struct slack_slab narrow[] = {slab(500 * KIB, 8), slab(500 * KIB, 8)};
  assert_int_equal(slack_of(narrow, 2).slabs, 0);
}

static void under_a_tenth_is_let_be(void **state) {
  (void)state;
  struct slack_slab slabs[12];
  for (unsigned i = 0; i < 12; i++)
    slabs[i] = slab(MIB - 90 * KIB, 1);
  slabs[0].blocks = 1000;
  assert_int_equal(slack_of(slabs, 12).slabs, 0);
  assert_int_equal(slack_of(NULL, 0).slabs, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(of_blocks_of_one_size_it_is_what_the_plan_gives),
      cmocka_unit_test(of_blocks_that_differ_it_is_nearly_that),
      cmocka_unit_test(what_is_fixed_stays_and_takes_in),
      cmocka_unit_test(holes_that_are_too_small_take_nothing_in),
      cmocka_unit_test(under_a_tenth_is_let_be),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
