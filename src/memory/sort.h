/*
 * sort: items by two numbers, without comparing them: a radix sort, one byte after the other from
 * the lowest on, of which only those are gone through that differ among the items. Of sizes and
 * offsets these are few. O(n) for each.
 */
#ifndef MEMORY_SORT_H
#define MEMORY_SORT_H

#include <stdint.h>

struct sort_item {
  uint64_t key, then;
  uint32_t index; /* what it stands for */
};

/* By rising key, then by rising `then`; what agrees in both stays in order. spare: room for as
 * many. */
void sort_items(struct sort_item *items, struct sort_item *spare, uint32_t count);

#endif
