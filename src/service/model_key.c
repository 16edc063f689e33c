/*
 * model_key: models that were loaded with a key are looked through one after another: a load takes
 * longer than that.
 */
#include "service/model_key.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "service/job_work.h"
#include "service/keys.h"
#include "service/model_work.h"

static uint64_t mix(uint64_t hash, const char *text) {
  return XXH3_64bits_withSeed(text, strlen(text) + 1, hash);
}

static uint32_t args_hash(const struct model_load *params) {
  const uint64_t words[] = {JOB_LOAD,
                            (uint64_t)params->priority,
                            (uint64_t)params->keep_ram_copy,
                            params->pinned,
                            params->evict,
                            params->verify,
                            params->keep_alive_seconds,
                            params->file_count};
  uint64_t hash = XXH3_64bits(words, sizeof words);
  hash = mix(hash, params->path);
  hash = mix(hash, params->name);
  hash = mix(hash, params->device);
  hash = mix(hash, params->worker);
  for (uint32_t i = 0; i < params->file_count; i++)
    hash = mix(hash, params->files[i].name);
  return (uint32_t)hash;
}

void model_key_make(const struct caller *caller, const struct model_load *params,
                    struct models_key *out) {
  *out = (struct models_key){.args = 0};
  if (!caller->key[0] || params->dry_run)
    return;
  keys_hash(caller, out->hash);
  out->args = args_hash(params);
}

static uint32_t find_model(const struct service *s, const struct models_key *key) {
  const struct idmap_entry *entry = idmap_next(&s->models->ids, 0);
  for (; entry; entry = idmap_next(&s->models->ids, entry->id))
    if (!memcmp(models_at(s, entry->value)->key.hash, key->hash, sizeof key->hash))
      return entry->value;
  return 0;
}

/* The caller's reference; NULL: none, or one that failed. */
static struct job *find_job(struct service *s, const struct models_key *key, uint32_t *args) {
  struct job *job = job_by_key(s, key->hash, args);
  struct job_view view = {.state = JOB_COMPLETED};
  if (job)
    job_look(job, &view);
  if (view.state <= JOB_COMPLETED)
    return job;
  job_give(job);
  return NULL;
}

enum status model_key_find(struct service *s, const struct models_key *key,
                           struct model_started *out, struct problem *problem) {
  uint32_t args = 0;
  if (!key->hash[0])
    return STATUS_NOT_FOUND;
  struct job *job = find_job(s, key, &args);
  uint32_t index = job ? 0 : find_model(s, key);
  if (!job && !index)
    return STATUS_NOT_FOUND;
  if (index)
    args = models_at(s, index)->key.args;
  if (args != key->args) {
    job_give(job);
    return problem_set(problem, STATUS_CONFLICT,
                       "this Idempotency-Key came with other arguments before");
  }
  if (!index) {
    out->job = job;
    return STATUS_OK;
  }
  const struct models_model *model = models_at(s, index);
  if (model->work && !model->leaving)
    out->job = job_keep(model_work_job(model->work));
  models_view(s, index, &out->model);
  return STATUS_OK;
}
