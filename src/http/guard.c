/*
 * guard: names are compared as texts, never resolved. An Origin is ours only if it is a web origin
 * with the very authority that the Host header names, so another program's port is foreign too.
 */
#include "http/guard.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX 255

/* The host without its port; 0: malformed. */
static size_t host_size(const char *host) {
  size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
  if (n > strlen(host))
    return 0;
  const char *port = host + n;
  if (*port == ':')
    port += 1 + strspn(port + 1, "0123456789");
  return *port ? 0 : n;
}

static bool is_loopback(const char *host) {
  struct in_addr v4;
  if (inet_pton(AF_INET, host, &v4) == 1)
    return ntohl(v4.s_addr) >> 24 == 127;
  return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0;
}

bool guard_host(const struct guard *guard, const char *host) {
  char name[HOST_MAX + 1];
  size_t n = host_size(host);
  if (n == 0 || n > HOST_MAX)
    return false;
  memcpy(name, host, n);
  name[n] = 0;
  if (is_loopback(name))
    return true;
  for (unsigned i = 0; i < guard->count; i++)
    if (strcasecmp(guard->hosts[i], name) == 0)
      return true;
  return false;
}

static bool is_own_origin(const char *origin, const char *host) {
  size_t n = strncasecmp(origin, "http://", 7) == 0 ? 7 : 8;
  if (n == 8 && strncasecmp(origin, "https://", 8) != 0)
    return false;
  return host && strcasecmp(origin + n, host) == 0;
}

/* The value is `word`, apart from blanks and parameters behind it. */
static bool is_word(const char *value, const char *word) {
  size_t n = strlen(word);
  if (strncasecmp(value, word, n) != 0)
    return false;
  value += n + strspn(value + n, " \t");
  return !*value || *value == ';';
}

static bool only_reads(const char *method) {
  return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

enum status guard_check(const struct guard *guard, const struct head *head,
                        struct problem *problem) {
  const char *const *fields = head->fields;
  if (fields[HEAD_HOST] && !guard_host(guard, fields[HEAD_HOST]))
    return problem_set(
        problem, STATUS_HOST_NOT_ALLOWED,
        "the Host header names %.100s; it must be a loopback name or address, or one "
        "that is configured",
        fields[HEAD_HOST]);
  if (fields[HEAD_ORIGIN] && !is_own_origin(fields[HEAD_ORIGIN], fields[HEAD_HOST]))
    return problem_set(problem, STATUS_ORIGIN_NOT_ALLOWED, "requests from %.100s are refused",
                       fields[HEAD_ORIGIN]);
  if (!head_announced(head))
    return STATUS_OK;
  if (fields[HEAD_ENCODING] && !is_word(fields[HEAD_ENCODING], "identity"))
    return problem_set(problem, STATUS_UNSUPPORTED_MEDIA_TYPE,
                       "a body with Content-Encoding %.60s is not read", fields[HEAD_ENCODING]);
  if (!only_reads(head->method) &&
      !(fields[HEAD_TYPE] && is_word(fields[HEAD_TYPE], "application/json")))
    return problem_set(problem, STATUS_UNSUPPORTED_MEDIA_TYPE,
                       "a body must say that it is JSON: Content-Type: application/json");
  return STATUS_OK;
}
