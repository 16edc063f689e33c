/*
 * line: bytes are read in chunks into one buffer and searched for newlines once; what is left of a
 * chunk moves to the front when its lines have been told, so every byte is moved at most once and a
 * line of any length costs linear time.
 *
 * What is sent goes through a second buffer. A share waits as a mark at the position in the stream
 * where its line begins: a message starts at each mark, carries the shares of that position and
 * ends before the next. While line_send runs, its marks borrow the caller's shares; only those that
 * are left over after the first attempt are copied.
 */
#include "base/line.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"

#define LINE_CHUNK ((size_t)16 * 1024) /* lines are short; a long one takes a few calls more */
#define LINE_CHUNKS 64 /* in one call of line_read: others have a turn after 1 MiB */

struct mark {
  uint64_t at; /* in the stream of all bytes ever sent */
  struct share share;
  bool borrowed;
};

struct line {
  struct line_params params;
  struct buf input;
  size_t start;   /* of the next line in input */
  size_t scanned; /* no newline from start to here */
  struct share arrived[LINE_MAX_SHARES];
  unsigned arrived_count;
  struct buf output;
  size_t done;        /* bytes of output that were sent */
  uint64_t sent;      /* all bytes ever sent */
  struct mark *marks; /* LINE_MAX_WAITING of them, once one must wait */
  unsigned mark_count;
  bool broken; /* for writing */
};

static bool set_nonblocking(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && !fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

enum status line_create(const struct line_params *params, struct line **out) {
  if (!set_nonblocking(params->in) || !set_nonblocking(params->out))
    return STATUS_INTERNAL_ERROR;
  struct line *line = calloc(1, sizeof *line);
  if (!line)
    return STATUS_INTERNAL_ERROR;
  line->params = *params;
  buf_init(&line->input, params->max_line + LINE_CHUNK);
  buf_init(&line->output, 2 * params->max_queue); /* the rest, and as much again that was sent */
  *out = line;
  return STATUS_OK;
}

static void drop_marks(struct line *line, unsigned count) {
  if (!count)
    return;
  for (unsigned i = 0; i < count; i++)
    if (!line->marks[i].borrowed)
      share_close(&line->marks[i].share);
  line->mark_count -= count;
  memmove(line->marks, line->marks + count, line->mark_count * sizeof *line->marks);
}

void line_free(struct line *line) {
  if (!line)
    return;
  for (unsigned i = 0; i < line->arrived_count; i++)
    share_close(&line->arrived[i]);
  drop_marks(line, line->mark_count);
  free(line->marks);
  buf_done(&line->input);
  buf_done(&line->output);
  free(line);
}

/* False when there are too many; none is leaked. */
static bool keep_shares(struct line *line, const struct cmsghdr *control) {
  size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  bool kept = true;
  for (size_t i = 0; i < count; i++) {
    int fd;
    memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
    struct share share = {.kind = SHARE_FILE, .value = fd};
    if (line->arrived_count < LINE_MAX_SHARES) {
      line->arrived[line->arrived_count++] = share;
    } else {
      share_close(&share);
      kept = false;
    }
  }
  return kept;
}

/* As read, and EPROTO when descriptors were lost. */
static ssize_t receive_with_shares(struct line *line, struct iovec *to) {
  union {
    char bytes[CMSG_SPACE(LINE_MAX_SHARES * sizeof(int))];
    struct cmsghdr aligned;
  } control;
  struct msghdr message = {.msg_iov = to,
                           .msg_iovlen = 1,
                           .msg_control = control.bytes,
                           .msg_controllen = sizeof control.bytes};
  ssize_t got = recvmsg(line->params.in, &message, MSG_CMSG_CLOEXEC);
  if (got < 0)
    return got;
  bool kept = !(message.msg_flags & MSG_CTRUNC);
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
      kept &= keep_shares(line, c);
  if (kept)
    return got;
  errno = EPROTO;
  return -1;
}

/* Fills the buffer by at most one chunk. *more is false when nothing is there now. */
static enum status receive(struct line *line, bool *more) {
  struct iovec to = {.iov_base = buf_reserve(&line->input, LINE_CHUNK), .iov_len = LINE_CHUNK};
  if (!to.iov_base)
    return STATUS_INTERNAL_ERROR;
  ssize_t got;
  do {
    got = line->params.shares ? receive_with_shares(line, &to)
                              : read(line->params.in, to.iov_base, to.iov_len);
  } while (got < 0 && errno == EINTR);
  *more = got > 0;
  if (got > 0)
    line->input.size += (size_t)got;
  if (got > 0 || (got < 0 && errno == EAGAIN))
    return STATUS_OK;
  return got == 0 || errno == ECONNRESET ? STATUS_NOT_FOUND : STATUS_INTERNAL_ERROR;
}

/* Tells all whole lines. The line may be gone when *stopped. */
static enum status deliver(struct line *line, line_fn *fn, void *arg, bool *stopped) {
  struct buf *input = &line->input;
  for (;;) {
    size_t rest = input->size - line->scanned;
    char *newline = rest ? memchr(input->data + line->scanned, '\n', rest) : NULL;
    if (!newline)
      break;
    char *text = input->data + line->start;
    size_t n = (size_t)(newline - text);
    if (n > line->params.max_line)
      return STATUS_BODY_TOO_LARGE;
    *newline = '\0';
    line->start = line->scanned = (size_t)(newline + 1 - input->data);
    *stopped = !fn(arg, text, n);
    if (*stopped)
      return STATUS_OK;
  }
  buf_shift(input, line->start);
  line->start = 0;
  line->scanned = input->size;
  if (!input->size)
    buf_reset(input);
  return input->size > line->params.max_line ? STATUS_BODY_TOO_LARGE : STATUS_OK;
}

enum status line_read(struct line *line, line_fn *fn, void *arg) {
  bool stopped = false, more = true;
  enum status status = deliver(line, fn, arg, &stopped);
  for (int i = 0; i < LINE_CHUNKS && !status && !stopped && more; i++) {
    status = receive(line, &more);
    if (!status && more)
      status = deliver(line, fn, arg, &stopped);
  }
  return status;
}

bool line_take_share(struct line *line, enum share_kind kind, struct share *out) {
  if (!line->arrived_count)
    return false;
  *out = (struct share){.kind = kind, .value = line->arrived[0].value};
  memmove(line->arrived, line->arrived + 1, --line->arrived_count * sizeof *line->arrived);
  return true;
}

unsigned line_shares(const struct line *line) { return line->arrived_count; }

size_t line_waiting(const struct line *line) { return line->output.size - line->done; }

/* As write; the first `count` marks ride along. */
static ssize_t transmit(const struct line *line, size_t n, unsigned count) {
  char *data = line->output.data + line->done;
  if (!line->params.shares)
    return write(line->params.out, data, n);
  union {
    char bytes[CMSG_SPACE(LINE_MAX_SHARES * sizeof(int))];
    struct cmsghdr aligned;
  } control = {0};
  struct iovec from = {.iov_base = data, .iov_len = n};
  struct msghdr message = {.msg_iov = &from, .msg_iovlen = 1};
  if (count) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    control.aligned = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                       .cmsg_type = SCM_RIGHTS,
                                       .cmsg_len = CMSG_LEN(count * sizeof(int))};
  }
  for (unsigned i = 0; i < count; i++) {
    int fd = (int)line->marks[i].share.value;
    memcpy(CMSG_DATA(&control.aligned) + i * sizeof fd, &fd, sizeof fd);
  }
  return sendmsg(line->params.out, &message, MSG_NOSIGNAL);
}

static enum status give_up(struct line *line) {
  line->broken = true;
  drop_marks(line, line->mark_count);
  buf_done(&line->output);
  line->done = 0;
  return STATUS_INTERNAL_ERROR;
}

enum status line_flush(struct line *line) {
  if (line->broken)
    return STATUS_INTERNAL_ERROR;
  while (line_waiting(line)) {
    unsigned count = 0;
    while (count < line->mark_count && line->marks[count].at == line->sent)
      count++;
    size_t n = line_waiting(line);
    if (count < line->mark_count)
      n = (size_t)(line->marks[count].at - line->sent);
    ssize_t sent = transmit(line, n, count);
    if (sent < 0 && errno == EINTR)
      continue;
    if (sent < 0 && errno == EAGAIN)
      return STATUS_OK;
    if (sent < 0)
      return give_up(line);
    line->sent += (size_t)sent;
    line->done += (size_t)sent;
    drop_marks(line, count);
  }
  buf_reset(&line->output);
  line->done = 0;
  return STATUS_OK;
}

static enum status add_marks(struct line *line, const struct share *shares, unsigned count) {
  if (count && !line->marks)
    line->marks = malloc(LINE_MAX_WAITING * sizeof *line->marks);
  if (count && !line->marks)
    return STATUS_INTERNAL_ERROR;
  for (unsigned i = 0; i < count; i++) {
    assert(shares[i].kind != SHARE_NONE);
    line->marks[line->mark_count++] =
        (struct mark){.at = line->sent + line_waiting(line), .share = shares[i], .borrowed = true};
  }
  return STATUS_OK;
}

static enum status own_marks(struct line *line) {
  for (unsigned i = 0; i < line->mark_count; i++) {
    struct mark *mark = &line->marks[i];
    if (!mark->borrowed)
      continue;
    if (share_copy(&mark->share, &mark->share))
      return give_up(line);
    mark->borrowed = false;
  }
  return STATUS_OK;
}

enum status line_send(struct line *line, const char *text, size_t n, const struct share *shares,
                      unsigned count) {
  assert(count <= LINE_MAX_SHARES && (!count || line->params.shares));
  if (line->broken)
    return STATUS_INTERNAL_ERROR;
  if (n >= line->params.max_queue - line_waiting(line))
    return STATUS_RATE_LIMITED;
  if (count > LINE_MAX_WAITING - line->mark_count)
    return STATUS_RATE_LIMITED;
  if (2 * line->done >= line->output.size) {
    buf_shift(&line->output, line->done);
    line->done = 0;
  }
  if (!buf_reserve(&line->output, n + 1) || add_marks(line, shares, count))
    return give_up(line);
  buf_add(&line->output, text, n);
  buf_add(&line->output, "\n", 1);
  enum status status = line_flush(line);
  return status ? status : own_marks(line);
}

bool line_wants_write(const struct line *line) { return line_waiting(line) > 0; }

unsigned line_shares_waiting(const struct line *line) { return line->mark_count; }
