/* views: what workers said of themselves holds for two seconds. */
#include "daemon/views.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

static struct views views;

static void add(const char *name, uint64_t age_ns) {
  struct view_worker_model model = {.model = "m"};
  struct view_opportunity opportunity = {.kind = "unload", .bytes = 1};
  const struct standing standing = {.models = &model,
                                    .model_count = 1,
                                    .opportunities = &opportunity,
                                    .opportunity_count = 1,
                                    .valid = true};
  struct view_worker worker = {.capabilities = "ping,memory.optimize",
                               .status_ns = age_ns ? clock_now() - age_ns : 0};
  snprintf(worker.id, sizeof worker.id, "%s", name);
  views_add(&views, &worker, &standing);
}

static void what_is_too_old_is_left_out(void **state) {
  struct view_worker workers[4];
  struct view_worker_model models[4];
  struct view_opportunity opportunities[4];
  (void)state;
  views_init(&views);
  views_begin(&views);
  add("old", 2 * CLOCK_SECOND);
  add("new", 1);
  add("none", 0);
  views_end(&views);
  assert_int_equal(views_list(&views, workers, 4), 3);
  for (unsigned i = 0; i < 3; i++)
    assert_int_equal(workers[i].figures_known, i == 1);
  assert_int_equal(views_models(&views, models, 4), 1);
  assert_string_equal(models[0].worker, "new");
  assert_int_equal(views_opportunities(&views, opportunities, 4), 1);
  assert_string_equal(opportunities[0].worker, "new");
  assert_int_equal(views_models(&views, models, 0), 0);
  views_done(&views);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_too_old_is_left_out)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
