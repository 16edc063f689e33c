/*
 * lock: a pthread mutex, and in debug builds a short list per thread of the locks it holds. Taking
 * one looks whether all on the list have a lower rank; that orders all locks, so that no two
 * threads can wait for each other.
 */
#include "base/lock.h"

#ifdef MEMKEEP_DEBUG

#include <stdio.h>
#include <stdlib.h>

#define LOCK_MAX_HELD 8 /* there are fewer ranks */

static _Thread_local struct {
  const struct lock *locks[LOCK_MAX_HELD];
  unsigned count;
} held;

static void refuse(const char *what, const struct lock *lock, const char *other) {
  fprintf(stderr, "lock: %s %s (rank %d) %s\n", what, lock->name, (int)lock->rank, other);
  abort();
}

static unsigned find(const struct lock *lock) {
  unsigned i = 0;
  while (i < held.count && held.locks[i] != lock)
    i++;
  return i;
}

static void note_take(const struct lock *lock) {
  for (unsigned i = 0; i < held.count; i++)
    if (held.locks[i]->rank >= lock->rank)
      refuse("taken while held:", lock, held.locks[i]->name);
  if (held.count == LOCK_MAX_HELD)
    refuse("too many held:", lock, "");
  held.locks[held.count++] = lock;
}

static void note_give(const struct lock *lock) {
  unsigned i = find(lock);
  if (i == held.count)
    refuse("given, not held:", lock, "");
  held.locks[i] = held.locks[--held.count];
}

void lock_assert_held(const struct lock *lock) {
  if (find(lock) == held.count)
    refuse("not held:", lock, "");
}

#else

static void note_take(const struct lock *lock) { (void)lock; }
static void note_give(const struct lock *lock) { (void)lock; }
void lock_assert_held(const struct lock *lock) { (void)lock; }

#endif

void lock_init(struct lock *lock, enum lock_rank rank, const char *name) {
  pthread_mutex_init(&lock->mutex, NULL);
  lock->rank = rank;
  lock->name = name;
}

void lock_done(struct lock *lock) { pthread_mutex_destroy(&lock->mutex); }

void lock_take(struct lock *lock) {
  note_take(lock);
  pthread_mutex_lock(&lock->mutex);
}

void lock_give(struct lock *lock) {
  note_give(lock);
  pthread_mutex_unlock(&lock->mutex);
}

void lock_cond_init(pthread_cond_t *cond) {
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(cond, &monotonic);
  pthread_condattr_destroy(&monotonic);
}
