/*
 * samples: every tier is one range of one table, so rolling up, walking and pruning are each
 * written once. Where a tier ends the next finer one goes on: nothing is counted twice.
 */
#include "history/samples.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"

#define HOUR UINT64_C(3600) /* s */
#define DAY (24 * HOUR)
#define SAMPLES_DEVICE "INSERT OR IGNORE INTO device VALUES(?)"
#define SAMPLES_VALUES "?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?"
/* Unless the row that is there is of as many seconds. */
#define SAMPLES_INSERT                                                                             \
  "INSERT OR REPLACE INTO sample SELECT " SAMPLES_VALUES " WHERE NOT EXISTS(SELECT 1 FROM sample " \
  "WHERE device=?1 AND tier=?2 AND time=?3 AND seconds>=?4)"
/* A second that was begun before a restart goes on. */
#define SAMPLES_INSERT_SECOND                                                                      \
  "INSERT INTO sample VALUES(" SAMPLES_VALUES ")"                                                  \
  "ON CONFLICT DO UPDATE SET peak=max(peak,excluded.peak),made=made+excluded.made,"                \
  "made_bytes=made_bytes+excluded.made_bytes,freed=freed+excluded.freed"
#define SAMPLES_COLUMNS(others)                                                                    \
  "SELECT time,seconds,used,allocated," others ",fragmentation,peak,largest,low,moderate,high,"    \
  "critical,made,made_bytes,freed,spread "
#define SAMPLES_SELECT "FROM sample WHERE device=? AND tier=? AND time>=? AND time<? ORDER BY time"

enum { COLUMN_TIME, COLUMN_SECONDS, COLUMN_AVERAGES };
enum {
  COLUMN_PEAK = COLUMN_AVERAGES + SAMPLES_AVERAGES,
  COLUMN_LARGEST,
  COLUMN_LEVELS,
  COLUMN_SUMS = COLUMN_LEVELS + HISTORY_LEVELS,
  COLUMN_SPREAD = COLUMN_SUMS + SAMPLES_SUMS
};

/* How long rows are kept, in s: a year of one device is some 12 MiB. */
static const struct {
  uint64_t step, kept, kept_in_memory;
} tiers[SAMPLES_TIERS] = {
    [SAMPLES_SECOND] = {1, 6 * HOUR, HOUR / 4},
    [SAMPLES_MINUTE] = {60, 32 * DAY, 6 * HOUR},
    [SAMPLES_HOUR] = {HOUR, 1830 * DAY, 32 * DAY},
};

uint64_t samples_step(enum samples_tier tier) { return tiers[tier].step; }

static void write_row(struct sql *sql, const char *device, enum samples_tier tier,
                      const struct samples_row *row) {
  struct sql_query query;
  sql_begin(&query, sql, tier == SAMPLES_SECOND ? SAMPLES_INSERT_SECOND : SAMPLES_INSERT);
  sql_put_text(&query, device);
  sql_put(&query, tier);
  sql_put(&query, row->time);
  sql_put(&query, row->seconds);
  for (unsigned i = 0; i < SAMPLES_AVERAGES; i++)
    sql_put(&query, row->averages[i]);
  sql_put(&query, row->peak);
  sql_put(&query, row->largest);
  for (unsigned i = 0; i < HISTORY_LEVELS; i++)
    sql_put(&query, row->levels[i]);
  for (unsigned i = 0; i < SAMPLES_SUMS; i++)
    sql_put(&query, row->sums[i]);
  sql_put_bytes(&query, row->spread, row->spread_size);
  sql_do(&query);
  sql_end(&query);
}

static void read_row(const struct sql_query *query, struct samples_row *row) {
  row->time = sql_get(query, COLUMN_TIME);
  row->seconds = sql_get(query, COLUMN_SECONDS);
  for (unsigned i = 0; i < SAMPLES_AVERAGES; i++)
    row->averages[i] = sql_get(query, COLUMN_AVERAGES + (int)i);
  row->peak = sql_get(query, COLUMN_PEAK);
  row->largest = sql_get(query, COLUMN_LARGEST);
  for (unsigned i = 0; i < HISTORY_LEVELS; i++)
    row->levels[i] = sql_get(query, COLUMN_LEVELS + (int)i);
  for (unsigned i = 0; i < SAMPLES_SUMS; i++)
    row->sums[i] = sql_get(query, COLUMN_SUMS + (int)i);
  row->spread = sql_get_bytes(query, COLUMN_SPREAD, &row->spread_size);
}

void samples_add(struct sql *sql, const struct history_sample *sample) {
  struct samples_row row = {
      .time = sample->time / CLOCK_SECOND,
      .seconds = 1,
      .averages = {sample->used, sample->allocated, sample->committed, sample->cached,
                   sample->external, sample->reserved, sample->fragmentation},
      .peak = sample->used,
      .largest = sample->largest,
      .sums = {sample->made, sample->made_bytes, sample->freed},
  };
  row.levels[units_min(sample->level, HISTORY_LEVELS - 1)] = 1;
  struct sql_query query;
  sql_begin(&query, sql, SAMPLES_DEVICE);
  sql_put_text(&query, sample->device);
  sql_do(&query);
  sql_end(&query);
  write_row(sql, sample->device, SAMPLES_SECOND, &row);
}

void samples_join(struct samples_total *total, const struct samples_row *row) {
  struct samples_row *sum = &total->row;
  sum->largest = sum->seconds ? units_min(sum->largest, row->largest) : row->largest;
  sum->seconds += row->seconds;
  for (unsigned i = 0; i < SAMPLES_AVERAGES; i++)
    total->sums[i] += (unsigned __int128)row->averages[i] * row->seconds;
  sum->peak = units_max(sum->peak, row->peak);
  for (unsigned i = 0; i < HISTORY_LEVELS; i++)
    sum->levels[i] += row->levels[i];
  for (unsigned i = 0; i < SAMPLES_SUMS; i++)
    sum->sums[i] += row->sums[i];
  if (row->spread_size)
    spread_unpack(&total->spread, row->spread, row->spread_size);
  else
    spread_add(&total->spread, row->averages[SAMPLES_USED], (uint32_t)row->seconds);
}

void samples_settle(struct samples_total *total) {
  for (unsigned i = 0; i < SAMPLES_AVERAGES && total->row.seconds; i++)
    total->row.averages[i] = (uint64_t)(total->sums[i] / total->row.seconds);
}

/* Where the tier's rows of the device end, in s; 0: it has none. */
static uint64_t end_of(struct sql *sql, const char *device, enum samples_tier tier) {
  struct sql_query query;
  sql_begin(&query, sql, "SELECT max(time)+? FROM sample WHERE device=? AND tier=?");
  sql_put(&query, tiers[tier].step);
  sql_put_text(&query, device);
  sql_put(&query, tier);
  uint64_t end = sql_next(&query) ? sql_get(&query, 0) : 0;
  sql_end(&query);
  return end;
}

struct roll {
  struct sql *sql;
  uint64_t since; /* s: what is made of rows from there on is made again; UINT64_MAX: nothing */
  const char *device;
  enum samples_tier tier; /* that is made */
  struct samples_total total;
  char packed[SPREAD_PACKED];
};

static void finish_row(struct roll *roll) {
  struct samples_row *row = &roll->total.row;
  if (!row->seconds)
    return;
  samples_settle(&roll->total);
  row->spread = roll->packed;
  row->spread_size = spread_pack(&roll->total.spread, roll->packed);
  write_row(roll->sql, roll->device, roll->tier, row);
  memset(&roll->total, 0, sizeof roll->total);
}

static void roll_in(void *arg, const struct samples_row *row) {
  struct roll *roll = arg;
  uint64_t start = row->time - row->time % tiers[roll->tier].step;
  if (start != roll->total.row.time)
    finish_row(roll);
  roll->total.row.time = start;
  samples_join(&roll->total, row);
}

/* One tier only. */
static void walk_rows(struct sql *sql, const struct samples_walk *walk) {
  struct sql_query query;
  struct samples_row row;
  sql_begin(&query, sql,
            walk->brief ? SAMPLES_COLUMNS("0,0,0,0") SAMPLES_SELECT
                        : SAMPLES_COLUMNS("committed,cached,external,reserved") SAMPLES_SELECT);
  sql_put_text(&query, walk->device);
  sql_put(&query, walk->tier);
  sql_put(&query, walk->from);
  sql_put(&query, walk->to);
  while (sql_next(&query)) {
    read_row(&query, &row);
    walk->fn(walk->arg, &row);
  }
  sql_end(&query);
}

static void roll_up(struct roll *roll, uint64_t now) {
  for (roll->tier = SAMPLES_MINUTE; roll->tier < SAMPLES_TIERS; roll->tier++) {
    uint64_t step = tiers[roll->tier].step, end = end_of(roll->sql, roll->device, roll->tier);
    const struct samples_walk below = {.device = roll->device,
                                       .from = units_min(end, roll->since - roll->since % step),
                                       .to = now - now % step,
                                       .tier = roll->tier - 1,
                                       .fn = roll_in,
                                       .arg = roll};
    walk_rows(roll->sql, &below);
    finish_row(roll);
  }
}

static void prune(struct sql *sql, uint64_t now, bool in_memory) {
  struct sql_query query;
  sql_begin(&query, sql,
            "DELETE FROM sample WHERE device IN (SELECT id FROM device) AND tier=? "
            "AND time<?");
  for (int tier = 0; tier < SAMPLES_TIERS; tier++) {
    sql_put(&query, (uint64_t)tier);
    sql_put(&query, units_minus(now, in_memory ? tiers[tier].kept_in_memory : tiers[tier].kept));
    sql_do(&query);
  }
  sql_end(&query);
}

static void roll_all(struct sql *sql, uint64_t since, uint64_t now) {
  struct roll *roll = calloc(1, sizeof *roll);
  if (!roll)
    return;
  struct sql_query query;
  roll->sql = sql;
  roll->since = since;
  sql_begin(&query, sql, "SELECT id FROM device");
  while (sql_next(&query)) {
    roll->device = sql_get_text(&query, 0);
    roll_up(roll, now);
  }
  sql_end(&query);
  free(roll);
}

void samples_tend(struct sql *sql, uint64_t now, bool in_memory) {
  roll_all(sql, UINT64_MAX, now);
  prune(sql, now, in_memory);
}

void samples_seed(struct sql *file, struct sql *memory, uint64_t now) {
  char select[128];
  sql_copy(file, "SELECT * FROM device", memory, SAMPLES_DEVICE);
  for (int tier = 0; tier < SAMPLES_TIERS; tier++) {
    snprintf(select, sizeof select,
             "SELECT * FROM sample WHERE device IN (SELECT id FROM device)"
             " AND tier=%d AND time>%" PRIu64,
             tier, units_minus(now, tiers[tier].kept_in_memory));
    sql_copy(file, select, memory, SAMPLES_INSERT);
  }
  if (!sql_failed(memory))
    return;
  sql_clear(memory); /* what comes needs room: weeks ago can wait */
  sql_run(memory, "DELETE FROM sample WHERE tier=2");
}

/* The file's own rows are made before others lie behind them. */
void samples_give(struct sql *memory, struct sql *file, uint64_t now) {
  uint64_t first = sql_number(memory, "SELECT min(time) FROM sample WHERE tier<2");
  roll_all(file, UINT64_MAX, now);
  sql_copy(memory, "SELECT * FROM device", file, SAMPLES_DEVICE);
  sql_copy(memory, "SELECT * FROM sample", file, SAMPLES_INSERT);
  if (first)
    roll_all(file, first, now);
}

/* The tier, and the finer ones where it ends. */
static void walk_down(struct sql *sql, const struct samples_walk *walk) {
  struct samples_walk part = *walk;
  for (int tier = (int)walk->tier; part.from < part.to; tier--) {
    part.tier = (enum samples_tier)tier;
    walk_rows(sql, &part);
    if (tier == SAMPLES_SECOND)
      return;
    part.from = units_max(part.from, end_of(sql, walk->device, part.tier));
  }
}

void samples_walk(struct sql *sql, const struct samples_walk *walk) {
  struct samples_walk part = *walk;
  for (int tier = SAMPLES_SECOND; tier < (int)walk->tier; tier++) {
    uint64_t step = tiers[tier + 1].step;
    part.tier = (enum samples_tier)tier;
    part.to = units_min((part.from + step - 1) / step * step, walk->to);
    walk_down(sql, &part);
    part.from = part.to;
  }
  part.tier = walk->tier;
  part.to = walk->to;
  walk_down(sql, &part);
}
