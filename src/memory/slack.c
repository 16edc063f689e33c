/*
 * slack: the order of memory/defrag: victims from the emptiest slab on, their bytes into the
 * fullest, fixed ones before all others. One that took bytes in is no victim any more.
 */
#include "memory/slack.h"

#include <stdlib.h>

#include "base/units.h"

#define SLACK_ENOUGH 1000 /* 10.00 %, as defrag's balanced */

struct sums {
  uint64_t committed, allocated, used, blocks, room;
};

static int by_share(const void *left, const void *right) {
  const struct slack_slab *a = left, *b = right;
  if (a->fixed != b->fixed)
    return a->fixed - b->fixed;
  unsigned __int128 x = (unsigned __int128)a->used * b->size;
  unsigned __int128 y = (unsigned __int128)b->used * a->size;
  if (x != y)
    return x < y ? -1 : 1;
  return (a->size < b->size) - (a->size > b->size); /* the larger is emptied first */
}

/* What it can take in of blocks that large. */
static uint64_t room_in(const struct slack_slab *slab, uint64_t block) {
  uint64_t unused = slab->size - slab->used;
  return slab->holes && unused / slab->holes >= block ? unused : 0;
}

static struct sums add_up(const struct slack_slab *slabs, uint32_t count) {
  struct sums sums = {0};
  for (uint32_t i = 0; i < count; i++) {
    sums.committed += slabs[i].size;
    sums.allocated += slabs[i].allocated;
    sums.used += slabs[i].used;
    sums.blocks += slabs[i].blocks;
  }
  for (uint32_t i = 0; i < count; i++)
    sums.room += room_in(&slabs[i], sums.used / sums.blocks);
  return sums;
}

struct slack slack_of(struct slack_slab *slabs, uint32_t count) {
  struct slack found = {0};
  struct sums sums = add_up(slabs, count);
  uint32_t target = count; /* the one that takes bytes in */
  uint64_t room = 0;       /* in it, for more */
  uint64_t block = count ? sums.used / sums.blocks : 0;
  if (count > 1)
    qsort(slabs, count, sizeof *slabs, by_share);
  for (uint32_t i = 0; i < target && !slabs[i].fixed; i++) {
    uint64_t need = slabs[i].used, size = slabs[i].size, own = room_in(&slabs[i], block);
    if (units_percent(units_minus(sums.committed, sums.allocated), sums.committed) < SLACK_ENOUGH)
      break;
    if (need > sums.room - own)
      continue;
    slabs[i].holes = 0; /* it takes nothing in */
    for (; need > room; room = room_in(&slabs[target], block)) {
      need -= room;
      target--;
    }
    room -= need;
    sums.room -= own + slabs[i].used;
    sums.committed -= size;
    found.bytes += size;
    found.slabs++;
  }
  return found;
}
