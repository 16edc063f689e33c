/*
 * job_pack: the head of the view, then the result up to its arrays, the used part of each array,
 * and, where there is a problem, its texts and what it says of space. A first pass counts, a second
 * one writes.
 */
#include "service/job_pack.h"

#include <stdlib.h>
#include <string.h>

#define HEAD offsetof(struct job_view, problem) /* numbers only */
#define ARRAYS 2

struct job_pack {
  uint32_t bytes; /* of data */
  enum job_state state;
  unsigned char data[];
};

struct array { /* in a result: where it is, the size of an entry, where it says how many are used */
  size_t at, each, used;
};

struct shape { /* a result's bytes before its arrays, which are its end */
  size_t front;
  struct array arrays[ARRAYS];
};

#define ARRAY(type, member, used)                                                                  \
  { offsetof(type, member), sizeof(((type *)0)->member[0]), offsetof(type, used) }

static const struct shape shapes[JOB_KINDS] = {
    [JOB_TRANSFER] = {.front = sizeof(struct job_transfer)},
    [JOB_COPY] = {.front = sizeof(struct job_bytes)},
    [JOB_FILL] = {.front = sizeof(struct job_bytes)},
    [JOB_DEFRAGMENT] = {offsetof(struct job_defrag, devices),
                        {ARRAY(struct job_defrag, devices, device_count)}},
    [JOB_CLEAR] = {offsetof(struct job_clear, devices),
                   {ARRAY(struct job_clear, devices, device_count),
                    ARRAY(struct job_clear, workers, worker_count)}},
    [JOB_LOAD] = {offsetof(struct job_model, holders),
                  {ARRAY(struct job_model, holders, holder_count)}},
    [JOB_UNLOAD] = {offsetof(struct job_model, holders),
                    {ARRAY(struct job_model, holders, holder_count)}},
    [JOB_OPTIMIZE] = {offsetof(struct job_optimize, victims),
                      {ARRAY(struct job_optimize, victims, count)}},
    [JOB_APPLY] = {offsetof(struct job_apply, applied), {ARRAY(struct job_apply, applied, count)}},
};

static const size_t texts[] = {offsetof(struct problem, text), offsetof(struct problem, field),
                               offsetof(struct problem, subject),
                               offsetof(struct problem, allowed)};
#define TEXTS (sizeof texts / sizeof texts[0])

static size_t array_bytes(const unsigned char *result, const struct array *array) {
  uint32_t used = 0;
  if (array->each)
    memcpy(&used, result + array->used, sizeof used);
  return used * array->each;
}

/* ---- writing ---- */

struct sink {
  unsigned char *to; /* NULL: only counts */
  size_t bytes;
};

static void put(struct sink *sink, const void *data, size_t bytes) {
  if (sink->to)
    memcpy(sink->to + sink->bytes, data, bytes);
  sink->bytes += bytes;
}

static void put_result(struct sink *sink, const struct job_view *view) {
  const struct shape *shape = &shapes[view->kind];
  const unsigned char *result = (const unsigned char *)&view->result;
  put(sink, result, shape->front);
  for (unsigned i = 0; i < ARRAYS; i++)
    put(sink, result + shape->arrays[i].at, array_bytes(result, &shape->arrays[i]));
}

static void put_problem(struct sink *sink, const struct problem *problem) {
  put(sink, &problem->status, sizeof problem->status);
  if (!problem->status)
    return;
  for (unsigned i = 0; i < TEXTS; i++) {
    const char *text = (const char *)problem + texts[i];
    put(sink, text, strlen(text) + 1);
  }
  put(sink, &problem->has_space, sizeof problem->has_space);
  if (problem->has_space)
    put(sink, &problem->space, sizeof problem->space);
}

static void put_all(struct sink *sink, const struct job_view *view) {
  put(sink, view, HEAD);
  put_result(sink, view);
  put_problem(sink, &view->problem);
}

struct job_pack *job_pack_make(const struct job_view *view) {
  struct sink counting = {NULL, 0};
  put_all(&counting, view);
  struct job_pack *pack = malloc(sizeof *pack + counting.bytes);
  if (!pack)
    return NULL;
  pack->bytes = (uint32_t)counting.bytes;
  pack->state = view->state;
  put_all(&(struct sink){pack->data, 0}, view);
  return pack;
}

/* ---- reading ---- */

static void take(const unsigned char **from, void *data, size_t bytes) {
  memcpy(data, *from, bytes);
  *from += bytes;
}

static void take_result(const unsigned char **from, struct job_view *view) {
  const struct shape *shape = &shapes[view->kind];
  unsigned char *result = (unsigned char *)&view->result;
  take(from, result, shape->front);
  for (unsigned i = 0; i < ARRAYS; i++)
    take(from, result + shape->arrays[i].at, array_bytes(result, &shape->arrays[i]));
}

static void take_problem(const unsigned char **from, struct problem *problem) {
  *problem = (struct problem){.status = STATUS_OK};
  take(from, &problem->status, sizeof problem->status);
  if (!problem->status)
    return;
  for (unsigned i = 0; i < TEXTS; i++)
    take(from, (char *)problem + texts[i], strlen((const char *)*from) + 1);
  take(from, &problem->has_space, sizeof problem->has_space);
  if (problem->has_space)
    take(from, &problem->space, sizeof problem->space);
}

void job_pack_read(const struct job_pack *pack, struct job_view *out) {
  const unsigned char *from = pack->data;
  take(&from, out, HEAD);
  take_result(&from, out);
  take_problem(&from, &out->problem);
}

enum job_state job_pack_state(const struct job_pack *pack) { return pack->state; }

size_t job_pack_bytes(const struct job_pack *pack) { return sizeof *pack + pack->bytes; }
