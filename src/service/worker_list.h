/*
 * worker_list: workers that say they have memory to give, in the order in which they are asked.
 * Private to this room.
 */
#ifndef SERVICE_WORKER_LIST_H
#define SERVICE_WORKER_LIST_H

#include "service/state.h"

struct worker_list {
  struct {
    char name[40];
    uint64_t promised, expected; /* bytes: what it says, and what its word is worth */
  } rows[VIEW_WORKERS];
  uint32_t count, at; /* at: the next to be asked */
};

/* Adds those that kept their word when they were asked last, or those that `broke` it; nobody who
 * is there already. No lock held. */
void worker_list_add(struct service *s, struct worker_list *list, bool broke);
/* Both, in that order. */
void worker_list_all(struct service *s, struct worker_list *list);
/* Of those that were not asked yet. */
uint64_t worker_list_expected(const struct worker_list *list);

#endif
