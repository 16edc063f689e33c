/* bulletin: what workers are told about, and that it is silent while there is nothing to tell.
 * The events are the real service's; the loop that reads them is this test's. */
#include "daemon/bulletin.h"

#include "base/clock.h"
#include "base/id.h"
#include "service_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE (20 * CLOCK_SECOND)

struct heard {
  struct fixture *fixture;
  struct loop *loop;
  struct loop_timer *timer;
  struct bulletin *bulletin;
  char text[8192];
  unsigned lines, wanted;
  uint64_t deadline;
};

static void tell(void *arg, const struct buf *line) {
  struct heard *heard = arg;
  size_t used = strlen(heard->text);
  snprintf(heard->text + used, sizeof heard->text - used, "%.*s\n", (int)line->size, line->data);
  heard->lines++;
}

static void look(void *arg) {
  struct heard *heard = arg;
  if (heard->lines >= heard->wanted || clock_now() > heard->deadline)
    loop_stop(heard->loop);
}

/* Reads until that many lines were told. */
static void hear(struct heard *heard, unsigned lines) {
  heard->wanted = lines;
  heard->deadline = clock_now() + PATIENCE;
  loop_timer_start(heard->timer, 0, 2);
  loop_run(heard->loop);
  loop_timer_stop(heard->timer);
  assert_int_equal(heard->lines, lines);
}

static void assert_told(const struct heard *heard, const char *part) {
  if (!strstr(heard->text, part))
    fail_msg("no %s in %s", part, heard->text);
}

static int setup(void **state) {
  static const char *const devices[] = {"host:0=64MiB", "fake:0=64MiB", NULL};
  struct heard *heard = calloc(1, sizeof *heard);
  heard->fixture = fixture_start(devices);
  assert_int_equal(loop_create(&heard->loop), STATUS_OK);
  assert_int_equal(loop_timer(heard->loop, look, heard, &heard->timer), STATUS_OK);
  const struct bulletin_params params = {
      .loop = heard->loop, .service = fixture_service(heard->fixture), .tell = tell, .arg = heard};
  assert_int_equal(bulletin_create(&params, &heard->bulletin), STATUS_OK);
  *state = heard;
  return 0;
}

static int teardown(void **state) {
  struct heard *heard = *state;
  fixture_stop(heard->fixture);
  bulletin_free(heard->bulletin);
  loop_timer_free(heard->timer);
  loop_free(heard->loop);
  free(heard);
  return 0;
}

static void pressure_is_told_as_it_rises_and_as_it_falls(void **state) {
  struct heard *heard = *state;
  struct view_alloc most = fixture_make(heard->fixture, "fake:0", UINT64_C(60) << 20);
  hear(heard, 1);
  assert_told(heard, "{\"event\":\"memory.pressure\",\"data\":{\"device_id\":\"fake:0\","
                     "\"level\":\"high\",\"percent\":93.75,\"bytes_wanted\":15938356,"
                     "\"deadline_ms\":2000}}");
  assert_int_equal(fixture_free(heard->fixture, most.id, false), STATUS_OK);
  (void)fixture_figures(heard->fixture, "fake:0");
  hear(heard, 2);
  assert_told(heard, "\"level\":\"low\",\"percent\":0,\"bytes_wanted\":0");
}

static void a_transfer_is_told_at_its_start_and_at_its_end(void **state) {
  struct heard *heard = *state;
  struct view_alloc source = fixture_make(heard->fixture, "host:0", 4096);
  struct work_transfer params = {
      .source = "host:0", .target = "fake:0", .allocation = source.id, .size_bytes = 4096};
  struct work_started started;
  struct problem problem;
  struct job_view view;
  char id[ID_SIZE], part[256];
  assert_int_equal(work_transfer_start(fixture_service(heard->fixture), &fixture_admin, &params,
                                       &started, &problem),
                   STATUS_OK);
  fixture_end(started.job, &view);
  assert_int_equal(view.state, JOB_COMPLETED);
  hear(heard, 2);
  snprintf(part, sizeof part, "\"transfer_id\":\"%s\",\"status\":\"completed\"",
           id_format(ID_TRANSFER, view.id, id));
  assert_told(heard, part);
  assert_told(heard, "\"status\":\"in_progress\"");
  snprintf(part, sizeof part,
           "\"allocation_id\":\"%s\",\"model_id\":null,\"source\":\"host:0\","
           "\"target\":\"fake:0\",\"bytes\":4096}}\n",
           id_format(ID_ALLOCATION, source.id, id));
  assert_told(heard, part);
}

static void model_event(struct heard *heard, enum events_type type, uint8_t residency) {
  struct events_record event = {
      .type = (uint8_t)type, .subject = 0x1f0c000000000003, .detail = residency, .device = 2};
  events_add(service_events(fixture_service(heard->fixture)), &event);
}

static void what_becomes_of_models_is_told(void **state) {
  struct heard *heard = *state;
  model_event(heard, EVENTS_MODEL_READY, 0);
  model_event(heard, EVENTS_MODEL_PARKED, 1);
  model_event(heard, EVENTS_MODEL_UNLOADED, 2);
  hear(heard, 3);
  assert_string_equal(
      heard->text,
      "{\"event\":\"memory.model\",\"data\":{\"model_id\":\"m-1f0c000000000003\",\"state\":"
      "\"ready\",\"residency\":\"device\",\"device_id\":\"fake:0\"}}\n"
      "{\"event\":\"memory.model\",\"data\":{\"model_id\":\"m-1f0c000000000003\",\"state\":"
      "\"parked\",\"residency\":\"ram\",\"device_id\":\"fake:0\"}}\n"
      "{\"event\":\"memory.model\",\"data\":{\"model_id\":\"m-1f0c000000000003\",\"state\":"
      "\"unloaded\",\"residency\":\"disk\",\"device_id\":null}}\n");
}

static void allocations_are_no_news(void **state) {
  struct heard *heard = *state;
  for (unsigned i = 0; i < 100; i++) {
    struct view_alloc one = fixture_make(heard->fixture, "host:0", 256);
    assert_int_equal(fixture_free(heard->fixture, one.id, false), STATUS_OK);
  }
  model_event(heard, EVENTS_MODEL_READY, 0);
  hear(heard, 1);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(pressure_is_told_as_it_rises_and_as_it_falls),
      test(a_transfer_is_told_at_its_start_and_at_its_end),
      test(what_becomes_of_models_is_told),
      test(allocations_are_no_news),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
