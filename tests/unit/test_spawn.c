/* spawn: children that report what they see, through a shell and /proc. */
#include "base/spawn.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ANSWER 4096

static struct spawn_params shell(const char *const *argv, int out) {
  return (struct spawn_params){
      .argv = argv, .stdin_fd = -1, .stdout_fd = out, .stderr_fd = -1, .third_fd = -1};
}

static int answer_file(void) {
  int fd = memfd_create("answer", MFD_CLOEXEC);
  assert_true(fd > 2);
  return fd;
}

/* Waits for its end; returns what waitid says as the shell would: 128 + signal. */
static int reap(const struct spawn_child *child) {
  siginfo_t info;
  assert_int_equal(0, waitid(P_PID, (id_t)child->pid, &info, WEXITED));
  close(child->pidfd);
  return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

/* Runs it to its end; what it wrote into `params->stdout_fd` becomes the text. */
static const char *run(const struct spawn_params *params) {
  static char text[ANSWER];
  struct spawn_child child;
  assert_int_equal(STATUS_OK, spawn_start(params, &child));
  assert_int_equal(0, reap(&child));
  ssize_t n = pread(params->stdout_fd, text, sizeof text - 1, 0);
  assert_true(n >= 0);
  text[n] = '\0';
  return text;
}

static const char *run_shell(const char *script) {
  const char *const argv[] = {"sh", "-c", script, NULL};
  int out = answer_file();
  struct spawn_params params = shell(argv, out);
  const char *text = run(&params);
  close(out);
  return text;
}

static void a_program_is_found_in_the_path(void **state) {
  (void)state;
  assert_string_equal("hello\n", run_shell("echo hello"));
}

static void a_program_that_is_not_there_is_not_found(void **state) {
  (void)state;
  static const char *const names[] = {"/no/such/program", "memkeep-no-such-program",
                                      "/etc/passwd/x"};
  struct spawn_child child = {.pid = 77};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    struct spawn_params params = shell((const char *const[]){names[i], NULL}, -1);
    assert_int_equal(STATUS_NOT_FOUND, spawn_start(&params, &child));
  }
  struct spawn_params params = shell((const char *const[]){"/etc/passwd", NULL}, -1);
  assert_int_equal(STATUS_INTERNAL_ERROR, spawn_start(&params, &child));
  assert_int_equal(77, child.pid);
  assert_int_equal(-1, waitpid(-1, NULL, WNOHANG)); /* nothing is left to reap */
}

static void the_pidfd_is_the_child(void **state) {
  (void)state;
  struct spawn_params params = shell((const char *const[]){"sleep", "1000", NULL}, -1);
  struct spawn_child child;
  assert_int_equal(STATUS_OK, spawn_start(&params, &child));
  assert_true(fcntl(child.pidfd, F_GETFD) & FD_CLOEXEC);
  assert_int_equal(0, kill(child.pid, SIGKILL));
  siginfo_t info;
  assert_int_equal(0, waitid((idtype_t)P_PIDFD, (id_t)child.pidfd, &info, WEXITED));
  assert_int_equal(child.pid, info.si_pid);
  close(child.pidfd);
}

static void only_what_is_named_is_inherited(void **state) {
  (void)state;
  int secret = open("/dev/null", O_RDONLY); /* as a foreign library opens: without CLOEXEC */
  int high = fcntl(secret, F_DUPFD, 200);
  assert_true(secret > 2 && high >= 200);
  /* ls itself opens the folder it lists: that one is the first free number. */
  assert_string_equal("0\n1\n2\n3\n", run_shell("exec ls /proc/self/fd"));
  close(secret);
  close(high);
}

static void nothing_given_is_the_null_device(void **state) {
  (void)state;
  assert_string_equal("/dev/null\n", run_shell("readlink /proc/self/fd/0"));
  struct spawn_params params = shell((const char *const[]){"sh", "-c", "echo lost", NULL}, -1);
  struct spawn_child child;
  assert_int_equal(STATUS_OK, spawn_start(&params, &child));
  assert_int_equal(0, reap(&child));
}

static void the_third_descriptor_is_number_3(void **state) {
  (void)state;
  static const char *const argv[] = {"sh", "-c", "cat; cat <&3; echo error >&2", NULL};
  int out = answer_file(), in = answer_file(), third = answer_file(), error = answer_file();
  assert_int_equal(3, pwrite(in, "one", 3, 0));
  assert_int_equal(3, pwrite(third, "two", 3, 0));
  struct spawn_params params = {
      .argv = argv, .stdin_fd = in, .stdout_fd = out, .stderr_fd = error, .third_fd = third};
  assert_string_equal("onetwo", run(&params));
  char text[16] = "";
  assert_int_equal(6, pread(error, text, sizeof text, 0));
  assert_string_equal("error\n", text);
  for (int *fd = (int[]){out, in, third, error, -1}; *fd >= 0; fd++)
    close(*fd);
}

/* A child, because its own 0, 1 and 3 get lost: what is given lies where other things must go. */
static void low_numbers_do_not_overwrite_each_other(void **state) {
  (void)state;
  static const char *const argv[] = {"sh", "-c", "cat; cat <&3", NULL};
  int out = answer_file(), in = answer_file(), third = answer_file();
  assert_int_equal(3, pwrite(in, "one", 3, 0));
  assert_int_equal(3, pwrite(third, "two", 3, 0));
  pid_t pid = fork();
  if (!pid) {
    int moved = fcntl(out, F_DUPFD, 100), in_moved = fcntl(in, F_DUPFD, 100),
        third_moved = fcntl(third, F_DUPFD, 100);
    dup2(moved, 0);       /* becomes 1 */
    dup2(third_moved, 1); /* becomes 3 */
    dup2(in_moved, 3);    /* becomes 0 */
    struct spawn_params params = {
        .argv = argv, .stdin_fd = 3, .stdout_fd = 0, .stderr_fd = -1, .third_fd = 1};
    struct spawn_child child;
    siginfo_t info;
    bool started = !spawn_start(&params, &child);
    _exit(started && !waitid(P_PID, (id_t)child.pid, &info, WEXITED) ? info.si_status : 99);
  }
  int how = 1;
  assert_int_equal(pid, waitpid(pid, &how, 0));
  assert_int_equal(0, how);
  char text[16] = "";
  assert_int_equal(6, pread(out, text, sizeof text, 0));
  assert_string_equal("onetwo", text);
  close(out);
  close(in);
  close(third);
}

/* Descriptors that are in their place already lose only CLOEXEC. */
static void a_descriptor_may_be_in_its_place_already(void **state) {
  (void)state;
  static const char *const argv[] = {"sh", "-c", "cat <&3", NULL};
  int out = answer_file(), third = answer_file();
  assert_int_equal(3, pwrite(third, "two", 3, 0));
  pid_t pid = fork();
  if (!pid) {
    int moved = fcntl(out, F_DUPFD_CLOEXEC, 100), third_moved = fcntl(third, F_DUPFD_CLOEXEC, 100);
    dup3(third_moved, 3, O_CLOEXEC);
    dup3(moved, 1, O_CLOEXEC);
    struct spawn_params params = shell(argv, 1);
    params.third_fd = 3;
    struct spawn_child child;
    siginfo_t info;
    bool started = !spawn_start(&params, &child);
    _exit(started && !waitid(P_PID, (id_t)child.pid, &info, WEXITED) ? info.si_status : 99);
  }
  int how = 1;
  assert_int_equal(pid, waitpid(pid, &how, 0));
  assert_int_equal(0, how);
  char text[16] = "";
  assert_int_equal(3, pread(out, text, sizeof text, 0));
  assert_string_equal("two", text);
  close(out);
  close(third);
}

static void the_environment_is_ours_and_what_is_added(void **state) {
  (void)state;
  static const char *const argv[] = {"sh", "-c",
                                     "echo $ONE,$TWO,$TWOMORE; env | grep -c ^TWO=", NULL};
  static const char *const added[] = {"TWO=new", "THREE=3", NULL};
  setenv("ONE", "old", 1);
  setenv("TWO", "old", 1);
  setenv("TWOMORE", "kept", 1);
  int out = answer_file();
  struct spawn_params params = shell(argv, out);
  params.environment = added;
  assert_string_equal("old,new,kept\n1\n", run(&params));
  close(out);
  assert_string_equal("old", getenv("TWO"));
}

/* Blocked and ignored signals of a daemon would survive an exec. (32 and 33 are glibc's own.) */
static void signals_are_as_in_a_fresh_process(void **state) {
  (void)state;
  sigset_t block, before;
  sigemptyset(&block);
  sigaddset(&block, SIGTERM);
  sigprocmask(SIG_BLOCK, &block, &before);
  signal(SIGPIPE, SIG_IGN);
  const char *text = run_shell("grep -E '^Sig(Blk|Ign)' /proc/self/status");
  signal(SIGPIPE, SIG_DFL);
  sigprocmask(SIG_SETMASK, &before, NULL);
  unsigned long blocked = 1, ignored = 1;
  assert_int_equal(2, sscanf(text, "SigBlk: %lx SigIgn: %lx", &blocked, &ignored));
  assert_int_equal(0, blocked);
  assert_int_equal(0, ignored & ~(3UL << 31));
}

/* Fields 1, 5 and 6 of its stat: pid, process group, session. */
static void read_groups(bool session, int *pid, int *group, int *its_session) {
  static const char *const argv[] = {"cat", "/proc/self/stat", NULL};
  int out = answer_file();
  struct spawn_params params = shell(argv, out);
  params.session = session;
  assert_int_equal(3, sscanf(run(&params), "%d %*s %*c %*d %d %d", pid, group, its_session));
  close(out);
}

static void it_leads_a_group_or_a_session(void **state) {
  (void)state;
  int pid, group, session;
  read_groups(false, &pid, &group, &session);
  assert_int_equal(pid, group);
  assert_int_equal(getsid(0), session);
  read_groups(true, &pid, &group, &session);
  assert_int_equal(pid, group);
  assert_int_equal(pid, session);
}

static void no_descriptor_is_lost(void **state) {
  (void)state;
  struct spawn_params bad = shell((const char *const[]){"/no/such/program", NULL}, 0);
  struct spawn_params good = shell((const char *const[]){"true", NULL}, 0); /* 0 must be copied */
  struct spawn_child child;
  int before = dup(0);
  close(before);
  assert_int_equal(STATUS_NOT_FOUND, spawn_start(&bad, &child));
  assert_int_equal(STATUS_OK, spawn_start(&good, &child));
  assert_int_equal(0, reap(&child));
  int after = dup(0);
  close(after);
  assert_int_equal(before, after);
}

static void without_descriptors_nothing_starts(void **state) {
  (void)state;
  struct spawn_params params = shell((const char *const[]){"true", NULL}, 0);
  struct spawn_child child = {.pid = 77};
  struct rlimit before, none;
  int high = fcntl(0, F_DUPFD_CLOEXEC, 3);
  assert_int_equal(0, getrlimit(RLIMIT_NOFILE, &before));
  none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
  assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &none));
  enum status copied = spawn_start(&params, &child);
  params.stdout_fd = -1;
  enum status watched = spawn_start(&params, &child); /* it runs, but there is no pidfd for it */
  assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &before));
  close(high);
  assert_int_equal(STATUS_INTERNAL_ERROR, copied);
  assert_int_equal(STATUS_INTERNAL_ERROR, watched);
  assert_int_equal(77, child.pid);
  assert_int_equal(-1, waitpid(-1, NULL, WNOHANG));
}

/* A stopped one ends too. */
static void one_that_is_killed_is_waited_for_and_reaped(void **state) {
  (void)state;
  struct spawn_params params = shell((const char *const[]){"sleep", "1000", NULL}, -1);
  struct spawn_child child;
  int before = dup(0);
  close(before);
  assert_int_equal(STATUS_OK, spawn_start(&params, &child));
  kill(child.pid, SIGSTOP);
  spawn_kill(&child);
  spawn_done(&child, 20000);
  assert_int_equal(0, child.pid);
  assert_int_equal(-1, waitpid(-1, NULL, WNOHANG));
  spawn_kill(&child);
  spawn_done(&child, 20000);
  int after = dup(0);
  close(after);
  assert_int_equal(before, after);
}

static void one_that_lives_is_not_waited_for_longer(void **state) {
  (void)state;
  struct spawn_params params = shell((const char *const[]){"sleep", "1000", NULL}, -1);
  struct spawn_child child;
  assert_int_equal(STATUS_OK, spawn_start(&params, &child));
  pid_t pid = child.pid;
  spawn_done(&child, 1);
  assert_int_equal(0, child.pid);
  assert_int_equal(0, kill(pid, SIGKILL));
  assert_int_equal(pid, waitpid(pid, NULL, 0));
}

static void a_start_time_belongs_to_a_process(void **state) {
  (void)state;
  uint64_t own = spawn_start_time(getpid());
  assert_true(own > 0);
  assert_int_equal(own, spawn_start_time(getpid()));
  struct spawn_params params = shell((const char *const[]){"sleep", "1000", NULL}, -1);
  struct spawn_child child;
  assert_int_equal(STATUS_OK, spawn_start(&params, &child));
  assert_true(spawn_start_time(child.pid) >= own);
  kill(child.pid, SIGKILL);
  reap(&child);
  assert_int_equal(0, spawn_start_time(child.pid));
  assert_int_equal(0, spawn_start_time(0));
  assert_int_equal(0, spawn_start_time(-1));
}

/* A name is the only field that its owner writes, spaces and brackets included. */
static void a_hostile_name_moves_no_field(void **state) {
  (void)state;
  pid_t pid = fork();
  if (!pid) {
    FILE *name = fopen("/proc/self/comm", "w");
    fputs(") R 1 2 3 4 5 (", name);
    fclose(name);
    kill(getpid(), SIGSTOP);
    _exit(0);
  }
  uint64_t own = spawn_start_time(getpid()), its;
  assert_int_equal(pid, waitpid(pid, NULL, WUNTRACED));
  its = spawn_start_time(pid);
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  assert_true(its >= own);
}

static void the_limit_of_files_is_raised_to_the_hard_one(void **state) {
  (void)state;
  struct rlimit before, low, after;
  assert_int_equal(0, getrlimit(RLIMIT_NOFILE, &before));
  low = (struct rlimit){.rlim_cur = 64, .rlim_max = before.rlim_max};
  assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &low));
  assert_int_equal(before.rlim_max, spawn_raise_fd_limit());
  assert_int_equal(0, getrlimit(RLIMIT_NOFILE, &after));
  assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &before));
  assert_int_equal(after.rlim_max, after.rlim_cur);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_program_is_found_in_the_path),
      cmocka_unit_test(a_program_that_is_not_there_is_not_found),
      cmocka_unit_test(the_pidfd_is_the_child),
      cmocka_unit_test(only_what_is_named_is_inherited),
      cmocka_unit_test(nothing_given_is_the_null_device),
      cmocka_unit_test(the_third_descriptor_is_number_3),
      cmocka_unit_test(low_numbers_do_not_overwrite_each_other),
      cmocka_unit_test(a_descriptor_may_be_in_its_place_already),
      cmocka_unit_test(the_environment_is_ours_and_what_is_added),
      cmocka_unit_test(signals_are_as_in_a_fresh_process),
      cmocka_unit_test(it_leads_a_group_or_a_session),
      cmocka_unit_test(no_descriptor_is_lost),
      cmocka_unit_test(without_descriptors_nothing_starts),
      cmocka_unit_test(one_that_is_killed_is_waited_for_and_reaped),
      cmocka_unit_test(one_that_lives_is_not_waited_for_longer),
      cmocka_unit_test(a_start_time_belongs_to_a_process),
      cmocka_unit_test(a_hostile_name_moves_no_field),
      cmocka_unit_test(the_limit_of_files_is_raised_to_the_hard_one),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
