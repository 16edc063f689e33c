/* standing: which answer of a worker still holds. */
#include "daemon/standing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static struct standing standing;

static void with(const char *text, void (*fn)(struct standing *, struct reader_value)) {
  char copy[4096];
  struct reader_doc *doc;
  struct problem problem;
  snprintf(copy, sizeof copy, "%s", text);
  assert_int_equal(reader_parse(copy, strlen(copy), &doc, &problem), STATUS_OK);
  fn(&standing, reader_root(doc));
  reader_free(doc);
}

static void heard(const char *text) { with(text, standing_heard); }
static void changed(const char *text) { with(text, standing_changed); }

static struct view_worker view(void) {
  struct view_worker out = {.pid = 1};
  standing_view(&standing, true, &out);
  return out;
}

static int setup(void **state) {
  (void)state;
  standing_done(&standing);
  standing = (struct standing){.generation = 0};
  return 0;
}

static void nothing_is_known_before_the_first_answer(void **state) {
  (void)state;
  assert_false(view().synchronized);
  assert_int_equal(view().status_ns, 0);
  assert_true(standing_ask(&standing));
  heard("{\"memory_usage_bytes\":7,\"reclaimable_bytes\":5,\"generation\":3}");
  assert_false(standing_asked(&standing));
  assert_true(view().synchronized);
  assert_true(view().status_ns);
  assert_int_equal(view().memory_bytes, 7);
  assert_int_equal(view().generation, 3);
}

static void a_change_during_the_question_asks_again(void **state) {
  (void)state;
  assert_true(standing_ask(&standing));
  changed("{\"generation\":4}");
  assert_false(standing_ask(&standing));
  heard("{\"memory_usage_bytes\":7,\"generation\":4}");
  assert_false(view().synchronized);
  assert_true(standing_asked(&standing));
  assert_true(standing_ask(&standing));
  heard("{\"memory_usage_bytes\":8,\"generation\":4}");
  assert_true(view().synchronized);
  assert_int_equal(view().memory_bytes, 8);
}

static void an_older_generation_is_no_answer(void **state) {
  (void)state;
  changed("{\"generation\":4}");
  assert_true(standing_ask(&standing));
  heard("{\"memory_usage_bytes\":7,\"generation\":3}");
  assert_false(standing_asked(&standing));
  assert_false(view().synchronized);
  assert_int_equal(view().status_ns, 0);
}

static void one_that_does_not_count_is_believed(void **state) {
  (void)state;
  changed("{}");
  assert_false(view().synchronized);
  assert_true(standing_ask(&standing));
  heard("{\"memory_usage_bytes\":7}");
  assert_true(view().synchronized);
}

static void one_that_cannot_be_asked_is_not_waited_for(void **state) {
  (void)state;
  struct view_worker out = {.pid = 1};
  standing_view(&standing, false, &out);
  assert_true(out.synchronized);
  assert_int_equal(out.status_ns, 0);
}

static void one_that_does_not_know_the_question_is_not_asked_again(void **state) {
  (void)state;
  assert_true(standing_ask(&standing));
  with("{\"success\":false,\"error_code\":\"INTERNAL_ERROR\"}", standing_answered);
  assert_false(standing_asked(&standing));
  assert_true(standing_ask(&standing)); /* it may know next time */
  with("{\"success\":false,\"error_code\":\"NOT_FOUND\"}", standing_answered);
  assert_false(standing_asked(&standing));
  assert_true(standing.unable);
  assert_false(standing_ask(&standing));
}

static void models_are_ids_or_objects(void **state) {
  (void)state;
  heard("{\"loaded_models\":[\"m-1\",{\"model_id\":\"two\",\"size_bytes\":9},{},5,\"\"]}");
  assert_int_equal(standing.model_count, 2);
  assert_string_equal(standing.models[0].model, "m-1");
  assert_false(standing.models[0].bytes_known);
  assert_string_equal(standing.models[1].model, "two");
  assert_int_equal(standing.models[1].bytes, 9);
  assert_true(view().lists);
  heard("{\"loaded_models\":[]}");
  assert_int_equal(standing.model_count, 0);
  assert_true(view().lists);
}

static void a_list_that_is_too_long_is_not_taken_as_whole(void **state) {
  (void)state;
  char text[4096] = "{\"loaded_models\":[\"first\"";
  for (unsigned i = 0; i < STANDING_MODELS; i++)
    strcat(text, ",\"more\"");
  strcat(text, "]}");
  heard(text);
  assert_int_equal(standing.model_count, STANDING_MODELS);
  assert_false(view().lists);
}

#define test(name) cmocka_unit_test_setup(name, setup)

static void what_it_could_free_is_kept_until_it_says_otherwise(void **state) {
  (void)state;
  heard("{\"optimization_opportunities\":[7,{\"kind\":\"park\",\"bytes\":0},"
        "{\"kind\":\"park\",\"device_id\":\"fake:0\",\"model_id\":\"m\",\"bytes\":9,\"why\":"
        "\"idle\"}]}");
  assert_int_equal(standing.opportunity_count, 1); /* neither a number nor one of nothing */
  assert_string_equal(standing.opportunities[0].kind, "park");
  assert_string_equal(standing.opportunities[0].device, "fake:0");
  assert_string_equal(standing.opportunities[0].model, "m");
  assert_string_equal(standing.opportunities[0].why, "idle");
  assert_int_equal(standing.opportunities[0].bytes, 9);
  heard("{}");
  assert_int_equal(standing.opportunity_count, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      test(nothing_is_known_before_the_first_answer),
      test(a_change_during_the_question_asks_again),
      test(an_older_generation_is_no_answer),
      test(one_that_does_not_count_is_believed),
      test(one_that_cannot_be_asked_is_not_waited_for),
      test(one_that_does_not_know_the_question_is_not_asked_again),
      test(models_are_ids_or_objects),
      test(a_list_that_is_too_long_is_not_taken_as_whole),
      test(what_it_could_free_is_kept_until_it_says_otherwise),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  standing_done(&standing);
  return failed;
}
