/*
 * os_front: signals are blocked and fetched one by one, with the child's end among them, so that
 * none is lost between two looks. What the terminal sends (Ctrl-C) goes to the whole process group,
 * the program included, and is not sent to it once more.
 */
#include "base/os_front.h"

#include <errno.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOT_STARTED 126
#define NOT_FOUND 127
#define BY_SIGNAL 128

static const int forwarded[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

static void signals(sigset_t *out) {
  sigemptyset(out);
  sigaddset(out, SIGCHLD);
  for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++)
    sigaddset(out, forwarded[i]);
}

void os_front_begin(struct os_front *out) {
  sigset_t ours;
  signals(&ours);
  signal(SIGCHLD, SIG_DFL); /* ignored, as some parents leave it, children end unseen */
  sigprocmask(SIG_BLOCK, &ours, &out->before);
}

static int start(const struct os_front *front, const char *const *argv, pid_t *pid) {
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  int error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  if (!error)
    error = posix_spawnattr_setsigmask(&attributes, &front->before);
  if (!error)
    error = posix_spawnp(pid, argv[0], NULL, &attributes, (char *const *)(uintptr_t)argv, environ);
  posix_spawnattr_destroy(&attributes);
  return error;
}

static bool has_ended(pid_t pid, int *code) {
  int status;
  if (waitpid(pid, &status, WNOHANG) != pid)
    return false;
  *code = WIFEXITED(status) ? WEXITSTATUS(status) : BY_SIGNAL + WTERMSIG(status);
  return true;
}

enum status os_front_run(const struct os_front *front, const char *const *argv, int *code,
                         struct problem *problem) {
  sigset_t ours;
  siginfo_t what;
  pid_t pid = 0;
  int error = start(front, argv, &pid);
  if (error) {
    *code = error == ENOENT ? NOT_FOUND : NOT_STARTED;
    return problem_set(problem, STATUS_NOT_FOUND, "%.200s cannot be started: %s", argv[0],
                       strerrordesc_np(error));
  }
  signals(&ours);
  while (!has_ended(pid, code))
    if (sigwaitinfo(&ours, &what) > 0 && what.si_signo != SIGCHLD && what.si_code != SI_KERNEL)
      kill(pid, what.si_signo);
  return STATUS_OK;
}
