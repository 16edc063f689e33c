/* confirm: the driver's figure fell, also when Memkeep gave out as much on the card meanwhile. */
#include "service/confirm.h"
#include "service_fixture.h"

#include "base/clock.h"

static const char *const devices[] = {"host:0=64MiB", "fake:0=64MiB", NULL};

struct waited {
  struct confirm confirm; /* first */
  _Atomic bool done;
};

static int setup(void **state) {
  *state = fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

static void done(struct confirm *confirm) { ((struct waited *)confirm)->done = true; }

static bool is_done(struct fixture *fixture, void *arg) {
  (void)fixture;
  return ((struct waited *)arg)->done;
}

static void begin(struct fixture *fixture, struct waited *waited) {
  waited->done = false;
  confirm_begin(&waited->confirm, fixture_service(fixture), 1, done);
  fixture_until(fixture, is_done, waited);
  waited->done = false;
  assert_true(waited->confirm.known);
}

static void wait(struct fixture *fixture, struct waited *waited, uint64_t bytes) {
  confirm_wait(&waited->confirm, bytes, done);
  fixture_until(fixture, is_done, waited);
}

static void what_was_given_back_is_seen(void **state) {
  struct waited waited;
  uint64_t id = fixture_make(*state, "fake:0", 16 * MIB).id;
  begin(*state, &waited);
  assert_int_equal(fixture_free(*state, id, false), STATUS_OK);
  wait(*state, &waited, 16 * MIB);
  assert_true(waited.confirm.confirmed);
}

static void what_is_given_out_meanwhile_hides_nothing(void **state) {
  struct waited waited;
  uint64_t id = fixture_make(*state, "fake:0", 16 * MIB).id;
  begin(*state, &waited);
  fixture_make(*state, "fake:0", 24 * MIB);
  assert_int_equal(fixture_free(*state, id, false), STATUS_OK);
  wait(*state, &waited, 16 * MIB);
  assert_true(waited.confirm.confirmed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(what_was_given_back_is_seen),
      TEST(what_is_given_out_meanwhile_hides_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
