/*
 * history: two batches, one that is filled and one that is written; once a second they change
 * places. A batch that the file does not take goes into a database in memory of the same shape,
 * which was given the last hours of the file, as far as that can be read; when the file works
 * again it gets the rows that it lacks.
 */
#include "history/history.h"

#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/os_folder.h"
#include "base/units.h"
#include "history/history_inside.h"
#include "history/records.h"
#include "history/samples.h"

#define HISTORY_RECORDS 2048  /* in a batch: minutes of samples, bursts of events */
#define HISTORY_LATENCIES 128 /* one for each action there is, and more */
#define HISTORY_USES 256      /* a second of requests for one model after another */
#define HISTORY_RETRY_NS (10 * CLOCK_SECOND)
#define HISTORY_SILENT_NS (10 * CLOCK_SECOND) /* of a thread that writes once a second */
#define HISTORY_FILE "history.db"
#define HISTORY_NAME (PATH_MAX + 32)
#define HISTORY_KEY(n) #n
#define HISTORY_SCHEMA(n)                                                                          \
  "BEGIN;" SAMPLES_TABLE RECORDS_TABLES "PRAGMA user_version=" HISTORY_KEY(n) ";COMMIT;"

enum kind { KIND_SAMPLE, KIND_EVENT, KIND_TRANSFER };

struct record {
  enum kind kind;
  union {
    struct history_sample sample;
    struct history_event event;
    struct history_transfer transfer;
  } u;
};

struct use {
  uint64_t time, who;
};

struct batch {
  uint32_t count, latency_count, use_count;
  struct record records[HISTORY_RECORDS];
  struct history_latency latencies[HISTORY_LATENCIES];
  struct use uses[HISTORY_USES];
};

struct history {
  struct task tick; /* first */
  struct queue *queue;
  char path[PATH_MAX]; /* "": memory only */
  uint64_t retry_ns;

  struct lock lock; /* of these: */
  struct batch *filling;
  uint64_t dropped;
  bool on_disk, opening; /* opening: the file was not tried yet */
  char reason[160];

  atomic_uint_fast64_t seen_at; /* clock_now(), when the thread wrote last */

  /* The thread's: */
  struct batch *writing;
  struct sql *sql;
  bool is_file, spoiled; /* spoiled: the file is to be set aside */
  uint64_t retry_at;     /* clock_now() */
  uint64_t minute;       /* in which it was tended last */
  struct records_seeds seeds;
};

/* ---- in ---- */

static void push(struct history *history, const struct record *record) {
  if (!history)
    return;
  LOCK_SCOPE(&history->lock);
  struct batch *batch = history->filling;
  if (batch->count < HISTORY_RECORDS)
    batch->records[batch->count++] = *record;
  else
    history->dropped++;
}

void history_sample(struct history *history, const struct history_sample *sample) {
  push(history, &(struct record){.kind = KIND_SAMPLE, .u.sample = *sample});
}

void history_event(struct history *history, const struct history_event *event) {
  push(history, &(struct record){.kind = KIND_EVENT, .u.event = *event});
}

void history_transfer(struct history *history, const struct history_transfer *transfer) {
  push(history, &(struct record){.kind = KIND_TRANSFER, .u.transfer = *transfer});
}

void history_use(struct history *history, uint64_t time, uint64_t who) {
  if (!history)
    return;
  LOCK_SCOPE(&history->lock);
  struct batch *batch = history->filling;
  if (batch->use_count < HISTORY_USES)
    batch->uses[batch->use_count++] = (struct use){time, who};
  else
    batch->uses[HISTORY_USES - 1].who = 0;
}

static bool is_of(const struct history_latency *sum, const struct history_latency *latency) {
  return sum->time / RECORDS_MINUTE / CLOCK_SECOND ==
             latency->time / RECORDS_MINUTE / CLOCK_SECOND &&
         strcmp(sum->action, latency->action) == 0;
}

static void add_to(struct history_latency *sum, const struct history_latency *latency) {
  sum->errors += latency->errors;
  sum->sum_ns += latency->sum_ns;
  sum->max_ns = units_max(sum->max_ns, latency->max_ns);
  for (unsigned i = 0; i < HISTORY_BUCKETS; i++)
    sum->buckets[i] += latency->buckets[i];
}

bool history_latency(struct history *history, const struct history_latency *latency) {
  if (!history)
    return false;
  LOCK_SCOPE(&history->lock);
  struct batch *batch = history->filling;
  uint32_t i = 0;
  while (i < batch->latency_count && !is_of(&batch->latencies[i], latency))
    i++;
  if (i == HISTORY_LATENCIES)
    return false;
  if (i < batch->latency_count)
    add_to(&batch->latencies[i], latency);
  else
    batch->latencies[batch->latency_count++] = *latency;
  return true;
}

void history_state(struct history *history, struct history_state *out) {
  *out = (struct history_state){.reason = "there is no history"};
  if (!history)
    return;
  uint64_t silent = units_minus(clock_now(), history->seen_at);
  LOCK_SCOPE(&history->lock);
  out->on_disk = history->on_disk;
  out->opening = history->opening;
  out->dropped = history->dropped;
  out->queued = history->filling->count + history->filling->latency_count;
  memcpy(out->reason, history->reason, sizeof out->reason);
  if (silent < HISTORY_SILENT_NS)
    return;
  out->on_disk = out->opening = false;
  snprintf(out->reason, sizeof out->reason, "nothing was written for %" PRIu64 " s: the disk hangs",
           silent / CLOCK_SECOND);
}

/* ---- the file and the memory ---- */

/* Logged when it is new. */
static void say(struct history *history, bool on_disk, const char *reason) {
  lock_take(&history->lock);
  bool news = history->on_disk != on_disk || strcmp(history->reason, reason) != 0;
  history->on_disk = on_disk;
  history->opening = false;
  snprintf(history->reason, sizeof history->reason, "%s", reason);
  lock_give(&history->lock);
  if (!news)
    return;
  if (*reason)
    log_warning("history", "%s%s", on_disk ? "" : "kept in memory: ", reason);
  else
    log_info("history", "kept in %s", history->path);
}

/* What is in the way gets another name, which the next such file will have too: no disk fills up
 * with them. */
static void set_aside(struct history *history, const char *word, char reason[160]) {
  static const char *const parts[] = {"", "-wal"};
  char from[HISTORY_NAME], to[HISTORY_NAME];
  for (unsigned i = 0; i < 2; i++) {
    snprintf(from, sizeof from, "%s%s", history->path, parts[i]);
    snprintf(to, sizeof to, "%s.%s%s", history->path, word, parts[i]);
    if (rename(from, to))
      remove(to);
  }
  snprintf(reason, 160,
           "the file was %s: it is set aside as " HISTORY_FILE ".%s, a new one is begun", word,
           word);
  history->seeds = (struct records_seeds){0};
}

static struct sql *open_tables(const char *path) {
  struct sql *sql = sql_open(path);
  if (sql)
    sql_run(sql, HISTORY_SCHEMA(1));
  return sql;
}

/* As it is, or NULL and why; `word`: it stands in the way because it is that. */
static struct sql *open_file(const struct history *history, const char **word, char reason[160]) {
  struct sql *sql = sql_open(history->path);
  *word = NULL;
  snprintf(reason, 160, "not enough memory");
  if (!sql)
    return NULL;
  if (sql_number(sql, "PRAGMA user_version") > HISTORY_VERSION)
    *word = "newer";
  else
    sql_run(sql, HISTORY_SCHEMA(1));
  if (sql_corrupt(sql))
    *word = "corrupt";
  if (!*word && !sql_failed(sql)) {
    reason[0] = '\0';
    return sql;
  }
  snprintf(reason, 160, "%s: %s", HISTORY_FILE, sql_reason(sql));
  sql_close(sql);
  return NULL;
}

/* The rows that the file lacks; false: it does not take them. */
static bool give_rows(struct history *history, struct sql *file) {
  if (!history->sql)
    return true;
  sql_run(file, "BEGIN");
  samples_give(history->sql, file, clock_real() / CLOCK_SECOND);
  records_give(history->sql, &history->seeds, file);
  sql_run(file, "COMMIT");
  sql_clear(history->sql);
  return !sql_failed(file);
}

static void use(struct history *history, struct sql *sql, bool is_file) {
  sql_close(history->sql);
  history->sql = sql;
  history->is_file = is_file;
}

static void try_file(struct history *history) {
  char folder[PATH_MAX], reason[160], aside[160] = "";
  const char *word = NULL;
  history->retry_at = clock_now() + history->retry_ns;
  snprintf(folder, sizeof folder, "%.*s", (int)(strlen(history->path) - strlen("/" HISTORY_FILE)),
           history->path);
  enum status status = os_folder_make(folder);
  if (status) {
    snprintf(reason, sizeof reason, "%.100s cannot be made: %s", folder, status_text(status));
    say(history, false, reason);
    return;
  }
  if (history->spoiled)
    set_aside(history, "corrupt", aside);
  history->spoiled = false;
  struct sql *file = open_file(history, &word, reason);
  if (!file && word) {
    set_aside(history, word, aside);
    file = open_file(history, &word, reason);
  }
  if (file && !give_rows(history, file)) {
    snprintf(reason, sizeof reason, "%s: %s", HISTORY_FILE, sql_reason(file));
    sql_close(file);
    file = NULL;
  }
  if (file)
    use(history, file, true);
  say(history, file != NULL, file ? aside : reason);
}

/* Into memory, with what of the file's last hours can be read and has room. */
static void leave_file(struct history *history) {
  char reason[160];
  struct sql *file = history->sql, *memory = open_tables(NULL);
  snprintf(reason, sizeof reason, HISTORY_FILE ": %s", file ? sql_reason(file) : "not opened");
  history->spoiled = file && sql_is_spoiled(file);
  history->retry_at = clock_now() + history->retry_ns;
  if (!memory)
    return;
  history->seeds = (struct records_seeds){0};
  if (file && !history->spoiled) {
    sql_clear(file);
    history->seeds = records_seed(file, memory, clock_real() / CLOCK_SECOND);
    samples_seed(file, memory, clock_real() / CLOCK_SECOND);
  }
  use(history, memory, false);
  if (file)
    say(history, false, reason);
}

/* ---- the thread ---- */

static void write_record(struct sql *sql, const struct record *record) {
  if (record->kind == KIND_SAMPLE)
    samples_add(sql, &record->u.sample);
  else if (record->kind == KIND_EVENT)
    records_event(sql, &record->u.event);
  else
    records_transfer(sql, &record->u.transfer);
}

static bool write_batch(struct history *history, uint64_t now) {
  struct sql *sql = history->sql;
  const struct batch *batch = history->writing;
  if (!sql)
    return false;
  sql_run(sql, "BEGIN");
  for (uint32_t i = 0; i < batch->count; i++)
    write_record(sql, &batch->records[i]);
  for (uint32_t i = 0; i < batch->latency_count; i++)
    records_latency(sql, &batch->latencies[i]);
  for (uint32_t i = 0; i < batch->use_count; i++)
    records_use(sql, batch->uses[i].time, batch->uses[i].who);
  if (now / 60 != history->minute) {
    samples_tend(sql, now, !history->is_file);
    records_tend(sql, now, !history->is_file);
  }
  sql_run(sql, "COMMIT");
  return !sql_failed(sql);
}

static void write_all(struct history *history) {
  uint64_t now = clock_real() / CLOCK_SECOND;
  lock_take(&history->lock);
  struct batch *batch = history->filling;
  history->filling = history->writing;
  history->writing = batch;
  lock_give(&history->lock);
  if (!history->is_file && history->path[0] && clock_now() >= history->retry_at)
    try_file(history);
  bool written = write_batch(history, now);
  if (!written && (history->is_file || !history->sql)) {
    leave_file(history);
    written = write_batch(history, now);
  }
  if (!written && history->sql) {
    lock_take(&history->lock);
    history->dropped += batch->count + batch->latency_count + batch->use_count;
    lock_give(&history->lock);
    sql_clear(history->sql);
    samples_tend(history->sql, now, true);
  }
  history->minute = now / 60;
  batch->count = batch->latency_count = batch->use_count = 0;
  history->seen_at = clock_now();
}

static void tick(struct task *task) {
  struct history *history = (struct history *)task;
  write_all(history);
  queue_post_at(history->queue, &history->tick, clock_now() + CLOCK_SECOND);
}

bool history_post(struct history *history, struct task *task) {
  return history && queue_post(history->queue, task);
}

struct sql *history_sql(struct history *history) {
  write_all(history);
  return history->sql;
}

void history_asked(struct history *history) {
  if (!history->sql || !sql_failed(history->sql))
    return;
  if (history->is_file)
    leave_file(history);
  else
    sql_clear(history->sql);
}

/* ---- life ---- */

static void free_all(struct history *history) {
  sql_close(history->sql);
  free(history->filling);
  free(history->writing);
  lock_done(&history->lock);
  free(history);
}

enum status history_open(const struct history_params *params, struct history **out) {
  struct history *history = calloc(1, sizeof *history);
  if (!history)
    return STATUS_INTERNAL_ERROR;
  lock_init(&history->lock, LOCK_RANK_LEAF, "history");
  history->tick.run = tick;
  history->seen_at = clock_now();
  history->retry_ns = params->retry_ns ? params->retry_ns : HISTORY_RETRY_NS;
  history->filling = calloc(1, sizeof *history->filling);
  history->writing = calloc(1, sizeof *history->writing);
  bool named = params->folder && params->folder[0];
  if (named)
    snprintf(history->path, sizeof history->path, "%s/" HISTORY_FILE, params->folder);
  history->opening = named;
  snprintf(history->reason, sizeof history->reason, "%s",
           named ? "being opened" : "no folder to keep it in");
  if (!history->filling || !history->writing || queue_create("history", &history->queue)) {
    free_all(history);
    return STATUS_INTERNAL_ERROR;
  }
  queue_post(history->queue, &history->tick);
  *out = history;
  return STATUS_OK;
}

void history_close(struct history *history) {
  if (!history)
    return;
  queue_free(history->queue);
  write_all(history);
  free_all(history);
}
