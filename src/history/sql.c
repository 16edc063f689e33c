/*
 * sql: exclusive locking, so that the log beside the file needs no shared memory and a second
 * daemon is told apart from a broken disk. A commit is not synced, a checkpoint is: a crash of the
 * machine may cost seconds, never the file. Statements are kept for the next time: making one costs
 * as much as reading dozens of rows.
 */
#include "history/sql.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define SQL_SETTINGS                                                                               \
  "PRAGMA locking_mode=EXCLUSIVE;PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;"               \
  "PRAGMA cache_size=-1024;PRAGMA journal_size_limit=4194304;PRAGMA temp_store=MEMORY;"
#define SQL_MEMORY "PRAGMA journal_mode=MEMORY;PRAGMA max_page_count=2048;"

#define SQL_KEPT 24 /* more than there are that come every second, or with a question */

struct kept {
  sqlite3_stmt *statement; /* NULL: none */
  bool taken;
};

struct sql {
  sqlite3 *db;
  struct kept kept[SQL_KEPT];
  unsigned next; /* place to be given up */
  int error;
  char reason[120];
};

/* The kernel's word, where it was the kernel's no; "" else. */
static const char *cause(const struct sql *sql, int error) {
  bool asked = (error & 0xff) == SQLITE_IOERR || (error & 0xff) == SQLITE_CANTOPEN;
  int number = asked ? sqlite3_system_errno(sql->db) : 0;
  return number ? strerrordesc_np(number) : "";
}

static void fail(struct sql *sql, int error) {
  if (sql->error || error == SQLITE_OK)
    return;
  const char *word = cause(sql, error);
  sql->error = error;
  snprintf(sql->reason, sizeof sql->reason, "%s%s%s",
           error == SQLITE_BUSY ? "another daemon has it open" : sqlite3_errstr(error),
           *word ? ": " : "", word);
}

struct sql *sql_open(const char *path) {
  struct sql *sql = calloc(1, sizeof *sql);
  if (!sql)
    return NULL;
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  fail(sql, sqlite3_open_v2(path ? path : ":memory:", &sql->db, flags, NULL));
  if (!sql->error && sqlite3_db_readonly(sql->db, "main") == 1)
    fail(sql, SQLITE_READONLY);
  sql_run(sql, path ? SQL_SETTINGS : SQL_MEMORY);
  return sql;
}

void sql_close(struct sql *sql) {
  if (!sql)
    return;
  for (unsigned i = 0; i < SQL_KEPT; i++)
    sqlite3_finalize(sql->kept[i].statement);
  sqlite3_close(sql->db);
  free(sql);
}

bool sql_failed(const struct sql *sql) { return sql->error != SQLITE_OK; }

bool sql_is_spoiled(const struct sql *sql) {
  int error = sql->error & 0xff;
  return error == SQLITE_CORRUPT || error == SQLITE_NOTADB;
}

/* ERROR: its tables are others. */
bool sql_corrupt(const struct sql *sql) {
  return sql_is_spoiled(sql) || sql->error == SQLITE_ERROR;
}

const char *sql_reason(const struct sql *sql) { return sql->reason; }

void sql_clear(struct sql *sql) {
  sql->error = SQLITE_OK;
  sql->reason[0] = '\0';
  if (sql->db && !sqlite3_get_autocommit(sql->db))
    sqlite3_exec(sql->db, "ROLLBACK", NULL, NULL, NULL);
}

void sql_run(struct sql *sql, const char *text) {
  if (!sql->error)
    fail(sql, sqlite3_exec(sql->db, text, NULL, NULL, NULL));
}

uint64_t sql_number(struct sql *sql, const char *text) {
  struct sql_query query;
  sql_begin(&query, sql, text);
  uint64_t number = sql_next(&query) ? sql_get(&query, 0) : 0;
  sql_end(&query);
  return number;
}

static sqlite3_stmt *take_kept(struct sql *sql, const char *text) {
  for (unsigned i = 0; i < SQL_KEPT; i++) {
    struct kept *kept = &sql->kept[i];
    if (kept->statement && !kept->taken && strcmp(sqlite3_sql(kept->statement), text) == 0) {
      kept->taken = true;
      return kept->statement;
    }
  }
  return NULL;
}

static bool give_kept(struct sql *sql, const sqlite3_stmt *statement) {
  unsigned i = 0;
  while (i < SQL_KEPT && sql->kept[i].statement != statement)
    i++;
  if (i < SQL_KEPT)
    sql->kept[i].taken = false;
  return i < SQL_KEPT;
}

/* In place of one that nobody uses now. */
static void keep(struct sql *sql, sqlite3_stmt *statement) {
  for (unsigned i = 0; i < SQL_KEPT; i++) {
    struct kept *kept = &sql->kept[sql->next++ % SQL_KEPT];
    if (kept->taken)
      continue;
    sqlite3_finalize(kept->statement);
    kept->statement = statement;
    return;
  }
  sqlite3_finalize(statement);
}

void sql_begin(struct sql_query *query, struct sql *sql, const char *text) {
  sqlite3_stmt *statement = NULL;
  *query = (struct sql_query){.sql = sql};
  if (sql->error)
    return;
  statement = take_kept(sql, text);
  if (!statement)
    fail(sql, sqlite3_prepare_v3(sql->db, text, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL));
  query->statement = statement;
}

static bool is_ready(const struct sql_query *query) {
  return query->statement && !query->sql->error;
}

void sql_put(struct sql_query *query, uint64_t value) {
  int64_t number = (int64_t)units_min(value, INT64_MAX);
  if (is_ready(query))
    fail(query->sql, sqlite3_bind_int64(query->statement, ++query->place, number));
}

void sql_put_text(struct sql_query *query, const char *text) {
  if (is_ready(query))
    fail(query->sql, sqlite3_bind_text(query->statement, ++query->place, text, -1, SQLITE_STATIC));
}

void sql_put_bytes(struct sql_query *query, const void *bytes, size_t size) {
  if (is_ready(query))
    fail(query->sql,
         sqlite3_bind_blob64(query->statement, ++query->place, bytes, size, SQLITE_STATIC));
}

bool sql_next(struct sql_query *query) {
  if (!is_ready(query))
    return false;
  int result = sqlite3_step(query->statement);
  if (result == SQLITE_ROW)
    return true;
  if (result != SQLITE_DONE)
    fail(query->sql, result);
  return false;
}

uint64_t sql_get(const struct sql_query *query, int column) {
  int64_t number = sqlite3_column_int64(query->statement, column);
  return number < 0 ? 0 : (uint64_t)number;
}

const char *sql_get_text(const struct sql_query *query, int column) {
  const char *text = (const char *)sqlite3_column_text(query->statement, column);
  return text ? text : "";
}

const void *sql_get_bytes(const struct sql_query *query, int column, size_t *size) {
  const void *bytes = sqlite3_column_blob(query->statement, column);
  int count = sqlite3_column_bytes(query->statement, column);
  *size = bytes && count > 0 ? (size_t)count : 0;
  return bytes;
}

void sql_do(struct sql_query *query) {
  while (sql_next(query))
    ;
  if (query->statement)
    sqlite3_reset(query->statement);
  query->place = 0;
}

void sql_end(struct sql_query *query) {
  sqlite3_stmt *statement = query->statement;
  query->statement = NULL;
  if (!statement)
    return;
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  if (!give_kept(query->sql, statement))
    keep(query->sql, statement);
}

void sql_copy(struct sql *from, const char *select, struct sql *to, const char *insert) {
  struct sql_query source, target;
  sql_begin(&source, from, select);
  sql_begin(&target, to, insert);
  while (is_ready(&target) && sql_next(&source)) {
    int columns = sqlite3_column_count(source.statement);
    for (int i = 0; i < columns; i++)
      fail(to,
           sqlite3_bind_value(target.statement, i + 1, sqlite3_column_value(source.statement, i)));
    sql_do(&target);
  }
  sql_end(&target);
  sql_end(&source);
}
