/*
 * ledger_order: sorted by one byte of the key after the other, the lowest first; each pass keeps
 * the order that those before it made. Bytes in which all agree are left out: what is sorted here
 * is counted ids and places in segments, of which few bytes differ. What stands in order already,
 * as in a ledger in which nothing was freed, is left as it is.
 */
#include "ledger/ledger_order.h"

#include "base/os_pages.h"

#define VALUES 256

static size_t bytes_of(const struct ledger_order *order) {
  return ((size_t)order->space + 1) * sizeof *order->entries;
}

bool ledger_order_init(struct ledger_order *order, uint32_t space) {
  *order = (struct ledger_order){.space = space};
  order->entries = os_pages_reserve(bytes_of(order));
  if (order->entries)
    os_pages_expect(order->entries, bytes_of(order));
  return order->entries;
}

void ledger_order_done(struct ledger_order *order) {
  os_pages_release(order->entries, bytes_of(order));
  *order = (struct ledger_order){0};
}

static unsigned digit_of(const struct idmap_entry *entry, unsigned digit) {
  uint64_t word = digit < LEDGER_ORDER_ID ? entry->id : entry->note;
  return (unsigned)(word >> 8 * (digit % LEDGER_ORDER_ID)) % VALUES;
}

static void sort_by(const struct ledger_order *from, struct ledger_order *to, unsigned digit) {
  uint32_t at[VALUES] = {0}, sum = 0;
  for (uint32_t i = 0; i < from->count; i++)
    at[digit_of(&from->entries[i], digit)]++;
  for (unsigned value = 0; value < VALUES; value++) {
    uint32_t count = at[value];
    at[value] = sum;
    sum += count;
  }
  for (uint32_t i = 0; i < from->count; i++)
    to->entries[at[digit_of(&from->entries[i], digit)]++] = from->entries[i];
}

/* The bits in which the entries differ; none where they stand in order already. */
static struct idmap_entry look(const struct ledger_order *order, enum ledger_order_by by) {
  const struct idmap_entry nothing = {0};
  struct idmap_entry differ = nothing;
  bool sorted = true;
  for (uint32_t i = 1; i < order->count; i++) {
    const struct idmap_entry *last = &order->entries[i - 1], *now = &order->entries[i];
    uint32_t groups = by == LEDGER_ORDER_ID ? 0 : last->note ^ now->note;
    sorted = sorted && (groups ? last->note < now->note : last->id <= now->id);
    differ.note |= groups;
    differ.id |= last->id ^ now->id;
  }
  return sorted ? nothing : differ;
}

bool ledger_order_sort(struct ledger_order *order, enum ledger_order_by by) {
  const struct idmap_entry differ = look(order, by);
  struct ledger_order spare = {0};
  if (!differ.id && !differ.note)
    return true;
  if (!ledger_order_init(&spare, order->space))
    return false;
  spare.count = order->count;
  for (unsigned digit = 0; digit < (unsigned)by; digit++) {
    if (!digit_of(&differ, digit))
      continue;
    sort_by(order, &spare, digit);
    struct ledger_order sorted = spare;
    spare = *order;
    *order = sorted;
  }
  ledger_order_done(&spare);
  return true;
}

struct idmap_entry *ledger_order_find(const struct ledger_order *order, uint64_t id) {
  uint32_t at = idmap_search(order->entries, order->count, id);
  return at < order->count && order->entries[at].id == id ? &order->entries[at] : NULL;
}
