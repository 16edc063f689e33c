/*
 * mk_try_free against a stand-in for the daemon that goes away: who is in a hurry waits for nobody,
 * and hurries nobody. The client has an hour of patience: a test in which that is waited for ends
 * by its time limit.
 */
#include <memkeep/memkeep.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "standin_fixture.h"

struct fixture {
  struct standin *standin;
  mk_client *client;
  mk_allocation *made;
};

static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  f->standin = standin_fixture_create();
  const struct mk_options options = {.socket = standin_fixture_path(f->standin),
                                     .reconnect_ms = 3600 * 1000};
  *state = f;
  return mk_connect(&options, &f->client) ||
         mk_allocate(f->client, &(struct mk_request){.size = 1000}, &f->made);
}

static int teardown(void **state) {
  struct fixture *f = *state;
  mk_close(f->client);
  standin_fixture_free(f->standin);
  free(f);
  return 0;
}

static void a_daemon_that_is_there_is_asked(void **state) {
  struct fixture *f = *state;
  assert_int_equal(mk_try_free(f->made), MK_OK);
  assert_int_equal(standin_fixture_count(f->standin, "memory.free"), 1);
  assert_int_equal(mk_try_free(NULL), MK_OK);
}

static void without_a_daemon_the_handle_is_as_before(void **state) {
  struct fixture *f = *state;
  standin_fixture_kill(f->standin);
  for (int i = 0; i < 2; i++)
    assert_int_equal(mk_try_free(f->made), MK_DAEMON_NOT_FOUND);
  memset(mk_pointer(f->made), 1, 1000);
  standin_fixture_start(f->standin);
  assert_int_equal(mk_try_free(f->made), MK_OK);
  assert_int_equal(standin_fixture_count(f->standin, "memory.resume"),
                   1); /* it was held till then */
  assert_int_equal(standin_fixture_count(f->standin, "memory.free"), 1);
}

static void *ask(void *arg) {
  struct fixture *f = arg;
  return mk_call(f->client, "ping", NULL, NULL) ? arg : NULL;
}

static void who_is_patient_is_not_hurried(void **state) {
  struct fixture *f = *state;
  pthread_t patient[2];
  void *failed;
  standin_fixture_kill(f->standin);
  assert_int_equal(mk_try_free(f->made), MK_DAEMON_NOT_FOUND);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(pthread_create(&patient[i], NULL, ask, f), 0);
    assert_int_equal(mk_try_free(f->made), MK_DAEMON_NOT_FOUND);
  }
  standin_fixture_start(f->standin);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(pthread_join(patient[i], &failed), 0);
    assert_null(failed);
  }
  assert_int_equal(mk_try_free(f->made), MK_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_daemon_that_is_there_is_asked),
      TEST(without_a_daemon_the_handle_is_as_before),
      TEST(who_is_patient_is_not_hurried),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
