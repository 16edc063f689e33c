/*
 * bench_service: the service without a door, on one thread. Prints
 *
 *   service.rate_1k_per_s, service.rate_1m_per_s   allocate + free of 4 KiB per second, while 1,000
 *                                                  and while 1,000,000 other ones live
 *   service.bytes_per_allocation                   what the process grew by, each; not the memory
 *                                                  itself, which nobody touches
 *   service.bytes_per_finished_job                 the same for what is kept of a job that is over
 *
 * What is freed is drawn from all that live, so that the holes are everywhere.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/os_proc.h"
#include "base/units.h"
#include "device/spec.h"
#include "service/alloc.h"
#include "service/service.h"
#include "service/work.h"

#define BLOCK (4 * KIB)
#define LIVE 1000000
#define ROUNDS 300000
#define JOBS 9000 /* below what is kept */

struct waiter {
  struct job_waiter waiter; /* first */
  pthread_mutex_t mutex;
  pthread_cond_t cond;
  bool ready;
};

static const struct caller caller = {
    .role = CALLER_ADMIN, .domain_name = "uid:0", .correlation = "bench"};
static uint64_t ids[LIVE];

static void be_ready(struct job_waiter *job_waiter) {
  struct waiter *waiter = (struct waiter *)job_waiter;
  pthread_mutex_lock(&waiter->mutex);
  waiter->ready = true;
  pthread_cond_signal(&waiter->cond);
  pthread_mutex_unlock(&waiter->mutex);
}

static void end(struct job *job, struct job_view *view) {
  struct waiter waiter = {
      {.ready = be_ready}, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
  if (job_wait(job, &waiter.waiter)) {
    pthread_mutex_lock(&waiter.mutex);
    while (!waiter.ready)
      pthread_cond_wait(&waiter.cond, &waiter.mutex);
    pthread_mutex_unlock(&waiter.mutex);
  }
  job_look(job, view);
  job_give(job);
}

static void give_up(const char *what, const struct problem *problem) {
  fprintf(stderr, "bench_service: %s: %s\n", what, problem->text);
  exit(1);
}

static uint64_t allocate(struct service *s) {
  static const struct alloc_params params = {.device = "host:0",
                                             .size_bytes = BLOCK,
                                             .alignment_bytes = 256,
                                             .purpose = VIEW_BUFFERS,
                                             .priority = VIEW_PRIORITY_NORMAL};
  struct alloc_made made;
  struct problem problem;
  struct job_view view;
  enum status status = alloc_make(s, &caller, &params, &made, &problem);
  if (status == STATUS_OK)
    return made.answer.allocation.id;
  if (status != STATUS_PENDING)
    give_up("allocate", &problem);
  end(made.job, &view);
  if (view.problem.status)
    give_up("allocate", &view.problem);
  return view.result.allocate.allocation.id;
}

static void release(struct service *s, uint64_t id) {
  struct alloc_victim victim = {id, false};
  struct alloc_freed freed;
  struct problem problem;
  struct job_view view;
  enum status status = alloc_free(s, &caller, &victim, &freed, &problem);
  if (status == STATUS_PENDING)
    end(freed.job, &view);
  else if (status)
    give_up("free", &problem);
}

static uint64_t draw(void) {
  static uint64_t state = 88172645463325252;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static double rate(struct service *s, uint64_t live) {
  uint64_t start = clock_now();
  for (unsigned i = 0; i < ROUNDS; i++) {
    uint64_t *id = &ids[draw() % live];
    release(s, *id);
    *id = allocate(s);
  }
  return ROUNDS * 1e9 / (double)(clock_now() - start);
}

/* One that finds nothing lost: a job like any other, and nobody touches bytes. */
static void finish_one(struct service *s) {
  static const struct work_clear params = {.scope = WORK_CLEAR_LOST};
  struct work_started started;
  struct problem problem;
  struct job_view view;
  if (work_clear_start(s, &caller, &params, &started, &problem))
    give_up("clear", &problem);
  end(started.job, &view);
}

static double bytes_per_job(struct service *s) {
  uint64_t before = 0, after = 0;
  for (unsigned i = 0; i < JOBS / 100; i++)
    finish_one(s); /* what is made once is there */
  os_proc_resident(getpid(), &before);
  for (unsigned i = 0; i < JOBS; i++)
    finish_one(s);
  os_proc_resident(getpid(), &after);
  return (double)(after - before) / JOBS;
}

static void *run_loop(void *loop) {
  loop_run(loop);
  return NULL;
}

static struct service *start(struct loop *loop) {
  struct spec spec;
  struct service *s;
  struct problem problem;
  struct service_params params = {
      .devices = &spec, .device_count = 1, .loop = loop, .thresholds = PRESSURE_DEFAULTS};
  if (spec_parse("host:0=16GiB", &spec, &problem) || service_create(&params, &s, &problem))
    give_up("start", &problem);
  service_start(s);
  return s;
}

/* Ends without giving the million back one by one: the process's end does that. */
int main(void) {
  struct loop *loop;
  pthread_t thread;
  uint64_t before = 0, after = 0;
  if (loop_create(&loop) || pthread_create(&thread, NULL, run_loop, loop))
    return 1;
  struct service *s = start(loop);
  printf("service.bytes_per_finished_job=%.0f\n", bytes_per_job(s));
  for (unsigned i = 0; i < 1000; i++)
    ids[i] = allocate(s);
  printf("service.rate_1k_per_s=%.0f\n", rate(s, 1000));
  for (unsigned i = 0; i < LIVE; i++)
    ids[i] = i < 1000 ? ids[i] : 1; /* the bench's own pages are no growth of the service's */
  os_proc_resident(getpid(), &before);
  for (unsigned i = 1000; i < LIVE; i++)
    ids[i] = allocate(s);
  os_proc_resident(getpid(), &after);
  printf("service.bytes_per_allocation=%.0f\n", (double)(after - before) / (LIVE - 1000));
  printf("service.rate_1m_per_s=%.0f\n", rate(s, LIVE));
  fflush(stdout);
  _exit(0);
}
