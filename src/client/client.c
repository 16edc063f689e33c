/*
 * client: one request is under way, so its answer is the next line that is no event. Requests carry
 * no id: an answer as over HTTP is then exactly that.
 */
#include "client/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/line.h"
#include "base/os_runtime.h"
#include "base/reader.h"
#include "base/writer.h"

#define SOCKET_NAME "memkeep.sock"
#define CONNECT_SECONDS 5 /* only a daemon that hangs lets one wait at all */

struct client {
  struct share socket;
  struct line *line;
  struct buf *answer; /* of the request that is under way, or the event that is waited for */
  bool listens, answered, failed;
};

/* A daemon of this session, where there is one: root finds the system's in /run/memkeep otherwise.
 */
static bool find_session(char *out, size_t size) {
  const char *session = getenv("XDG_RUNTIME_DIR");
  if (!session || *session != '/')
    return false;
  int n = snprintf(out, size, "%s/memkeep/" SOCKET_NAME, session);
  return n > 0 && (size_t)n < size && access(out, F_OK) == 0;
}

enum status client_default_path(char *out, size_t size) {
  char folder[512];
  const char *said = getenv("MEMKEEP_SOCKET");
  int n;
  if (said && *said)
    n = snprintf(out, size, "%s", said);
  else if (find_session(out, size))
    return STATUS_OK;
  else if (os_runtime_dir(folder, sizeof folder))
    return STATUS_INVALID_ARGUMENT;
  else
    n = snprintf(out, size, "%s/" SOCKET_NAME, folder);
  return n > 0 && (size_t)n < size ? STATUS_OK : STATUS_INVALID_ARGUMENT;
}

/* ---- connecting ---- */

static enum status explain(int error, const char *path, struct problem *problem) {
  switch (error) {
  case ENOENT:
  case ECONNREFUSED:
  case ENOTDIR:
    return problem_set(problem, STATUS_NOT_FOUND,
                       "no daemon listens on %.110s: start memkeepd, or name its socket "
                       "(MEMKEEP_SOCKET)",
                       path);
  case EACCES:
  case EPERM:
    return problem_set(problem, STATUS_FORBIDDEN,
                       "%.110s may not be used by this user: ask for socket.group in "
                       "memkeep.conf, or be the daemon's user",
                       path);
  case EAGAIN:
    return problem_set(problem, STATUS_WORKER_TIMEOUT,
                       "the daemon at %.110s accepts nobody: does it hang?", path);
  default:
    return problem_set(problem, STATUS_INTERNAL_ERROR, "cannot connect to %.110s: %s", path,
                       strerrordesc_np(error));
  }
}

enum status client_open(const char *path, struct share *out, struct problem *problem) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const struct timeval patience = {.tv_sec = CONNECT_SECONDS};
  size_t n = strlen(path);
  if (!n || n > OS_RUNTIME_SOCKET_MAX)
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "a socket's path has 1 to %d bytes, this one %zu: %.80s…",
                       OS_RUNTIME_SOCKET_MAX, n, path);
  memcpy(address.sun_path, path, n);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return explain(errno, path, problem);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (connect(fd, (const struct sockaddr *)&address, sizeof address)) {
    explain(errno, path, problem);
    close(fd);
    return problem->status;
  }
  *out = (struct share){.kind = SHARE_FILE, .value = fd};
  return STATUS_OK;
}

enum status client_connect(const char *path, struct client **out, struct problem *problem) {
  struct share socket = {.kind = SHARE_NONE};
  enum status status = client_open(path, &socket, problem);
  if (status)
    return status;
  struct client *client = calloc(1, sizeof *client);
  const struct line_params params = {.in = (int)socket.value,
                                     .out = (int)socket.value,
                                     .shares = true,
                                     .max_line = CLIENT_LINE_MAX,
                                     .max_queue = 2 * CLIENT_LINE_MAX};
  if (!client || line_create(&params, &client->line)) {
    free(client);
    share_close(&socket);
    return problem_set(problem, STATUS_INTERNAL_ERROR, "out of memory");
  }
  client->socket = socket;
  *out = client;
  return STATUS_OK;
}

void client_free(struct client *client) {
  if (!client)
    return;
  line_free(client->line);
  share_close(&client->socket);
  free(client);
}

/* ---- asking ---- */

static enum status send_request(struct client *client, const struct client_request *request,
                                struct problem *problem) {
  struct buf text BUF_CLEANUP;
  struct writer w;
  buf_init(&text, CLIENT_LINE_MAX);
  writer_init(&w, &text, WRITER_SNAKE);
  writer_object(&w, NULL);
  writer_text(&w, "action", request->action);
  if (request->data)
    writer_raw(&w, "data", request->data, strlen(request->data));
  if (request->key)
    writer_text(&w, "idempotencyKey", request->key);
  if (request->envelope)
    writer_bool(&w, "envelope", true);
  if (request->detached)
    writer_bool(&w, "detached", true);
  writer_end(&w);
  if (text.failed)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "the request is longer than %zu bytes",
                       CLIENT_LINE_MAX);
  if (line_send(client->line, text.data, text.size, NULL, 0))
    return problem_set(problem, STATUS_NOT_FOUND, "the daemon closed the connection");
  return STATUS_OK;
}

static bool is_event(const char *text, size_t n) {
  struct reader_doc *doc;
  struct problem ignored;
  if (reader_parse(text, n, &doc, &ignored))
    return false;
  struct reader_value root = reader_root(doc);
  bool event = reader_get(root, "event").json && !reader_get(root, "success").json;
  reader_free(doc);
  return event;
}

static bool on_line(void *arg, char *text, size_t n) {
  struct client *client = arg;
  if (is_event(text, n) != client->listens)
    return true;
  buf_add(client->answer, text, n);
  client->answered = true;
  return false;
}

/* Milliseconds for poll, -1: for ever. */
static int patience(uint64_t deadline) {
  if (!deadline)
    return -1;
  uint64_t now = clock_now();
  if (now >= deadline)
    return 0;
  uint64_t ms = (deadline - now + CLOCK_MS - 1) / CLOCK_MS;
  return ms < INT32_MAX ? (int)ms : INT32_MAX;
}

static enum status explain_end(enum status status, struct problem *problem) {
  switch (status) {
  case STATUS_NOT_FOUND:
    return problem_set(problem, status,
                       "the daemon closed the connection without an answer: has it ended?");
  case STATUS_BODY_TOO_LARGE:
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the answer is longer than 4 MiB");
  default:
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the connection to the daemon broke");
  }
}

static enum status await(struct client *client, uint64_t deadline, struct problem *problem) {
  while (!client->answered) {
    enum status status = line_flush(client->line);
    if (!status)
      status = line_read(client->line, on_line, client);
    if (client->answered)
      break;
    if (status)
      return explain_end(status, problem);
    bool sending = line_wants_write(client->line);
    struct pollfd one = {.fd = (int)client->socket.value,
                         .events = (short)(sending ? POLLIN | POLLOUT : POLLIN)};
    int ready = poll(&one, 1, patience(deadline));
    if (!ready)
      return problem_set(problem, STATUS_WORKER_TIMEOUT,
                         "no answer within the time that was given");
    if (ready < 0 && errno != EINTR)
      return explain_end(STATUS_INTERNAL_ERROR, problem);
  }
  return STATUS_OK;
}

/* One exchange: with a question, or an event is waited for. */
static enum status exchange(struct client *client, const struct client_request *request,
                            uint64_t timeout_ns, struct buf *answer, struct problem *problem) {
  if (client->failed)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "this connection failed before");
  uint64_t deadline = timeout_ns ? clock_now() + timeout_ns : 0;
  client->answer = answer;
  client->answered = false;
  client->listens = !request;
  enum status status = request ? send_request(client, request, problem) : STATUS_OK;
  if (status == STATUS_INVALID_ARGUMENT)
    return status;
  if (!status)
    status = await(client, deadline, problem);
  if (!status && answer->failed)
    status = problem_set(problem, STATUS_INTERNAL_ERROR, "no memory for the answer");
  client->failed = status != STATUS_OK;
  return status;
}

enum status client_call(struct client *client, const struct client_request *request,
                        struct buf *answer, struct problem *problem) {
  return exchange(client, request, request->timeout_ns, answer, problem);
}

enum status client_listen(struct client *client, uint64_t timeout_ns, struct buf *event,
                          struct problem *problem) {
  return exchange(client, NULL, timeout_ns, event, problem);
}

bool client_take_share(struct client *client, struct share *out) {
  return line_take_share(client->line, SHARE_FILE, out);
}
