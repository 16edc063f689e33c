/*
 * successor: rows in sets, as in a cache: who is where follows from the id, and eight rows are all
 * that is ever looked through.
 */
#include "model/successor.h"

#include <math.h>

#define CERTAIN 1.2816 /* standard deviations, one-sided: 90 % */

static unsigned set_of(uint64_t id) {
  return (unsigned)(id * UINT64_C(0x9e3779b97f4a7c15) >> 32) % SUCCESSOR_SETS;
}

/* Where the model is in its set, or the oldest, whose place it may have. */
static unsigned way_of(const struct successor_row *set, uint64_t id) {
  unsigned oldest = 0;
  for (unsigned i = 0; i < SUCCESSOR_WAYS; i++) {
    if (set[i].id == id)
      return i;
    if (set[i].seen_at < set[oldest].seen_at)
      oldest = i;
  }
  return oldest;
}

static struct successor_row *row_of(struct successor_table *table, uint64_t id) {
  struct successor_row *set = table->rows[set_of(id)];
  return &set[way_of(set, id)];
}

static void halve(struct successor_row *row) {
  row->total = 0;
  for (unsigned i = 0; i < SUCCESSOR_NEXT; i++) {
    row->counts[i] /= 2;
    row->total += row->counts[i];
  }
}

/* A successor that has no place takes that of the rarest: it begins at one, so a count is never
 * more than was seen. */
static void note(struct successor_row *row, uint64_t next) {
  unsigned at = 0;
  for (unsigned i = 0; i < SUCCESSOR_NEXT && row->next[at] != next; i++)
    if (row->next[i] == next || row->counts[i] < row->counts[at])
      at = i;
  if (row->next[at] != next)
    row->counts[at] = 0;
  row->next[at] = next;
  row->counts[at]++;
  row->total++;
  if (row->total >= SUCCESSOR_MOST)
    halve(row);
}

void successor_add(struct successor_table *table, uint64_t id) {
  if (id == table->last)
    return;
  struct successor_row *last = row_of(table, table->last);
  if (table->last && last->id == table->last)
    note(last, id);
  struct successor_row *row = row_of(table, id);
  if (row->id != id)
    *row = (struct successor_row){.id = id};
  row->seen_at = ++table->seen;
  table->last = id;
}

/* The lower end of Wilson's interval. */
static double at_least(double count, double total) {
  double z2 = CERTAIN * CERTAIN, share = count / total;
  double middle = share + z2 / (2 * total);
  double reach = CERTAIN * sqrt((share * (1 - share) + z2 / (4 * total)) / total);
  return fmax(0, (middle - reach) / (1 + z2 / total));
}

struct successor successor_after(const struct successor_table *table, uint64_t id) {
  const struct successor_row *set = table->rows[set_of(id)], *row = &set[way_of(set, id)];
  unsigned best = 0;
  if (!id || row->id != id || !row->total)
    return (struct successor){.id = 0};
  for (unsigned i = 1; i < SUCCESSOR_NEXT; i++)
    if (row->counts[i] > row->counts[best])
      best = i;
  return (struct successor){row->next[best], row->counts[best], row->total,
                            at_least(row->counts[best], row->total)};
}
