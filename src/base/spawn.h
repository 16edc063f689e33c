/*
 * spawn: the one function that starts children: posix_spawn-like, no inherited fd but those named,
 * signal mask and dispositions reset, own process group.
 */
#ifndef BASE_SPAWN_H
#define BASE_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"

struct spawn_params {
  const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH unless it has a slash */
  const char *const *environment; /* "NAME=value" added to ours, NULL-terminated; may be NULL */
  int stdin_fd, stdout_fd;        /* become 0 and 1; -1: /dev/null */
  int stderr_fd;                  /* becomes 2; -1: ours */
  int third_fd;                   /* becomes 3; -1: none */
  bool session;                   /* setsid instead of setpgid */
};

/* One process for good, whoever gets its pid later; pid 0: none. */
struct spawn_child {
  pid_t pid;
  int pidfd; /* closed by spawn_done, or by the caller after waitid(P_PIDFD) reaped the child */
};

/* Any thread. NOT_FOUND: no such program. INTERNAL_ERROR: anything else. */
enum status spawn_start(const struct spawn_params *params, struct spawn_child *out);
/* SIGKILL; nothing happens once it has ended. */
void spawn_kill(const struct spawn_child *child);
/* Waits for its end for timeout_ms at most, reaps it if it is a child of ours, closes the pidfd and
 * sets the pid to 0. */
void spawn_done(struct spawn_child *child, unsigned timeout_ms);
/* Start time of a process in clock ticks since boot (/proc/PID/stat field 22); 0: no such process.
 * With the pid it identifies a process for good. */
uint64_t spawn_start_time(pid_t pid);
/* Lifts the soft limit of open files to the hard one and returns it. */
uint64_t spawn_raise_fd_limit(void);

#endif
