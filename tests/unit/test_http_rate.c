/* The HTTP door asks a rate before it runs anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http_ops.h"

/* One a second: of fifty in a row some are too many, unless they took fifty seconds. */
static void who_sends_too_many_over_http_is_refused(void **state) {
  (void)state;
  const struct http_limits limits = {.rate = 1};
  struct door *door = open_door(&limits, NULL);
  unsigned counts[2] = {0};
  for (int i = 0; i < 50; i++) {
    int status = http_fixture_ask(door->port, "GET", "/api/memory/status");
    assert_true(status == 200 || status == 429);
    counts[status == 429]++;
    assert_int_equal(http_fixture_ask(door->port, "GET", "/health"), 200);
  }
  assert_true(counts[0] > 0 && counts[1] > 0);
  close_door(door);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(who_sends_too_many_over_http_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
