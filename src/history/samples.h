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
uint64_t samples_step(enum samples_tier tier); /* in s */

/* To a memory that has none: the newest of a file, as much as is kept there. */
void samples_seed(struct sql *file, struct sql *memory, uint64_t now);
/* To a file, what the memory has more of. Where their rows meet, minutes and hours are made anew
 * from what both have. */
void samples_give(struct sql *memory, struct sql *file, uint64_t now);

/* Calls fn with each row of from … to (s), by rising time: rows of the tier, before the first whole
 * one of them and after the last those of the finer ones. */
struct samples_walk {
  const char *device;
  uint64_t from, to;
  enum samples_tier tier;
  bool brief; /* committed, cached, external and reserved bytes are left out: 0 */
  void (*fn)(void *arg, const struct samples_row *row);
  void *arg;
};
void samples_walk(struct sql *sql, const struct samples_walk *walk);

#endif
