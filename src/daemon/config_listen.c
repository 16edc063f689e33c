/*
 * config_listen: an address in numbers, a colon, a port; one with colons stands in brackets.
 */
#include "daemon/config_listen.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PORT_MAX 65535

static enum status parse_port(const char *text, uint16_t *out, struct problem *problem) {
  char *end;
  unsigned long port = strtoul(text, &end, 10);
  if (!isdigit((unsigned char)text[0]) || *end || port > PORT_MAX)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%.40s is no port (0 to %d)", text,
                       PORT_MAX);
  *out = (uint16_t)port;
  return STATUS_OK;
}

enum status config_listen_parse(const char *text, struct config_listen *out,
                                struct problem *problem) {
  struct config_listen listen;
  unsigned char binary[sizeof(struct in6_addr)];
  const char *colon = strrchr(text, ':');
  bool brackets = text[0] == '[' && colon && colon > text + 1 && colon[-1] == ']';
  const char *start = text + brackets, *end = colon ? colon - brackets : NULL;
  if (!colon || end == start || (size_t)(end - start) >= sizeof listen.address)
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "must be an address and a port, as in 127.0.0.1:7171 or [::1]:7171");
  memcpy(listen.address, start, (size_t)(end - start));
  listen.address[end - start] = '\0';
  if (!strcmp(listen.address, "localhost"))
    memcpy(listen.address, "127.0.0.1", sizeof "127.0.0.1");
  if (inet_pton(brackets ? AF_INET6 : AF_INET, listen.address, binary) != 1)
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "%.64s is no numeric address, as in 127.0.0.1:7171 or [::1]:7171",
                       listen.address);
  enum status status = parse_port(colon + 1, &listen.port, problem);
  if (!status)
    *out = listen;
  return status;
}
