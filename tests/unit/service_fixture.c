/*
 * The mover's tasks run on the loop's thread, where the daemon's run too. What must be waited for
 * is looked at again every few milliseconds: not every change of the service has an event.
 */
#include "service_fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/os_memfd.h"
#include "device/spec.h"
#include "inspector_fixture.h"
#include "service/state.h"

#define FIXTURE_PATIENCE_NS (20 * CLOCK_SECOND)

struct fixture {
  struct loop *loop;
  pthread_t thread;
  struct service *service;
  struct lock lock; /* of what follows */
  pthread_cond_t changed;
  enum fixture_mover mode;
  struct mover_task *held;
  unsigned held_count;
  bool stopped;
};

struct message {
  struct task task;
  struct fixture *fixture;
  uint64_t subject;
};

const struct caller fixture_admin = {
    .role = CALLER_ADMIN, .domain = 0, .domain_name = "uid:0", .correlation = "test"};

/* ---- the mover ---- */

static char *map(const struct mover_segment *segment) {
  void *bytes;
  if (os_memfd_map(segment->share, segment->size, true, &bytes)) /* a model's is sealed */
    assert_int_equal(os_memfd_map(segment->share, segment->size, false, &bytes), STATUS_OK);
  return bytes;
}

static void read_file(const struct mover_file *file, char *to) {
  for (uint64_t done = 0; done < file->size;) {
    ssize_t n = pread((int)file->share->value, to + done, file->size - done, (off_t)done);
    assert_true(n > 0);
    done += (uint64_t)n;
  }
}

/* Returns the sum of what is there now. */
static uint64_t do_move(struct mover_task *task, struct mover_move *move) {
  const struct mover_segment *to = &task->segments[move->to];
  char *target = map(to);
  if (task->action == MOVER_LOAD) {
    read_file(&task->files[move->from], target + move->to_offset);
  } else if (task->action == MOVER_FILL) {
    memset(target + move->to_offset, task->value, move->size);
  } else {
    const struct mover_segment *from = &task->segments[move->from];
    char *source = map(from);
    memcpy(target + move->to_offset, source + move->from_offset, move->size);
    os_memfd_unmap(source, from->size);
  }
  uint64_t sum = XXH3_64bits(target + move->to_offset, move->size);
  os_memfd_unmap(target, to->size);
  move->ok = true;
  task->bytes += move->size;
  return sum;
}

/* As a worker that sums up whole files: a load's is the one over theirs. */
static void do_moves(struct mover_task *task, uint32_t count) {
  uint64_t *sums = calloc(count + 1, sizeof *sums);
  for (uint32_t i = 0; i < count; i++)
    sums[i] = do_move(task, &task->moves[i]);
  task->fingerprint = sums[0];
  task->fingerprint_known = task->sums;
  task->checksum = XXH3_64bits(sums, count * sizeof *sums);
  task->checksum_known = task->action == MOVER_LOAD;
  free(sums);
}

static void do_task(struct mover_task *task, enum fixture_mover mode) {
  uint32_t count = mode == FIXTURE_HALF ? task->move_count / 2 : task->move_count;
  if (task->cancelled) {
    problem_set(&task->problem, STATUS_CANCELLED, "cancelled");
  } else if (mode == FIXTURE_FAILS) {
    problem_set(&task->problem, STATUS_WORKER_UNAVAILABLE, "the worker died");
  } else {
    do_moves(task, count);
    if (mode == FIXTURE_HALF)
      problem_set(&task->problem, STATUS_WORKER_UNAVAILABLE, "the worker died");
    task->verified = task->verify && mode != FIXTURE_DIFFERS;
    task->fingerprint ^= mode == FIXTURE_DIFFERS;
  }
  task->done(task);
}

static bool is_held(const struct mover_task *task, enum fixture_mover mode) {
  return (mode == FIXTURE_HOLDS && task->action != MOVER_CLEAR) ||
         (mode == FIXTURE_HOLDS_FILLS && task->action == MOVER_FILL);
}

static void run_task(struct task *posted) {
  struct mover_task *task =
      (struct mover_task *)((char *)posted - offsetof(struct mover_task, task));
  struct fixture *fixture = (struct fixture *)(uintptr_t)task->request;
  lock_take(&fixture->lock);
  enum fixture_mover mode = fixture->mode;
  if (is_held(task, mode) && !task->cancelled) {
    task->next = fixture->held;
    fixture->held = task;
    fixture->held_count++;
    pthread_cond_broadcast(&fixture->changed);
    task = NULL;
  }
  lock_give(&fixture->lock);
  if (task)
    do_task(task, mode);
}

static void submit(void *ctx, struct mover_task *task) {
  struct fixture *fixture = ctx;
  task->request = (uint64_t)(uintptr_t)fixture;
  task->task = (struct task){.run = run_task};
  loop_post(fixture->loop, &task->task);
}

/* The held task of a subject, or (0) one that need not be held any more. */
static struct mover_task *take_held(struct fixture *fixture, uint64_t subject) {
  LOCK_SCOPE(&fixture->lock);
  struct mover_task **link = &fixture->held;
  while (*link && (subject ? (*link)->subject != subject : is_held(*link, fixture->mode)))
    link = &(*link)->next;
  struct mover_task *task = *link;
  if (task) {
    *link = task->next;
    fixture->held_count--;
  }
  return task;
}

static void hear_cancel(struct task *posted) {
  struct message *message = (struct message *)posted;
  struct mover_task *task;
  while ((task = take_held(message->fixture, message->subject))) {
    task->cancelled = true;
    do_task(task, FIXTURE_WORKS);
  }
  free(message);
}

static void post_message(struct fixture *fixture, void (*run)(struct task *), uint64_t subject) {
  struct message *message = calloc(1, sizeof *message);
  *message = (struct message){.task.run = run, .fixture = fixture, .subject = subject};
  loop_post(fixture->loop, &message->task);
}

static void cancel(void *ctx, uint64_t subject) { post_message(ctx, hear_cancel, subject); }

static void run_drop(struct task *posted) {
  struct mover_drop *drop =
      (struct mover_drop *)((char *)posted - offsetof(struct mover_drop, task));
  drop->done(drop);
}

static void drop_segment(void *ctx, struct mover_drop *drop) {
  struct fixture *fixture = ctx;
  drop->task = (struct task){.run = run_drop};
  loop_post(fixture->loop, &drop->task);
}

static void numbers(void *ctx, const struct mover_numbers *values) {
  (void)ctx;
  assert_true(pressure_thresholds_valid(&values->levels));
}

static uint32_t list(void *ctx, struct view_worker *out, uint32_t max) {
  (void)ctx;
  (void)out;
  (void)max;
  return 0;
}

static enum status restart(void *ctx, const char *worker) {
  (void)ctx;
  (void)worker;
  return STATUS_WORKER_NOT_FOUND;
}

static void run_held(struct task *posted) {
  struct message *message = (struct message *)posted;
  struct fixture *fixture = message->fixture;
  lock_take(&fixture->lock);
  enum fixture_mover mode = fixture->mode;
  lock_give(&fixture->lock);
  for (struct mover_task *task; (task = take_held(fixture, 0));)
    do_task(task, mode);
  free(message);
}

void fixture_mover(struct fixture *fixture, enum fixture_mover mode) {
  lock_take(&fixture->lock);
  fixture->mode = mode;
  lock_give(&fixture->lock);
  post_message(fixture, run_held, 0);
}

/* Tasks leave on this thread alone. */
static void tell_held(struct task *posted) {
  struct message *message = (struct message *)posted;
  for (struct mover_task *task = message->fixture->held; task; task = task->next)
    task->progress(task, message->subject);
  free(message);
}

void fixture_progress(struct fixture *fixture, uint64_t bytes) {
  post_message(fixture, tell_held, bytes);
}

/* ---- life ---- */

static void *run_loop(void *arg) {
  loop_run(((struct fixture *)arg)->loop);
  return NULL;
}

struct fixture *fixture_start(const char *const *devices) {
  static const struct mover_table table = {.submit = submit,
                                           .cancel = cancel,
                                           .drop = drop_segment,
                                           .numbers = numbers,
                                           .list = list,
                                           .restart = restart};
  static const char *const model_dirs[] = {"/tmp", NULL};
  struct fixture *fixture = calloc(1, sizeof *fixture);
  struct spec specs[8];
  struct problem problem = {0};
  struct service_params params = {.devices = specs,
                                  .thresholds = PRESSURE_DEFAULTS,
                                  .max_allocations = 1 << 20,
                                  .model_dirs = model_dirs};
  for (; devices[params.device_count]; params.device_count++)
    assert_int_equal(
        spec_parse(devices[params.device_count], &specs[params.device_count], &problem), STATUS_OK);
  lock_init(&fixture->lock, LOCK_RANK_LEAF, "fixture");
  pthread_cond_init(&fixture->changed, NULL);
  assert_int_equal(loop_create(&fixture->loop), STATUS_OK);
  params.loop = fixture->loop;
  enum status status = service_create(&params, &fixture->service, &problem);
  if (status)
    fail_msg("%s", problem.text);
  service_set_mover(fixture->service, &table, fixture);
  service_set_inspector(fixture->service, &inspector_fixture, fixture->loop);
  pthread_create(&fixture->thread, NULL, run_loop, fixture);
  assert_int_equal(service_start(fixture->service), STATUS_OK);
  return fixture;
}

static void service_stopped(void *arg) {
  struct fixture *fixture = arg;
  lock_take(&fixture->lock);
  fixture->stopped = true;
  lock_give(&fixture->lock);
  loop_stop(fixture->loop);
}

static void begin_stop(struct task *posted) {
  struct message *message = (struct message *)posted;
  service_stop(message->fixture->service,
               &(struct service_stop_params){.done = service_stopped, .arg = message->fixture});
  free(message);
}

void fixture_stop(struct fixture *fixture) {
  post_message(fixture, begin_stop, 0);
  pthread_join(fixture->thread, NULL);
  assert_true(fixture->stopped);
  service_free(fixture->service);
  loop_free(fixture->loop);
  pthread_cond_destroy(&fixture->changed);
  lock_done(&fixture->lock);
  free(fixture);
}

struct service *fixture_service(const struct fixture *fixture) {
  return fixture->service;
}

/* ---- waiting ---- */

/* For a change, or a few milliseconds. */
static void doze(struct fixture *fixture) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += 5000000;
  if (until.tv_nsec >= 1000000000) {
    until.tv_nsec -= 1000000000;
    until.tv_sec++;
  }
  pthread_cond_timedwait(&fixture->changed, &fixture->lock.mutex, &until);
}

void fixture_until(struct fixture *fixture, bool (*is_true)(struct fixture *fixture, void *arg),
                   void *arg) {
  uint64_t deadline = clock_now() + FIXTURE_PATIENCE_NS;
  while (!is_true(fixture, arg)) {
    if (clock_now() > deadline)
      fail_msg("waited in vain");
    lock_take(&fixture->lock);
    doze(fixture);
    lock_give(&fixture->lock);
  }
}

static bool are_held(struct fixture *fixture, void *arg) {
  LOCK_SCOPE(&fixture->lock);
  return fixture->held_count >= *(unsigned *)arg;
}

void fixture_until_held(struct fixture *fixture, unsigned count) {
  fixture_until(fixture, are_held, &count);
}

struct waiter {
  struct job_waiter waiter; /* first */
  pthread_mutex_t mutex;
  pthread_cond_t cond;
  bool ready;
};

static void be_ready(struct job_waiter *job_waiter) {
  struct waiter *waiter = (struct waiter *)job_waiter;
  pthread_mutex_lock(&waiter->mutex);
  waiter->ready = true;
  pthread_cond_signal(&waiter->cond);
  pthread_mutex_unlock(&waiter->mutex);
}

void fixture_end(struct job *job, struct job_view *out) {
  struct waiter waiter = {.waiter.ready = be_ready,
                          .mutex = PTHREAD_MUTEX_INITIALIZER,
                          .cond = PTHREAD_COND_INITIALIZER};
  if (job_wait(job, &waiter.waiter)) {
    pthread_mutex_lock(&waiter.mutex);
    while (!waiter.ready)
      pthread_cond_wait(&waiter.cond, &waiter.mutex);
    pthread_mutex_unlock(&waiter.mutex);
  }
  job_look(job, out);
  job_give(job);
}

/* ---- operations ---- */

enum status fixture_allocate(struct fixture *fixture, const struct caller *caller,
                             const struct alloc_params *params, struct view_alloc *out,
                             struct problem *problem) {
  struct alloc_made made;
  struct problem own;
  struct job_view view;
  if (!problem)
    problem = &own;
  *problem = (struct problem){0};
  enum status status = alloc_make(fixture->service, caller, params, &made, problem);
  if (status == STATUS_OK && out)
    *out = made.answer.allocation;
  if (status != STATUS_PENDING)
    return status;
  fixture_end(made.job, &view);
  *problem = view.problem;
  if (!view.problem.status && out)
    *out = view.result.allocate.allocation;
  return view.problem.status;
}

struct alloc_params fixture_params(const char *device, uint64_t size) {
  struct alloc_params params = ALLOC_PARAMS_DEFAULT;
  snprintf(params.device, sizeof params.device, "%s", device);
  params.size_bytes = size;
  return params;
}

struct view_alloc fixture_made(struct fixture *fixture, const struct alloc_params *params) {
  struct view_alloc made;
  struct problem problem;
  if (fixture_allocate(fixture, &fixture_admin, params, &made, &problem))
    fail_msg("%s", problem.text);
  return made;
}

struct view_alloc fixture_make(struct fixture *fixture, const char *device, uint64_t size) {
  struct alloc_params params = fixture_params(device, size);
  return fixture_made(fixture, &params);
}

enum status fixture_free(struct fixture *fixture, uint64_t id, bool force) {
  struct alloc_victim victim = {id, force};
  struct alloc_freed freed;
  struct problem problem = {0};
  struct job_view view;
  enum status status = alloc_free(fixture->service, &fixture_admin, &victim, &freed, &problem);
  if (status != STATUS_PENDING)
    return status;
  fixture_end(freed.job, &view);
  return view.problem.status;
}

bool fixture_is_there(struct fixture *fixture, uint64_t id) {
  struct alloc_looked looked;
  struct problem problem;
  return !alloc_look(fixture->service, id, &looked, &problem);
}

struct view_alloc fixture_look(struct fixture *fixture, uint64_t id) {
  struct alloc_looked looked;
  struct problem problem;
  assert_int_equal(alloc_look(fixture->service, id, &looked, &problem), STATUS_OK);
  return looked.allocation;
}

struct view_figures fixture_figures(struct fixture *fixture, const char *device) {
  struct view_device view;
  struct problem problem;
  assert_int_equal(report_device(fixture->service, device, &view, &problem), STATUS_OK);
  return view.figures;
}

/* ---- bytes ---- */

/* Calls fn with the allocation's bytes, mapped as a client would. */
static bool with_bytes(struct fixture *fixture, uint64_t id,
                       bool (*fn)(uint8_t *bytes, uint64_t size, unsigned arg), unsigned arg) {
  struct service *s = fixture->service;
  void *bytes;
  struct share share;
  lock_take(&s->lock);
  const struct state_alloc *alloc = state_alloc(s, idmap_find(&s->alloc_ids, id));
  const struct state_segment *segment = state_segment(s, alloc->segment);
  uint64_t offset = state_record(s, alloc)->offset_bytes, size = state_record(s, alloc)->size_bytes;
  uint64_t whole = segment->size;
  enum status status = share_copy(&segment->share, &share);
  lock_give(&s->lock);
  assert_int_equal(status, STATUS_OK);
  assert_int_equal(os_memfd_map(&share, whole, true, &bytes), STATUS_OK);
  bool result = fn((uint8_t *)bytes + offset, size, arg);
  os_memfd_unmap(bytes, whole);
  share_close(&share);
  return result;
}

static uint8_t pattern(uint64_t i, unsigned seed) {
  return (uint8_t)((i * UINT64_C(2654435761) + seed * UINT64_C(40503)) >> 13);
}

static bool write_pattern(uint8_t *bytes, uint64_t size, unsigned seed) {
  for (uint64_t i = 0; i < size; i++)
    bytes[i] = pattern(i, seed);
  return true;
}

static bool has_pattern(uint8_t *bytes, uint64_t size, unsigned seed) {
  for (uint64_t i = 0; i < size; i++)
    if (bytes[i] != pattern(i, seed))
      return false;
  return true;
}

static bool has_value(uint8_t *bytes, uint64_t size, unsigned value) {
  for (uint64_t i = 0; i < size; i++)
    if (bytes[i] != value)
      return false;
  return true;
}

void fixture_write(struct fixture *fixture, uint64_t id, unsigned seed) {
  with_bytes(fixture, id, write_pattern, seed);
}

bool fixture_holds(struct fixture *fixture, uint64_t id, unsigned seed) {
  return with_bytes(fixture, id, has_pattern, seed);
}

bool fixture_is_all(struct fixture *fixture, uint64_t id, uint8_t value) {
  return with_bytes(fixture, id, has_value, value);
}
