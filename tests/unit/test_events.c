/* events: who listens hears of each, until he leaves. */
#include "service/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define LISTENERS 4 /* as many as there can be */

static void hear(void *arg) { ++*(int *)arg; }

static void add(struct events *events) {
  struct events_record record = {.type = EVENTS_ALLOCATION_CREATED};
  events_add(events, &record);
}

static void who_left_hears_nothing(void **state) {
  (void)state;
  struct events *events;
  int heard[LISTENERS] = {0};
  assert_int_equal(events_create(&events), STATUS_OK);
  for (int i = 0; i < LISTENERS; i++)
    assert_int_equal(events_listen(events, hear, &heard[i]), STATUS_OK);
  add(events);
  events_leave(events, &heard[0]);
  events_leave(events, &heard[0]); /* he is not there any more */
  add(events);
  assert_int_equal(heard[0], 1);
  for (int i = 1; i < LISTENERS; i++)
    assert_int_equal(heard[i], 2);
  assert_int_equal(events_listen(events, hear, &heard[0]), STATUS_OK); /* there is room again */
  add(events);
  assert_int_equal(heard[0], 2);
  events_free(events);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(who_left_hears_nothing)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
