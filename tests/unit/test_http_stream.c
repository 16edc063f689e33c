/* The event stream over loopback: what is told, to whom, and when a connection sleeps. */
#include "http_ops.h"

#include <stdio.h>
#include <unistd.h>

#define LISTEN "GET /api/memory/events HTTP/1.1\r\nHost: localhost\r\n"

static int setup(void **state) {
  const struct http_limits limits = {.streams = 3, .comment_ms = 600000};
  *state = open_door(&limits, NULL);
  return 0;
}

static int setup_impatient(void **state) {
  const struct http_limits limits = {.idle_ms = 500, .send_ms = 100, .comment_ms = 50};
  *state = open_door(&limits, NULL);
  return 0;
}

static int teardown(void **state) {
  close_door(*state);
  return 0;
}

static uint64_t happen(struct door *door, enum events_type type, uint64_t subject) {
  struct events_record record = {.type = (uint8_t)type, .subject = subject};
  return events_add(door->ops.events, &record);
}

static struct http_client *listen_to(struct door *door, const char *more) {
  struct http_client *client = http_fixture_connect(door->port);
  assert_true(http_fixture_say(client, LISTEN "%s\r\n", more));
  http_fixture_hear_head(client, &door->answer);
  if (door->answer.status == 200)
    http_fixture_until(client, ":\n\n"); /* it looks for events now */
  return client;
}

static void expect_event(struct http_client *client, uint64_t id, const char *event,
                         uint64_t subject) {
  char expected[128];
  snprintf(expected, sizeof expected, "id: %llu\nevent: %s\ndata: {\"subject\":%llu}\n\n",
           (unsigned long long)id, event, (unsigned long long)subject);
  assert_non_null(strstr(http_fixture_until(client, expected), expected));
}

static void it_is_an_event_stream(void **state) {
  struct door *door = *state;
  struct http_client *client = listen_to(door, "X-Correlation-ID: mine\r\n");
  assert_int_equal(door->answer.status, 200);
  assert_string_equal(http_fixture_header(&door->answer, "Content-Type"), "text/event-stream");
  assert_string_equal(http_fixture_header(&door->answer, "Cache-Control"), "no-store");
  assert_string_equal(http_fixture_header(&door->answer, "X-Correlation-ID"), "mine");
  http_fixture_close(client);
}

static void events_come_as_they_happen(void **state) {
  struct door *door = *state;
  struct http_client *client = listen_to(door, "");
  for (uint64_t i = 1; i <= 50; i++) {
    uint64_t id = happen(door, EVENTS_ALLOCATION_CREATED, i);
    expect_event(client, id, "allocation.created", i);
  }
  http_fixture_close(client);
}

static void a_flood_comes_in_order_and_whole(void **state) {
  struct door *door = *state;
  struct http_client *client = listen_to(door, "");
  for (uint64_t i = 1; i <= 5000; i++)
    happen(door, EVENTS_ALLOCATION_FREED, i);
  for (uint64_t i = 1; i <= 5000; i++) {
    char expected[64];
    snprintf(expected, sizeof expected, "{\"subject\":%llu}\n", (unsigned long long)i);
    const char *came = http_fixture_until(client, "}\n");
    assert_non_null(strstr(came, expected));
  }
  http_fixture_close(client);
}

static void all_listeners_hear_it(void **state) {
  struct door *door = *state;
  struct http_client *clients[3];
  for (int i = 0; i < 3; i++)
    clients[i] = listen_to(door, "");
  uint64_t id = happen(door, EVENTS_WORKER_READY, 7);
  for (int i = 0; i < 3; i++) {
    expect_event(clients[i], id, "worker.ready", 7);
    http_fixture_close(clients[i]);
  }
}

static void the_past_is_told_to_who_names_an_id(void **state) {
  struct door *door = *state;
  happen(door, EVENTS_ALLOCATION_CREATED, 1);
  happen(door, EVENTS_ALLOCATION_CREATED, 2);
  struct http_client *old = listen_to(door, "Last-Event-ID: 1\r\n");
  struct http_client *new = listen_to(door, "");
  expect_event(old, 2, "allocation.created", 2);
  uint64_t id = happen(door, EVENTS_ALLOCATION_CREATED, 3);
  expect_event(old, id, "allocation.created", 3);
  assert_null(strstr(http_fixture_until(new, "\"subject\":3"), "\"subject\":2"));
  http_fixture_close(old);
  http_fixture_close(new);
}

static void what_nobody_wants_is_left_out(void **state) {
  struct door *door = *state;
  struct http_client *client = listen_to(door, "");
  for (uint64_t i = 1; i <= 10000; i++)
    happen(door, EVENTS_DEVICE_CHANGED, i);
  happen(door, EVENTS_ALLOCATION_CREATED, 1);
  assert_null(strstr(http_fixture_until(client, "allocation.created"), "device.changed"));
  http_fixture_close(client);
}

static void who_falls_behind_the_ring_is_told(void **state) {
  struct door *door = *state;
  for (uint64_t i = 1; i <= EVENTS_KEPT + 10; i++)
    happen(door, EVENTS_DEVICE_CHANGED, i);
  struct http_client *client = listen_to(door, "Last-Event-ID: 4\r\n");
  assert_non_null(
      strstr(http_fixture_until(client, "\"lostEvents\":6}\n\n"), "id: 10\nevent: events.lost\n"));
  http_fixture_close(client);
}

static void an_id_of_an_earlier_daemon_starts_anew(void **state) {
  struct door *door = *state;
  happen(door, EVENTS_ALLOCATION_CREATED, 1);
  struct http_client *client = listen_to(door, "Last-Event-ID: 100\r\n");
  http_fixture_until(client, "event: events.lost\n");
  assert_non_null(strstr(http_fixture_until(client, "\n\n"), "\"lostEvents\":null"));
  expect_event(client, 1, "allocation.created", 1);
  http_fixture_close(client);
}

static void an_id_that_is_none_is_refused(void **state) {
  struct door *door = *state;
  struct http_client *client = listen_to(door, "Last-Event-ID: rubbish\r\n");
  assert_int_equal(door->answer.status, 400);
  http_fixture_close(client);
}

static void there_is_a_cap(void **state) {
  struct door *door = *state;
  struct http_client *clients[3];
  for (int i = 0; i < 3; i++)
    clients[i] = listen_to(door, "");
  struct http_client *fourth = listen_to(door, "");
  assert_int_equal(door->answer.status, 429);
  assert_string_equal(http_fixture_header(&door->answer, "Retry-After"), "1");
  http_fixture_close(fourth);
  for (int i = 0; i < 3; i++)
    http_fixture_close(clients[i]);
}

/* Without an event, and long before a comment is due. */
static void those_who_leave_make_room(void **state) {
  struct door *door = *state;
  for (int i = 0; i < 10; i++) {
    struct http_client *client = listen_to(door, "");
    while (door->answer.status == 429) {
      http_fixture_close(client);
      usleep(10000);
      client = listen_to(door, "");
    }
    assert_int_equal(door->answer.status, 200);
    http_fixture_close(client);
  }
}

static void a_quiet_stream_says_that_it_lives(void **state) {
  struct door *door = *state;
  struct http_client *client = listen_to(door, "");
  for (int i = 0; i < 10; i++) /* longer than an answer may take to be read */
    assert_non_null(strstr(http_fixture_until(client, ":\n\n"), ":\n\n"));
  http_fixture_close(client);
}

/* More than sockets can hold is written, and then a longer deadline than the stream's passes. */
static void who_does_not_read_is_ended(void **state) {
  struct door *door = *state;
  struct http_client *deaf = listen_to(door, "");
  struct http_client *other = listen_to(door, "");
  for (int flood = 0; flood < 3; flood++) {
    for (uint64_t i = 1; i <= 60000; i++)
      happen(door, EVENTS_ALLOCATION_CREATED, i);
    http_fixture_until(other, "{\"subject\":60000}\n");
  }
  struct http_client *idle = http_fixture_connect(door->port);
  http_fixture_until_closed(idle);
  http_fixture_until_closed(deaf);
  http_fixture_close(idle);
  http_fixture_close(deaf);
  http_fixture_close(other);
}

static void stopping_ends_them(void **state) {
  struct door *door = *state;
  struct http_client *client = listen_to(door, "");
  http_stop(door->http);
  http_fixture_until_closed(client);
  http_fixture_close(client);
  happen(door, EVENTS_ALLOCATION_CREATED, 1);
}

#define TEST(name, how) cmocka_unit_test_setup_teardown(name, how, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(it_is_an_event_stream, setup),
      TEST(events_come_as_they_happen, setup),
      TEST(a_flood_comes_in_order_and_whole, setup),
      TEST(all_listeners_hear_it, setup),
      TEST(the_past_is_told_to_who_names_an_id, setup),
      TEST(what_nobody_wants_is_left_out, setup),
      TEST(who_falls_behind_the_ring_is_told, setup),
      TEST(an_id_of_an_earlier_daemon_starts_anew, setup),
      TEST(an_id_that_is_none_is_refused, setup),
      TEST(there_is_a_cap, setup),
      TEST(those_who_leave_make_room, setup),
      TEST(a_quiet_stream_says_that_it_lives, setup_impatient),
      TEST(who_does_not_read_is_ended, setup_impatient),
      TEST(stopping_ends_them, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
