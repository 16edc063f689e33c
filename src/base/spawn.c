/*
 * spawn: posix_spawn, which shares our memory until the exec and therefore neither copies page
 * tables nor runs any handler of fork; safe with threads. The child's descriptors are made by file
 * actions: 0 to 3 are placed, all above closed.
 *
 * An fd that is given and lies below 4 could be overwritten before its turn: such ones are first
 * copied above.
 */
#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLACES 4 /* stdin, stdout, stderr and the third fd */
#define START_TIME_FIELD 22
#define AFTER_NAME_FIELD 3 /* the first field behind the name, which may hold anything */

struct places {
  int fds[PLACES]; /* -1: none */
  int copies[PLACES];
};

static bool copy_low_fds(struct places *places) {
  for (int i = 0; i < PLACES; i++) {
    if (places->fds[i] < 0 || places->fds[i] >= PLACES || places->fds[i] == i)
      continue;
    places->copies[i] = fcntl(places->fds[i], F_DUPFD_CLOEXEC, PLACES);
    if (places->copies[i] < 0)
      return false;
    places->fds[i] = places->copies[i];
  }
  return true;
}

static void close_copies(const struct places *places) {
  for (int i = 0; i < PLACES; i++)
    if (places->copies[i] >= 0)
      close(places->copies[i]);
}

/* 0, or an errno: all posix_spawn functions report so. */
static int describe_files(posix_spawn_file_actions_t *files, const struct places *places) {
  int error = 0;
  for (int i = 0; i < PLACES && !error; i++)
    if (places->fds[i] >= 0)
      error = posix_spawn_file_actions_adddup2(files, places->fds[i], i);
    else if (i < 2)
      error = posix_spawn_file_actions_addopen(files, i, "/dev/null", i ? O_WRONLY : O_RDONLY, 0);
  int kept = places->fds[3] >= 0 ? 4 : 3;
  return error ? error : posix_spawn_file_actions_addclosefrom_np(files, kept);
}

static int describe_process(posix_spawnattr_t *attributes, bool session) {
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  flags |= session ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP;
  int error = posix_spawnattr_setflags(attributes, (short)flags);
  if (!error)
    error = posix_spawnattr_setsigmask(attributes, &none);
  if (!error)
    error = posix_spawnattr_setsigdefault(attributes, &all);
  return error ? error : posix_spawnattr_setpgroup(attributes, 0);
}

static bool has_name_of(const char *const *added, const char *entry) {
  for (size_t i = 0; added && added[i]; i++) {
    size_t n = strcspn(added[i], "=") + 1;
    if (!strncmp(added[i], entry, n))
      return true;
  }
  return false;
}

/* Ours without what is added, then what is added. The caller frees the array only. */
static char **join_environment(const char *const *added) {
  size_t count = 1, n = 0;
  for (size_t i = 0; environ[i]; i++)
    count++;
  for (size_t i = 0; added && added[i]; i++)
    count++;
  char **joined = malloc(count * sizeof *joined);
  if (!joined)
    return NULL;
  for (size_t i = 0; environ[i]; i++)
    if (!has_name_of(added, environ[i]))
      joined[n++] = environ[i];
  for (size_t i = 0; added && added[i]; i++)
    joined[n++] = (char *)(uintptr_t)added[i];
  joined[n] = NULL;
  return joined;
}

static int launch(const struct spawn_params *params, const struct places *places, pid_t *pid) {
  char **environment = join_environment(params->environment);
  if (!environment)
    return ENOMEM;
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&attributes);
  int error = describe_files(&files, places);
  if (!error)
    error = describe_process(&attributes, params->session);
  if (!error)
    error = posix_spawnp(pid, params->argv[0], &files, &attributes,
                         (char *const *)(uintptr_t)params->argv, environment);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  free(environment);
  return error;
}

enum status spawn_start(const struct spawn_params *params, struct spawn_child *out) {
  struct places places = {
      .fds = {params->stdin_fd, params->stdout_fd, params->stderr_fd, params->third_fd},
      .copies = {-1, -1, -1, -1}};
  pid_t pid = 0;
  int error = copy_low_fds(&places) ? launch(params, &places, &pid) : errno;
  close_copies(&places);
  if (error)
    return error == ENOENT || error == ENOTDIR ? STATUS_NOT_FOUND : STATUS_INTERNAL_ERROR;
  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (pidfd < 0) {
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
      ;
    return STATUS_INTERNAL_ERROR;
  }
  *out = (struct spawn_child){.pid = pid, .pidfd = pidfd};
  return STATUS_OK;
}

void spawn_kill(const struct spawn_child *child) {
  if (child->pid)
    (void)syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
}

void spawn_done(struct spawn_child *child, unsigned timeout_ms) {
  struct pollfd end = {.fd = child->pidfd, .events = POLLIN};
  siginfo_t info;
  if (!child->pid)
    return;
  poll(&end, 1, (int)timeout_ms);
  waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG);
  close(child->pidfd);
  child->pid = 0;
}

uint64_t spawn_start_time(pid_t pid) {
  if (pid <= 0)
    return 0;
  char text[1024]; /* 52 numbers and a name of 64 bytes at most */
  snprintf(text, sizeof text, "/proc/%d/stat", (int)pid);
  int fd = open(text, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return 0;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0)
    return 0;
  text[n] = '\0';
  const char *at = strrchr(text, ')');
  for (int field = AFTER_NAME_FIELD; at && field <= START_TIME_FIELD; field++)
    at = strchr(at + 1, ' ');
  return at ? strtoull(at, NULL, 10) : 0;
}

uint64_t spawn_raise_fd_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit))
    return 0;
  struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
  return setrlimit(RLIMIT_NOFILE, &raised) ? limit.rlim_cur : raised.rlim_cur;
}
