/* The door over loopback, before a fake ops: requests that are served, refused, slow, suspended. */
#include "http_ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define GET "GET /api/memory/status HTTP/1.1\r\nHost: localhost\r\n"
#define POST(path) "POST " path " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

static int setup(void **state) {
  *state = open_door(NULL, NULL);
  return 0;
}

static int setup_impatient(void **state) {
  const struct http_limits limits = {.idle_ms = 100, .receive_ms = 100, .send_ms = 100};
  *state = open_door(&limits, NULL);
  return 0;
}

static int setup_small(void **state) {
  const struct http_limits limits = {.connections = 2};
  *state = open_door(&limits, NULL);
  return 0;
}

static int setup_token(void **state) {
  const struct http_token token = {.name = "ci", .secret = "secret", .role = CALLER_WRITE};
  *state = open_door(NULL, &token);
  return 0;
}

static int teardown(void **state) {
  close_door(*state);
  return 0;
}

static const char *header(const struct door *door, const char *name) {
  return http_fixture_header(&door->answer, name);
}

/* ---- served ---- */

static void many_requests_over_one_connection(void **state) {
  struct door *door = *state;
  for (int i = 0; i < 100; i++) {
    SAY(door, GET "\r\n");
    hear(door, 200);
    assert_int_equal(door->answer.size, 600);
    assert_string_equal(header(door, "Content-Type"), "application/json");
  }
}

static void pipelined_requests_are_answered_in_order(void **state) {
  struct door *door = *state;
  for (int i = 0; i < 50; i++)
    SAY(door,
        "GET /thing/%d HTTP/1.1\r\nHost: localhost\r\n\r\n" POST(
            "/echo") "Content-Length: 3\r\n\r\nabc",
        i);
  for (int i = 0; i < 50; i++) {
    char expected[64];
    snprintf(expected, sizeof expected, "/thing/%d %d - -", i, i);
    hear(door, 200);
    assert_string_equal(door->answer.body, expected);
    hear(door, 200);
    assert_string_equal(door->answer.body, "abc");
  }
}

static void a_call_knows_path_query_and_key(void **state) {
  struct door *door = *state;
  SAY(door,
      "GET /thing/a%%20b?more=1+2 HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: k-1\r\n\r\n");
  hear(door, 200);
  assert_string_equal(door->answer.body, "/thing/a%20b a b 1 2 k-1");
  SAY(door, "GET /thing/a%%2Fb HTTP/1.1\r\nHost: localhost\r\n\r\n");
  hear(door, 200);
  assert_string_equal(door->answer.body, "/thing/a%2Fb a%2Fb - -");
}

static void correlation_ids_are_taken_or_made(void **state) {
  struct door *door = *state;
  SAY(door, GET "X-Correlation-ID: mine-1\r\n\r\n");
  hear(door, 200);
  assert_string_equal(header(door, "X-Correlation-ID"), "mine-1");
  SAY(door, GET "X-Correlation-ID: not mine\r\n\r\n");
  hear(door, 200);
  assert_int_equal(strlen(header(door, "X-Correlation-ID")), 16);
}

static void bodies_come_whole_or_in_chunks(void **state) {
  struct door *door = *state;
  SAY(door,
      POST("/echo") "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
  hear(door, 200);
  assert_string_equal(door->answer.body, "hello world");
  SAY(door, POST("/echo") "Content-Length: 0\r\n\r\n");
  hear(door, 200);
  assert_int_equal(door->answer.size, 0);
}

static void head_is_get_without_body(void **state) {
  struct door *door = *state;
  SAY(door, "HEAD /api/memory/status HTTP/1.1\r\nHost: localhost\r\n\r\n");
  hear(door, 200);
  assert_string_equal(header(door, "Content-Length"), "600");
  SAY(door, GET "\r\n");
  hear(door, 200);
}

static void the_root_is_a_page_with_a_policy(void **state) {
  struct door *door = *state;
  SAY(door, "GET / HTTP/1.1\r\nHost: memkeep.example:80\r\n\r\n");
  hear(door, 200);
  assert_string_equal(header(door, "Content-Security-Policy"),
                      "default-src 'self'; frame-ancestors 'none'");
  assert_string_equal(header(door, "X-Content-Type-Options"), "nosniff");
  assert_non_null(strstr(door->answer.body, "/openapi.json"));
  assert_int_equal(http_fixture_ask(door->port, "POST", "/"), 405);
}

/* ---- refused ---- */

static void what_is_not_there(void **state) {
  struct door *door = *state;
  SAY(door, "GET /nope?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
  hear(door, 404);
  assert_non_null(strstr(door->answer.body, "NOT_FOUND /nope "));
  SAY(door, "PATCH /api/memory/status HTTP/1.1\r\nHost: localhost\r\n\r\n");
  hear(door, 405);
  assert_string_equal(header(door, "Allow"), "GET, HEAD");
  SAY(door, "GET /ech%%zz HTTP/1.1\r\nHost: localhost\r\n\r\n");
  hear(door, 400);
  SAY(door, GET "Idempotency-Key: a b\r\n\r\n");
  hear(door, 400);
}

static void a_refused_body_leaves_the_connection_in_order(void **state) {
  struct door *door = *state;
  SAY(door, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc");
  hear(door, 415);
  SAY(door, POST("/nope") "Content-Length: 3\r\n\r\nabc" GET "\r\n");
  hear(door, 404);
  hear(door, 200);
}

static void shapes_that_can_be_read_in_two_ways_end_the_connection(void **state) {
  struct door *door = *state;
  static const char *const shapes[] = {
      "Content-Length: 3\r\nTransfer-Encoding: chunked",
      "Content-Length: 3\r\nContent-Length: 3",
      "Content-Length : 3",
      "Transfer-Encoding: xchunked",
      "Transfer-Encoding: chunked, identity",
      "X: y\r\n folded\r\nContent-Length: 3",
      "Content-Length: 3\r\nX: y\r\n folded",
      "Content-Length: 3\r\nHost: localhost",
      "Bad Header: 1\r\nContent-Length: 3",
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    struct http_client *client = http_fixture_connect(door->port);
    assert_true(http_fixture_say(client, POST("/echo") "%s\r\n\r\nabc", shapes[i]));
    http_fixture_hear(client, &door->answer);
    assert_int_equal(door->answer.status, 400);
    http_fixture_until_closed(client);
    http_fixture_close(client);
  }
}

static void a_nul_in_a_header_is_found_wherever_it_stands(void **state) {
  struct door *door = *state;
  static const char first[] = GET "X: a\0b\r\nY: z\r\n\r\n", last[] = GET "Y: z\r\nX: a\0b\r\n\r\n",
                    at_end[] = GET "X: a\0\r\n\r\n";
  const struct {
    const char *text;
    size_t size;
  } heads[] = {{first, sizeof first - 1}, {last, sizeof last - 1}, {at_end, sizeof at_end - 1}};
  for (int i = 0; i < 3; i++) {
    struct http_client *client = http_fixture_connect(door->port);
    assert_true(http_fixture_send(client, heads[i].text, heads[i].size));
    http_fixture_hear(client, &door->answer);
    assert_int_equal(door->answer.status, 400);
    http_fixture_close(client);
  }
  SAY(door, "\r\n" GET "X:\r\nY: \r\nZ:  z  \r\n\r\n");
  hear(door, 200);
}

static void a_nul_in_the_request_line_is_found(void **state) {
  struct door *door = *state;
  static const char target[] = "GET /health\0b HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    query[] = "GET /health?a=\0b HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    method[] = "GET\0b /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const struct {
    const char *text;
    size_t size;
  } heads[] = {{target, sizeof target - 1}, {query, sizeof query - 1}, {method, sizeof method - 1}};
  for (int i = 0; i < 3; i++) {
    struct http_client *client = http_fixture_connect(door->port);
    assert_true(http_fixture_send(client, heads[i].text, heads[i].size));
    http_fixture_hear(client, &door->answer);
    assert_int_equal(door->answer.status, 400);
    http_fixture_close(client);
  }
}

static void what_is_too_large_is_refused_and_the_answer_arrives(void **state) {
  struct door *door = *state;
  static char body[(1 << 20) + 1];
  SAY(door, POST("/echo") "Content-Length: 1048577\r\n\r\n");
  http_fixture_send(door->client, body, sizeof body);
  hear(door, 413);
  http_fixture_until_closed(door->client);
}

static void a_body_of_a_mebibyte_is_read(void **state) {
  struct door *door = *state;
  static char body[1 << 20];
  memset(body, 'x', sizeof body);
  SAY(door, POST("/echo") "Content-Length: 1048576\r\n\r\n");
  assert_true(http_fixture_send(door->client, body, sizeof body));
  hear(door, 200);
  assert_int_equal(door->answer.size, sizeof body);
}

static void an_announced_body_is_refused_before_it_comes(void **state) {
  struct door *door = *state;
  SAY(door, POST("/echo") "Content-Length: 100000000\r\n\r\n");
  hear(door, 413);
  http_fixture_until_closed(door->client);
}

static void chunks_are_counted(void **state) {
  struct door *door = *state;
  static char chunk[65536];
  memset(chunk, 'x', sizeof chunk);
  SAY(door, POST("/echo") "Transfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 20; i++) {
    SAY(door, "10000\r\n");
    assert_true(http_fixture_send(door->client, chunk, sizeof chunk));
    SAY(door, "\r\n");
  }
  SAY(door, "0\r\n\r\n" GET "\r\n");
  hear(door, 413);
  hear(door, 200);
}

static void headers_have_a_cap(void **state) {
  struct door *door = *state;
  static char filler[32000];
  memset(filler, 'x', sizeof filler - 1);
  SAY(door, GET "X: %s\r\n\r\n", filler);
  hear(door, 200);
  SAY(door, GET "X: %s\r\nY: %.800s\r\n\r\n", filler, filler);
  hear(door, 431);
  http_fixture_until_closed(door->client);
}

static void strangers_are_told_what_to_do(void **state) {
  struct door *door = *state;
  SAY(door, GET "\r\n");
  hear(door, 401);
  assert_string_equal(header(door, "WWW-Authenticate"), "Bearer");
  SAY(door, GET "Authorization: Bearer secret\r\n\r\n");
  hear(door, 200);
  assert_int_equal(http_fixture_ask(door->port, "GET", "/health"), 200);
  SAY(door, POST("/echo") "Content-Length: 3\r\n\r\nabc");
  hear(door, 401);
  http_fixture_until_closed(door->client);
}

static void tokens_change_while_it_runs(void **state) {
  struct door *door = *state;
  const struct http_token next = {.name = "ci", .secret = "other", .role = CALLER_READ};
  struct problem problem;
  assert_int_equal(http_set_tokens(door->http, &next, 1, &problem), STATUS_OK);
  SAY(door, GET "Authorization: Bearer secret\r\n\r\n");
  hear(door, 401);
  SAY(door, GET "Authorization: Bearer other\r\n\r\n");
  hear(door, 200);
}

/* ---- slow and many ---- */

static void who_sends_nothing_is_ended(void **state) {
  struct door *door = *state;
  http_fixture_until_closed(door->client);
}

/* Long before any deadline of this door; the end comes together with the last bytes. */
static void who_can_say_no_more_is_ended(void **state) {
  struct door *door = *state;
  static const char *const starts[] = {"", "rubbish", "\r\n\r\n",
                                       POST("/echo") "Content-Length: 100\r\n\r\nabc", GET "\r\n"};
  struct http_client *clients[5];
  for (int i = 0; i < 5; i++) {
    clients[i] = http_fixture_connect(door->port);
    assert_true(http_fixture_say(clients[i], "%s", starts[i]));
    http_fixture_half_close(clients[i]);
  }
  http_fixture_hear(clients[4], &door->answer);
  assert_int_equal(door->answer.status, 200);
  for (int i = 0; i < 5; i++) {
    http_fixture_until_closed(clients[i]);
    http_fixture_close(clients[i]);
  }
}

/* Byte after byte, so that inactivity alone would never end it. */
static void who_sends_slowly_is_ended(void **state) {
  struct door *door = *state;
  static const char *const starts[] = {"GE", GET "X: y",
                                       POST("/echo") "Content-Length: 900000\r\n\r\n"};
  for (int i = 0; i < 3; i++) {
    struct http_client *client = http_fixture_connect(door->port);
    bool lives = http_fixture_say(client, "%s", starts[i]);
    while (lives) {
      usleep(5000);
      lives = http_fixture_say(client, "x");
    }
    http_fixture_close(client);
  }
  assert_int_equal(http_fixture_ask(door->port, "GET", "/health"), 200);
}

static void who_waits_for_work_is_not_ended(void **state) {
  struct door *door = *state;
  SAY(door, POST("/later") "\r\n");
  sem_wait(&door->ops.arrived);
  struct http_client *idle = http_fixture_connect(door->port);
  http_fixture_until_closed(idle); /* so the deadlines have passed */
  http_fixture_close(idle);
  assert_int_equal(http_ops_finish(&door->ops), 1);
  hear(door, 200);
}

static void above_the_cap_there_is_a_503(void **state) {
  struct door *door = *state;
  SAY(door, GET "\r\n");
  hear(door, 200);
  struct http_client *second = http_fixture_connect(door->port);
  http_fixture_say(second, GET "\r\n");
  http_fixture_hear(second, &door->answer);
  assert_int_equal(door->answer.status, 200);
  struct http_client *third = http_fixture_connect(door->port);
  http_fixture_say(third, GET "\r\n");
  http_fixture_hear(third, &door->answer);
  assert_int_equal(door->answer.status, 503);
  assert_string_equal(header(door, "Retry-After"), "1");
  http_fixture_until_closed(third);
  http_fixture_close(third);
  http_fixture_close(second);
  while (http_fixture_ask(door->port, "GET", "/health") != 200)
    ; /* the place of the second is free as soon as its end was noticed */
}

/* ---- later ---- */

static void an_answer_may_come_later_from_another_thread(void **state) {
  struct door *door = *state;
  for (int i = 0; i < 20; i++) {
    SAY(door, POST("/later") "Content-Length: 2\r\n\r\n{}");
    sem_wait(&door->ops.arrived);
    assert_int_equal(http_ops_finish(&door->ops), 1);
    hear(door, 200);
    assert_string_equal(door->answer.body, "later");
  }
}

static void an_answer_may_come_before_the_call_has_returned(void **state) {
  struct door *door = *state;
  for (int i = 0; i < 20; i++) {
    SAY(door, POST("/now") "\r\n");
    hear(door, 200);
    assert_string_equal(door->answer.body, "now");
  }
}

static void others_are_served_meanwhile(void **state) {
  struct door *door = *state;
  SAY(door, POST("/later") "\r\n");
  sem_wait(&door->ops.arrived);
  assert_int_equal(http_fixture_ask(door->port, "GET", "/health"), 200);
  assert_int_equal(http_ops_finish(&door->ops), 1);
  hear(door, 200);
}

static void hanging_up_cancels_nothing(void **state) {
  struct door *door = *state;
  for (int i = 0; i < 20; i++) {
    struct http_client *client = http_fixture_connect(door->port);
    assert_true(http_fixture_say(client, POST("/later") "\r\n"));
    sem_wait(&door->ops.arrived);
    http_fixture_close(client);
  }
  assert_int_equal(http_ops_finish(&door->ops), 20);
  assert_int_equal(http_fixture_ask(door->port, "GET", "/health"), 200);
}

static void hanging_up_ends_a_wait_for_memory(void **state) {
  struct door *door = *state;
  struct http_client *client = http_fixture_connect(door->port);
  assert_true(http_fixture_say(client, POST("/memory") "\r\n"));
  sem_wait(&door->ops.arrived);
  http_fixture_close(client);
  sem_wait(&door->ops.abandoned);
  assert_int_equal(http_fixture_ask(door->port, "GET", "/health"), 200);
}

static void a_call_outlives_the_door(void **state) {
  struct door *door = *state;
  SAY(door, POST("/later") "\r\n");
  sem_wait(&door->ops.arrived);
  http_stop(door->http);
  http_fixture_hear(door->client, &door->answer);
  assert_int_equal(door->answer.status, 0);
  http_free(door->http);
  door->http = NULL;
  assert_int_equal(http_ops_finish(&door->ops), 1);
}

/* ---- life ---- */

static void a_taken_port_is_a_conflict(void **state) {
  struct door *door = *state;
  const struct http_params params = {.ops = &door->ops, .address = "127.0.0.1", .port = door->port};
  struct http *second;
  struct problem problem;
  assert_int_equal(http_create(&params, &second, &problem), STATUS_CONFLICT);
  assert_non_null(strstr(problem.text, "127.0.0.1"));
}

static void what_cannot_be_listened_on_is_refused(void **state) {
  struct door *door = *state;
  const struct http_params all[] = {
      {.ops = &door->ops, .address = "localhost"},
      {.ops = &door->ops, .address = "0.0.0.0"},
      {.ops = &door->ops, .address = "127.0.0.1", .certificate = "/nonexistent", .key = "/x"},
      {.ops = &door->ops, .address = "127.0.0.1", .certificate = "/etc/hostname"},
      {.ops = &door->ops,
       .address = "127.0.0.1",
       .certificate = "/etc/hostname",
       .key = "/etc/hostname"},
  };
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    struct http *second;
    struct problem problem;
    assert_int_equal(http_create(&all[i], &second, &problem), STATUS_INVALID_ARGUMENT);
  }
}

#define TEST(name, how) cmocka_unit_test_setup_teardown(name, how, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(many_requests_over_one_connection, setup),
      TEST(pipelined_requests_are_answered_in_order, setup),
      TEST(a_call_knows_path_query_and_key, setup),
      TEST(correlation_ids_are_taken_or_made, setup),
      TEST(bodies_come_whole_or_in_chunks, setup),
      TEST(head_is_get_without_body, setup),
      TEST(the_root_is_a_page_with_a_policy, setup),
      TEST(what_is_not_there, setup),
      TEST(a_refused_body_leaves_the_connection_in_order, setup),
      TEST(shapes_that_can_be_read_in_two_ways_end_the_connection, setup),
      TEST(a_nul_in_a_header_is_found_wherever_it_stands, setup),
      TEST(a_nul_in_the_request_line_is_found, setup),
      TEST(what_is_too_large_is_refused_and_the_answer_arrives, setup),
      TEST(a_body_of_a_mebibyte_is_read, setup),
      TEST(an_announced_body_is_refused_before_it_comes, setup),
      TEST(chunks_are_counted, setup),
      TEST(headers_have_a_cap, setup),
      TEST(strangers_are_told_what_to_do, setup_token),
      TEST(tokens_change_while_it_runs, setup_token),
      TEST(who_sends_nothing_is_ended, setup_impatient),
      TEST(who_can_say_no_more_is_ended, setup),
      TEST(who_sends_slowly_is_ended, setup_impatient),
      TEST(who_waits_for_work_is_not_ended, setup_impatient),
      TEST(above_the_cap_there_is_a_503, setup_small),
      TEST(an_answer_may_come_later_from_another_thread, setup),
      TEST(an_answer_may_come_before_the_call_has_returned, setup),
      TEST(others_are_served_meanwhile, setup),
      TEST(hanging_up_cancels_nothing, setup),
      TEST(hanging_up_ends_a_wait_for_memory, setup),
      TEST(a_call_outlives_the_door, setup),
      TEST(a_taken_port_is_a_conflict, setup),
      TEST(what_cannot_be_listened_on_is_refused, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
