/*
 * instructor: stdin is read by the main thread, line by line, as it comes; stdout was moved aside
 * at start (main.c), so that nothing a library prints can get between two lines. A line that is no
 * object is answered with request_id null.
 */
#include "worker/instructor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/line.h"
#include "base/log.h"
#include "base/reader.h"
#include "base/version.h"
#include "base/writer.h"
#include "worker/interface.h"
#include "worker/main.h"

struct instructor {
  pthread_mutex_t output; /* one line at a time */
  struct interface *interface;
  struct line *line;
  uint64_t lines; /* read so far */
  int flags;      /* of stdin, as they were: a terminal is given back as it was */
  bool broken;    /* nobody reads us any more */
};

/* Stdout is nonblocking where it is the same terminal as stdin. */
static bool wait_for_room(void) {
  struct pollfd room = {.fd = MAIN_WIRE_OUT, .events = POLLOUT};
  return errno == EINTR || (errno == EAGAIN && (poll(&room, 1, -1) > 0 || errno == EINTR));
}

/* Blocks: a worker that nobody reads has nothing better to do. */
static void write_line(struct instructor *instructor, struct buf *out) {
  buf_add(out, "\n", 1);
  if (out->failed)
    return;
  pthread_mutex_lock(&instructor->output);
  for (size_t at = 0; at < out->size && !instructor->broken;) {
    ssize_t n = write(MAIN_WIRE_OUT, out->data + at, out->size - at);
    if (n > 0)
      at += (size_t)n;
    else
      instructor->broken = !wait_for_room();
  }
  pthread_mutex_unlock(&instructor->output);
}

static void open_answer(struct writer *w, struct buf *out, const char *id) {
  buf_init(out, INSTRUCTOR_LINE);
  writer_init(w, out, WRITER_SNAKE);
  writer_object(w, NULL);
  writer_raw(w, "requestId", id, strlen(id));
}

void instructor_reply(struct instructor *instructor, const char *id, const char *data, size_t n) {
  struct buf out BUF_CLEANUP;
  struct writer w;
  open_answer(&w, &out, id);
  writer_bool(&w, "success", true);
  writer_raw(&w, "data", data, n);
  writer_end(&w);
  write_line(instructor, &out);
}

void instructor_refuse(struct instructor *instructor, const char *id,
                       const struct problem *problem) {
  struct buf out BUF_CLEANUP;
  struct writer w;
  open_answer(&w, &out, id);
  writer_bool(&w, "success", false);
  writer_text(&w, "errorCode", status_code(problem->status));
  writer_text(&w, "error", problem->text);
  writer_end(&w);
  write_line(instructor, &out);
}

void instructor_progress(struct instructor *instructor, const char *id, uint64_t done,
                         uint64_t total) {
  struct buf out BUF_CLEANUP;
  struct writer w;
  open_answer(&w, &out, id);
  writer_text(&w, "event", "progress");
  writer_object(&w, "data");
  writer_uint(&w, "bytesDone", done);
  writer_uint(&w, "bytesTotal", total);
  writer_end(&w);
  writer_end(&w);
  write_line(instructor, &out);
}

static void hello(struct instructor *instructor) {
  struct buf out BUF_CLEANUP;
  struct writer w;
  buf_init(&out, INSTRUCTOR_LINE);
  writer_init(&w, &out, WRITER_SNAKE);
  writer_object(&w, NULL);
  writer_text(&w, "event", "hello");
  writer_object(&w, "data");
  writer_uint(&w, "protocol", 1);
  writer_text(&w, "worker", "memkeep-worker");
  writer_text(&w, "version", VERSION_TEXT);
  writer_array(&w, "capabilities");
  interface_capabilities(&w);
  writer_end(&w);
  writer_array(&w, "models");
  writer_end(&w);
  writer_end(&w);
  writer_end(&w);
  write_line(instructor, &out);
}

/* The raw request_id, or "null". False: it is there and is no id. */
static bool request_id(struct reader_value request, char id[INTERFACE_ID]) {
  struct reader_value value = reader_get(request, "request_id");
  const char *text = reader_text(value, "");
  struct buf raw BUF_CLEANUP;
  buf_init(&raw, INTERFACE_ID - 1);
  if (text[0])
    reader_dump(value, &raw);
  bool good = text[0] && !raw.failed;
  snprintf(id, INTERFACE_ID, "%s", good ? buf_text(&raw) : "null");
  return good;
}

static bool on_line(void *arg, char *text, size_t n) {
  struct instructor *instructor = arg;
  struct reader_doc *doc;
  struct problem problem = {0};
  char id[INTERFACE_ID];
  if (reader_parse_line(++instructor->lines, text, n, &doc, &problem)) {
    instructor_refuse(instructor, "null", &problem);
    return true;
  }
  struct reader_value request = reader_root(doc);
  bool named = request_id(request, id);
  if (!named && reader_get(request, "event").json) {
    interface_hear(instructor->interface, reader_text(reader_get(request, "event"), ""),
                   reader_get(request, "data"));
    reader_free(doc);
    return true;
  }
  if (named) {
    interface_run(instructor->interface, id, doc);
    return true;
  }
  problem_set(&problem, STATUS_MISSING_PARAMETER,
              "request_id must be a string of 1 to 64 characters");
  instructor_refuse(instructor, "null", &problem);
  reader_free(doc);
  return true;
}

enum status instructor_create(struct manager *manager, struct instructor **out) {
  struct instructor *instructor = calloc(1, sizeof *instructor);
  if (!instructor)
    return STATUS_INTERNAL_ERROR;
  pthread_mutex_init(&instructor->output, NULL);
  instructor->flags = fcntl(MAIN_WIRE_IN, F_GETFL);
  struct line_params params = {
      .in = MAIN_WIRE_IN, .out = MAIN_WIRE_IN, .max_line = INSTRUCTOR_LINE, .max_queue = 1};
  enum status status = line_create(&params, &instructor->line);
  if (!status)
    status = interface_create(manager, instructor, &instructor->interface);
  if (status) {
    instructor_free(instructor);
    return status;
  }
  *out = instructor;
  return STATUS_OK;
}

void instructor_free(struct instructor *instructor) {
  interface_free(instructor->interface);
  line_free(instructor->line);
  if (instructor->flags >= 0)
    fcntl(MAIN_WIRE_IN, F_SETFL, instructor->flags);
  pthread_mutex_destroy(&instructor->output);
  free(instructor);
}

int instructor_run(struct instructor *instructor) {
  hello(instructor);
  for (;;) {
    struct pollfd wait = {.fd = MAIN_WIRE_IN, .events = POLLIN};
    if (poll(&wait, 1, -1) < 0)
      continue;
    enum status status = line_read(instructor->line, on_line, instructor);
    if (status == STATUS_NOT_FOUND)
      return 0;
    if (status) {
      log_error("worker", "the wire is broken: %s", status_text(status));
      return 1;
    }
  }
}
