/*
 * records: events, times of operations, finished transfers and who was asked for, as rows. On the
 * history's thread.
 */
#ifndef HISTORY_RECORDS_H
#define HISTORY_RECORDS_H

#include "history/history.h"
#include "history/sql.h"

#define RECORDS_TABLES                                                                             \
  "CREATE TABLE IF NOT EXISTS event(id INTEGER PRIMARY KEY,time INT,type TEXT,device TEXT,"        \
  "subject INT,bytes INT,other INT,text TEXT);"                                                    \
  "CREATE TABLE IF NOT EXISTS transfer(id INTEGER PRIMARY KEY,time INT,source TEXT,target TEXT,"   \
  "path TEXT,bytes INT,ns INT,failed INT);"                                                        \
  "CREATE TABLE IF NOT EXISTS operation(tier INT,time INT,action TEXT,errors INT,sum INT,"         \
  "peak INT,buckets BLOB,PRIMARY KEY(tier,time,action))WITHOUT ROWID;"                             \
  "CREATE TABLE IF NOT EXISTS use(id INTEGER PRIMARY KEY,time INT,who INT);"

#define RECORDS_MINUTE 60 /* s: the tiers of operation */
#define RECORDS_HOUR 3600
#define RECORDS_PACKED (HISTORY_BUCKETS * 5)

void records_event(struct sql *sql, const struct history_event *event);
void records_transfer(struct sql *sql, const struct history_transfer *transfer);
void records_use(struct sql *sql, uint64_t time, uint64_t who);
/* Counts in the row of its minute and in that of its hour. */
void records_latency(struct sql *sql, const struct history_latency *latency);
/* Adds what lies in a row. */
void records_unpack(uint64_t buckets[HISTORY_BUCKETS], const void *bytes, size_t size);
/* What a memory has from a file: ids go on from those of the file, sums of minutes and hours hold
 * the file's. */
struct records_seeds {
  uint64_t event, transfer, use;
  bool operations;
};
/* To a memory that has none: the newest of a file, as much as is kept there. */
struct records_seeds records_seed(struct sql *file, struct sql *memory, uint64_t now);
/* To a file, what the memory had not from it; all zero: everything. */
void records_give(struct sql *memory, const struct records_seeds *seeds, struct sql *file);
/* Drops what is too old or too much. In memory less is kept. */
void records_tend(struct sql *sql, uint64_t now, bool in_memory);

#endif
