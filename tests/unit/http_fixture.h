/*
 * http_fixture: a client of HTTP that sends what the test says, byte for byte, over a socket to
 * 127.0.0.1. It waits as long as it takes: a test that hangs is ended by ctest.
 */
#ifndef HTTP_FIXTURE_H
#define HTTP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define HTTP_FIXTURE_SPACE ((size_t)4 << 20)

struct http_client;

struct http_answer {
  int status;       /* 0: the connection was closed instead */
  char head[4096];  /* status line and headers, NUL-terminated */
  const char *body; /* NUL-terminated; until the next answer on this client */
  size_t size;
};

struct http_client *http_fixture_connect(uint16_t port);
void http_fixture_close(struct http_client *client);
/* Sends all of it; false: the other end has closed. */
bool http_fixture_send(struct http_client *client, const char *data, size_t n);
/* printf style; at most 64 KiB. */
bool http_fixture_say(struct http_client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Nothing more will be sent. */
void http_fixture_half_close(struct http_client *client);
/* The next answer with its whole body. */
void http_fixture_hear(struct http_client *client, struct http_answer *out);
/* Only up to the end of the headers. */
void http_fixture_hear_head(struct http_client *client, struct http_answer *out);
/* What comes next up to and with the text, as it came; "" at the end of the connection. */
const char *http_fixture_until(struct http_client *client, const char *text);
/* Waits for the end of the connection; what came before is lost. */
void http_fixture_until_closed(struct http_client *client);
/* One request without body on a connection of its own; the status. */
int http_fixture_ask(uint16_t port, const char *method, const char *path);
/* The value of a header, "" if it is not there; in a static buffer. */
const char *http_fixture_header(const struct http_answer *answer, const char *name);

#endif
