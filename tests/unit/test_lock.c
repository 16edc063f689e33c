#include "base/lock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ROUNDS 20000

struct counter {
  struct lock lock;
  uint64_t value;
};

static void *count_up(void *arg) {
  struct counter *counter = arg;
  for (int i = 0; i < ROUNDS; i++) {
    LOCK_SCOPE(&counter->lock);
    counter->value++;
  }
  return NULL;
}

static void excludes_other_threads(void **state) {
  (void)state;
  struct counter counter = {.value = 0};
  lock_init(&counter.lock, LOCK_RANK_LEAF, "counter");
  pthread_t threads[4];
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, count_up, &counter), 0);
  for (int i = 0; i < 4; i++)
    pthread_join(threads[i], NULL);
  assert_int_equal(counter.value, 4 * ROUNDS);
  lock_done(&counter.lock);
}

static void scope_gives_back_on_return(void **state) {
  (void)state;
  struct counter counter = {.value = 0};
  lock_init(&counter.lock, LOCK_RANK_LEAF, "counter");
  {
    LOCK_SCOPE(&counter.lock);
    assert_int_not_equal(pthread_mutex_trylock(&counter.lock.mutex), 0);
  }
  assert_int_equal(pthread_mutex_trylock(&counter.lock.mutex), 0);
  pthread_mutex_unlock(&counter.lock.mutex);
  lock_done(&counter.lock);
}

static void takes_rising_ranks_and_gives_in_any_order(void **state) {
  (void)state;
  struct lock low, middle, high;
  lock_init(&low, LOCK_RANK_STATE, "low");
  lock_init(&middle, LOCK_RANK_QUEUE, "middle");
  lock_init(&high, LOCK_RANK_LEAF, "high");
  for (int i = 0; i < 2; i++) {
    lock_take(&low);
    lock_take(&middle);
    lock_take(&high);
    lock_assert_held(&middle);
    lock_give(&low);
    lock_give(&high);
    lock_give(&middle);
  }
  lock_done(&low);
  lock_done(&middle);
  lock_done(&high);
}

typedef void misuse_fn(struct lock *low, struct lock *high);

static void take_falling(struct lock *low, struct lock *high) {
  lock_take(high);
  lock_take(low);
}

static void take_twice(struct lock *low, struct lock *high) {
  (void)high;
  lock_take(low);
  lock_take(low);
}

static void give_untaken(struct lock *low, struct lock *high) {
  lock_take(low);
  lock_give(high);
}

static void claim_untaken(struct lock *low, struct lock *high) {
  lock_take(low);
  lock_assert_held(high);
}

static int signal_of(misuse_fn *misuse) {
  pid_t pid = fork();
  if (pid == 0) {
    close(2);
    struct lock low, high;
    lock_init(&low, LOCK_RANK_STATE, "low");
    lock_init(&high, LOCK_RANK_LEAF, "high");
    misuse(&low, &high);
    _exit(0);
  }
  int status = 0;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void debug_builds_abort_on_misuse(void **state) {
  (void)state;
#ifdef MEMKEEP_DEBUG
  assert_int_equal(signal_of(take_falling), SIGABRT);
  assert_int_equal(signal_of(take_twice), SIGABRT);
  assert_int_equal(signal_of(give_untaken), SIGABRT);
  assert_int_equal(signal_of(claim_untaken), SIGABRT);
#else
  (void)take_twice; /* would wait for itself */
  assert_int_equal(signal_of(take_falling), 0);
  assert_int_equal(signal_of(give_untaken), 0);
  assert_int_equal(signal_of(claim_untaken), 0);
#endif
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(excludes_other_threads),
      cmocka_unit_test(scope_gives_back_on_return),
      cmocka_unit_test(takes_rising_ranks_and_gives_in_any_order),
      cmocka_unit_test(debug_builds_abort_on_misuse),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
