/*
 * A client against a server of the test: a thread that reads one line per connection and says what
 * it was told to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/client.h"

struct server {
  char folder[64], path[128];
  int listener;
  const char *says; /* NULL: nothing, until the client is gone */
  char heard[4096];
  pthread_t thread;
};

static void hear(struct server *server, int fd) {
  size_t n = 0;
  while (n < sizeof server->heard - 1 && !memchr(server->heard, '\n', n)) {
    ssize_t got = read(fd, server->heard + n, sizeof server->heard - 1 - n);
    if (got <= 0)
      break;
    n += (size_t)got;
  }
  server->heard[n] = '\0';
}

static void *serve(void *arg) {
  struct server *server = arg;
  int fd = accept(server->listener, NULL, NULL);
  char rest;
  hear(server, fd);
  if (server->says)
    (void)!send(fd, server->says, strlen(server->says), MSG_NOSIGNAL);
  else
    (void)!read(fd, &rest, 1);
  close(fd);
  return NULL;
}

static void begin(struct server *server, const char *says) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memset(server, 0, sizeof *server);
  strcpy(server->folder, "/tmp/test_client-XXXXXX");
  assert_non_null(mkdtemp(server->folder));
  snprintf(server->path, sizeof server->path, "%s/s", server->folder);
  memcpy(address.sun_path, server->path, strlen(server->path));
  server->says = says;
  server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(listen(server->listener, 1), 0);
  assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void finish(struct server *server) {
  pthread_join(server->thread, NULL);
  close(server->listener);
  unlink(server->path);
  rmdir(server->folder);
}

/* One call; the answer, and what it said. */
static enum status call(struct server *server, const struct client_request *request,
                        struct buf *answer) {
  struct client *client;
  struct problem problem = {.text = ""};
  assert_int_equal(client_connect(server->path, &client, &problem), STATUS_OK);
  enum status status = client_call(client, request, answer, &problem);
  if (status)
    assert_true(*problem.text);
  client_free(client);
  finish(server);
  return status;
}

static void what_is_sent_is_one_line_and_the_answer_comes_as_it_is(void **state) {
  (void)state;
  struct server server;
  struct buf answer BUF_CLEANUP;
  buf_init(&answer, CLIENT_LINE_MAX);
  begin(&server, "{\"success\":true,\"data\":{}}\n");
  const struct client_request request = {.action = "memory.free",
                                         .data = "{\"allocationId\":\"x\"}",
                                         .key = "k-1",
                                         .envelope = true,
                                         .detached = true};
  assert_int_equal(call(&server, &request, &answer), STATUS_OK);
  assert_string_equal(buf_text(&answer), "{\"success\":true,\"data\":{}}");
  assert_string_equal(server.heard, "{\"action\":\"memory.free\",\"data\":{\"allocationId\":\"x\"},"
                                    "\"idempotency_key\":\"k-1\",\"envelope\":true,"
                                    "\"detached\":true}\n");
}

static void what_is_not_said_is_not_sent(void **state) {
  (void)state;
  struct server server;
  struct buf answer BUF_CLEANUP;
  buf_init(&answer, CLIENT_LINE_MAX);
  begin(&server, "{\"success\":true}\n");
  assert_int_equal(call(&server, &(struct client_request){.action = "ping"}, &answer), STATUS_OK);
  assert_string_equal(server.heard, "{\"action\":\"ping\"}\n");
}

static void events_before_the_answer_are_passed_over(void **state) {
  (void)state;
  struct server server;
  struct buf answer BUF_CLEANUP;
  buf_init(&answer, CLIENT_LINE_MAX);
  begin(&server, "{\"event\":\"progress\",\"data\":{}}\n{\"success\":false,\"event\":1}\n");
  assert_int_equal(call(&server, &(struct client_request){.action = "ping"}, &answer), STATUS_OK);
  assert_string_equal(buf_text(&answer), "{\"success\":false,\"event\":1}");
}

static void a_daemon_that_hangs_up_is_not_found(void **state) {
  (void)state;
  struct server server;
  struct buf answer BUF_CLEANUP;
  buf_init(&answer, CLIENT_LINE_MAX);
  begin(&server, "{\"success\":tr");
  assert_int_equal(call(&server, &(struct client_request){.action = "ping"}, &answer),
                   STATUS_NOT_FOUND);
  assert_int_equal(answer.size, 0);
}

static void after_a_timeout_the_connection_is_of_no_more_use(void **state) {
  (void)state;
  struct server server;
  struct client *client;
  struct problem problem;
  struct buf answer BUF_CLEANUP;
  const struct client_request request = {.action = "ping", .timeout_ns = CLOCK_MS};
  buf_init(&answer, CLIENT_LINE_MAX);
  begin(&server, NULL);
  assert_int_equal(client_connect(server.path, &client, &problem), STATUS_OK);
  assert_int_equal(client_call(client, &request, &answer, &problem), STATUS_WORKER_TIMEOUT);
  assert_int_equal(client_call(client, &request, &answer, &problem), STATUS_INTERNAL_ERROR);
  client_free(client);
  finish(&server);
}

static void a_request_that_is_too_long_is_refused_here(void **state) {
  (void)state;
  struct server server;
  struct buf answer BUF_CLEANUP;
  buf_init(&answer, CLIENT_LINE_MAX);
  char *data = malloc(CLIENT_LINE_MAX + 1);
  assert_non_null(data);
  memset(data, ' ', CLIENT_LINE_MAX);
  data[CLIENT_LINE_MAX] = '\0';
  begin(&server, "");
  const struct client_request request = {.action = "ping", .data = data};
  assert_int_equal(call(&server, &request, &answer), STATUS_INVALID_ARGUMENT);
  assert_string_equal(server.heard, "");
  free(data);
}

static void where_nobody_listens_the_path_is_named(void **state) {
  (void)state;
  struct client *client;
  struct problem problem;
  assert_int_equal(client_connect("/nowhere/none.sock", &client, &problem), STATUS_NOT_FOUND);
  assert_non_null(strstr(problem.text, "/nowhere/none.sock"));
  assert_non_null(strstr(problem.text, "memkeepd"));
}

static void a_path_that_no_address_holds_is_refused(void **state) {
  (void)state;
  struct client *client;
  struct problem problem;
  char path[200];
  memset(path, 'x', sizeof path);
  path[0] = '/';
  path[sizeof path - 1] = '\0';
  assert_int_equal(client_connect(path, &client, &problem), STATUS_INVALID_ARGUMENT);
  assert_int_equal(client_connect("", &client, &problem), STATUS_INVALID_ARGUMENT);
}

static void the_default_path_is_what_the_environment_says(void **state) {
  (void)state;
  char path[32];
  setenv("MEMKEEP_SOCKET", "/tmp/here.sock", 1);
  assert_int_equal(client_default_path(path, sizeof path), STATUS_OK);
  assert_string_equal(path, "/tmp/here.sock");
  assert_int_equal(client_default_path(path, 14), STATUS_INVALID_ARGUMENT);
  setenv("MEMKEEP_SOCKET", "", 1);
  unsetenv("XDG_RUNTIME_DIR");
  assert_int_equal(client_default_path(path, 4), STATUS_INVALID_ARGUMENT);
  unsetenv("MEMKEEP_SOCKET");
}

static void a_socket_of_the_session_is_preferred_where_there_is_one(void **state) {
  (void)state;
  char folder[] = "/tmp/test_client-XXXXXX", path[128], found[128];
  assert_non_null(mkdtemp(folder));
  unsetenv("MEMKEEP_SOCKET");
  setenv("XDG_RUNTIME_DIR", folder, 1);
  snprintf(path, sizeof path, "%s/memkeep", folder);
  assert_int_equal(mkdir(path, 0700), 0);
  snprintf(path, sizeof path, "%s/memkeep/memkeep.sock", folder);
  close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  assert_int_equal(client_default_path(found, sizeof found), STATUS_OK);
  assert_string_equal(found, path);
  setenv("XDG_RUNTIME_DIR", folder + 1, 1); /* relative: not valid */
  assert_int_equal(client_default_path(found, sizeof found), STATUS_OK);
  assert_string_not_equal(found, path);
  unlink(path);
  *strrchr(path, '/') = '\0';
  rmdir(path);
  rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_sent_is_one_line_and_the_answer_comes_as_it_is),
      cmocka_unit_test(what_is_not_said_is_not_sent),
      cmocka_unit_test(events_before_the_answer_are_passed_over),
      cmocka_unit_test(a_daemon_that_hangs_up_is_not_found),
      cmocka_unit_test(after_a_timeout_the_connection_is_of_no_more_use),
      cmocka_unit_test(a_request_that_is_too_long_is_refused_here),
      cmocka_unit_test(where_nobody_listens_the_path_is_named),
      cmocka_unit_test(a_path_that_no_address_holds_is_refused),
      cmocka_unit_test(a_socket_of_the_session_is_preferred_where_there_is_one),
      cmocka_unit_test(the_default_path_is_what_the_environment_says),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
