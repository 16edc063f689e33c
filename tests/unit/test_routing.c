/* routing: bytes to and from a card go by its own mover, all others by the host's. */
#include "daemon/routing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/workers.h"

static const struct spec devices[] = {{.id = "host:0", .backend = "host"},
                                      {.id = "cuda:0", .backend = "cuda"},
                                      {.id = "fake:0", .backend = "fake"},
                                      {.id = "cuda:1", .backend = "cuda"},
                                      {.id = "what:0", .backend = "what"}};
enum { HOST, CARD, FAKE, OTHER, DEVICES = sizeof devices / sizeof *devices };

static struct mover_segment segments[DEVICES];

static int setup(void **state) {
  static struct routing routing;
  routing_init(&routing, devices, DEVICES);
  for (unsigned i = 0; i < DEVICES; i++)
    segments[i].device_id = devices[i].id;
  *state = &routing;
  return 0;
}

static const char *route(void **state, enum mover_action action, uint32_t from, uint32_t to) {
  struct mover_move move = {.from = from, .to = to, .size = 1};
  const struct mover_task task = {.action = action,
                                  .segments = segments,
                                  .segment_count = DEVICES,
                                  .moves = &move,
                                  .move_count = 1};
  return routing_of(*state, &task);
}

static void what_needs_no_context_is_the_hosts(void **state) {
  assert_string_equal(route(state, MOVER_COPY, HOST, HOST), WORKERS_OWN);
  assert_string_equal(route(state, MOVER_TRANSFER, HOST, FAKE), WORKERS_OWN);
  assert_string_equal(route(state, MOVER_TRANSFER, FAKE, HOST), WORKERS_OWN);
}

static void between_card_and_host_it_is_the_cards(void **state) {
  assert_string_equal(route(state, MOVER_TRANSFER, HOST, CARD), "cuda:0");
  assert_string_equal(route(state, MOVER_TRANSFER, OTHER, HOST), "cuda:1");
  assert_string_equal(route(state, MOVER_TRANSFER, FAKE, OTHER), "cuda:1");
  assert_string_equal(route(state, MOVER_COPY, CARD, CARD), "cuda:0");
}

static void between_two_cards_it_is_the_sources(void **state) {
  assert_string_equal(route(state, MOVER_TRANSFER, CARD, OTHER), "cuda:0");
  assert_string_equal(route(state, MOVER_TRANSFER, OTHER, CARD), "cuda:1");
}

/* Two parts of cards; those that need no environment, and those that share one, see each other. */
static void what_no_process_sees_both_is_apart(void **state) {
  (void)state;
  static const struct spec parts[] = {{.id = "host:0", .backend = "host"},
                                      {.id = "mig:0", .backend = "mig", .environment = "A=0"},
                                      {.id = "mig:1", .backend = "mig", .environment = "A=1"},
                                      {.id = "cuda:0", .backend = "cuda", .environment = "A=2,3"},
                                      {.id = "cuda:1", .backend = "cuda", .environment = "A=2,3"}};
  enum { PARTS = sizeof parts / sizeof *parts };
  static const bool apart[PARTS][PARTS] = {{false, false, false, false, false},
                                           {false, false, true, true, true},
                                           {false, true, false, true, true},
                                           {false, true, true, false, false},
                                           {false, true, true, false, false}};
  struct routing routing;
  struct mover_segment places[PARTS];
  routing_init(&routing, parts, PARTS);
  for (unsigned i = 0; i < PARTS; i++)
    places[i].device_id = parts[i].id;
  for (uint32_t from = 0; from < PARTS; from++)
    for (uint32_t to = 0; to < PARTS; to++) {
      struct mover_move move = {.from = from, .to = to, .size = 1};
      struct mover_task task = {.action = MOVER_TRANSFER,
                                .segments = places,
                                .segment_count = PARTS,
                                .moves = &move,
                                .move_count = 1};
      const struct spec *found[2] = {NULL, NULL};
      assert_int_equal(apart[from][to], routing_apart(&routing, &task, found));
      if (apart[from][to])
        assert_true(found[0] == &parts[from] && found[1] == &parts[to]);
      task.action = MOVER_LOAD;
      assert_false(routing_apart(&routing, &task, found));
    }
}

static void a_load_comes_from_files(void **state) {
  assert_string_equal(route(state, MOVER_LOAD, CARD, HOST), WORKERS_OWN);
  assert_string_equal(route(state, MOVER_LOAD, HOST, OTHER), "cuda:1");
}

static void a_fill_has_one_end(void **state) {
  assert_string_equal(route(state, MOVER_FILL, HOST, CARD), "cuda:0");
  assert_string_equal(route(state, MOVER_FILL, HOST, HOST), WORKERS_OWN);
}

static void without_moves_it_is_the_hosts(void **state) {
  const struct mover_task task = {.action = MOVER_CLEAR};
  assert_string_equal(routing_of(*state, &task), WORKERS_OWN);
}

static void any_move_of_many_may_name_the_card(void **state) {
  struct mover_move moves[] = {{.from = HOST, .to = OTHER}, {.from = CARD, .to = HOST}};
  const struct mover_task task = {.action = MOVER_DEFRAGMENT,
                                  .segments = segments,
                                  .segment_count = DEVICES,
                                  .moves = moves,
                                  .move_count = 2};
  assert_string_equal(routing_of(*state, &task), "cuda:0");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_needs_no_context_is_the_hosts),
      cmocka_unit_test(between_card_and_host_it_is_the_cards),
      cmocka_unit_test(between_two_cards_it_is_the_sources),
      cmocka_unit_test(what_no_process_sees_both_is_apart),
      cmocka_unit_test(a_load_comes_from_files),
      cmocka_unit_test(a_fill_has_one_end),
      cmocka_unit_test(without_moves_it_is_the_hosts),
      cmocka_unit_test(any_move_of_many_may_name_the_card),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
