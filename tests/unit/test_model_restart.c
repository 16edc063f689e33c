/* Models after a restart: whole, with their table and their names, or absent. */
#include "crash_fixture.h"
#include "service_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os_memfd.h"
#include "model_fixture.h"
#include "service/model.h"
#include "service/state.h"

static const char *const devices[] = {"host:0=64MiB", "fake:0=16MiB", NULL};

static int setup(void **state) {
  *state = model_fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

static void what_was_resident_is_resident(void **state) {
  const char *one = model_fixture_file("a", 2 * MIB, 1), *two = model_fixture_file("b", MIB, 2);
  struct model_load params = model_fixture_load(one, "one", "fake:0");
  struct crash_fixture next;
  struct job_view end;
  params.pinned = true;
  params.priority = VIEW_PRIORITY_HIGH;
  params.keep_alive_seconds = 77;
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  params = model_fixture_load(two, "two", "host:0");
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  unlink(one);
  unlink(two);
  crash_fixture(fixture_service(*state), &next);
  struct service *s = crash_fixture_next(&next, devices);
  struct model_view view = model_fixture_find(s, "one"), before = model_fixture_look(*state, "one");
  assert_int_equal(view.id, before.id);
  assert_int_equal(view.state, MODEL_READY);
  assert_string_equal(view.device_id, "fake:0");
  assert_string_equal(view.path, before.path);
  assert_true(view.ram_copy);
  assert_true(view.pinned);
  assert_int_equal(view.priority, VIEW_PRIORITY_HIGH);
  assert_int_equal(view.keep_alive_seconds, 77);
  assert_int_equal(view.size_bytes, before.size_bytes);
  assert_int_equal(view.use_count, before.use_count);
  assert_int_equal(model_fixture_find(s, "two").residency, MODEL_IN_RAM);
  assert_int_equal(model_fixture_find(s, "two").tensors, 1);
  crash_fixture_end(&next);
}

/* An attach is a use, also when nothing else was written of the model since. */
static void its_uses_are_counted_on(void **state) {
  const char *path = model_fixture_file("u", MIB, 3);
  struct model_load params = model_fixture_load(path, "u", "host:0");
  struct crash_fixture next;
  struct job_view end;
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  uint64_t loaded = model_fixture_look(*state, "u").use_count;
  model_fixture_same(*state, "u", path); /* attaches it */
  model_fixture_same(*state, "u", path);
  unlink(path);
  crash_fixture(fixture_service(*state), &next);
  struct service *s = crash_fixture_next(&next, devices);
  assert_int_equal(model_fixture_find(s, "u").use_count, loaded + 2);
  assert_int_equal(model_fixture_find(s, "u").last_used_at,
                   model_fixture_look(*state, "u").last_used_at);
  crash_fixture_end(&next);
}

/* The table of tensors comes from the vault too: the files are gone. */
static void its_tensors_are_known_without_the_file(void **state) {
  const char *path = model_fixture_file("c", MIB, 3);
  struct model_load params = model_fixture_load(path, "c", "host:0");
  struct caller caller = fixture_admin;
  struct model_attached attached;
  struct crash_fixture next;
  struct problem problem;
  struct job_view end;
  struct card card;
  caller.connection = 3;
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  unlink(path);
  crash_fixture(fixture_service(*state), &next);
  struct service *s = crash_fixture_next(&next, devices);
  if (model_attach(s, &caller, "c", &attached, &problem))
    fail_msg("%s", problem.text);
  assert_int_equal(card_check(attached.image, attached.image_bytes, &card, &problem), STATUS_OK);
  assert_int_equal(card.tensors[0].size, MIB);
  model_attach_free(&attached);
  crash_fixture_end(&next);
}

static void two_names_share_their_bytes_again(void **state) {
  const char *path = model_fixture_file("d", MIB, 4);
  struct crash_fixture next;
  struct job_view end;
  for (unsigned i = 0; i < 2; i++) {
    struct model_load params = model_fixture_load(path, i ? "x" : "y", "host:0");
    assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  }
  unlink(path);
  crash_fixture(fixture_service(*state), &next);
  struct service *s = crash_fixture_next(&next, devices);
  struct model_totals totals;
  model_count(s, &totals);
  assert_int_equal(totals.loaded, 2);
  assert_true(totals.ram_bytes < 2 * MIB);
  crash_fixture_end(&next);
}

/* A load that was under way has left segments, and no model. */
static void what_was_being_loaded_is_absent(void **state) {
  const char *path = model_fixture_file("e", 3 * MIB, 5);
  struct model_load params = model_fixture_load(path, "e", "fake:0");
  struct model_started started;
  struct crash_fixture next;
  struct problem problem;
  struct job_view end;
  struct model_view view;
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(
      model_load_start(fixture_service(*state), &fixture_admin, &params, &started, &problem),
      STATUS_OK);
  fixture_until_held(*state, 1);
  crash_fixture(fixture_service(*state), &next);
  struct service *s = crash_fixture_next(&next, devices);
  assert_int_equal(model_look(s, "e", &view, &problem), STATUS_MODEL_NOT_FOUND);
  for (uint32_t i = 0; i < s->device_count; i++)
    assert_int_equal(s->devices[i].committed, 0);
  crash_fixture_end(&next);
  fixture_mover(*state, FIXTURE_WORKS);
  fixture_end(started.job, &end);
  unlink(path);
}

static void a_parked_one_is_parked_and_an_unloaded_one_is_listed(void **state) {
  const char *one = model_fixture_file("f", MIB, 6), *two = model_fixture_file("g", MIB, 7);
  struct model_load params = model_fixture_load(one, "parked", "fake:0");
  struct model_unload unload = {.model = "parked", .to_ram = true};
  struct model_started started;
  struct crash_fixture next;
  struct problem problem;
  struct job_view end;
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  params = model_fixture_load(two, "gone", "fake:0");
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  for (unsigned i = 0; i < 2; i++) {
    assert_int_equal(
        model_unload_start(fixture_service(*state), &fixture_admin, &unload, &started, &problem),
        STATUS_OK);
    fixture_end(started.job, &end);
    assert_int_equal(end.state, JOB_COMPLETED);
    unload = (struct model_unload){.model = "gone"};
  }
  crash_fixture(fixture_service(*state), &next);
  struct service *s = crash_fixture_next(&next, devices);
  assert_int_equal(model_fixture_find(s, "parked").state, MODEL_PARKED);
  assert_string_equal(model_fixture_find(s, "parked").device_id, "fake:0");
  assert_int_equal(model_fixture_find(s, "gone").state, MODEL_UNLOADED);
  assert_int_equal(model_fixture_find(s, "gone").size_bytes,
                   model_fixture_look(*state, "gone").size_bytes);
  crash_fixture_end(&next);
  unlink(one);
  unlink(two);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(what_was_resident_is_resident),
      TEST(its_uses_are_counted_on),
      TEST(its_tensors_are_known_without_the_file),
      TEST(two_names_share_their_bytes_again),
      TEST(what_was_being_loaded_is_absent),
      TEST(a_parked_one_is_parked_and_an_unloaded_one_is_listed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
