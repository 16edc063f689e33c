/*
 * server: libmicrohttpd in the shape that was measured (epoll, one thread, no listener of its own,
 * suspend and resume). What it does not do is done here.
 *
 * It takes the request line and the headers apart in place, in one block of memory, and a NUL in
 * one of them cuts it short for us but not for a proxy before us. So each part must end where the
 * next one begins.
 *
 * It closes a connection whose body it did not read, which resets it. So a second descriptor keeps
 * the connection open until the other end has taken the answer (drain.h).
 *
 * It takes 128 events at a time, and waits for more before it looks at any of them if it got as
 * many; where there are no more, it sleeps on requests that are there. So while that many sockets
 * are open it is nudged again and again by a connection that is closed already.
 *
 * Its limit of connections must never be reached (0.9.75 can stop for good there); link.h has ours.
 */
#include "http/server.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <fcntl.h>

#define LIMIT_NEVER_REACHED (1u << 20)
#define HEAD_MAX ((size_t)32 << 10)
#define POOL                                                                                       \
  ((size_t)48 << 10) /* of a connection: the head, what is made of it, an answer's head */
#define PEM_MAX 65536

struct server {
  struct MHD_Daemon *daemon;
  struct server_calls calls;
  struct links *links;
  struct drain *drain;
  char certificate[PEM_MAX], key[PEM_MAX];
};

static struct MHD_Connection *connection_of(const struct server_request *request) {
  return (struct MHD_Connection *)request->channel;
}

/* ---- headers ---- */

struct reading {
  struct head *head;
  const char *end; /* of the part before, with one NUL */
};

/* Between two parts of the head stand NULs by now, and nothing else. */
static void check_place(struct reading *reading, const char *next, ptrdiff_t most) {
  const char *at = reading->end;
  ptrdiff_t between = next - at;
  while (between >= 0 && at < next && !*at)
    at++;
  if ((between < 0 || between > most || at < next) && !reading->head->flaw)
    reading->head->flaw = "the request line or a header holds a NUL, or a header is folded";
}

static enum MHD_Result read_header(void *arg, enum MHD_ValueKind kind, const char *name, size_t n,
                                   const char *value, size_t size) {
  struct reading *reading = arg;
  (void)kind;
  check_place(reading, name, 1);
  head_add(reading->head, name, n, value ? value : "");
  reading->end = (value ? value + size : name + n) + 1;
  return MHD_YES;
}

static void read_head(const struct server_request *request, struct head *head) {
  struct MHD_Connection *connection = connection_of(request);
  struct reading reading = {head, head->method + strlen(head->method) + 1};
  check_place(&reading, request->target, 0);
  reading.end = request->target + request->target_size + 1;
  check_place(&reading, head->version, 0);
  reading.end = head->version + strlen(head->version) + 1;
  MHD_get_connection_values_n(connection, MHD_HEADER_KIND, read_header, &reading);
  const union MHD_ConnectionInfo *info =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
  check_place(&reading, head->method + info->header_size, 3);
  head_check(head);
  if (info->header_size > HEAD_MAX) {
    head->flaw = "the request line and headers are over 32 KiB";
    head->too_large =
        request->target_size > HEAD_MAX / 2 ? STATUS_URI_TOO_LONG : STATUS_HEADERS_TOO_LARGE;
  }
}

/* ---- the library's calls ---- */

static struct link *link_of(struct MHD_Connection *connection) {
  return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code) {
  struct server *server = arg;
  if (code == MHD_CONNECTION_NOTIFY_STARTED)
    *context = link_arrive(
        server->links,
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd);
  else
    link_close(*context);
}

static void *on_line(void *arg, const char *target, struct MHD_Connection *connection) {
  struct server *server = arg;
  struct link *link = link_of(connection);
  struct server_request *request =
      link && target ? server->calls.begin(server->calls.arg, target) : NULL;
  if (!request)
    return NULL;
  link_enter(link, LINK_RECEIVING);
  request->server = server;
  request->channel = (struct server_channel *)connection;
  request->link = link;
  request->target = target;
  request->target_size = strlen(target);
  request->headed = false;
  return request;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state) {
  struct server *server = arg;
  struct server_request *request = *state;
  (void)connection, (void)url;
  if (!request)
    return MHD_NO;
  if (!request->headed) {
    struct head head = {.method = method, .version = version};
    request->headed = true;
    read_head(request, &head);
    server->calls.head(request, &head);
    return MHD_YES;
  }
  if (*upload_size) {
    size_t n = *upload_size;
    *upload_size = 0;
    return server->calls.body(request, upload, n) ? MHD_YES : MHD_NO;
  }
  link_enter(request->link, LINK_WORKING);
  return server->calls.run(request) ? MHD_YES : MHD_NO;
}

static void on_end(void *arg, struct MHD_Connection *connection, void **state,
                   enum MHD_RequestTerminationCode code) {
  struct server *server = arg;
  struct server_request *request = *state;
  (void)connection, (void)code;
  *state = NULL;
  if (!request)
    return;
  link_enter(request->link, LINK_IDLE);
  server->calls.end(request);
}

/* Paths are decoded after they are split, in path.c. */
static size_t leave_as_it_is(void *arg, struct MHD_Connection *connection, char *text) {
  (void)arg, (void)connection;
  return strlen(text);
}

/* ---- life ---- */

static enum status read_pem(const char *path, char out[PEM_MAX], struct problem *problem) {
  FILE *file = fopen(path, "re");
  size_t n = file ? fread(out, 1, PEM_MAX - 1, file) : 0;
  bool failed = !file || ferror(file) || n == PEM_MAX - 1;
  if (file)
    fclose(file);
  if (failed || !n)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%.200s cannot be read", path);
  out[n] = 0;
  return STATUS_OK;
}

static bool is_said(const char *path) { return path && *path; }

static enum status read_pems(struct server *server, const struct server_params *params,
                             struct problem *problem) {
  if (!is_said(params->certificate) && !is_said(params->key))
    return STATUS_OK;
  if (!is_said(params->certificate) || !is_said(params->key))
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "TLS needs both a certificate and its key");
  enum status status = read_pem(params->certificate, server->certificate, problem);
  return status ? status : read_pem(params->key, server->key, problem);
}

static struct MHD_Daemon *start(struct server *server) {
  static char versions[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";
  const struct MHD_OptionItem tls[] = {
      {MHD_OPTION_HTTPS_MEM_CERT, 0, server->certificate},
      {MHD_OPTION_HTTPS_MEM_KEY, 0, server->key},
      {MHD_OPTION_HTTPS_PRIORITIES, 0, versions},
      {MHD_OPTION_END, 0, NULL},
  };
  bool secure = *server->certificate;
  return MHD_start_daemon(
      MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC |
          MHD_USE_SUSPEND_RESUME | (secure ? MHD_USE_TLS : MHD_NO_FLAG),
      0, NULL, NULL, on_request, server, MHD_OPTION_CONNECTION_LIMIT, LIMIT_NEVER_REACHED,
      MHD_OPTION_CONNECTION_MEMORY_LIMIT, POOL, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
      MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_URI_LOG_CALLBACK, on_line, server,
      MHD_OPTION_UNESCAPE_CALLBACK, leave_as_it_is, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_end,
      server, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_ARRAY,
      secure ? tls : tls + 3, MHD_OPTION_END);
}

enum status server_create(const struct server_params *params, struct server **out,
                          struct problem *problem) {
  struct server *server = calloc(1, sizeof *server);
  if (!server)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "out of memory");
  server->calls = params->calls;
  server->links = params->links;
  server->drain = params->drain;
  enum status status = read_pems(server, params, problem);
  if (!status) {
    server->daemon = start(server);
    if (!server->daemon)
      status = *server->certificate
                   ? problem_set(problem, STATUS_INVALID_ARGUMENT,
                                 "%.100s and %.100s are no PEM certificate and its key",
                                 params->certificate, params->key)
                   : problem_set(problem, STATUS_INTERNAL_ERROR, "out of threads or descriptors");
  }
  if (status) {
    server_free(server);
    return status;
  }
  *out = server;
  return STATUS_OK;
}

void server_free(struct server *server) {
  if (!server)
    return;
  if (server->daemon)
    MHD_stop_daemon(server->daemon);
  explicit_bzero(server->key, sizeof server->key);
  free(server);
}

void server_add(struct server *server, int fd, const struct sockaddr *address, socklen_t size) {
  MHD_add_connection(server->daemon, fd, address, size);
}

/* Under the lock that link_arrive takes on the library's thread: who watches over threads sees our
 * locks, not the library's. It takes none here that it holds when it calls us. */
void server_nudge(struct server *server) {
  const struct sockaddr nobody = {.sa_family = AF_UNIX};
  int ends[2];
  LOCK_SCOPE(&server->links->lock);
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends))
    return;
  close(ends[1]);
  MHD_add_connection(server->daemon, ends[0], &nobody, sizeof nobody);
}

/* ---- answers ---- */

static bool send_it(struct server_request *request, const struct server_answer *answer,
                    struct MHD_Response *response) {
  enum MHD_Result done = response ? MHD_YES : MHD_NO;
  for (size_t i = 0; done && i < answer->header_count; i++)
    done = MHD_add_response_header(response, answer->headers[i].name, answer->headers[i].value);
  if (done) {
    link_enter(request->link, LINK_SENDING);
    done = MHD_queue_response(connection_of(request), (unsigned)answer->status, response);
  }
  if (response)
    MHD_destroy_response(response);
  return done == MHD_YES;
}

bool server_answer(struct server_request *request, const struct server_answer *answer) {
  /* Persistent: it is neither copied nor freed, nor written to. */
  return send_it(
      request, answer,
      MHD_create_response_from_buffer(answer->size, (void *)answer->body, MHD_RESPMEM_PERSISTENT));
}

void server_refuse(struct server_request *request, struct server_answer *answer) {
  int second = fcntl(request->link->fd, F_DUPFD_CLOEXEC, 0);
  if (second >= 0)
    drain_take(request->server->drain, second);
  answer->headers[answer->header_count++] = (struct server_header){"Connection", "close"};
  server_answer(request, answer);
}

struct source {
  struct server_request *request;
  server_read_fn *read;
};

static ssize_t read_source(void *arg, uint64_t position, char *out, size_t max) {
  const struct source *source = arg;
  (void)position;
  link_enter(source->request->link, LINK_SENDING);
  ssize_t n = source->read(source->request, out, max);
  return n < 0 ? MHD_CONTENT_READER_END_OF_STREAM : n;
}

bool server_stream(struct server_request *request, const struct server_answer *answer,
                   server_read_fn *read) {
  struct source *source = malloc(sizeof *source);
  if (!source)
    return false;
  *source = (struct source){request, read};
  struct MHD_Response *response =
      MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_source, source, free);
  if (!response)
    free(source);
  return send_it(request, answer, response);
}

void server_suspend(struct server_request *request) {
  link_enter(request->link, LINK_WORKING);
  MHD_suspend_connection(connection_of(request));
}

void server_resume(struct server_request *request) {
  MHD_resume_connection(connection_of(request));
}
