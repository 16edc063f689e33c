/*
 * reach: a list, for there are as many entries as cards in this machine at most.
 */
#include "device/reach.h"

#include <stddef.h>

void reach_init(struct reach_list *list) {
  pthread_mutex_init(&list->lock, NULL);
  list->first = NULL;
}

void reach_done(struct reach_list *list) { pthread_mutex_destroy(&list->lock); }

/* Under the lock. */
static struct reach *find(const struct reach_list *list, const struct device_mover *mover) {
  struct reach *reach = list->first;
  while (reach && reach->mover != mover)
    reach = reach->next;
  return reach;
}

const struct reach *reach_find(struct reach_list *list, const struct device_mover *mover) {
  pthread_mutex_lock(&list->lock);
  const struct reach *reach = find(list, mover);
  pthread_mutex_unlock(&list->lock);
  return reach;
}

const struct reach *reach_any(struct reach_list *list) {
  pthread_mutex_lock(&list->lock);
  const struct reach *reach = list->first;
  pthread_mutex_unlock(&list->lock);
  return reach;
}

bool reach_add(struct reach_list *list, struct reach *reach) {
  pthread_mutex_lock(&list->lock);
  bool first = !find(list, reach->mover);
  if (first) {
    reach->next = list->first;
    list->first = reach;
  }
  pthread_mutex_unlock(&list->lock);
  return first;
}

struct reach *reach_take(struct reach_list *list) {
  pthread_mutex_lock(&list->lock);
  struct reach *reach = list->first;
  if (reach)
    list->first = reach->next;
  pthread_mutex_unlock(&list->lock);
  return reach;
}
