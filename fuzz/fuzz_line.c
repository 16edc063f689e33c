/* fuzz_line: any bytes as a stream, torn as the first byte says. What is told are the bytes between
 * newlines, in order, each line whole; and too long a line is never told. */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <sys/socket.h>
#include <unistd.h>

#include "base/line.h"

#define MAX_LINE 100

struct stream {
  const char *rest; /* that was not told yet */
  size_t n;
};

static bool on_line(void *arg, char *text, size_t n) {
  struct stream *stream = arg;
  if (n > MAX_LINE || n + 1 > stream->n || memcmp(text, stream->rest, n) != 0)
    abort();
  if (text[n] || stream->rest[n] != '\n' || memchr(text, '\n', n))
    abort();
  stream->rest += n + 1;
  stream->n -= n + 1;
  return n % 2; /* every other one is told by a call of its own */
}

/* All whole lines that are there: each call that is stopped by one tells at least that one. */
static enum status read_all(struct line *line, struct stream *stream) {
  size_t before;
  enum status status;
  do {
    before = stream->n;
    status = line_read(line, on_line, stream);
  } while (!status && stream->n != before);
  return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int ends[2];
  if (size < 2 || size > 60000 || socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
    return 0;
  const struct line_params params = {
      .in = ends[0], .out = ends[0], .shares = true, .max_line = MAX_LINE, .max_queue = 1};
  struct line *line;
  struct stream stream = {(const char *)data + 1, size - 1};
  const char *at = stream.rest, *end = at + stream.n;
  size_t piece = (size_t)data[0] * 8 + 1;
  enum status status = line_create(&params, &line);
  if (status)
    abort();
  for (; !status && at < end; at += piece) {
    if (piece > (size_t)(end - at))
      piece = (size_t)(end - at);
    if (write(ends[1], at, piece) != (ssize_t)piece)
      abort();
    status = read_all(line, &stream);
  }
  /* What was not told has no newline, unless a line was too long. */
  if (status != STATUS_BODY_TOO_LARGE && memchr(stream.rest, '\n', stream.n))
    abort();
  line_free(line);
  close(ends[0]);
  close(ends[1]);
  return 0;
}
