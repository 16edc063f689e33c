/* workers: real processes (shell scripts that speak the protocol, well or badly) under a real loop.
 * What is asserted: every task and every drop ends exactly once, and as contract 5 says. */
#include "daemon/workers.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/events.h"

#define PATIENCE (30 * CLOCK_SECOND)
#define CARD "cuda:0"
#define HELLO                                                                                      \
  "echo '{\"event\":\"hello\",\"data\":{\"protocol\":1,\"capabilities\":"                          \
  "[\"memory.fill\",\"memory.clear\"]}}'\n"
/* Reads requests; $id and $line are set in `body`, whose last resort is plain success. */
#define SERVE(body)                                                                                \
  "while read -r line; do id=${line#*\\\"request_id\\\":\\\"}; id=${id%%\\\"*}\n"                  \
  "case $line in " body "*) echo '{\"request_id\":\"'$id'\",\"success\":true,\"data\":{}}';;\n"    \
  "esac; done\n"
#define SAY(text) "echo '" text "'"
#define FILLED                                                                                     \
  "*memory.fill*) echo '{\"request_id\":\"'$id'\",\"success\":true,\"data\":{\"bytes\":64}}';;\n"
#define PROGRESS                                                                                   \
  "echo '{\"request_id\":\"'$id'\",\"event\":\"progress\",\"data\":{\"bytes_done\":7}}'\n"

struct fixture {
  char folder[64], own[96];
  struct loop *loop;
  struct events *events;
  struct workers *workers;
  struct loop_timer *timer;
  const struct mover_table *table;
  bool (*met)(struct fixture *fixture);
  uint64_t deadline;
  struct share memory;
  struct mover_segment segment;
  struct mover_move move;
  struct mover_task task;
  struct mover_drop drop;
  unsigned tasks_done, drops_done;
  uint64_t told;
  bool stopped;
};

static struct fixture *current;

static void task_done(struct mover_task *task) {
  (void)task;
  current->tasks_done++;
}

static void task_progress(struct mover_task *task, uint64_t bytes_done) {
  (void)task;
  current->told = bytes_done;
}

static void drop_done(struct mover_drop *drop) {
  (void)drop;
  current->drops_done++;
}

static void workers_stopped(void *arg) { ((struct fixture *)arg)->stopped = true; }

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

static int setup(void **state) {
  struct fixture *fixture = calloc(1, sizeof *fixture);
  log_set_level(LOG_LEVEL_ERROR);
  snprintf(fixture->folder, sizeof fixture->folder, "/tmp/test_workers-XXXXXX");
  assert_non_null(mkdtemp(fixture->folder));
  assert_int_equal(loop_create(&fixture->loop), STATUS_OK);
  assert_int_equal(events_create(&fixture->events), STATUS_OK);
  assert_int_equal(loop_timer(fixture->loop, look, fixture, &fixture->timer), STATUS_OK);
  fixture->table = workers_table();
  fixture->memory = (struct share){SHARE_MEMFD, memfd_create("test_workers", MFD_CLOEXEC)};
  fixture->segment = (struct mover_segment){
      .id = 1, .size = 4096, .device_id = "host:0", .share = &fixture->memory};
  fixture->move = (struct mover_move){.size = 64};
  fixture->task = (struct mover_task){.action = MOVER_FILL,
                                      .subject = 77,
                                      .segments = &fixture->segment,
                                      .segment_count = 1,
                                      .moves = &fixture->move,
                                      .move_count = 1,
                                      .progress = task_progress,
                                      .done = task_done};
  fixture->drop = (struct mover_drop){.segment = 1, .done = drop_done};
  *state = current = fixture;
  return 0;
}

static bool is_stopped(struct fixture *fixture) { return fixture->stopped; }

static int teardown(void **state) {
  struct fixture *fixture = *state;
  char command[96];
  if (!fixture->stopped && fixture->workers) {
    workers_stop(fixture->workers, 100, workers_stopped, fixture);
    run_until(fixture, is_stopped);
  }
  workers_free(fixture->workers);
  loop_timer_free(fixture->timer);
  loop_free(fixture->loop);
  events_free(fixture->events);
  share_close(&fixture->memory);
  snprintf(command, sizeof command, "rm -r %s", fixture->folder);
  assert_int_equal(system(command), 0);
  free(fixture);
  return 0;
}

static void write_script(struct fixture *fixture, const char *name, const char *text,
                         char path[96]) {
  snprintf(path, 96, "%s/%s", fixture->folder, name);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file, "#!/bin/sh\ncd %s\n%s", fixture->folder, text);
  fclose(file);
  assert_int_equal(chmod(path, 0700), 0);
}

/* Starts our own worker (NULL: none), and another one. */
static void start(struct fixture *fixture, const char *own, const char *other) {
  struct workers_command command = {.name = "other"};
  char path[96];
  struct problem problem;
  static const struct spec devices[] = {{.id = "host:0", .backend = "host", .size_bytes = 4096},
                                        {.id = CARD, .backend = "cuda"}};
  if (own)
    write_script(fixture, "own", own, fixture->own);
  if (other) {
    write_script(fixture, "other", other, path);
    snprintf(command.command, sizeof command.command, "  %s  one\ttwo ", path);
  }
  struct workers_params params = {.loop = fixture->loop,
                                  .events = fixture->events,
                                  .own = own ? fixture->own : NULL,
                                  .socket = "/nowhere",
                                  .commands = &command,
                                  .command_count = other ? 1 : 0,
                                  .mover_idle_ns = PATIENCE,
                                  .devices = devices,
                                  .device_count = 2,
                                  .numbers = {.levels = PRESSURE_DEFAULTS}};
  assert_int_equal(workers_create(&params, &fixture->workers, &problem), STATUS_OK);
  workers_start(fixture->workers);
}

static struct view_worker view(struct fixture *fixture, const char *name) {
  struct view_worker views[WORKERS_MAX];
  uint32_t count = fixture->table->list(fixture->workers, views, WORKERS_MAX);
  for (uint32_t i = 0; i < count; i++)
    if (!strcmp(views[i].id, name))
      return views[i];
  fail_msg("no worker %s", name);
  return views[0];
}

static bool task_ended(struct fixture *fixture) { return fixture->tasks_done; }
static bool drop_ended(struct fixture *fixture) { return fixture->drops_done; }
static bool own_ready(struct fixture *fixture) {
  return view(fixture, WORKERS_OWN).state == VIEW_WORKER_READY;
}
static bool other_ready(struct fixture *fixture) {
  return view(fixture, "other").state == VIEW_WORKER_READY;
}
static bool own_was_restarted(struct fixture *fixture) {
  return view(fixture, WORKERS_OWN).restarts;
}
static bool own_restarted_and_ready(struct fixture *fixture) {
  return own_was_restarted(fixture) && own_ready(fixture);
}
static bool progress_came(struct fixture *fixture) { return fixture->told; }

static void submit(struct fixture *fixture) {
  fixture->table->submit(fixture->workers, &fixture->task);
}

static void assert_ended(struct fixture *fixture, enum status status) {
  run_until(fixture, task_ended);
  assert_int_equal(fixture->task.problem.status, status);
  assert_int_equal(fixture->tasks_done, 1);
}

/* ---- tasks ---- */

static void a_task_waits_for_a_worker_that_comes(void **state) {
  struct fixture *fixture = *state;
  start(fixture, HELLO SERVE(FILLED), NULL);
  submit(fixture);
  assert_ended(fixture, STATUS_OK);
  assert_int_equal(fixture->task.bytes, 64);
}

static void without_a_worker_it_is_refused_at_once(void **state) {
  struct fixture *fixture = *state;
  start(fixture, NULL, HELLO SERVE(FILLED));
  run_until(fixture, other_ready);
  submit(fixture);
  assert_ended(fixture, STATUS_WORKER_UNAVAILABLE);
}

static void a_task_that_was_not_begun_survives_a_death(void **state) {
  struct fixture *fixture = *state;
  start(fixture,
        HELLO "test -e died && good=1\n" SERVE(
            "*memory.fill*) test $good || { : > died; kill -9 $$; }\n"
            "echo '{\"request_id\":\"'$id'\",\"success\":true,\"data\":{\"bytes\":64}}';;\n"),
        NULL);
  submit(fixture);
  assert_ended(fixture, STATUS_OK);
  assert_int_equal(view(fixture, WORKERS_OWN).restarts, 1);
}

static void one_that_was_begun_fails_with_its_worker(void **state) {
  struct fixture *fixture = *state;
  start(fixture, HELLO SERVE("*memory.fill*) " PROGRESS "kill -9 $$;;\n"), NULL);
  submit(fixture);
  assert_ended(fixture, STATUS_WORKER_UNAVAILABLE);
  assert_int_equal(fixture->told, 7);
  run_until(fixture, own_restarted_and_ready);
}

static void an_error_is_handed_on(void **state) {
  struct fixture *fixture = *state;
  start(fixture,
        HELLO SERVE("*memory.fill*) echo '{\"request_id\":\"'$id'\",\"success\":false,"
                    "\"error_code\":\"DEVICE_UNAVAILABLE\",\"error\":\"it fell off\"}';;\n"),
        NULL);
  submit(fixture);
  assert_ended(fixture, STATUS_DEVICE_UNAVAILABLE);
  assert_string_equal(fixture->task.problem.text, "it fell off");
}

static void an_error_that_says_ok_is_still_one(void **state) {
  struct fixture *fixture = *state;
  start(fixture,
        HELLO SERVE("*memory.fill*) echo '{\"request_id\":\"'$id'\",\"success\":false,"
                    "\"error_code\":\"OK\"}';;\n"),
        NULL);
  submit(fixture);
  assert_ended(fixture, STATUS_INTERNAL_ERROR);
}

static void cancelled_before_it_is_sent(void **state) {
  struct fixture *fixture = *state;
  start(fixture, "exec cat > /dev/null", NULL);
  submit(fixture);
  fixture->table->cancel(fixture->workers, 77);
  assert_ended(fixture, STATUS_CANCELLED);
}

static void cancelled_under_way(void **state) {
  struct fixture *fixture = *state;
  start(fixture,
        HELLO SERVE("*memory.fill*) fill=$id\n" PROGRESS ";;\n"
                    "*cancel*) echo '{\"request_id\":\"'$fill'\",\"success\":false,"
                    "\"error_code\":\"CANCELLED\",\"error\":\"cancelled\"}';;\n"),
        NULL);
  submit(fixture);
  run_until(fixture, progress_came);
  fixture->table->cancel(fixture->workers, 77);
  assert_ended(fixture, STATUS_CANCELLED);
}

static void a_stop_ends_what_waits(void **state) {
  struct fixture *fixture = *state;
  start(fixture, "exec cat > /dev/null", NULL);
  submit(fixture);
  workers_stop(fixture->workers, 100, workers_stopped, fixture);
  assert_ended(fixture, STATUS_WORKER_UNAVAILABLE);
  run_until(fixture, is_stopped);
}

/* ---- drops and clears ---- */

static void a_drop_ends_when_it_is_answered(void **state) {
  struct fixture *fixture = *state;
  start(fixture, HELLO SERVE(FILLED), NULL);
  submit(fixture);
  assert_ended(fixture, STATUS_OK);
  fixture->table->drop(fixture->workers, &fixture->drop);
  assert_int_equal(fixture->drops_done, 0);
  run_until(fixture, drop_ended);
  assert_int_equal(fixture->drops_done, 1);
}

static void a_death_drops_everything(void **state) {
  struct fixture *fixture = *state;
  start(fixture, HELLO SERVE(FILLED "*segment.drop*) kill -9 $$;;\n"), NULL);
  submit(fixture);
  assert_ended(fixture, STATUS_OK);
  fixture->table->drop(fixture->workers, &fixture->drop);
  run_until(fixture, drop_ended);
  assert_int_equal(fixture->drops_done, 1);
}

static void what_nobody_has_is_dropped_at_once(void **state) {
  struct fixture *fixture = *state;
  start(fixture, "exec cat > /dev/null", NULL);
  fixture->table->drop(fixture->workers, &fixture->drop);
  run_until(fixture, drop_ended);
}

static bool both_ready(struct fixture *fixture) {
  return own_ready(fixture) && other_ready(fixture);
}

static void clear_asks_every_worker(void **state) {
  struct fixture *fixture = *state;
  start(fixture, HELLO SERVE(""),
        HELLO SERVE("*memory.clear*) echo '{\"request_id\":\"'$id'\",\"success\":true,"
                    "\"data\":{\"cleared_bytes\":4096}}';;\n"));
  run_until(fixture, both_ready);
  fixture->task.action = MOVER_CLEAR;
  submit(fixture);
  assert_ended(fixture, STATUS_OK);
  assert_int_equal(fixture->task.cleared_count, 2);
  uint64_t sum = fixture->task.cleared[0].bytes + fixture->task.cleared[1].bytes;
  assert_int_equal(sum, 4096);
}

/* ---- the mover of a card ---- */

static void it_is_started_by_its_first_task(void **state) {
  struct fixture *fixture = *state;
  start(fixture, HELLO SERVE(FILLED), NULL);
  submit(fixture);
  assert_ended(fixture, STATUS_OK);
  assert_string_equal(fixture->task.worker, WORKERS_OWN);
  assert_int_equal(view(fixture, CARD).state, VIEW_WORKER_STOPPED);
  assert_int_equal(view(fixture, CARD).pid, 0);
  fixture->segment.device_id = CARD;
  fixture->task.worker[0] = '\0';
  fixture->tasks_done = 0;
  submit(fixture);
  assert_ended(fixture, STATUS_OK);
  assert_string_equal(fixture->task.worker, CARD);
  assert_int_not_equal(view(fixture, CARD).pid, view(fixture, WORKERS_OWN).pid);
}

/* ---- manners ---- */

static void ten_bad_lines_are_the_end(void **state) {
  struct fixture *fixture = *state;
  start(fixture,
        HELLO SAY("[1]\\nno\\n\\n{}\\n{\"a\":1}") "\n" SAY("1\\n2\\n3\\n4\\n5") "\n" SERVE(""),
        NULL);
  run_until(fixture, own_was_restarted);
}

static void answers_to_nobody_are_dropped(void **state) {
  struct fixture *fixture = *state;
  start(fixture,
        HELLO "for i in 1 2 3 4 5 6 7 8 9 10 11; do\n" SAY(
            "{\"request_id\":\"x-1\",\"success\":true}") "\ndone\n" SERVE(FILLED),
        NULL);
  submit(fixture);
  assert_ended(fixture, STATUS_OK);
  assert_int_equal(view(fixture, WORKERS_OWN).restarts, 0);
}

static void another_protocol_is_not_spoken(void **state) {
  struct fixture *fixture = *state;
  log_set_level((enum log_level) - 1);
  start(fixture, SAY("{\"event\":\"hello\",\"data\":{\"protocol\":2}}") "\n" SERVE(""), NULL);
  run_until(fixture, own_was_restarted);
  assert_int_not_equal(view(fixture, WORKERS_OWN).state, VIEW_WORKER_READY);
}

static void a_restart_by_request(void **state) {
  struct fixture *fixture = *state;
  start(fixture, HELLO SERVE(FILLED), NULL);
  run_until(fixture, own_ready);
  int32_t pid = view(fixture, WORKERS_OWN).pid;
  assert_int_equal(fixture->table->restart(fixture->workers, "nobody"), STATUS_WORKER_NOT_FOUND);
  assert_int_equal(fixture->table->restart(fixture->workers, WORKERS_OWN), STATUS_OK);
  submit(fixture);
  assert_ended(fixture, STATUS_OK);
  assert_int_not_equal(view(fixture, WORKERS_OWN).pid, pid);
}

static void one_that_hears_nothing_is_killed_at_the_end(void **state) {
  struct fixture *fixture = *state;
  start(fixture,
        "trap '' TERM\n" HELLO "read -r told\nexec 0</dev/null\nwhile :; do sleep 0.05; done\n",
        NULL);
  run_until(fixture, own_ready);
  int32_t pid = view(fixture, WORKERS_OWN).pid;
  workers_stop(fixture->workers, 100, workers_stopped, fixture);
  run_until(fixture, is_stopped);
  assert_int_equal(kill(pid, 0), -1);
}

static void a_program_that_is_not_there_is_failed(void **state) {
  struct fixture *fixture = *state;
  struct problem problem;
  log_set_level((enum log_level) - 1);
  struct workers_params params = {
      .loop = fixture->loop, .events = fixture->events, .own = "/no/such", .socket = "/nowhere"};
  assert_int_equal(workers_create(&params, &fixture->workers, &problem), STATUS_OK);
  workers_start(fixture->workers);
  assert_int_equal(view(fixture, WORKERS_OWN).state, VIEW_WORKER_FAILED);
}

static void the_command_is_split_at_blanks(void **state) {
  struct fixture *fixture = *state;
  start(fixture, NULL, "test \"$#:$1:$2\" = 2:one:two && " HELLO SERVE(""));
  run_until(fixture, other_ready);
  assert_string_equal(view(fixture, "other").capabilities, "memory.fill,memory.clear");
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(a_task_waits_for_a_worker_that_comes),
      test(without_a_worker_it_is_refused_at_once),
      test(a_task_that_was_not_begun_survives_a_death),
      test(one_that_was_begun_fails_with_its_worker),
      test(an_error_is_handed_on),
      test(an_error_that_says_ok_is_still_one),
      test(cancelled_before_it_is_sent),
      test(cancelled_under_way),
      test(a_stop_ends_what_waits),
      test(a_drop_ends_when_it_is_answered),
      test(a_death_drops_everything),
      test(what_nobody_has_is_dropped_at_once),
      test(clear_asks_every_worker),
      test(it_is_started_by_its_first_task),
      test(ten_bad_lines_are_the_end),
      test(answers_to_nobody_are_dropped),
      test(another_protocol_is_not_spoken),
      test(a_restart_by_request),
      test(one_that_hears_nothing_is_killed_at_the_end),
      test(a_program_that_is_not_there_is_failed),
      test(the_command_is_split_at_blanks),
  };
  signal(SIGPIPE, SIG_IGN); /* as line.h wants it */
  return cmocka_run_group_tests(tests, NULL, NULL);
}
