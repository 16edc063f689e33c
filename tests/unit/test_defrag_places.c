/* defrag: places that are taken in the slabs themselves, beside others who take and give there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/units.h"
#include "memory/defrag.h"

#define GRANULE 256
#define SLABS 4
#define BLOCKS 200
#define TOGETHER 32 /* takes or gives in one go, at most */

struct slabs {
  struct pool nodes;
  struct span *spans[SLABS];
  struct defrag_segment segments[SLABS];
  struct defrag_block blocks[BLOCKS];
  struct defrag_snapshot snapshot;
  uint32_t taken, given, together, stayed, gone; /* gone: takes nothing in */
  bool inside;
};

static void enter(void *arg) {
  struct slabs *slabs = arg;
  assert_false(slabs->inside);
  slabs->inside = true;
  slabs->together = 0;
}

static void leave(void *arg) {
  struct slabs *slabs = arg;
  assert_true(slabs->inside);
  assert_in_range(slabs->together, 0, TOGETHER);
  slabs->inside = false;
}

static enum status take(void *arg, uint32_t segment, const struct span_request *request,
                        struct defrag_move *move) {
  struct slabs *slabs = arg;
  assert_true(slabs->inside);
  if (segment == slabs->gone)
    return STATUS_NOT_FOUND;
  enum status status = span_take(slabs->spans[segment], request, &move->node, &move->target_offset);
  move->target_segment = segment;
  slabs->taken += !status;
  slabs->together += !status;
  return status;
}

static void give(void *arg, const struct defrag_move *move) {
  struct slabs *slabs = arg;
  assert_true(slabs->inside);
  span_give(slabs->spans[move->target_segment], move->node);
  slabs->given++;
  slabs->together++;
}

static void stay(void *arg, uint32_t segment) {
  struct slabs *slabs = arg;
  assert_false(slabs->inside);
  slabs->stayed |= 1u << segment;
}

static const struct defrag_places places = {enter, leave, take, give, stay};

static void slabs_init(struct slabs *slabs) {
  *slabs = (struct slabs){.gone = SLABS};
  assert_int_equal(STATUS_OK, span_nodes_init(&slabs->nodes, 16 * BLOCKS));
  slabs->snapshot = (struct defrag_snapshot){.segments = slabs->segments,
                                             .blocks = slabs->blocks,
                                             .granule = GRANULE,
                                             .places = &places,
                                             .arg = slabs};
}

static void slabs_done(struct slabs *slabs) {
  for (uint32_t i = 0; i < slabs->snapshot.segment_count; i++)
    span_free(slabs->spans[i]);
  pool_done(&slabs->nodes);
}

/* One more, with so many blocks side by side from `first` on. */
static void add(struct slabs *slabs, uint64_t size, uint64_t first, uint32_t blocks,
                uint64_t each) {
  struct defrag_snapshot *snapshot = &slabs->snapshot;
  uint32_t index = snapshot->segment_count++;
  slabs->segments[index] = (struct defrag_segment){.size = size,
                                                   .taken = blocks * each,
                                                   .bytes = blocks * each,
                                                   .first_block = snapshot->block_count,
                                                   .blocks = blocks};
  assert_int_equal(STATUS_OK, span_create(&slabs->nodes, size, GRANULE, &slabs->spans[index]));
  for (uint32_t i = 0; i < blocks; i++) {
    const struct span_request request = {each, 1, 1};
    uint32_t node;
    slabs->blocks[snapshot->block_count++] =
        (struct defrag_block){first + i * each, each, GRANULE, false};
    assert_int_equal(STATUS_OK,
                     span_take_at(slabs->spans[index], first + i * each, &request, &node));
  }
}

static void plan_for(struct slabs *slabs, struct defrag_plan *plan) {
  const struct defrag_params params = {.strategy = DEFRAG_THOROUGH};
  assert_int_equal(STATUS_OK, defrag_plan_make(&slabs->snapshot, &params, plan));
  assert_int_equal(plan->move_count, slabs->taken - slabs->given);
  for (uint32_t i = 0; i < plan->move_count; i++) {
    const struct defrag_move *move = &plan->moves[i];
    struct span_block block = span_block_at(slabs->spans[move->target_segment], move->node);
    assert_int_equal(move->target_offset, block.offset);
    assert_int_equal(slabs->blocks[move->block].size, block.size);
    const struct defrag_segment *from = &slabs->segments[move->segment];
    assert_in_range(move->block, from->first_block, from->first_block + from->blocks - 1);
  }
}

static void what_is_planned_is_taken(void **state) {
  (void)state;
  struct slabs slabs;
  struct defrag_plan plan;
  slabs_init(&slabs);
  add(&slabs, MIB, 0, 100, 4 * KIB); /* more than go in one go */
  add(&slabs, MIB, 0, 9, 64 * KIB);
  plan_for(&slabs, &plan);
  assert_int_equal(100, plan.move_count);
  assert_int_equal(9 * 64 * KIB + 100 * 4 * KIB, span_used(slabs.spans[1]));
  assert_int_equal(0, slabs.stayed);
  defrag_plan_free(&plan);
  slabs_done(&slabs);
}

static void a_victim_that_does_not_fit_gives_all_back(void **state) {
  (void)state;
  struct slabs slabs;
  struct defrag_plan plan;
  slabs_init(&slabs);
  add(&slabs, MIB, 0, 100, 4 * KIB);
  add(&slabs, MIB, 0, 9, 64 * KIB); /* room for 112, and stays */
  slabs.segments[1].fixed = true;
  const struct span_request others = {64 * KIB, 1, 1}; /* took some since it was looked at */
  uint32_t node;
  uint64_t offset;
  assert_int_equal(STATUS_OK, span_take(slabs.spans[1], &others, &node, &offset));
  plan_for(&slabs, &plan);
  assert_int_equal(0, plan.move_count);
  assert_int_equal(96, slabs.given);
  assert_int_equal(1, slabs.stayed);
  assert_int_equal(10 * 64 * KIB, span_used(slabs.spans[1]));
  defrag_plan_free(&plan);
  slabs_done(&slabs);
}

static void a_slab_that_takes_nothing_is_passed_over(void **state) {
  (void)state;
  struct slabs slabs;
  struct defrag_plan plan;
  slabs_init(&slabs);
  add(&slabs, MIB, 0, 4, 64 * KIB);
  add(&slabs, MIB, 0, 12, 64 * KIB); /* the fullest that has room, and would be the first */
  add(&slabs, MIB, 0, 6, 64 * KIB);
  slabs.gone = 1;
  plan_for(&slabs, &plan);
  assert_int_equal(4, plan.move_count);
  for (unsigned i = 0; i < 4; i++)
    assert_int_equal(2, plan.moves[i].target_segment);
  defrag_plan_free(&plan);
  slabs_done(&slabs);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_planned_is_taken),
      cmocka_unit_test(a_victim_that_does_not_fit_gives_all_back),
      cmocka_unit_test(a_slab_that_takes_nothing_is_passed_over),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
