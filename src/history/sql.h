/*
 * sql: SQLite, and the only place that knows it. An error sticks: after it every call on the
 * connection does nothing and finds nothing, so that a transaction is judged once, at its end. One
 * thread at a time.
 */
#ifndef HISTORY_SQL_H
#define HISTORY_SQL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sql;

/* A file that nobody else may have open meanwhile (NULL: memory, 8 MiB at most). NULL: no memory;
 * everything else is an error that sticks. */
struct sql *sql_open(const char *path);
/* NULL is fine. */
void sql_close(struct sql *sql);
bool sql_failed(const struct sql *sql);
/* What is there is no file of ours. */
bool sql_corrupt(const struct sql *sql);
/* It is, but parts of it are broken. */
bool sql_is_spoiled(const struct sql *sql);
/* One sentence about the error, without a full stop; "" without one. */
const char *sql_reason(const struct sql *sql);
/* Forgets the error and takes back what was not committed. */
void sql_clear(struct sql *sql);

/* Statements that answer nothing. */
void sql_run(struct sql *sql, const char *text);
/* The first figure of the answer; 0 without one. */
uint64_t sql_number(struct sql *sql, const char *text);

/* One statement with its places `?`, put from left to right. */
struct sql_query {
  struct sql *sql;
  void *statement;
  int place;
};
void sql_begin(struct sql_query *query, struct sql *sql, const char *text);
void sql_put(struct sql_query *query, uint64_t value); /* at most INT64_MAX */
/* Borrowed until the statement has run. */
void sql_put_text(struct sql_query *query, const char *text);
void sql_put_bytes(struct sql_query *query, const void *bytes, size_t size);
/* To the next row of the answer; false: there is none. */
bool sql_next(struct sql_query *query);
uint64_t sql_get(const struct sql_query *query, int column);
/* Both until the next row. */
const char *sql_get_text(const struct sql_query *query, int column);
const void *sql_get_bytes(const struct sql_query *query, int column, size_t *size);
/* Runs it to its end, and makes it ready for the next values. */
void sql_do(struct sql_query *query);
void sql_end(struct sql_query *query);

/* Runs `insert` on `to` with each row that `select` finds on `from`. */
void sql_copy(struct sql *from, const char *select, struct sql *to, const char *insert);

#endif
