/*
 * reach: the same memory as other devices have it, one entry for each. A list belongs to a segment;
 * entries come while threads copy, and stay until the segment goes. Any thread.
 */
#ifndef DEVICE_REACH_H
#define DEVICE_REACH_H

#include <pthread.h>
#include <stdbool.h>

struct device_mover;

struct reach {
  struct device_mover *mover;
  void *segment; /* as that mover's backend knows it */
  struct reach *next;
};

struct reach_list {
  pthread_mutex_t lock;
  struct reach *first; /* under the lock */
};

void reach_init(struct reach_list *list);
/* With no entries left. */
void reach_done(struct reach_list *list);
/* NULL: that one does not reach it. */
const struct reach *reach_find(struct reach_list *list, const struct device_mover *mover);
/* NULL: nobody reaches it. */
const struct reach *reach_any(struct reach_list *list);
/* Takes the entry. False: another thread was faster, it stays the caller's. */
bool reach_add(struct reach_list *list, struct reach *reach);
/* The caller's to free; NULL: there are none left. */
struct reach *reach_take(struct reach_list *list);

#endif
