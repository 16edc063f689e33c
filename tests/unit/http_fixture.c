#include "http_fixture.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/in.h>

struct http_client {
  int fd;
  bool is_head;
  size_t size, shown; /* bytes in data, and those that were given out */
  char data[HTTP_FIXTURE_SPACE + 1];
};

struct http_client *http_fixture_connect(uint16_t port) {
  struct http_client *client = calloc(1, sizeof *client);
  const struct sockaddr_in at = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  assert_non_null(client);
  client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(connect(client->fd, (const struct sockaddr *)&at, sizeof at), 0);
  return client;
}

void http_fixture_close(struct http_client *client) {
  close(client->fd);
  free(client);
}

bool http_fixture_send(struct http_client *client, const char *data, size_t n) {
  client->is_head = n > 5 && memcmp(data, "HEAD ", 5) == 0;
  while (n) {
    ssize_t sent = send(client->fd, data, n, MSG_NOSIGNAL);
    if (sent <= 0)
      return false;
    data += sent;
    n -= (size_t)sent;
  }
  return true;
}

bool http_fixture_say(struct http_client *client, const char *format, ...) {
  static char text[65536];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  assert_in_range(n, 0, sizeof text - 1);
  return http_fixture_send(client, text, (size_t)n);
}

void http_fixture_half_close(struct http_client *client) { shutdown(client->fd, SHUT_WR); }

/* More bytes; false at the end. What was given out is forgotten. */
static bool read_more(struct http_client *client) {
  assert_true(client->size < HTTP_FIXTURE_SPACE);
  ssize_t n = recv(client->fd, client->data + client->size, HTTP_FIXTURE_SPACE - client->size, 0);
  if (n <= 0)
    return false;
  client->size += (size_t)n;
  client->data[client->size] = 0;
  return true;
}

static void forget_shown(struct http_client *client) {
  client->size -= client->shown;
  memmove(client->data, client->data + client->shown, client->size);
  client->data[client->size] = 0;
  client->shown = 0;
}

void http_fixture_hear_head(struct http_client *client, struct http_answer *out) {
  memset(out, 0, sizeof *out);
  out->body = "";
  forget_shown(client);
  const char *end;
  while (!(end = strstr(client->data, "\r\n\r\n")))
    if (!read_more(client))
      return;
  client->shown = (size_t)(end - client->data) + 4;
  assert_true(client->shown < sizeof out->head);
  memcpy(out->head, client->data, client->shown);
  assert_int_equal(strncmp(out->head, "HTTP/1.", 7), 0);
  out->status = (int)strtol(out->head + 9, NULL, 10);
}

void http_fixture_hear(struct http_client *client, struct http_answer *out) {
  static char body[HTTP_FIXTURE_SPACE + 1];
  http_fixture_hear_head(client, out);
  size_t from = client->shown;
  size_t n = client->is_head ? 0 : strtoul(http_fixture_header(out, "Content-Length"), NULL, 10);
  while (out->status && client->size < from + n)
    assert_true(read_more(client));
  memcpy(body, client->data + from, n);
  body[n] = 0;
  client->shown += n;
  out->body = body;
  out->size = n;
}

const char *http_fixture_until(struct http_client *client, const char *text) {
  static char found[65536];
  const char *at;
  forget_shown(client);
  while (!(at = strstr(client->data, text)))
    if (!read_more(client))
      return "";
  client->shown = (size_t)(at - client->data) + strlen(text);
  snprintf(found, sizeof found, "%.*s", (int)client->shown, client->data);
  return found;
}

void http_fixture_until_closed(struct http_client *client) {
  do
    client->size = client->shown = 0;
  while (read_more(client));
}

int http_fixture_ask(uint16_t port, const char *method, const char *path) {
  struct http_client *client = http_fixture_connect(port);
  struct http_answer answer;
  assert_true(http_fixture_say(client, "%s %s HTTP/1.1\r\nHost: localhost\r\n\r\n", method, path));
  http_fixture_hear(client, &answer);
  http_fixture_close(client);
  return answer.status;
}

const char *http_fixture_header(const struct http_answer *answer, const char *name) {
  static char value[1024];
  const char *line = strstr(answer->head, "\r\n");
  size_t n = strlen(name);
  value[0] = 0;
  for (; line; line = strstr(line + 2, "\r\n"))
    if (strncasecmp(line + 2, name, n) == 0 && line[2 + n] == ':') {
      const char *from = line + 3 + n + strspn(line + 3 + n, " ");
      snprintf(value, sizeof value, "%.*s", (int)strcspn(from, "\r"), from);
    }
  return value;
}
