/* What ends an allocation's life: its time, or the death of its process. */
#include "service_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "service/state.h"

static const char *const devices[] = {"host:0=64MiB", "host:1=64MiB", NULL};

static int setup(void **state) {
  *state = fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

static bool is_gone(struct fixture *fixture, void *arg) {
  return !fixture_is_there(fixture, *(uint64_t *)arg);
}

static bool is_empty(struct fixture *fixture, void *arg) {
  struct view_figures figures = fixture_figures(fixture, arg);
  return figures.committed_bytes == 0 && figures.active_allocations == 0;
}

/* ---- leases ---- */

static void a_lease_ends_and_no_other_with_it(void **state) {
  struct alloc_params params = fixture_params("host:0", 2 * MIB);
  uint64_t ids[4];
  static const uint64_t seconds[] = {600, 1, 0, 300};
  for (unsigned i = 0; i < 4; i++) {
    params.ttl_seconds = seconds[i];
    ids[i] = fixture_made(*state, &params).id;
  }
  fixture_until(*state, is_gone, &ids[1]);
  assert_true(fixture_is_there(*state, ids[0]));
  assert_true(fixture_is_there(*state, ids[2]));
  assert_true(fixture_is_there(*state, ids[3]));
}

/* The heap of expiries keeps its order when those in the middle and at its top are freed. */
static void freed_leases_are_forgotten(void **state) {
  struct service *s = fixture_service(*state);
  struct alloc_params params = fixture_params("host:0", 256);
  uint64_t ids[200], last = 0;
  for (unsigned i = 0; i < 200; i++) {
    params.ttl_seconds = 1000 + (i * 7919) % 200;
    ids[i] = fixture_made(*state, &params).id;
  }
  for (unsigned i = 0; i < 200; i += 2)
    assert_int_equal(fixture_free(*state, ids[i], false), STATUS_OK);
  params.ttl_seconds = 1;
  uint64_t next = fixture_made(*state, &params).id;
  last = fixture_made(*state, &params).id;
  assert_int_equal(fixture_free(*state, next, false), STATUS_OK);
  fixture_until(*state, is_gone, &last);
  lock_take(&s->lock);
  assert_int_equal(s->alloc_ids.live, 100);
  lock_give(&s->lock);
  for (unsigned i = 1; i < 200; i += 2)
    assert_true(fixture_is_there(*state, ids[i]));
}

static void a_lease_waits_for_the_job_that_uses_it(void **state) {
  struct alloc_params params = fixture_params("host:0", 4096);
  params.ttl_seconds = 1;
  uint64_t busy = fixture_made(*state, &params).id, idle;
  fixture_mover(*state, FIXTURE_HOLDS);
  struct work_started started;
  struct problem problem;
  struct job_view view;
  assert_int_equal(work_fill_start(fixture_service(*state), &fixture_admin,
                                   &(struct work_fill){.allocation = busy, .value = 1}, &started,
                                   &problem),
                   STATUS_OK);
  idle = fixture_made(*state, &params).id;
  fixture_until(*state, is_gone, &idle);
  assert_true(fixture_is_there(*state, busy));
  fixture_mover(*state, FIXTURE_WORKS);
  fixture_end(started.job, &view);
  fixture_until(*state, is_gone, &busy);
}

/* ---- processes ---- */

static pid_t sleeping_child(void) {
  pid_t pid = fork();
  if (pid == 0) {
    pause();
    _exit(0);
  }
  return pid;
}

static void end_child(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
}

static void memory_of_a_process_goes_with_it(void **state) {
  static const uint64_t sizes[] = {100, 4096, 64 * KIB, 3 * MIB};
  pid_t pid = sleeping_child();
  struct alloc_params params = fixture_params("host:0", 1);
  params.owner_pid = (uint64_t)pid;
  for (unsigned i = 0; i < 20; i++) {
    params.size_bytes = sizes[i % 4];
    struct view_alloc made = fixture_made(*state, &params);
    assert_int_equal(made.owner.kind, VIEW_OWNER_PROCESS);
    assert_int_equal(made.owner.pid, pid);
  }
  struct view_alloc other = fixture_make(*state, "host:1", 4096);
  end_child(pid);
  fixture_until(*state, is_empty, "host:0");
  assert_true(fixture_is_there(*state, other.id));
  assert_int_equal(fixture_figures(*state, "host:0").cached_bytes, 0);
}

/* More than one batch, with survivors between them. */
static void persistent_memory_outlives_its_process(void **state) {
  pid_t pid = sleeping_child();
  struct alloc_params params = fixture_params("host:0", 256);
  params.owner_pid = (uint64_t)pid;
  uint64_t kept[100], lost = 0;
  for (unsigned i = 0; i < 2000; i++) {
    params.persistent = i % 20 == 0;
    uint64_t id = fixture_made(*state, &params).id;
    if (params.persistent)
      kept[i / 20] = id;
    else
      lost = id;
  }
  end_child(pid);
  fixture_until(*state, is_gone, &lost);
  struct view_figures figures;
  do
    figures = fixture_figures(*state, "host:0");
  while (figures.active_allocations > 100);
  assert_int_equal(figures.active_allocations, 100);
  for (unsigned i = 0; i < 100; i++) {
    assert_int_equal(fixture_look(*state, kept[i]).status, VIEW_ORPHANED);
    assert_int_equal(fixture_free(*state, kept[i], true), STATUS_OK);
  }
  assert_int_equal(fixture_figures(*state, "host:0").segments, 0);
}

static void what_a_job_uses_goes_when_the_job_ends(void **state) {
  pid_t pid = sleeping_child();
  struct alloc_params params = fixture_params("host:0", 4096);
  params.owner_pid = (uint64_t)pid;
  uint64_t busy = fixture_made(*state, &params).id, idle = fixture_made(*state, &params).id;
  struct work_started started;
  struct problem problem;
  struct job_view view;
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(work_fill_start(fixture_service(*state), &fixture_admin,
                                   &(struct work_fill){.allocation = busy, .value = 1}, &started,
                                   &problem),
                   STATUS_OK);
  end_child(pid);
  fixture_until(*state, is_gone, &idle);
  assert_int_equal(fixture_look(*state, busy).status, VIEW_BUSY);
  fixture_mover(*state, FIXTURE_WORKS);
  fixture_end(started.job, &view);
  assert_int_equal(view.state, JOB_COMPLETED);
  fixture_until(*state, is_empty, "host:0");
}

/* The process dies while its memory is being made. */
static void nothing_is_made_for_the_dead(void **state) {
  struct service *s = fixture_service(*state);
  pid_t pid = sleeping_child();
  struct alloc_params params = fixture_params("host:0", 4096);
  params.owner_pid = (uint64_t)pid;
  uint64_t first = fixture_made(*state, &params).id, second = fixture_made(*state, &params).id;
  assert_int_equal(fixture_free(*state, second, false), STATUS_OK);
  params.zero = true; /* where the freed one was: by the mover, who waits */
  struct alloc_made made;
  struct problem problem;
  struct job_view view;
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(alloc_make(s, &fixture_admin, &params, &made, &problem), STATUS_PENDING);
  fixture_until_held(*state, 1);
  end_child(pid);
  fixture_until(*state, is_gone, &first);
  fixture_mover(*state, FIXTURE_WORKS);
  fixture_end(made.job, &view);
  assert_int_equal(view.problem.status, STATUS_CANCELLED);
  fixture_until(*state, is_empty, "host:0");
  assert_int_equal(fixture_figures(*state, "host:0").segments, 0);
}

/* Owners come and go; none is mixed up with another. */
static void many_processes_come_and_go(void **state) {
  pid_t pids[24];
  uint64_t ids[24];
  for (unsigned i = 0; i < 24; i++) {
    pids[i] = sleeping_child();
    struct alloc_params params = fixture_params("host:0", 1000);
    params.owner_pid = (uint64_t)pids[i];
    ids[i] = fixture_made(*state, &params).id;
    fixture_write(*state, ids[i], i);
  }
  for (unsigned i = 0; i < 24; i += 2)
    end_child(pids[i]);
  for (unsigned i = 0; i < 24; i += 2)
    fixture_until(*state, is_gone, &ids[i]);
  for (unsigned i = 1; i < 24; i += 2) {
    assert_true(fixture_holds(*state, ids[i], i));
    end_child(pids[i]);
  }
  fixture_until(*state, is_empty, "host:0");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_lease_ends_and_no_other_with_it),      TEST(freed_leases_are_forgotten),
      TEST(a_lease_waits_for_the_job_that_uses_it), TEST(memory_of_a_process_goes_with_it),
      TEST(persistent_memory_outlives_its_process), TEST(what_a_job_uses_goes_when_the_job_ends),
      TEST(nothing_is_made_for_the_dead),           TEST(many_processes_come_and_go),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
