/*
 * records: a time's bucket is five bytes, its number and its count. Hours and minutes of operations
 * are sums, so that both are written at once and there is nothing to roll up.
 */
#include "history/records.h"

#include <string.h>

#include "base/clock.h"
#include "base/units.h"

#define RECORDS_PAIR 5

/* So much of each is kept. */
static const struct {
  uint64_t rows, minutes, hours; /* rows: of events and of transfers; the others in s */
} kept[] = {{50000, 86400, UINT64_C(400) * 86400}, {2000, 3600, 86400}};

#define RECORDS_HOURS "100000" /* rows of hours of operations */

void records_event(struct sql *sql, const struct history_event *event) {
  struct sql_query query;
  sql_begin(&query, sql, RECORDS_EVENT);
  sql_put(&query, event->time);
  sql_put_text(&query, event->type);
  sql_put_text(&query, event->device);
  sql_put(&query, event->subject);
  sql_put(&query, event->bytes);
  sql_put(&query, event->other);
  sql_put_text(&query, event->text);
  sql_do(&query);
  sql_end(&query);
}

void records_transfer(struct sql *sql, const struct history_transfer *transfer) {
  struct sql_query query;
  sql_begin(&query, sql, RECORDS_TRANSFER);
  sql_put(&query, transfer->time);
  sql_put_text(&query, transfer->source);
  sql_put_text(&query, transfer->target);
  sql_put_text(&query, transfer->path);
  sql_put(&query, transfer->bytes);
  sql_put(&query, transfer->ns);
  sql_put(&query, transfer->failed);
  sql_do(&query);
  sql_end(&query);
}

static size_t pack(const uint64_t buckets[HISTORY_BUCKETS], uint8_t out[RECORDS_PACKED]) {
  size_t size = 0;
  for (unsigned i = 0; i < HISTORY_BUCKETS; i++) {
    if (!buckets[i])
      continue;
    uint32_t count = (uint32_t)units_min(buckets[i], UINT32_MAX);
    out[size] = (uint8_t)i;
    memcpy(out + size + 1, &count, sizeof count);
    size += RECORDS_PAIR;
  }
  return size;
}

void records_unpack(uint64_t buckets[HISTORY_BUCKETS], const void *bytes, size_t size) {
  const uint8_t *from = bytes;
  for (size_t at = 0; at + RECORDS_PAIR <= size; at += RECORDS_PAIR) {
    uint32_t count;
    memcpy(&count, from + at + 1, sizeof count);
    if (from[at] < HISTORY_BUCKETS)
      buckets[from[at]] += count;
  }
}

/* What the row has already, added to `sum`. */
static void add_row(struct sql *sql, uint64_t tier, struct history_latency *sum) {
  struct sql_query query;
  size_t size;
  sql_begin(&query, sql,
            "SELECT errors,sum,peak,buckets FROM operation WHERE tier=? AND time=? AND action=?");
  sql_put(&query, tier);
  sql_put(&query, sum->time);
  sql_put_text(&query, sum->action);
  if (sql_next(&query)) {
    sum->errors += sql_get(&query, 0);
    sum->sum_ns += sql_get(&query, 1);
    sum->max_ns = units_max(sum->max_ns, sql_get(&query, 2));
    const void *bytes = sql_get_bytes(&query, 3, &size);
    records_unpack(sum->buckets, bytes, size);
  }
  sql_end(&query);
}

static void count_in(struct sql *sql, uint64_t tier, const struct history_latency *latency) {
  struct history_latency sum = *latency;
  uint8_t packed[RECORDS_PACKED];
  struct sql_query query;
  uint64_t seconds = latency->time / CLOCK_SECOND;
  sum.time = seconds - seconds % tier;
  add_row(sql, tier, &sum);
  sql_begin(&query, sql, RECORDS_OPERATION);
  sql_put(&query, tier);
  sql_put(&query, sum.time);
  sql_put_text(&query, sum.action);
  sql_put(&query, sum.errors);
  sql_put(&query, sum.sum_ns);
  sql_put(&query, sum.max_ns);
  sql_put_bytes(&query, packed, pack(sum.buckets, packed));
  sql_do(&query);
  sql_end(&query);
}

void records_latency(struct sql *sql, const struct history_latency *latency) {
  count_in(sql, RECORDS_MINUTE, latency);
  count_in(sql, RECORDS_HOUR, latency);
}

static void drop(struct sql *sql, const char *text, uint64_t limit) {
  struct sql_query query;
  sql_begin(&query, sql, text);
  sql_put(&query, limit);
  sql_do(&query);
  sql_end(&query);
}

void records_tend(struct sql *sql, uint64_t now, bool in_memory) {
  drop(sql, "DELETE FROM event WHERE id<=(SELECT max(id) FROM event)-?", kept[in_memory].rows);
  drop(sql, "DELETE FROM transfer WHERE id<=(SELECT max(id) FROM transfer)-?",
       kept[in_memory].rows);
  drop(sql, "DELETE FROM operation WHERE tier=60 AND time<?",
       units_minus(now, kept[in_memory].minutes));
  drop(sql, "DELETE FROM operation WHERE tier=3600 AND time<?",
       units_minus(now, kept[in_memory].hours));
  sql_run(sql, "DELETE FROM operation WHERE tier=3600 AND time<=(SELECT time FROM operation WHERE "
               "tier=3600 ORDER BY time DESC LIMIT 1 OFFSET " RECORDS_HOURS ")");
}
