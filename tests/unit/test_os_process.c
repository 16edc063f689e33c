/* os_process: the end of children of this test, which may be over before it is watched. */
#include "base/os_process.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/spawn.h"

struct fixture {
  struct loop *loop;
  pid_t child; /* waits to be killed */
  struct os_process *process;
  int ends, free_fd;
  bool frees;
};

static int first_free_fd(void) {
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  close(fd);
  return fd;
}

static int setup(void **state) {
  static struct fixture f;
  f = (struct fixture){.child = fork()};
  if (!f.child)
    for (;;)
      pause();
  *state = &f;
  enum status status = loop_create(&f.loop);
  f.free_fd = first_free_fd();
  return f.child < 0 || status;
}

static void kill_child(struct fixture *f) {
  if (f->child)
    kill(f->child, SIGKILL);
}

static void reap_child(struct fixture *f) {
  kill_child(f);
  if (f->child)
    waitpid(f->child, NULL, 0);
  f->child = 0;
}

static int teardown(void **state) {
  struct fixture *f = *state;
  reap_child(f);
  os_process_free(f->process);
  int left = first_free_fd();
  loop_free(f->loop);
  return left != f->free_fd;
}

static void ended(void *arg) {
  struct fixture *f = arg;
  f->ends++;
  if (f->frees) {
    os_process_free(f->process);
    f->process = NULL;
  }
  loop_stop(f->loop);
}

static enum status watch(struct fixture *f, pid_t pid, uint64_t start_time) {
  const struct os_process_params params = {
      .pid = pid, .start_time = start_time, .fn = ended, .arg = f};
  return os_process_watch(f->loop, &params, &f->process);
}

static void run_task(struct task *task) { (void)task; }

/* Everything that is ready now is told. */
static void turn(struct fixture *f) {
  struct task task = {.run = run_task};
  loop_post(f->loop, &task);
  loop_stop(f->loop);
  loop_run(f->loop);
}

static void its_end_is_told_once(void **state) {
  struct fixture *f = *state;
  assert_int_equal(STATUS_OK, watch(f, f->child, spawn_start_time(f->child)));
  turn(f);
  assert_int_equal(0, f->ends);
  kill_child(f);
  loop_run(f->loop);
  assert_int_equal(1, f->ends);
  turn(f);
  turn(f);
  assert_int_equal(1, f->ends);
}

static void it_may_be_freed_when_it_is_told(void **state) {
  struct fixture *f = *state;
  f->frees = true;
  assert_int_equal(STATUS_OK, watch(f, f->child, spawn_start_time(f->child)));
  kill_child(f);
  loop_run(f->loop);
  assert_int_equal(1, f->ends);
}

static void one_that_is_freed_is_not_told(void **state) {
  struct fixture *f = *state;
  assert_int_equal(STATUS_OK, watch(f, f->child, spawn_start_time(f->child)));
  os_process_free(f->process);
  f->process = NULL;
  reap_child(f);
  turn(f);
  turn(f);
  assert_int_equal(0, f->ends);
  os_process_free(NULL);
}

static void one_that_nobody_reaped_is_told_at_once(void **state) {
  struct fixture *f = *state;
  siginfo_t info;
  kill_child(f);
  assert_int_equal(0, waitid(P_PID, (id_t)f->child, &info, WEXITED | WNOWAIT));
  assert_int_equal(STATUS_OK, watch(f, f->child, spawn_start_time(f->child)));
  loop_run(f->loop);
  assert_int_equal(1, f->ends);
}

static void one_that_is_gone_is_not_found(void **state) {
  struct fixture *f = *state;
  pid_t pid = f->child;
  uint64_t start_time = spawn_start_time(pid);
  reap_child(f);
  assert_int_equal(STATUS_NOT_FOUND, watch(f, pid, start_time));
  assert_null(f->process);
}

static void another_one_with_its_pid_is_not_it(void **state) {
  struct fixture *f = *state;
  uint64_t start_time = spawn_start_time(f->child);
  assert_int_equal(STATUS_NOT_FOUND, watch(f, f->child, start_time + 1));
  assert_int_equal(STATUS_NOT_FOUND, watch(f, f->child, 0));
  assert_null(f->process);
}

static void what_is_no_pid_is_not_found(void **state) {
  static const pid_t none[] = {0, -1, INT32_MIN, INT32_MAX};
  struct fixture *f = *state;
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    assert_int_equal(STATUS_NOT_FOUND, watch(f, none[i], 1));
}

static void *watch_own_thread(void *arg) {
  static enum status status;
  pid_t thread = (pid_t)syscall(SYS_gettid);
  status = watch(arg, thread, spawn_start_time(thread));
  return &status;
}

static void a_thread_is_no_process(void **state) {
  struct fixture *f = *state;
  pthread_t thread;
  void *status;
  assert_int_equal(0, pthread_create(&thread, NULL, watch_own_thread, f));
  pthread_join(thread, &status);
  assert_int_equal(STATUS_NOT_FOUND, *(enum status *)status);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(its_end_is_told_once),          TEST(it_may_be_freed_when_it_is_told),
      TEST(one_that_is_freed_is_not_told), TEST(one_that_nobody_reaped_is_told_at_once),
      TEST(one_that_is_gone_is_not_found), TEST(another_one_with_its_pid_is_not_it),
      TEST(what_is_no_pid_is_not_found),   TEST(a_thread_is_no_process),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
