/* worker: one that rests: when it is started, and when it ends. How workers fare in a crowd is in
 * test_workers. */
#include "daemon/worker.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/views.h"
#include "service/events.h"

#define PATIENCE (30 * CLOCK_SECOND)
/* Says what it can, and that all went well. */
#define SERVE                                                                                      \
  "echo '{\"event\":\"hello\",\"data\":{\"protocol\":1,\"capabilities\":[\"memory.clear\"]}}'\n"   \
  "while read -r line; do id=${line#*\\\"request_id\\\":\\\"}; id=${id%%\\\"*}\n"                  \
  "case $line in *memory.clear*) test -e sick && kill -9 $$; until test ! -e slow; do\n"           \
  "sleep 0.01; done\n"                                                                             \
  "test -e lost && mv lost slow && echo "                                                          \
  "'{\"request_id\":\"'$id'\",\"success\":false,\"error_code\":'"                                  \
  "'\"DEVICE_UNAVAILABLE\"}' && continue;; esac\n"                                                 \
  "echo '{\"request_id\":\"'$id'\",\"success\":true,\"data\":{}}'; done\n"                         \
  "until test ! -e stays; do sleep 0.01; done\n"

struct fixture {
  char folder[64];
  const char *words[4], *environment[1];
  struct loop *loop;
  struct events *events;
  struct worker *worker;
  struct views views;
  struct loop_timer *timer;
  struct wire_initialize initialize;
  struct mover_task task;
  bool (*met)(struct fixture *fixture);
  uint64_t deadline;
  unsigned done, unheard, changes;
};

static struct fixture *current;

static void task_done(struct mover_task *task) {
  (void)task;
  current->done++;
}

static void unheard(void *arg, struct mover_task *task) {
  (void)task;
  ((struct fixture *)arg)->unheard++;
}

static void changed(void *arg) { ((struct fixture *)arg)->changes++; }

static void look(void *arg) {
  struct fixture *fixture = arg;
  if (fixture->met(fixture) || clock_now() > fixture->deadline)
    loop_stop(fixture->loop);
}

static void run_until(struct fixture *fixture, bool (*met)(struct fixture *fixture)) {
  fixture->met = met;
  fixture->deadline = clock_now() + PATIENCE;
  loop_timer_start(fixture->timer, 0, 2);
  loop_run(fixture->loop);
  loop_timer_stop(fixture->timer);
  assert_true(met(fixture));
}

static struct view_worker view(struct fixture *fixture) {
  struct view_worker out;
  views_begin(&fixture->views);
  worker_view(fixture->worker, &fixture->views);
  views_end(&fixture->views);
  assert_int_equal(views_list(&fixture->views, &out, 1), 1);
  return out;
}

static bool is_ready(struct fixture *fixture) { return worker_ready(fixture->worker); }
static bool is_gone(struct fixture *fixture) { return worker_ended(fixture->worker); }
static bool is_done(struct fixture *fixture) { return fixture->done; }
static bool has_ticked(struct fixture *fixture) { return fixture->changes > 3; }
static bool was_restarted(struct fixture *fixture) { return view(fixture).restarts; }
static bool is_leaving(struct fixture *fixture) {
  return view(fixture).state == VIEW_WORKER_STOPPED && view(fixture).pid;
}

static void flag(const struct fixture *fixture, const char *name, bool on) {
  char path[96];
  snprintf(path, sizeof path, "%s/%s", fixture->folder, name);
  FILE *file = on ? fopen(path, "w") : NULL;
  assert_true(on ? file && !fclose(file) : !unlink(path));
}

static int setup(void **state) {
  struct fixture *fixture = calloc(1, sizeof *fixture);
  log_set_level((enum log_level) - 1);
  snprintf(fixture->folder, sizeof fixture->folder, "/tmp/test_worker-XXXXXX");
  assert_non_null(mkdtemp(fixture->folder));
  assert_int_equal(loop_create(&fixture->loop), STATUS_OK);
  assert_int_equal(events_create(&fixture->events), STATUS_OK);
  assert_int_equal(loop_timer(fixture->loop, look, fixture, &fixture->timer), STATUS_OK);
  views_init(&fixture->views);
  fixture->initialize.numbers.levels = (struct pressure_thresholds)PRESSURE_DEFAULTS;
  *state = current = fixture;
  return 0;
}

static int teardown(void **state) {
  struct fixture *fixture = *state;
  char command[96];
  worker_stop(fixture->worker, 100);
  if (!worker_ended(fixture->worker))
    run_until(fixture, is_gone);
  worker_free(fixture->worker);
  loop_timer_free(fixture->timer);
  loop_free(fixture->loop);
  events_free(fixture->events);
  views_done(&fixture->views);
  snprintf(command, sizeof command, "rm -r %s", fixture->folder);
  assert_int_equal(system(command), 0);
  free(fixture);
  return 0;
}

static void make(struct fixture *fixture, uint64_t idle_ns) {
  static char script[1024];
  snprintf(script, sizeof script, "cd %s\n%s", fixture->folder, SERVE);
  fixture->words[0] = "/bin/sh";
  fixture->words[1] = "-c";
  fixture->words[2] = script;
  const struct worker_params params = {.loop = fixture->loop,
                                       .events = fixture->events,
                                       .name = "one",
                                       .argv = fixture->words,
                                       .environment = fixture->environment,
                                       .initialize = &fixture->initialize,
                                       .rests = true,
                                       .idle_ns = idle_ns,
                                       .changed = changed,
                                       .unheard = unheard,
                                       .arg = fixture};
  assert_int_equal(worker_create(&params, &fixture->worker), STATUS_OK);
  worker_start(fixture->worker);
}

/* Wants it, and gives it a task. */
static void submit(struct fixture *fixture) {
  worker_want(fixture->worker);
  run_until(fixture, is_ready);
  fixture->done = 0;
  fixture->task = (struct mover_task){.action = MOVER_CLEAR, .done = task_done};
  assert_true(worker_submit(fixture->worker, &fixture->task));
}

static void use(struct fixture *fixture) {
  submit(fixture);
  run_until(fixture, is_done);
  assert_int_equal(fixture->task.problem.status, STATUS_OK);
}

static void it_has_no_process_until_it_is_wanted(void **state) {
  struct fixture *fixture = *state;
  make(fixture, PATIENCE);
  assert_true(worker_ended(fixture->worker));
  assert_false(worker_coming(fixture->worker));
  assert_int_equal(view(fixture).state, VIEW_WORKER_STOPPED);
  assert_true(view(fixture).synchronized);
  worker_want(fixture->worker);
  assert_true(worker_coming(fixture->worker));
  use(fixture);
  int32_t pid = view(fixture).pid;
  use(fixture);
  assert_int_equal(view(fixture).pid, pid);
}

static void it_ends_when_it_is_idle(void **state) {
  struct fixture *fixture = *state;
  make(fixture, 0);
  use(fixture);
  run_until(fixture, is_gone);
  assert_int_equal(view(fixture).state, VIEW_WORKER_STOPPED);
  use(fixture);
  assert_int_equal(view(fixture).restarts, 0);
}

static void it_is_not_idle_while_it_works(void **state) {
  struct fixture *fixture = *state;
  make(fixture, 0);
  flag(fixture, "slow", true);
  submit(fixture);
  fixture->changes = 0; /* most that follow are ticks: it says nothing but how it is, once */
  run_until(fixture, has_ticked);
  assert_true(worker_ready(fixture->worker));
  flag(fixture, "slow", false);
  run_until(fixture, is_done);
  assert_int_equal(fixture->task.problem.status, STATUS_OK);
}

static void it_goes_when_it_has_lost_its_device(void **state) {
  struct fixture *fixture = *state;
  make(fixture, PATIENCE);
  flag(fixture, "lost", true);
  submit(fixture);
  run_until(fixture, is_gone);
  assert_int_equal(fixture->done, 1);
  assert_int_equal(fixture->task.problem.status, STATUS_DEVICE_UNAVAILABLE);
  assert_int_equal(view(fixture).state, VIEW_WORKER_STOPPED);
  flag(fixture, "slow", false);
  use(fixture);
  assert_int_equal(view(fixture).restarts, 0);
}

/* What was under way when it lost its device ends in that process; what comes then is for the next.
 */
static void it_does_not_go_while_it_works(void **state) {
  struct fixture *fixture = *state;
  struct mover_task second = {.action = MOVER_CLEAR, .done = task_done}, third = second;
  make(fixture, PATIENCE);
  flag(fixture, "lost", true);
  submit(fixture);
  assert_true(worker_submit(fixture->worker, &second));
  run_until(fixture, is_done);
  assert_int_equal(fixture->task.problem.status, STATUS_DEVICE_UNAVAILABLE);
  assert_false(worker_submit(fixture->worker, &third));
  fixture->done = 0;
  flag(fixture, "slow", false);
  run_until(fixture, is_gone);
  assert_int_equal(fixture->done, 1);
  assert_int_equal(second.problem.status, STATUS_OK);
}

static void who_wants_it_while_it_leaves_gets_the_next(void **state) {
  struct fixture *fixture = *state;
  make(fixture, 0);
  flag(fixture, "stays", true);
  use(fixture);
  run_until(fixture, is_leaving);
  int32_t pid = view(fixture).pid;
  worker_want(fixture->worker);
  assert_int_equal(view(fixture).state, VIEW_WORKER_STARTING);
  flag(fixture, "stays", false);
  use(fixture);
  assert_int_not_equal(view(fixture).pid, pid);
  assert_int_equal(view(fixture).restarts, 0);
}

static void one_that_does_not_leave_is_killed(void **state) {
  struct fixture *fixture = *state;
  make(fixture, 0);
  flag(fixture, "stays", true);
  use(fixture);
  run_until(fixture, is_gone);
  assert_int_equal(view(fixture).restarts, 0);
}

static void one_that_dies_comes_back_and_then_rests(void **state) {
  struct fixture *fixture = *state;
  make(fixture, 0);
  flag(fixture, "sick", true);
  submit(fixture);
  run_until(fixture, was_restarted);
  assert_int_equal(fixture->unheard, 1);
  run_until(fixture, is_gone);
  assert_int_equal(view(fixture).state, VIEW_WORKER_STOPPED);
  assert_int_equal(view(fixture).restarts, 1);
}

static void a_restart_starts_it(void **state) {
  struct fixture *fixture = *state;
  make(fixture, PATIENCE);
  worker_restart(fixture->worker);
  run_until(fixture, is_ready);
}

/* One that waits for its turn to be started anew is started once, and that counts once. */
static void a_restart_of_one_that_waits_is_one(void **state) {
  struct fixture *fixture = *state;
  make(fixture, PATIENCE);
  flag(fixture, "sick", true);
  submit(fixture);
  run_until(fixture, was_restarted);
  submit(fixture);
  run_until(fixture, is_gone);
  assert_int_equal(view(fixture).restarts, 1);
  worker_restart(fixture->worker);
  run_until(fixture, is_ready);
  assert_int_equal(view(fixture).restarts, 2);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(it_has_no_process_until_it_is_wanted),
      test(it_ends_when_it_is_idle),
      test(it_is_not_idle_while_it_works),
      test(it_goes_when_it_has_lost_its_device),
      test(it_does_not_go_while_it_works),
      test(who_wants_it_while_it_leaves_gets_the_next),
      test(one_that_does_not_leave_is_killed),
      test(one_that_dies_comes_back_and_then_rests),
      test(a_restart_starts_it),
      test(a_restart_of_one_that_waits_is_one),
  };
  signal(SIGPIPE, SIG_IGN); /* as line.h wants it */
  return cmocka_run_group_tests(tests, NULL, NULL);
}
