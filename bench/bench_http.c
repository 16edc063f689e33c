/*
 * bench_http: libmicrohttpd with a fixed body, the peer that the daemon's HTTP door is held
 * against: the same library in the same shape (one epoll thread, an accept loop of its own),
 * nothing between.
 *
 *   bench_http BYTES    prints its port, serves until stdin ends
 */
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixed {
  struct MHD_Daemon *daemon;
  struct MHD_Response *response;
  int listener;
};

static enum MHD_Result answer(void *arg, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **state) {
  struct fixed *fixed = arg;
  (void)url, (void)method, (void)version, (void)upload;
  if (!*state) {
    *state = fixed;
    return MHD_YES;
  }
  if (*upload_size) {
    *upload_size = 0;
    return MHD_YES;
  }
  return MHD_queue_response(connection, MHD_HTTP_OK, fixed->response);
}

static void *accept_all(void *arg) {
  struct fixed *fixed = arg;
  struct sockaddr_in peer;
  for (;;) {
    socklen_t n = sizeof peer;
    int fd = accept4(fixed->listener, (struct sockaddr *)&peer, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
      return NULL;
    MHD_add_connection(fixed->daemon, fd, (struct sockaddr *)&peer, n);
  }
}

static unsigned listen_on_loopback(struct fixed *fixed) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof at;
  fixed->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fixed->listener < 0 || bind(fixed->listener, (struct sockaddr *)&at, n) ||
      listen(fixed->listener, 128) || getsockname(fixed->listener, (struct sockaddr *)&at, &n))
    return 0;
  return ntohs(at.sin_port);
}

int main(int argc, char **argv) {
  size_t size = argc > 1 ? strtoul(argv[1], NULL, 10) : 600;
  char *body = calloc(1, size + 1);
  struct fixed fixed = {0};
  pthread_t thread;
  unsigned port = listen_on_loopback(&fixed);
  if (!body || !port)
    return 1;
  memset(body, 'x', size);
  fixed.response = MHD_create_response_from_buffer(size, body, MHD_RESPMEM_PERSISTENT);
  MHD_add_response_header(fixed.response, "Content-Type", "application/json");
  fixed.daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET |
                                      MHD_USE_ITC | MHD_USE_SUSPEND_RESUME,
                                  0, NULL, NULL, answer, &fixed, MHD_OPTION_END);
  if (!fixed.daemon || pthread_create(&thread, NULL, accept_all, &fixed))
    return 1;
  printf("%u\n", port);
  fflush(stdout);
  while (getchar() != EOF)
    ;
  _exit(0);
}
