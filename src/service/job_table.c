/*
 * job_table: a pool of pointers that an idmap leads to, chains of keys through the jobs, and a list
 * of the finished ones from the oldest on. Some that are due are forgotten whenever a job enters or
 * ends; until then nobody finds them.
 */
#include "service/job_table.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/units.h"

#define JOB_KEPT 10000           /* finished ones that are still listed (contract 3) */
#define JOB_KEPT_BYTES (8 * MIB) /* of them: 10,000 with long errors do not fill the daemon */
#define JOB_UNFINISHED 4096      /* more at once is an attack or a bug */
#define JOB_KEPT_NS ((int64_t)(3600 * CLOCK_SECOND))
#define JOB_KEYS 1024 /* buckets */
#define JOB_BATCH 16  /* forgotten per holding of the locks */

struct job_table {
  struct pool pointers; /* one struct job * each */
  struct idmap ids;
  struct job *oldest, *newest;
  uint32_t kept, unfinished;
  size_t kept_bytes;
  struct job *keys[JOB_KEYS];
};

enum status job_table_create(struct job_table **out) {
  struct job_table *jobs = calloc(1, sizeof *jobs);
  if (!jobs)
    return STATUS_INTERNAL_ERROR;
  if (pool_init(&jobs->pointers, sizeof(struct job *), JOB_KEPT + JOB_UNFINISHED) ||
      idmap_init(&jobs->ids, JOB_KEPT + JOB_UNFINISHED)) {
    pool_done(&jobs->pointers);
    free(jobs);
    return STATUS_INTERNAL_ERROR;
  }
  *out = jobs;
  return STATUS_OK;
}

size_t job_table_bytes(const struct job *job) {
  return sizeof *job + (job->running ? sizeof *job->running : 0) +
         (job->pack ? job_pack_bytes(job->pack) : 0);
}

static struct job **key_bucket(struct job_table *jobs, const uint64_t key[2]) {
  return &jobs->keys[key[1] % JOB_KEYS];
}

static void add_key(struct job_table *jobs, struct job *job) {
  if (!job->record.key[0])
    return;
  struct job **head = key_bucket(jobs, job->record.key);
  job->key_next = *head;
  *head = job;
}

static void forget_key(struct job_table *jobs, const struct job *job) {
  if (!job->record.key[0])
    return;
  struct job **link = key_bucket(jobs, job->record.key);
  while (*link != job)
    link = &(*link)->key_next;
  *link = job->key_next;
}

static void unlist(struct job_table *jobs, struct job *job) {
  forget_key(jobs, job);
  idmap_erase(&jobs->ids, job->id);
  pool_give(&jobs->pointers, job->index);
}

static struct job *take_oldest(struct job_table *jobs) {
  struct job *job = jobs->oldest;
  jobs->oldest = job->older;
  if (!jobs->oldest)
    jobs->newest = NULL;
  jobs->kept--;
  jobs->kept_bytes -= job_table_bytes(job);
  unlist(jobs, job);
  return job;
}

static bool is_old(const struct job *job) {
  return job->finished && (int64_t)clock_now() - job->finished_ns > JOB_KEPT_NS;
}

static bool is_due(const struct job_table *jobs) {
  return jobs->oldest &&
         (jobs->kept > JOB_KEPT || jobs->kept_bytes > JOB_KEPT_BYTES || is_old(jobs->oldest));
}

/* Under both locks. */
static void forget_old(struct service *s, uint32_t max) {
  struct job_table *jobs = s->jobs;
  while (max-- && is_due(jobs)) {
    struct job *job = take_oldest(jobs);
    job_record_drop(s, &job->record);
    job_give(job);
  }
}

void job_table_free(struct job_table *jobs) {
  if (!jobs)
    return;
  while (jobs->oldest)
    job_give(take_oldest(jobs));
  pool_done(&jobs->pointers);
  idmap_done(&jobs->ids);
  free(jobs);
}

static struct job *job_at(const struct job_table *jobs, uint32_t index) {
  return *(struct job **)pool_at(&jobs->pointers, index);
}

static bool list_job(struct job_table *jobs, struct job *job) {
  uint32_t index = pool_take(&jobs->pointers);
  if (!index)
    return false;
  if (!idmap_append(&jobs->ids, job->id, index)) {
    pool_give(&jobs->pointers, index);
    return false;
  }
  *(struct job **)pool_at(&jobs->pointers, index) = job;
  job->index = index;
  add_key(jobs, job);
  return true;
}

bool job_table_enter(struct service *s, struct job *job) {
  struct job_table *jobs = s->jobs;
  forget_old(s, JOB_BATCH);
  if (jobs->unfinished == JOB_UNFINISHED || job_record_put(s, &job->record, &job->running->view))
    return false;
  if (!list_job(jobs, job)) {
    job_record_drop(s, &job->record);
    return false;
  }
  jobs->unfinished++;
  return true;
}

void job_table_leave(struct service *s, struct job *job) {
  s->jobs->unfinished--;
  unlist(s->jobs, job);
  job_record_drop(s, &job->record);
}

static void link_newest(struct job_table *jobs, struct job *job) {
  jobs->kept++;
  jobs->kept_bytes += job_table_bytes(job);
  if (jobs->newest)
    jobs->newest->older = job;
  else
    jobs->oldest = job;
  jobs->newest = job;
}

void job_table_end(struct service *s, struct job *job) {
  s->jobs->unfinished--;
  link_newest(s->jobs, job);
  forget_old(s, JOB_BATCH);
}

struct job *job_table_find(const struct service *s, uint64_t id) {
  uint32_t index = id ? idmap_find(&s->jobs->ids, id) : 0;
  struct job *job = index ? job_at(s->jobs, index) : NULL;
  return job && !is_old(job) ? job : NULL;
}

struct job *job_table_find_key(const struct service *s, const uint64_t key[2]) {
  struct job *job = *key_bucket(s->jobs, key);
  while (job && (job->record.key[0] != key[0] || job->record.key[1] != key[1] || is_old(job)))
    job = job->key_next;
  return job;
}

struct job *job_table_next(const struct service *s, uint64_t after) {
  const struct idmap_entry *entry = idmap_next(&s->jobs->ids, after);
  while (entry && is_old(job_at(s->jobs, entry->value)))
    entry = idmap_next(&s->jobs->ids, entry->id);
  return entry ? job_at(s->jobs, entry->value) : NULL;
}

struct job *job_table_prev(const struct service *s, uint64_t before) {
  const struct idmap_entry *entry = idmap_prev(&s->jobs->ids, before);
  while (entry && is_old(job_at(s->jobs, entry->value)))
    entry = idmap_prev(&s->jobs->ids, entry->id);
  return entry ? job_at(s->jobs, entry->value) : NULL;
}

uint32_t job_table_unfinished(const struct service *s) { return s->jobs->unfinished; }

/* ---- after a restart ---- */

/* A finished job of what an earlier daemon left, as it reads now. NULL: no memory. */
static struct job *adopted(struct service *s, struct job_record *record, struct job_view *view) {
  struct job *job = calloc(1, sizeof *job);
  if (!job)
    return NULL;
  job_record_settle(s, record, view);
  job->pack = job_pack_make(view);
  if (!job->pack) {
    free(job);
    return NULL;
  }
  atomic_init(&job->references, 1);
  job->service = s;
  job->id = view->id;
  job->kind = view->kind;
  job->record = *record;
  job->finished = true;
  uint64_t age = units_minus(clock_real(), view->completed_at);
  job->finished_ns = (int64_t)(clock_now() - age);
  return job;
}

enum status job_table_adopt(struct service *s, struct job_record *record, struct job_view *view) {
  struct job *job = adopted(s, record, view);
  if (!job)
    return STATUS_INTERNAL_ERROR;
  if (list_job(s->jobs, job))
    return STATUS_OK;
  job_record_drop(s, &job->record);
  job_give(job);
  return STATUS_OK;
}

static int by_end(const void *a, const void *b) {
  int64_t left = (*(struct job *const *)a)->finished_ns;
  int64_t right = (*(struct job *const *)b)->finished_ns;
  return left < right ? -1 : left > right;
}

enum status job_table_adopted(struct service *s) {
  struct job_table *jobs = s->jobs;
  struct job **all = malloc((jobs->ids.live + (size_t)1) * sizeof(struct job *));
  if (!all)
    return STATUS_INTERNAL_ERROR;
  uint32_t count = 0;
  const struct idmap_entry *entry = idmap_next(&jobs->ids, 0);
  for (; entry; entry = idmap_next(&jobs->ids, entry->id))
    all[count++] = job_at(jobs, entry->value);
  qsort(all, count, sizeof(struct job *), by_end);
  for (uint32_t i = 0; i < count; i++)
    link_newest(jobs, all[i]);
  free(all);
  forget_old(s, UINT32_MAX);
  return STATUS_OK;
}
