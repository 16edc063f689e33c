/*
 * lock: a mutex with a rank. A thread takes locks in rising rank only; debug builds (MEMKEEP_DEBUG)
 * abort with both names when it does not. `LOCK_SCOPE(&x)` holds x to the end of the block.
 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include <pthread.h>

enum lock_rank {
  LOCK_RANK_ENTERING = 4, /* held over a write to the vault, which takes in what we send at once */
  LOCK_RANK_VAULT = 6,    /* the same */
  LOCK_RANK_STATE = 10,
  LOCK_RANK_EVENTS = 20,
  LOCK_RANK_QUEUE = 30,
  LOCK_RANK_DOOR = 40,
  LOCK_RANK_LEAF = 90,
  LOCK_RANK_POST = 95 /* of a queue: a task may be posted under any other */
};

struct lock {
  pthread_mutex_t mutex;
  enum lock_rank rank;
  const char *name;
};

void lock_init(struct lock *lock, enum lock_rank rank, const char *name);
void lock_done(struct lock *lock);
void lock_take(struct lock *lock);
void lock_give(struct lock *lock);
/* Aborts in debug builds unless the calling thread holds it. */
void lock_assert_held(const struct lock *lock);

/* One whose deadlines are clock_timespec's of clock_now. */
void lock_cond_init(pthread_cond_t *cond);

static inline void lock_scope_end(struct lock **lock) { lock_give(*lock); }
#define LOCK_SCOPE(l)                                                                              \
  struct lock *lock_scope_held __attribute__((cleanup(lock_scope_end), unused)) =                  \
      (lock_take(l), (l))

#endif
