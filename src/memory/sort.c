/* sort: counts how many items have each value of a byte, then puts them where these begin. */
#include "memory/sort.h"

#include <string.h>

#define SORT_WORD 8 /* bytes; of a byte: */
#define SORT_VALUES 256

static unsigned digit_of(const struct sort_item *item, unsigned digit) {
  uint64_t word = digit < SORT_WORD ? item->then : item->key;
  return (unsigned)(word >> 8 * (digit % SORT_WORD)) % SORT_VALUES;
}

static void sort_by(const struct sort_item *from, struct sort_item *to, uint32_t count,
                    unsigned digit) {
  uint32_t at[SORT_VALUES] = {0}, sum = 0;
  for (uint32_t i = 0; i < count; i++)
    at[digit_of(&from[i], digit)]++;
  for (unsigned value = 0; value < SORT_VALUES; value++) {
    uint32_t items = at[value];
    at[value] = sum;
    sum += items;
  }
  for (uint32_t i = 0; i < count; i++)
    to[at[digit_of(&from[i], digit)]++] = from[i];
}

void sort_items(struct sort_item *items, struct sort_item *spare, uint32_t count) {
  struct sort_item differ = {0}, *from = items, *to = spare;
  for (uint32_t i = 1; i < count; i++) {
    differ.key |= items[i].key ^ items[0].key;
    differ.then |= items[i].then ^ items[0].then;
  }
  for (unsigned digit = 0; digit < 2 * SORT_WORD; digit++) {
    if (!digit_of(&differ, digit))
      continue;
    sort_by(from, to, count, digit);
    struct sort_item *sorted = to;
    to = from;
    from = sorted;
  }
  if (from != items)
    memcpy(items, from, count * sizeof *items);
}
