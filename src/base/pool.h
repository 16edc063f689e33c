/*
 * pool: records of one size that never move, addressed by a 32-bit index (0 is none). Address space
 * for `max` records is reserved at once, pages come with use, so taking a record costs no system
 * call and holds no surprise under a lock.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct pool {
  char *base;
  size_t record;      /* bytes, a multiple of 8 */
  uint32_t max;       /* indices 1 … max */
  uint32_t top;       /* highest index ever taken */
  uint32_t free_head; /* list through the first 4 bytes of free records */
  uint32_t live;
};

/* INTERNAL_ERROR: no address space. */
enum status pool_init(struct pool *pool, size_t record, uint32_t max);
/* Harmless on a zeroed struct. */
void pool_done(struct pool *pool);
/* So many will be taken soon; a system call. */
void pool_expect(struct pool *pool, uint32_t count);
/* A zeroed record's index, 0 when all are taken. */
uint32_t pool_take(struct pool *pool);
void pool_give(struct pool *pool, uint32_t index);
static inline void *pool_at(const struct pool *pool, uint32_t index) {
  return pool->base + (size_t)index * pool->record;
}

#endif
