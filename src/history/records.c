/*
 * records: a time's bucket is five bytes, its number and its count. Hours and minutes of operations
 * are sums, so that both are written at once and there is nothing to roll up.
 */
#include "history/records.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"

#define RECORDS_PAIR 5
#define RECORDS_EVENT "time,type,device,subject,bytes,other,text"
#define RECORDS_TRANSFER "time,source,target,path,bytes,ns,failed"
#define RECORDS_INSERT_EVENT "INSERT INTO event(" RECORDS_EVENT ")VALUES(?,?,?,?,?,?,?)"
#define RECORDS_INSERT_TRANSFER "INSERT INTO transfer(" RECORDS_TRANSFER ")VALUES(?,?,?,?,?,?,?)"
#define RECORDS_INSERT_USE "INSERT INTO use(time,who)VALUES(?,?)"
#define RECORDS_INSERT_OPERATION "INSERT OR REPLACE INTO operation VALUES(?,?,?,?,?,?,?)"

/* So much of each is kept. */
static const struct {
  uint64_t rows, minutes, hours; /* rows: of events, transfers and uses; the others in s */
} kept[] = {{50000, 86400, UINT64_C(400) * 86400}, {2000, 3600, 86400}};

#define RECORDS_SEEDED "2000"  /* rows of a file that a memory begins with */
#define RECORDS_HOURS "100000" /* rows of hours of operations */

void records_event(struct sql *sql, const struct history_event *event) {
  struct sql_query query;
  sql_begin(&query, sql, RECORDS_INSERT_EVENT);
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
  sql_begin(&query, sql, RECORDS_INSERT_TRANSFER);
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

void records_use(struct sql *sql, uint64_t time, uint64_t who) {
  struct sql_query query;
  sql_begin(&query, sql, RECORDS_INSERT_USE);
  sql_put(&query, time);
  sql_put(&query, who);
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
  sql_begin(&query, sql, RECORDS_INSERT_OPERATION);
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

static void read_latency(const struct sql_query *query, struct history_latency *out) {
  size_t size;
  *out = (struct history_latency){.time = sql_get(query, 1) * CLOCK_SECOND,
                                  .errors = sql_get(query, 3),
                                  .sum_ns = sql_get(query, 4),
                                  .max_ns = sql_get(query, 5)};
  snprintf(out->action, sizeof out->action, "%s", sql_get_text(query, 2));
  const void *bytes = sql_get_bytes(query, 6, &size);
  records_unpack(out->buckets, bytes, size);
}

/* What has both is the sum. */
static void add_operations(struct sql *memory, struct sql *file) {
  struct sql_query query;
  struct history_latency latency;
  sql_begin(&query, memory, "SELECT * FROM operation");
  while (sql_next(&query)) {
    read_latency(&query, &latency);
    count_in(file, sql_get(&query, 0), &latency);
  }
  sql_end(&query);
}

static bool seed_operations(struct sql *file, struct sql *memory, uint64_t now) {
  char select[128];
  snprintf(select, sizeof select,
           "SELECT * FROM operation WHERE tier=60 AND time>%" PRIu64
           " OR tier=3600 AND time>%" PRIu64,
           units_minus(now, kept[true].minutes), units_minus(now, kept[true].hours));
  sql_copy(file, select, memory, RECORDS_INSERT_OPERATION);
  if (!sql_failed(file) && !sql_failed(memory))
    return true;
  sql_clear(memory);
  sql_run(memory, "DELETE FROM operation");
  return false;
}

struct records_seeds records_seed(struct sql *file, struct sql *memory, uint64_t now) {
  struct records_seeds seeds = {.operations = seed_operations(file, memory, now)};
  sql_copy(file, "SELECT * FROM event WHERE id>(SELECT max(id) FROM event)-" RECORDS_SEEDED, memory,
           "INSERT INTO event VALUES(?,?,?,?,?,?,?,?)");
  sql_copy(file, "SELECT * FROM transfer WHERE id>(SELECT max(id) FROM transfer)-" RECORDS_SEEDED,
           memory, "INSERT INTO transfer VALUES(?,?,?,?,?,?,?,?)");
  sql_copy(file, "SELECT * FROM use WHERE id>(SELECT max(id) FROM use)-" RECORDS_SEEDED, memory,
           "INSERT INTO use VALUES(?,?,?)");
  seeds.use = sql_number(memory, "SELECT max(id) FROM use");
  seeds.event = sql_number(memory, "SELECT max(id) FROM event");
  seeds.transfer = sql_number(memory, "SELECT max(id) FROM transfer");
  return seeds;
}

void records_give(struct sql *memory, const struct records_seeds *seeds, struct sql *file) {
  char select[128];
  if (seeds->operations)
    sql_copy(memory, "SELECT * FROM operation", file, RECORDS_INSERT_OPERATION);
  else
    add_operations(memory, file);
  snprintf(select, sizeof select, "SELECT " RECORDS_EVENT " FROM event WHERE id>%" PRIu64,
           seeds->event);
  sql_copy(memory, select, file, RECORDS_INSERT_EVENT);
  snprintf(select, sizeof select, "SELECT " RECORDS_TRANSFER " FROM transfer WHERE id>%" PRIu64,
           seeds->transfer);
  sql_copy(memory, select, file, RECORDS_INSERT_TRANSFER);
  snprintf(select, sizeof select, "SELECT time,who FROM use WHERE id>%" PRIu64, seeds->use);
  sql_copy(memory, select, file, RECORDS_INSERT_USE);
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
  drop(sql, "DELETE FROM use WHERE id<=(SELECT max(id) FROM use)-?", kept[in_memory].rows);
  drop(sql, "DELETE FROM operation WHERE tier=60 AND time<?",
       units_minus(now, kept[in_memory].minutes));
  drop(sql, "DELETE FROM operation WHERE tier=3600 AND time<?",
       units_minus(now, kept[in_memory].hours));
  sql_run(sql, "DELETE FROM operation WHERE tier=3600 AND time<=(SELECT time FROM operation WHERE "
               "tier=3600 ORDER BY time DESC LIMIT 1 OFFSET " RECORDS_HOURS ")");
}
