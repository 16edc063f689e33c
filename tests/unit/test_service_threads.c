/* Many clients at once, each in a thread of its own. */
#include "service_fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const devices[] = {"host:0=64MiB", "fake:0=128MiB", NULL};

static int setup(void **state) {
  *state = fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

#define THREADS 6
#define ROUNDS 300

struct client {
  struct fixture *fixture;
  unsigned number;
  pthread_t thread;
};

/* Owners of their own; what they write must be there when they look again. */
static void *allocate_and_free(void *arg) {
  struct client *client = arg;
  struct caller caller = {.role = CALLER_WRITE, .domain = client->number % 3};
  snprintf(caller.domain_name, sizeof caller.domain_name, "uid:%u", caller.domain);
  struct alloc_filter filter = {.purpose = -1, .limit = 50};
  uint64_t ids[8] = {0};
  for (unsigned i = 0; i < ROUNDS; i++) {
    uint64_t *id = &ids[i % 8];
    struct alloc_params params = fixture_params("", i % 16 == 0 ? MIB : 100 + 40 * i);
    struct alloc_victim victim = {*id, false};
    struct alloc_freed freed;
    struct problem problem;
    struct job_view view;
    struct view_alloc made;
    if (*id && alloc_free(fixture_service(client->fixture), &caller, &victim, &freed, &problem) ==
                   STATUS_PENDING)
      fixture_end(freed.job, &view);
    *id = fixture_allocate(client->fixture, &caller, &params, &made, NULL) ? 0 : made.id;
    struct alloc_page page;
    if (i % 32 == 0 && !alloc_list(fixture_service(client->fixture), &filter, &page, &problem))
      free(page.allocations);
  }
  for (unsigned i = 0; i < 8; i++) {
    struct alloc_victim victim = {ids[i], false};
    struct alloc_freed freed;
    struct problem problem;
    struct job_view view;
    if (ids[i] && alloc_free(fixture_service(client->fixture), &caller, &victim, &freed,
                             &problem) == STATUS_PENDING)
      fixture_end(freed.job, &view);
  }
  return NULL;
}

static void many_at_once_leave_nothing_behind(void **state) {
  struct client clients[THREADS];
  for (unsigned i = 0; i < THREADS; i++) {
    clients[i] = (struct client){.fixture = *state, .number = i};
    pthread_create(&clients[i].thread, NULL, allocate_and_free, &clients[i]);
  }
  for (unsigned i = 0; i < THREADS; i++)
    pthread_join(clients[i].thread, NULL);
  for (unsigned i = 0; i < 2; i++) {
    struct view_figures figures = fixture_figures(*state, i ? "host:0" : "fake:0");
    assert_int_equal(figures.active_allocations, 0);
    assert_int_equal(figures.allocated_bytes + figures.committed_bytes, 0);
  }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(many_at_once_leave_nothing_behind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
