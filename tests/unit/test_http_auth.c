#include "http/auth.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/in.h>

#include <cmocka.h>

/* What the SHA-256 of the name begins with, above the uids: the same in every daemon. */
#define DOMAIN_CI 0xb988151bU
#define DOMAIN_READER 0x9641093dU
#define DOMAIN_B 0x96e8233eU
#define DOMAIN_C 0x832c7d2eU

static const struct peer nobody = {.local = true, .reason = "not known"};

static int setup(void **state) {
  struct auth *auth;
  assert_int_equal(auth_create(true, &auth), STATUS_OK);
  *state = auth;
  return 0;
}

static int teardown(void **state) {
  auth_free(*state);
  return 0;
}

static struct http_token token(const char *name, const char *secret, enum caller_role role) {
  struct http_token made = {.role = role};
  snprintf(made.name, sizeof made.name, "%s", name);
  snprintf(made.secret, sizeof made.secret, "%s", secret);
  return made;
}

static void set(struct auth *auth, const struct http_token *tokens, unsigned count) {
  struct problem problem;
  assert_int_equal(auth_set(auth, tokens, count, &problem), STATUS_OK);
}

static void a_token_has_its_role_and_its_domain(void **state) {
  struct http_token tokens[] = {token("reader", "aaa", CALLER_READ),
                                token("ci", "bbb", CALLER_WRITE)};
  struct caller caller = {.role = CALLER_ADMIN};
  set(*state, tokens, 2);
  assert_null(auth_identify(*state, "Bearer bbb", &nobody, &caller));
  assert_int_equal(caller.role, CALLER_WRITE);
  assert_int_equal(caller.domain, DOMAIN_CI);
  assert_string_equal(caller.domain_name, "token:ci");
  assert_null(auth_identify(*state, "bearer  aaa", &nobody, &caller));
  assert_int_equal(caller.role, CALLER_READ);
  assert_int_equal(caller.domain, DOMAIN_READER);
}

static void anything_else_has_no_role(void **state) {
  static const char *const sent[] = {
      NULL,          "",          "Bearer", "Bearer ",    "Bearer aa",
      "Bearer aaaa", "Basic aaa", "aaa",    "Bearer AAA", "Bearer aa a"};
  struct http_token tokens[] = {token("reader", "aaa", CALLER_READ)};
  const struct peer root = {.local = true, .known = true, .uid = 0};
  set(*state, tokens, 1);
  for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) {
    struct caller caller = {.role = CALLER_ADMIN};
    assert_non_null(auth_identify(*state, sent[i], &root, &caller));
    assert_int_equal(caller.role, CALLER_NONE);
  }
}

/* printf %s aaa | sha256sum */
#define DIGEST "9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0"

static struct http_token hashed(const char *name, const char *sha256) {
  struct http_token made = {.role = CALLER_READ};
  snprintf(made.name, sizeof made.name, "%s", name);
  snprintf(made.sha256, sizeof made.sha256, "%s", sha256);
  return made;
}

static void a_digest_is_as_good_as_its_secret(void **state) {
  static const char *const digests[] = {
      DIGEST, "9834876DCFB05CB167A5C24953EBA58C4AC89B1ADF57F28F2F9D09AF107EE8F0"};
  for (int i = 0; i < 2; i++) {
    struct http_token reader = hashed("reader", digests[i]);
    struct caller caller = {.role = CALLER_NONE};
    set(*state, &reader, 1);
    assert_null(auth_identify(*state, "Bearer aaa", &nobody, &caller));
    assert_int_equal(caller.role, CALLER_READ);
    assert_non_null(auth_identify(*state, "Bearer " DIGEST, &nobody, &caller));
    assert_int_equal(caller.role, CALLER_NONE);
  }
}

static void what_is_no_digest_or_one_too_many_is_refused(void **state) {
  struct http_token bad[] = {hashed("a", "abc"), hashed("b", DIGEST), hashed("c", DIGEST)};
  struct http_token same[] = {token("x", "aaa", CALLER_ADMIN), hashed("y", DIGEST)};
  struct problem problem;
  bad[1].sha256[63] = 'g';
  snprintf(bad[2].secret, sizeof bad[2].secret, "aaa");
  for (int i = 0; i < 3; i++)
    assert_int_equal(auth_set(*state, &bad[i], 1, &problem), STATUS_INVALID_ARGUMENT);
  assert_int_equal(auth_set(*state, same, 2, &problem), STATUS_INVALID_ARGUMENT);
}

static void a_name_keeps_its_domain(void **state) {
  struct http_token first[] = {token("a", "1", CALLER_READ), token("b", "2", CALLER_READ)};
  struct http_token second[] = {token("c", "3", CALLER_READ), token("b", "4", CALLER_ADMIN)};
  struct caller caller;
  set(*state, first, 2);
  set(*state, second, 2);
  assert_null(auth_identify(*state, "Bearer 4", &nobody, &caller));
  assert_int_equal(caller.domain, DOMAIN_B);
  assert_null(auth_identify(*state, "Bearer 3", &nobody, &caller));
  assert_int_equal(caller.domain, DOMAIN_C);
  assert_non_null(auth_identify(*state, "Bearer 1", &nobody, &caller));
}

static void bad_lists_change_nothing(void **state) {
  struct http_token good = token("a", "1", CALLER_READ);
  struct http_token twice[] = {token("b", "2", CALLER_READ), token("b", "3", CALLER_READ)};
  struct http_token nameless = token("", "2", CALLER_READ),
                    secretless = token("b", "", CALLER_READ);
  struct http_token many[HTTP_TOKENS + 1] = {0};
  struct problem problem;
  struct caller caller;
  set(*state, &good, 1);
  assert_int_equal(auth_set(*state, twice, 2, &problem), STATUS_INVALID_ARGUMENT);
  assert_int_equal(auth_set(*state, &nameless, 1, &problem), STATUS_INVALID_ARGUMENT);
  assert_int_equal(auth_set(*state, &secretless, 1, &problem), STATUS_INVALID_ARGUMENT);
  assert_int_equal(auth_set(*state, many, HTTP_TOKENS + 1, &problem), STATUS_INVALID_ARGUMENT);
  assert_null(auth_identify(*state, "Bearer 1", &nobody, &caller));
}

static void a_foreign_address_needs_tokens(void **state) {
  (void)state;
  struct auth *auth;
  struct problem problem;
  assert_int_equal(auth_create(false, &auth), STATUS_OK);
  assert_int_equal(auth_set(auth, NULL, 0, &problem), STATUS_INVALID_ARGUMENT);
  auth_free(auth);
}

static void without_tokens_the_peer_decides(void **state) {
  const uint32_t own = geteuid();
  const struct peer ours = {.local = true, .known = true, .uid = own};
  const struct peer root = {.local = true, .known = true, .uid = 0};
  const struct peer other = {.local = true, .known = true, .uid = own + 12345};
  struct caller caller;
  assert_null(auth_identify(*state, "Bearer anything", &ours, &caller));
  assert_int_equal(caller.role, CALLER_ADMIN);
  assert_int_equal(caller.domain, own);
  assert_null(auth_identify(*state, NULL, &root, &caller));
  assert_int_equal(caller.domain, own);
  assert_non_null(auth_identify(*state, NULL, &other, &caller));
  assert_int_equal(caller.role, CALLER_NONE);
  assert_string_equal(auth_identify(*state, NULL, &nobody, &caller), nobody.reason);
}

/* ---- peer ---- */

static int listen_on(const struct sockaddr *at, socklen_t size) {
  int fd = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, at, size) || listen(fd, 4)) {
    close(fd);
    return -1;
  }
  return fd;
}

struct pair {
  int near, far;
};

static bool connect_over(int family, struct pair *out) {
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  } at = {0};
  socklen_t size = family == AF_INET ? sizeof at.v4 : sizeof at.v6;
  at.any.sa_family = (sa_family_t)family;
  if (family == AF_INET)
    at.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  else
    at.v6.sin6_addr = in6addr_loopback;
  int listener = listen_on(&at.any, size);
  if (listener < 0)
    return false;
  getsockname(listener, &at.any, &size);
  out->far = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(connect(out->far, &at.any, size), 0);
  out->near = accept(listener, NULL, NULL);
  assert_true(out->near >= 0);
  close(listener);
  return true;
}

static void the_kernel_knows_the_other_end(void **state) {
  (void)state;
  static const int families[] = {AF_INET, AF_INET6};
  for (int i = 0; i < 2; i++) {
    struct pair pair;
    struct peer peer;
    if (!connect_over(families[i], &pair))
      continue; /* a host without IPv6 */
    peer_look(pair.near, &peer);
    assert_true(peer.local);
    assert_true(peer.known);
    assert_int_equal(peer.uid, geteuid());
    close(pair.far);
    close(pair.near);
  }
}

/* For a socket without an owner the kernel says root. */
static void an_end_that_is_closed_is_nobodys(void **state) {
  (void)state;
  struct pair pair;
  struct peer peer;
  assert_true(connect_over(AF_INET, &pair));
  close(pair.far);
  peer_look(pair.near, &peer);
  assert_true(peer.local);
  assert_false(peer.known);
  assert_non_null(peer.reason);
  close(pair.near);
}

static void what_is_no_connection_has_no_peer(void **state) {
  (void)state;
  struct peer peer;
  int fds[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  peer_look(fds[0], &peer);
  assert_false(peer.local);
  assert_false(peer.known);
  close(fds[0]);
  close(fds[1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_token_has_its_role_and_its_domain, setup, teardown),
      cmocka_unit_test_setup_teardown(anything_else_has_no_role, setup, teardown),
      cmocka_unit_test_setup_teardown(a_digest_is_as_good_as_its_secret, setup, teardown),
      cmocka_unit_test_setup_teardown(what_is_no_digest_or_one_too_many_is_refused, setup,
                                      teardown),
      cmocka_unit_test_setup_teardown(a_name_keeps_its_domain, setup, teardown),
      cmocka_unit_test_setup_teardown(bad_lists_change_nothing, setup, teardown),
      cmocka_unit_test(a_foreign_address_needs_tokens),
      cmocka_unit_test_setup_teardown(without_tokens_the_peer_decides, setup, teardown),
      cmocka_unit_test(the_kernel_knows_the_other_end),
      cmocka_unit_test(an_end_that_is_closed_is_nobodys),
      cmocka_unit_test(what_is_no_connection_has_no_peer),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
