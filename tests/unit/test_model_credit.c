/* What was used often is worth more, wherever it has been meanwhile. */
#include "service_fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "model/policy.h"
#include "model_fixture.h"

#define SIZE (6 * MIB) /* a card holds two of them */
/* Of each load: what is measured here depends on who else is busy. Nobody gets that old here, and
 * the machine is older. */
#define COST_NS (20 * CLOCK_SECOND)

static const char *const devices[] = {"host:0=64MiB", "fake:0=16MiB", "fake:1=16MiB", NULL};
static const char *const names[] = {"often", "seldom", "new", "other"};
static const char *paths[4];

static int setup(void **state) {
  *state = model_fixture_start(devices);
  service_set_relief(fixture_service(*state), &(struct service_relief){.strategy = POLICY_COST});
  for (unsigned i = 0; i < 4; i++)
    paths[i] = model_fixture_file(names[i], SIZE, i);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  for (unsigned i = 0; i < 4; i++)
    unlink(paths[i]);
  return 0;
}

static struct model_load load_of(const char *name, const char *device) {
  unsigned i = 0;
  while (strcmp(names[i], name) != 0)
    i++;
  struct model_load params = model_fixture_load(paths[i], name, device);
  params.keep_ram_copy = 0;
  return params;
}

/* Loads it, and asks for it again and again; the first of these is worth what was measured. */
static void use(void **state, const char *name, const char *device, unsigned times) {
  struct model_load params = load_of(name, device);
  struct job_view end;
  for (unsigned i = 0; i < times; i++) {
    assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
    model_fixture_cost(*state, name, COST_NS);
  }
}

static void unload(void **state, const char *name) {
  model_fixture_unload(*state, name);
  assert_int_equal(model_fixture_look(*state, name).residency, MODEL_ON_DISK);
}

static void move(void **state, const char *name, const char *from, const char *to) {
  struct work_transfer params = {.mode = 1, .priority = VIEW_PRIORITY_NORMAL};
  struct work_started started;
  struct problem problem;
  struct job_view end;
  snprintf(params.model, sizeof params.model, "%s", name);
  snprintf(params.source, sizeof params.source, "%s", from);
  snprintf(params.target, sizeof params.target, "%s", to);
  assert_int_equal(
      work_transfer_start(fixture_service(*state), &fixture_admin, &params, &started, &problem),
      STATUS_OK);
  fixture_end(started.job, &end);
  assert_int_equal(end.state, JOB_COMPLETED);
}

static void assert_the_seldom_used_would_go(void **state, const char *device) {
  struct model_load params = load_of("new", device);
  struct job_view end;
  params.dry_run = true;
  assert_int_equal(model_fixture_run(*state, &params, &end), STATUS_OK);
  const struct job_trial *trial = &end.result.trial;
  assert_int_equal(trial->count, 1);
  assert_int_equal(trial->victims[0].model, model_fixture_look(*state, "seldom").id);
}

static void assert_seldom_goes_before_often(void **state, const char *device) {
  model_fixture_age(*state, "often");
  model_fixture_age(*state, "seldom");
  assert_the_seldom_used_would_go(state, device);
}

static void what_left_for_its_file_is_known_when_it_comes_again(void **state) {
  use(state, "often", "fake:0", 20);
  unload(state, "often");
  use(state, "often", "fake:0", 2);
  use(state, "seldom", "fake:0", 3);
  assert_seldom_goes_before_often(state, "fake:0");
}

/* Each device counts uses for itself: by that of the other one it would have been long ago. */
static void what_moves_to_another_device_takes_its_uses_along(void **state) {
  use(state, "other", "fake:1", 4000);
  unload(state, "other");
  use(state, "often", "fake:0", 20);
  move(state, "often", "fake:0", "fake:1");
  use(state, "seldom", "fake:1", 3);
  assert_seldom_goes_before_often(state, "fake:1");
}

/* The same of one that went to its file in between. */
static void and_so_does_what_comes_back_on_another_device(void **state) {
  use(state, "other", "fake:1", 4000);
  unload(state, "other");
  use(state, "often", "fake:0", 20);
  unload(state, "often");
  use(state, "often", "fake:1", 2);
  use(state, "seldom", "fake:1", 3);
  assert_seldom_goes_before_often(state, "fake:1");
}

static void what_was_attached_and_let_go_is_not_kept_for_its_youth(void **state) {
  use(state, "often", "fake:0", 20);
  use(state, "seldom", "fake:0", 2);
  model_fixture_same(*state, "seldom", paths[1]);
  model_fixture_age(*state, "often");
  assert_the_seldom_used_would_go(state, "fake:0");
}

static void a_load_and_its_attach_are_one_use(void **state) {
  use(state, "often", "fake:0", 7);
  for (unsigned i = 0; i < 5; i++) {
    use(state, "seldom", "fake:0", 1);
    model_fixture_same(*state, "seldom", paths[1]);
  }
  assert_seldom_goes_before_often(state, "fake:0");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(what_left_for_its_file_is_known_when_it_comes_again),
      TEST(what_moves_to_another_device_takes_its_uses_along),
      TEST(and_so_does_what_comes_back_on_another_device),
      TEST(what_was_attached_and_let_go_is_not_kept_for_its_youth),
      TEST(a_load_and_its_attach_are_one_use),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
