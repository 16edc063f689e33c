/* os_alone: the others leave the core of who is alone, and come back. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/os_alone.h"

static void *sleep_on(void *arg) {
  pthread_mutex_lock(arg);
  pthread_mutex_unlock(arg);
  return NULL;
}

static cpu_set_t cores_of(pthread_t thread) {
  cpu_set_t cores;
  assert_int_equal(0, pthread_getaffinity_np(thread, sizeof cores, &cores));
  return cores;
}

static void the_others_leave_its_core(void **state) {
  (void)state;
  pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  pthread_t other;
  cpu_set_t whole = cores_of(pthread_self()), both;
  if (CPU_COUNT(&whole) < 2)
    skip();
  pthread_mutex_lock(&lock);
  assert_int_equal(0, pthread_create(&other, NULL, sleep_on, &lock));
  struct os_alone alone;
  assert_true(os_alone_begin(&alone));
  cpu_set_t mine = cores_of(pthread_self()), theirs = cores_of(other);
  assert_int_equal(1, CPU_COUNT(&mine));
  CPU_AND(&both, &mine, &theirs);
  assert_int_equal(0, CPU_COUNT(&both));
  assert_int_equal(CPU_COUNT(&whole) - 1, CPU_COUNT(&theirs));
  os_alone_end(&alone);
  mine = cores_of(pthread_self());
  theirs = cores_of(other);
  assert_true(CPU_EQUAL(&whole, &mine) && CPU_EQUAL(&whole, &theirs));
  pthread_mutex_unlock(&lock);
  pthread_join(other, NULL);
}

static void on_one_core_nobody_is_alone(void **state) {
  (void)state;
  cpu_set_t whole = cores_of(pthread_self()), one;
  CPU_ZERO(&one);
  CPU_SET((size_t)sched_getcpu(), &one);
  assert_int_equal(0, sched_setaffinity(0, sizeof one, &one));
  struct os_alone alone;
  assert_false(os_alone_begin(&alone));
  assert_int_equal(0, sched_setaffinity(0, sizeof whole, &whole));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_others_leave_its_core),
      cmocka_unit_test(on_one_core_nobody_is_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
