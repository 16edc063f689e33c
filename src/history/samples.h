/*
 * samples: what each device looked like, in three tiers of the same shape: a row is a second, a
 * minute or an hour. A finished minute or hour is made from the rows below it, whenever those have
 * come to be: also after a pause or a restart. On the history's thread.
 */
#ifndef HISTORY_SAMPLES_H
#define HISTORY_SAMPLES_H

#include "history/history.h"
#include "history/spread.h"
#include "history/sql.h"

enum samples_tier { SAMPLES_SECOND, SAMPLES_MINUTE, SAMPLES_HOUR, SAMPLES_TIERS };

#define SAMPLES_TABLE                                                                              \
  "CREATE TABLE IF NOT EXISTS device(id TEXT PRIMARY KEY)WITHOUT ROWID;"                           \
  "CREATE TABLE IF NOT EXISTS sample(device TEXT,tier INT,time INT,seconds INT,used INT,"          \
  "allocated INT,committed INT,cached INT,external INT,reserved INT,fragmentation INT,peak INT,"   \
  "largest INT,low INT,moderate INT,high INT,critical INT,made INT,made_bytes INT,freed INT,"      \
  "spread BLOB,PRIMARY KEY(device,tier,time))WITHOUT ROWID;"
#define SAMPLES_DEVICE "INSERT OR IGNORE INTO device VALUES(?)"
#define SAMPLES_VALUES "VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
#define SAMPLES_INSERT "INSERT OR REPLACE INTO sample " SAMPLES_VALUES
/* A second that was begun before a restart goes on. */
#define SAMPLES_INSERT_SECOND                                                                      \
  "INSERT INTO sample " SAMPLES_VALUES                                                             \
  "ON CONFLICT DO UPDATE SET peak=max(peak,excluded.peak),made=made+excluded.made,"                \
  "made_bytes=made_bytes+excluded.made_bytes,freed=freed+excluded.freed"
#define SAMPLES_INSERT_MISSING "INSERT OR IGNORE INTO sample " SAMPLES_VALUES

enum {
  SAMPLES_USED,
  SAMPLES_ALLOCATED,
  SAMPLES_COMMITTED,
  SAMPLES_CACHED,
  SAMPLES_EXTERNAL,
  SAMPLES_RESERVED,
  SAMPLES_FRAGMENTATION,
  SAMPLES_AVERAGES
};
enum { SAMPLES_MADE, SAMPLES_MADE_BYTES, SAMPLES_FREED, SAMPLES_SUMS };

struct samples_row {
  uint64_t time;    /* s, of its start: a whole minute or hour of CLOCK_REALTIME */
  uint64_t seconds; /* how many of it were sampled */
  uint64_t averages[SAMPLES_AVERAGES];
  uint64_t peak, largest; /* the most used, the least largest free */
  uint64_t levels[HISTORY_LEVELS], sums[SAMPLES_SUMS];
  const void *spread; /* of used, packed; NULL: of a second. Until the next row */
  size_t spread_size;
};

struct samples_total {
  struct samples_row row; /* as samples_settle makes it */
  unsigned __int128 sums[SAMPLES_AVERAGES];
  struct spread spread;
};
/* Empty: all zero. */
void samples_join(struct samples_total *total, const struct samples_row *row);
/* The averages, from the sums. */
void samples_settle(struct samples_total *total);

void samples_add(struct sql *sql, const struct history_sample *sample);
/* Makes the minutes and hours of all devices that are over at this time (s), and drops what is too
 * old. In memory less is kept. */
void samples_tend(struct sql *sql, uint64_t now, bool in_memory);
/* Both in s. */
uint64_t samples_step(enum samples_tier tier);
uint64_t samples_kept_in_memory(enum samples_tier tier);

/* Calls fn with each row of from … to (s), by rising time: rows of the tier, then of the finer ones
 * what they have after it. */
struct samples_walk {
  const char *device;
  uint64_t from, to;
  enum samples_tier tier;
  void (*fn)(void *arg, const struct samples_row *row);
  void *arg;
};
void samples_walk(struct sql *sql, const struct samples_walk *walk);

#endif
