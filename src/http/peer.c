/*
 * peer: the other end's socket is the one whose source is our peer and whose destination is we.
 */
#include "http/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Both ends as the other end sees them; IPv4 in the first of four words. */
struct ends {
  int family;
  uint32_t source[4], target[4]; /* network order */
  uint16_t source_port, target_port;
};

union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

static bool take_end(const union address *address, uint32_t words[4], uint16_t *port) {
  if (address->any.sa_family == AF_INET) {
    words[0] = address->v4.sin_addr.s_addr;
    *port = address->v4.sin_port;
    return ntohl(words[0]) >> 24 == 127;
  }
  memcpy(words, &address->v6.sin6_addr, sizeof address->v6.sin6_addr);
  *port = address->v6.sin6_port;
  return address->any.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

/* False unless it is a loopback connection. */
static bool find_ends(int fd, struct ends *ends) {
  union address ours, theirs;
  socklen_t n = sizeof ours, m = sizeof theirs;
  memset(&ours, 0, sizeof ours);
  memset(&theirs, 0, sizeof theirs);
  if (getsockname(fd, &ours.any, &n) || getpeername(fd, &theirs.any, &m))
    return false;
  memset(ends, 0, sizeof *ends);
  ends->family = theirs.any.sa_family;
  return take_end(&theirs, ends->source, &ends->source_port) &&
         take_end(&ours, ends->target, &ends->target_port);
}

enum found { FOUND_NOTHING, FOUND_SOCKET, FOUND_NO_WAY };

static enum found exchange(int netlink, const struct ends *ends, uint32_t *uid) {
  struct {
    struct nlmsghdr header;
    struct inet_diag_req_v2 body;
  } ask = {
      .header = {.nlmsg_len = sizeof ask,
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST},
      .body = {.sdiag_family = (uint8_t)ends->family,
               .sdiag_protocol = IPPROTO_TCP,
               .idiag_states = UINT32_MAX,
               .id = {.idiag_sport = ends->source_port,
                      .idiag_dport = ends->target_port,
                      .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}},
  };
  memcpy(ask.body.id.idiag_src, ends->source, sizeof ends->source);
  memcpy(ask.body.id.idiag_dst, ends->target, sizeof ends->target);
  _Alignas(struct nlmsghdr) char answer[1024];
  if (send(netlink, &ask, sizeof ask, 0) != sizeof ask)
    return FOUND_NO_WAY;
  ssize_t n = recv(netlink, answer, sizeof answer, 0);
  const struct nlmsghdr *header = (const struct nlmsghdr *)answer;
  if (n < (ssize_t)sizeof *header)
    return FOUND_NO_WAY;
  if (header->nlmsg_type == NLMSG_ERROR && n >= (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)))
    return ((const struct nlmsgerr *)NLMSG_DATA(header))->error == -ENOENT ? FOUND_NOTHING
                                                                           : FOUND_NO_WAY;
  if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
      n < (ssize_t)NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
    return FOUND_NO_WAY;
  const struct inet_diag_msg *found = NLMSG_DATA(header);
  *uid = found->idiag_uid;
  return found->idiag_inode ? FOUND_SOCKET : FOUND_NOTHING;
}

static enum found ask_kernel(const struct ends *ends, uint32_t *uid) {
  int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (netlink < 0)
    return FOUND_NO_WAY;
  const struct timeval patience = {.tv_sec = 1};
  setsockopt(netlink, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  enum found found = exchange(netlink, ends, uid);
  close(netlink);
  return found;
}

/* "0100007F:1C03 ", as /proc/net/tcp writes an address. */
static size_t write_end(char *out, size_t size, int family, const uint32_t *words, uint16_t port) {
  size_t n = 0;
  for (int i = 0; i < (family == AF_INET ? 1 : 4); i++)
    n += (size_t)snprintf(out + n, size - n, "%08X", words[i]);
  return n + (size_t)snprintf(out + n, size - n, ":%04X ", ntohs(port));
}

/* The number that opens the n-th word. */
static unsigned long word(const char *text, unsigned n) {
  while (n--) {
    text += strspn(text, " ");
    text += strcspn(text, " ");
  }
  return strtoul(text, NULL, 10);
}

/* Behind the addresses: state, queues, timer, retransmits, uid, timeout, inode. */
static enum found search(FILE *table, const struct ends *ends, uint32_t *uid) {
  char line[512], key[96];
  size_t n = write_end(key, sizeof key, ends->family, ends->source, ends->source_port);
  write_end(key + n, sizeof key - n, ends->family, ends->target, ends->target_port);
  while (fgets(line, sizeof line, table)) {
    const char *at = strstr(line, key);
    if (!at)
      continue;
    at += strlen(key);
    *uid = (uint32_t)word(at, 4);
    return word(at, 6) ? FOUND_SOCKET : FOUND_NOTHING;
  }
  return FOUND_NOTHING;
}

static enum found read_table(const struct ends *ends, uint32_t *uid) {
  FILE *table = fopen(ends->family == AF_INET ? "/proc/net/tcp" : "/proc/net/tcp6", "re");
  if (!table)
    return FOUND_NO_WAY;
  enum found found = search(table, ends, uid);
  fclose(table);
  return found;
}

void peer_look(int fd, struct peer *out) {
  struct ends ends;
  *out = (struct peer){.reason = "the connection does not come from this host"};
  out->local = find_ends(fd, &ends);
  if (!out->local)
    return;
  enum found found = ask_kernel(&ends, &out->uid);
  if (found == FOUND_NO_WAY)
    found = read_table(&ends, &out->uid);
  out->known = found == FOUND_SOCKET;
  out->reason = found == FOUND_NO_WAY
                    ? "neither sock_diag nor /proc/net/tcp tells who is at the other end"
                    : "the other end was closed before it could be identified";
}
