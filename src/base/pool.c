/*
 * pool: one reservation of address space, carved from the front. The kernel gives pages at first
 * touch and they come zeroed; a record that was used before is zeroed when it is taken again.
 * Record 0 is never given out, so that index 0 can mean none.
 */
#include "base/pool.h"

#include <assert.h>
#include <string.h>

#include "base/os_pages.h"

enum status pool_init(struct pool *pool, size_t record, uint32_t max) {
  assert(record >= 8 && record % 8 == 0);
  size_t size;
  if (__builtin_mul_overflow((size_t)max + 1, record, &size))
    return STATUS_INTERNAL_ERROR;
  char *base = os_pages_reserve(size);
  if (!base)
    return STATUS_INTERNAL_ERROR;
  *pool = (struct pool){.base = base, .record = record, .max = max};
  return STATUS_OK;
}

void pool_done(struct pool *pool) {
  os_pages_release(pool->base, ((size_t)pool->max + 1) * pool->record);
  *pool = (struct pool){0};
}

void pool_expect(struct pool *pool, uint32_t count) {
  uint32_t most = count < pool->max ? count : pool->max;
  os_pages_expect(pool->base, ((size_t)most + 1) * pool->record);
}

uint32_t pool_take(struct pool *pool) {
  uint32_t index = pool->free_head;
  if (index) {
    void *record = pool_at(pool, index);
    memcpy(&pool->free_head, record, sizeof pool->free_head);
    __builtin_prefetch(pool_at(pool, pool->free_head)); /* the next one to be taken */
    memset(record, 0, pool->record);
  } else if (pool->top < pool->max) {
    index = ++pool->top;
  } else {
    return 0;
  }
  pool->live++;
  return index;
}

void pool_give(struct pool *pool, uint32_t index) {
  assert(index && index <= pool->top && pool->live);
  memcpy(pool_at(pool, index), &pool->free_head, sizeof pool->free_head);
  pool->free_head = index;
  pool->live--;
}
