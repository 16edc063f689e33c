/*
 * log: a line is put together on the stack and leaves with one write, so that lines of several
 * threads and processes do not mix. Whatever could start a line of its own or steer a terminal is
 * escaped, the C1 controls (U+0080 … U+009F) included. A line that stderr does not take is lost:
 * the daemon never waits for its log. errno survives, so callers may log first.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_SPACE 2048
#define TAIL_SPACE 4 /* "..." and the newline */

struct level {
  const char *word;
  int priority; /* of syslog(3) */
};

static const struct level levels[] = {
    [LOG_LEVEL_ERROR] = {"error", 3},
    [LOG_LEVEL_WARNING] = {"warning", 4},
    [LOG_LEVEL_INFO] = {"info", 6},
    [LOG_LEVEL_DEBUG] = {"debug", 7},
};

static _Atomic int current = LOG_LEVEL_INFO;

void log_set_level(enum log_level level) {
  atomic_store_explicit(&current, (int)level, memory_order_relaxed);
}

bool log_parse_level(const char *word, enum log_level *out) {
  for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
    if (strcmp(levels[i].word, word) != 0)
      continue;
    *out = (enum log_level)i;
    return true;
  }
  return false;
}

bool log_wants(enum log_level level) {
  return (int)level <= atomic_load_explicit(&current, memory_order_relaxed);
}

static size_t write_head(char *out, enum log_level level, const char *room) {
  int n;
  if (isatty(STDERR_FILENO)) {
    char time[CLOCK_TEXT];
    clock_format(clock_real(), time);
    n = snprintf(out, LINE_SPACE, "%s %s %.64s: ", time, levels[level].word, room);
  } else {
    n = snprintf(out, LINE_SPACE, "<%d>%.64s: ", levels[level].priority, room);
  }
  return (size_t)n;
}

/* Bytes of the control character at text, 0 if there is another one. */
static size_t control_length(const char *text) {
  unsigned char first = (unsigned char)text[0], second = (unsigned char)text[1];
  if (first < 0x20 || first == 0x7f)
    return 1;
  return first == 0xc2 && second >= 0x80 && second <= 0x9f ? 2 : 0;
}

static size_t append_escaped(char *line, size_t size, const char *text) {
  while (*text) {
    char piece[8] = {text[0]};
    size_t control = control_length(text), n = 1;
    if (control)
      n = (size_t)snprintf(piece, sizeof piece, "\\x%02x", text[control - 1] & 0xff);
    if (size + n + TAIL_SPACE > LINE_SPACE) {
      for (unsigned dots = 0; dots < 3; dots++)
        line[size++] = '.';
      return size;
    }
    memcpy(line + size, piece, n);
    size += n;
    text += control ? control : 1;
  }
  return size;
}

void log_write(enum log_level level, const char *room, const char *format, ...) {
  if (!log_wants(level))
    return;
  int saved = errno;
  char text[LINE_SPACE], line[LINE_SPACE];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  size_t size = append_escaped(line, write_head(line, level, room), text);
  line[size++] = '\n';
  ssize_t sent;
  do
    sent = write(STDERR_FILENO, line, size);
  while (sent < 0 && errno == EINTR);
  errno = saved;
}
