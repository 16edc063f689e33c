/* Heads that can be read in two ways, and requests that come from a page in a browser. */
#include "http/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

static char *hosts[] = {"memkeep.example", "10.0.0.1"};
static const struct guard guard = {hosts, COUNT(hosts)};

/* name, value, name, value …, NULL */
static struct head head_of(const char *method, const char *const *lines) {
  struct head head = {.method = method, .version = "HTTP/1.1"};
  for (; *lines; lines += 2)
    head_add(&head, lines[0], strlen(lines[0]), lines[1]);
  head_check(&head);
  return head;
}

#define HEAD(method, ...) head_of(method, (const char *const[]){__VA_ARGS__, NULL})
#define POST(...) HEAD("POST", "Host", "localhost", __VA_ARGS__)

static enum status check(const struct head *head) {
  struct problem problem = {.status = STATUS_OK};
  enum status status = guard_check(&guard, head, &problem);
  assert_int_equal(problem.status, status);
  return status;
}

static void an_ordinary_head_has_no_flaw(void **state) {
  (void)state;
  struct head head = POST("content-length", "18", "X-Anything", "a\tb", "Accept", "*/*");
  assert_null(head.flaw);
  assert_int_equal(head_announced(&head), 18);
  head = POST("Transfer-Encoding", "Chunked");
  assert_null(head.flaw);
  assert_true(head_announced(&head) == UINT64_MAX);
  head = HEAD("GET", "Host", "localhost");
  assert_null(head.flaw);
  assert_int_equal(head_announced(&head), 0);
}

static void what_can_be_read_in_two_ways_is_a_flaw(void **state) {
  (void)state;
  const struct head heads[] = {
      POST("Content-Length", "18", "Transfer-Encoding", "chunked"),
      POST("Content-Length", "18", "Content-Length", "18"),
      POST("Transfer-Encoding", "chunked", "Transfer-Encoding", "chunked"),
      POST("Transfer-Encoding", "xchunked"),
      POST("Transfer-Encoding", "chunked, identity"),
      POST("Content-Length ", "18"),
      POST("Content-Length", "+18"),
      POST("Content-Length", "-1"),
      POST("Content-Length", ""),
      POST("Content-Length", "0x12"),
      POST("Content-Length", "18, 18"),
      POST("Content-Length", "36893488147419103250"),
      POST("Host", "localhost"),
      POST("Bad Header", "1"),
      POST("", "1"),
      POST("X", "a\rb"),
      POST("X", "a\x7f"),
      HEAD("GET", "Accept", "*/*"),
  };
  for (size_t i = 0; i < COUNT(heads); i++)
    assert_non_null(heads[i].flaw);
}

static void only_http_1_is_spoken(void **state) {
  (void)state;
  static const char *const versions[] = {"HTTP/9.9", "HTTP/1.2", "", "http/1.1"};
  for (size_t i = 0; i < COUNT(versions); i++) {
    struct head head = {.method = "GET", .version = versions[i]};
    head_add(&head, "Host", 4, "localhost");
    head_check(&head);
    assert_non_null(head.flaw);
  }
  struct head old = {.method = "GET", .version = "HTTP/1.0"};
  head_check(&old);
  assert_null(old.flaw);
}

static void hosts_that_are_ours(void **state) {
  (void)state;
  static const char *const ours[] = {
      "localhost", "LOCALHOST:7171", "127.0.0.1",       "127.0.0.1:80",      "127.1.2.3",
      "[::1]",     "[::1]:7171",     "Memkeep.Example", "memkeep.example:1", "10.0.0.1:7171"};
  for (size_t i = 0; i < COUNT(ours); i++)
    assert_true(guard_host(&guard, ours[i]));
}

static void hosts_that_are_not(void **state) {
  (void)state;
  static const char *const others[] = {"",
                                       "evil.example",
                                       "127.0.0.1.evil.example",
                                       "localhost.evil.example",
                                       "localhost@evil.example",
                                       "localhost:80:80",
                                       "localhost:x",
                                       "10.0.0.2",
                                       "127.1",
                                       "0.0.0.0",
                                       "[::1",
                                       "[::2]",
                                       "::1",
                                       " localhost"};
  for (size_t i = 0; i < COUNT(others); i++)
    assert_false(guard_host(&guard, others[i]));
}

static void a_foreign_host_is_refused(void **state) {
  (void)state;
  struct head head = HEAD("GET", "Host", "evil.example");
  assert_int_equal(check(&head), STATUS_HOST_NOT_ALLOWED);
}

static void foreign_origins_are_refused(void **state) {
  (void)state;
  static const char *const origins[] = {"https://evil.example",
                                        "null",
                                        "",
                                        "x",
                                        "file://",
                                        "http://",
                                        "http://localhost",
                                        "http://localhost:3000",
                                        "http://127.0.0.1:7171",
                                        "http://localhost:7171.evil.example",
                                        "http://localhost:7171/",
                                        "ftp://localhost:7171"};
  for (size_t i = 0; i < COUNT(origins); i++) {
    struct head head = HEAD("GET", "Host", "localhost:7171", "Origin", origins[i]);
    assert_int_equal(check(&head), STATUS_ORIGIN_NOT_ALLOWED);
  }
}

static void our_own_origin_is_not(void **state) {
  (void)state;
  struct head head = HEAD("GET", "Host", "localhost:7171", "Origin", "http://LOCALHOST:7171");
  assert_int_equal(check(&head), STATUS_OK);
  head = HEAD("GET", "Host", "localhost", "Origin", "https://localhost");
  assert_int_equal(check(&head), STATUS_OK);
}

static void a_body_must_be_json(void **state) {
  (void)state;
  struct head good[] = {
      POST("Content-Length", "2", "Content-Type", "application/json"),
      POST("Content-Length", "2", "Content-Type", "Application/JSON ; charset=utf-8"),
      POST("Content-Length", "2", "Content-Type", "application/json", "Content-Encoding",
           "identity"),
      POST("Content-Length", "0"),
      POST("Content-Length", "0", "Content-Type", "text/plain"),
      HEAD("GET", "Host", "localhost", "Content-Length", "2"),
  };
  struct head bad[] = {
      POST("Content-Length", "2"),
      POST("Transfer-Encoding", "chunked"),
      POST("Content-Length", "2", "Content-Type", "text/plain"),
      POST("Content-Length", "2", "Content-Type", "json"),
      POST("Content-Length", "2", "Content-Type", "application/jsonp"),
      POST("Content-Length", "2", "Content-Type", "application/json", "Content-Encoding", "gzip"),
      HEAD("GET", "Host", "localhost", "Content-Length", "2", "Content-Encoding", "br"),
  };
  for (size_t i = 0; i < COUNT(good); i++)
    assert_int_equal(check(&good[i]), STATUS_OK);
  for (size_t i = 0; i < COUNT(bad); i++)
    assert_int_equal(check(&bad[i]), STATUS_UNSUPPORTED_MEDIA_TYPE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_ordinary_head_has_no_flaw),
      cmocka_unit_test(what_can_be_read_in_two_ways_is_a_flaw),
      cmocka_unit_test(only_http_1_is_spoken),
      cmocka_unit_test(hosts_that_are_ours),
      cmocka_unit_test(hosts_that_are_not),
      cmocka_unit_test(a_foreign_host_is_refused),
      cmocka_unit_test(foreign_origins_are_refused),
      cmocka_unit_test(our_own_origin_is_not),
      cmocka_unit_test(a_body_must_be_json),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
