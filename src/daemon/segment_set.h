/*
 * segment_set: which segments a worker has: a sorted array of ids. Few thousand at most.
 */
#ifndef DAEMON_SEGMENT_SET_H
#define DAEMON_SEGMENT_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct segment_set {
  uint64_t *ids;
  size_t count, space;
};

bool segment_set_has(const struct segment_set *set, uint64_t id);
/* An id that is there already stays there once. False: no memory. */
bool segment_set_add(struct segment_set *set, uint64_t id);
void segment_set_remove(struct segment_set *set, uint64_t id);
void segment_set_clear(struct segment_set *set);

#endif
