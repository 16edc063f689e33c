/*
 * os_child: two pipes, a socket pair and a pidfd, in the loop.
 */
#include "base/os_child.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/packet.h"
#include "base/spawn.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

struct os_child {
  struct spawn_child process;
  int to, from; /* our ends of its stdin and stdout; -1: closed */
  struct share packets;
  struct line *line;
  struct loop_watch *input, *output, *death;
  line_fn *on_line;
  void (*on_end)(void *arg, const char *how);
  void *arg;
  const char *why; /* what it was ended for here; "": not at all */
  bool draining,
      gone; /* freed while its last lines were told: the struct itself goes behind them */
};

static void close_fd(int *fd) {
  if (*fd >= 0)
    close(*fd);
  *fd = -1;
}

static void stop_reading(struct os_child *child) {
  loop_unwatch(child->input);
  child->input = NULL;
}

static void readable(void *arg, int events) {
  (void)events;
  struct os_child *child = arg;
  enum status status = line_read(child->line, child->on_line, child->arg);
  if (!status)
    return;
  /* It has closed its end, or is not heard any more: then it must go. */
  stop_reading(child);
  if (status == STATUS_NOT_FOUND)
    return;
  if (status == STATUS_BODY_TOO_LARGE)
    child->why = ", for one of its lines was too long";
  os_child_signal(child, SIGTERM);
}

static void watch_output(struct os_child *child) {
  if (child->output)
    loop_watch_events(child->output, line_wants_write(child->line) ? LOOP_WRITE : 0);
}

static void writable(void *arg, int events) {
  (void)events;
  struct os_child *child = arg;
  if (line_flush(child->line)) {
    os_child_close(child);
    return;
  }
  watch_output(child);
}

static void died(void *arg, int events) {
  (void)events;
  struct os_child *child = arg;
  siginfo_t info = {0};
  bool told = !waitid(P_PIDFD, (id_t)child->process.pidfd, &info, WEXITED | WNOHANG);
  if (told && !info.si_pid)
    return;
  child->process.pid = 0; /* reaped: the number may be anybody's from now on */
  loop_unwatch(child->death);
  child->death = NULL;
  /* What it wrote before it died still counts. */
  child->draining = true;
  if (child->input)
    readable(child, LOOP_READ);
  child->draining = false;
  if (child->gone) {
    free(child);
    return;
  }
  char how[64] = "unknown";
  if (told)
    snprintf(how, sizeof how, "%s %d%s", info.si_code == CLD_EXITED ? "exit" : "signal",
             info.si_status, child->why);
  child->on_end(child->arg, how);
}

/* Both pipes; ends[0], ends[1] are the child's stdin and stdout. */
static enum status make_pipes(struct os_child *child, int ends[2]) {
  int in[2], out[2];
  if (pipe2(in, O_CLOEXEC))
    return STATUS_INTERNAL_ERROR;
  if (pipe2(out, O_CLOEXEC)) {
    close(in[0]);
    close(in[1]);
    return STATUS_INTERNAL_ERROR;
  }
  child->to = in[1];
  child->from = out[0];
  ends[0] = in[0];
  ends[1] = out[1];
  return STATUS_OK;
}

static enum status spawn(struct os_child *child, const struct os_child_params *params,
                         const int ends[2], const struct share *packets) {
  const char *environment[OS_CHILD_ENVIRONMENT + 2] = {"MEMKEEP_FD=3"};
  for (unsigned i = 0; params->environment && params->environment[i]; i++) {
    assert(i < OS_CHILD_ENVIRONMENT);
    environment[i + 1] = params->environment[i];
  }
  struct spawn_params how = {.argv = params->argv,
                             .environment = environment,
                             .stdin_fd = ends[0],
                             .stdout_fd = ends[1],
                             .stderr_fd = -1,
                             .third_fd = (int)packets->value};
  return spawn_start(&how, &child->process);
}

static enum status watch_all(struct os_child *child, struct loop *loop,
                             const struct os_child_params *params) {
  struct line_params lines = {.in = child->from,
                              .out = child->to,
                              .max_line = params->max_line,
                              .max_queue = params->max_queue};
  enum status status = line_create(&lines, &child->line);
  if (!status)
    status = loop_watch(loop, child->from, readable, child, &child->input);
  if (!status)
    status = loop_watch(loop, child->to, writable, child, &child->output);
  if (!status)
    status = loop_watch(loop, child->process.pidfd, died, child, &child->death);
  if (status)
    return status;
  loop_watch_events(child->input, LOOP_READ);
  loop_watch_events(child->death, LOOP_READ);
  return STATUS_OK;
}

/* One that nobody has heard of yet: nobody else would reap it. */
static void end_at_once(struct os_child *child) {
  if (child->process.pid <= 0)
    return;
  kill(child->process.pid, SIGKILL);
  while (waitpid(child->process.pid, NULL, 0) < 0 && errno == EINTR)
    ;
}

enum status os_child_start(struct loop *loop, const struct os_child_params *params,
                           struct os_child **out) {
  struct os_child *child = calloc(1, sizeof *child);
  if (!child)
    return STATUS_INTERNAL_ERROR;
  *child = (struct os_child){.process = {.pid = 0, .pidfd = -1},
                             .to = -1,
                             .from = -1,
                             .why = "",
                             .on_line = params->on_line,
                             .on_end = params->on_end,
                             .arg = params->arg};
  int ends[2] = {-1, -1};
  struct share theirs = {SHARE_NONE, 0};
  enum status status = make_pipes(child, ends);
  if (!status)
    status = packet_pair(&child->packets, &theirs);
  if (!status)
    status = spawn(child, params, ends, &theirs);
  close_fd(&ends[0]);
  close_fd(&ends[1]);
  share_close(&theirs);
  if (!status)
    status = watch_all(child, loop, params);
  if (status) {
    end_at_once(child);
    os_child_free(child);
    return status;
  }
  *out = child;
  return STATUS_OK;
}

void os_child_free(struct os_child *child) {
  if (!child)
    return;
  loop_unwatch(child->input);
  loop_unwatch(child->output);
  loop_unwatch(child->death);
  line_free(child->line);
  close_fd(&child->to);
  close_fd(&child->from);
  close_fd(&child->process.pidfd);
  share_close(&child->packets);
  child->gone = true;
  if (!child->draining)
    free(child);
}

int32_t os_child_pid(const struct os_child *child) { return child->process.pid; }

enum status os_child_send(struct os_child *child, const char *text, size_t n) {
  if (child->to < 0)
    return STATUS_INTERNAL_ERROR;
  enum status status = line_send(child->line, text, n, NULL, 0);
  if (status == STATUS_INTERNAL_ERROR)
    os_child_close(child); /* nothing can be said to it any more: it shall go */
  watch_output(child);
  return status;
}

enum status os_child_share(struct os_child *child, const char *text, size_t n,
                           const struct share *share) {
  return packet_send(&child->packets, text, n, share);
}

void os_child_close(struct os_child *child) {
  loop_unwatch(child->output);
  child->output = NULL;
  close_fd(&child->to);
}

void os_child_signal(struct os_child *child, int signal_number) {
  if (child->process.pid > 0)
    kill(child->process.pid, signal_number);
}
