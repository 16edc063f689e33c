/*
 * recorder: pushes only; the history's thread does the rest. What happens thousands of times a
 * second (allocations come, move and go, jobs go on) is in the samples' sums, not kept one by one.
 */
#include "service/recorder.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/units.h"
#include "service/job_work.h"

void recorder_sample(struct service *s, uint32_t index, const struct state_sample *now) {
  if (!s->history)
    return;
  const struct state_device *device = &s->devices[index];
  const struct state_second *second = &device->seconds[device->sample_count % STATE_SAMPLES];
  struct history_sample sample = {.time = now->time,
                                  .used = now->used,
                                  .allocated = now->allocated,
                                  .committed = now->committed,
                                  .cached = device->cached,
                                  .external = device->external,
                                  .reserved = device->reserved,
                                  .largest = now->largest_free,
                                  .fragmentation =
                                      state_fragmentation(now->allocated, now->committed),
                                  .level = now->level,
                                  .made = second->made,
                                  .made_bytes = second->made_bytes,
                                  .freed = second->freed};
  snprintf(sample.device, sizeof sample.device, "%s", device->info->id);
  history_sample(s->history, &sample);
}

static bool is_kept(enum events_type type) {
  switch (type) {
  case EVENTS_ALLOCATION_CREATED:
  case EVENTS_ALLOCATION_FREED:
  case EVENTS_ALLOCATION_MOVED:
  case EVENTS_ALLOCATION_FILLED:
  case EVENTS_ALLOCATION_COPIED:
  case EVENTS_ALLOCATION_ATTACHED:
  case EVENTS_ALLOCATION_DETACHED:
  case EVENTS_JOB_PROGRESS:
    return false;
  default:
    return true;
  }
}

void recorder_event(void *service, const struct events_record *record) {
  struct service *s = service;
  if (!is_kept(record->type))
    return;
  struct history_event event = {.time = record->time,
                                .subject = record->subject,
                                .bytes = record->bytes,
                                .other = record->other};
  snprintf(event.type, sizeof event.type, "%s", events_word(record->type));
  if (record->device && record->device <= s->device_count)
    snprintf(event.device, sizeof event.device, "%s", s->devices[record->device - 1].info->id);
  snprintf(event.text, sizeof event.text, "%s", record->text);
  history_event(s->history, &event);
}

void recorder_transfer(struct service *s, struct job *job, const struct events_record *event) {
  struct job_view view;
  if (!s->history || event->type == EVENTS_TRANSFER_CANCELLED)
    return;
  job_look(job, &view);
  if (view.kind != JOB_TRANSFER || view.result.transfer.trial)
    return;
  uint64_t now = clock_real();
  struct history_transfer transfer = {.time = now,
                                      .bytes = event->bytes,
                                      .ns = view.started_at ? units_minus(now, view.started_at) : 0,
                                      .failed = event->type == EVENTS_TRANSFER_FAILED};
  snprintf(transfer.source, sizeof transfer.source, "%s", view.result.transfer.source_device);
  snprintf(transfer.target, sizeof transfer.target, "%s", view.result.transfer.target_device);
  if (view.result.transfer.path_known)
    snprintf(transfer.path, sizeof transfer.path, "%s",
             device_path_name(view.result.transfer.path));
  history_transfer(s->history, &transfer);
}

/* ---- questions ---- */

enum { ASKED, ANSWERED, LATE };

static void let_go(struct recorder_question *question, unsigned holds) {
  if (atomic_fetch_sub(&question->holders, holds) == holds)
    free(question);
}

void recorder_let_go(struct recorder_question *question) {
  if (question)
    let_go(question, 1);
}

/* The first to come ends the job. */
static void settle(struct recorder_question *question, int state) {
  int asked = ASKED;
  if (atomic_compare_exchange_strong(&question->state, &asked, state))
    job_finish(question->job, &(struct problem){.status = STATUS_OK});
}

/* The service waits for `questions` before it ends: nothing of it is touched afterwards. */
static void run(struct task *task) {
  struct recorder_question *question =
      (struct recorder_question *)((char *)task - offsetof(struct recorder_question, task));
  struct service *s = question->service;
  question->ask(s->history, question);
  settle(question, ANSWERED);
  let_go(question, queue_cancel(s->decision, &question->limit) ? 2 : 1);
  atomic_fetch_sub(&s->questions, 1);
}

static void expire(struct task *task) {
  struct recorder_question *question =
      (struct recorder_question *)((char *)task - offsetof(struct recorder_question, limit));
  settle(question, LATE);
  let_go(question, 1);
}

enum status recorder_ask(struct service *s, struct recorder_question *question, struct job **job,
                         struct problem *problem) {
  atomic_init(&question->holders, 1);
  if (atomic_fetch_add(&s->questions, 1) >= RECORDER_WAITING) {
    atomic_fetch_sub(&s->questions, 1);
    return problem_set(problem, STATUS_HISTORY_UNAVAILABLE,
                       "%d questions wait for the history already", RECORDER_WAITING);
  }
  question->job = job_make(s, &(struct job_params){.kind = JOB_REFRESH});
  if (!question->job) {
    atomic_fetch_sub(&s->questions, 1);
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the daemon is out of memory");
  }
  question->service = s;
  question->task.run = run;
  question->limit.run = expire;
  atomic_fetch_add(&question->holders, 2);
  *job = job_keep(question->job);
  queue_post_at(s->decision, &question->limit, clock_now() + RECORDER_LIMIT_S * CLOCK_SECOND);
  history_post(s->history, &question->task);
  return STATUS_PENDING;
}

enum status recorder_answer(const struct recorder_question *question, struct problem *problem) {
  if (atomic_load(&question->state) == ANSWERED)
    return STATUS_OK;
  return problem_set(problem, STATUS_HISTORY_UNAVAILABLE,
                     "the history did not answer within %d s: its disk hangs, or is slow",
                     RECORDER_LIMIT_S);
}
