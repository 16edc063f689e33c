/* os_sandbox: behind the walls one can compute, take memory, read and answer; all else ends the
 * process. Each test is a child that goes in, does one thing, and is looked at from outside. */
#include "base/os_sandbox.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/os_bytes.h"
#include "base/os_memfd.h"
#include "base/units.h"

#define MEMORY (256 * MIB)
#define WRITABLE 4096

struct walls {
  struct share file, read_only, pipe, other;
  int answer; /* our end */
};

/* Does one thing; its return is the exit code. */
typedef int deed_fn(const struct walls *walls);

/* The wait status of a child that did it. */
static int behind(struct walls *walls, deed_fn *deed) {
  int ends[2];
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  walls->answer = ends[0];
  walls->pipe = (struct share){SHARE_FILE, ends[1]};
  pid_t child = fork();
  assert_true(child >= 0);
  if (!child) {
    const struct os_sandbox_params params = {.memory_bytes = MEMORY,
                                             .cpu_seconds = 1,
                                             .file_bytes = WRITABLE,
                                             .file = &walls->file,
                                             .pipe = &walls->pipe};
    _exit(os_sandbox_enter(&params) ? 99 : deed(walls));
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  close(ends[1]);
  return status;
}

static int setup(void **state) {
  struct walls *walls = calloc(1, sizeof *walls);
  assert_int_equal(os_memfd_create("test", 2 * WRITABLE, &walls->file), STATUS_OK);
  assert_int_equal(os_memfd_create("test", 2 * WRITABLE, &walls->other), STATUS_OK);
  assert_int_equal(os_memfd_read_only(&walls->other, &walls->read_only), STATUS_OK);
  walls->answer = -1;
  *state = walls;
  return 0;
}

static int teardown(void **state) {
  struct walls *walls = *state;
  share_close(&walls->file);
  share_close(&walls->other);
  share_close(&walls->read_only);
  if (walls->answer >= 0)
    close(walls->answer);
  free(walls);
  return 0;
}

/* ---- allowed ---- */

static int work(const struct walls *walls) {
  char bytes[16] = {0};
  for (size_t n = 1; n < 64 * MIB; n *= 4) {
    char *block = malloc(n), *grown = block ? realloc(block, 2 * n) : NULL;
    if (!grown)
      return 1;
    memset(grown, 1, 2 * n);
    free(grown);
  }
  if (os_bytes_read(&walls->read_only, 4, bytes, sizeof bytes) ||
      os_bytes_read(&walls->read_only, 2 * WRITABLE - 1, bytes, 2) != STATUS_NOT_FOUND)
    return 2;
  return os_bytes_write(&walls->file, 100, "card", 4) ? 3
         : os_bytes_say(&walls->pipe, "done", 4)      ? 4
                                                      : 0;
}

static void what_is_needed_goes_on(void **state) {
  struct walls *walls = *state;
  char text[4], card[4];
  assert_int_equal(behind(walls, work), 0);
  assert_int_equal(read(walls->answer, text, 4), 4);
  assert_memory_equal(text, "done", 4);
  assert_int_equal(os_bytes_read(&walls->file, 100, card, 4), STATUS_OK);
  assert_memory_equal(card, "card", 4);
}

/* ---- limited ---- */

static int take_too_much(const struct walls *walls) {
  (void)walls;
  void *volatile block = malloc(MEMORY);
  return block ? 1 : 7;
}

static int compute(const struct walls *walls) {
  volatile const int *kind = (const int *)&walls->file.kind;
  while (*kind != SHARE_NONE)
    ;
  return 7;
}

static int write_too_far(const struct walls *walls) {
  return os_bytes_write(&walls->file, 2 * WRITABLE - 4, "card", 4) ? 7 : 0;
}

static void more_memory_is_not_there(void **state) {
  if (!os_sandbox_is_strict())
    skip(); /* a sanitizer's runtime does not live with limits */
  assert_int_equal(WEXITSTATUS(behind(*state, take_too_much)), 7);
}

static void more_time_ends_it(void **state) {
  if (!os_sandbox_is_strict())
    skip();
  assert_int_equal(WTERMSIG(behind(*state, compute)), SIGXCPU);
}

static void a_larger_file_ends_it(void **state) {
  if (!os_sandbox_is_strict())
    skip();
  assert_int_equal(WTERMSIG(behind(*state, write_too_far)), SIGXFSZ);
}

/* ---- forbidden ---- */

static int open_file(const struct walls *walls) {
  (void)walls;
  return open("/etc/passwd", O_RDONLY);
}
static int map_file(const struct walls *walls) {
  return mmap(NULL, WRITABLE, PROT_READ, MAP_SHARED, (int)walls->file.value, 0) != MAP_FAILED;
}
static int map_code(const struct walls *walls) {
  (void)walls;
  return mmap(NULL, WRITABLE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
         MAP_FAILED;
}
static int make_code(const struct walls *walls) {
  (void)walls;
  void *map = mmap(NULL, WRITABLE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return mprotect(map, WRITABLE, PROT_READ | PROT_EXEC);
}
static int write_elsewhere(const struct walls *walls) {
  return os_bytes_write(&walls->other, 0, "card", 4) != 0;
}
static int say_elsewhere(const struct walls *walls) {
  (void)walls;
  return write(STDERR_FILENO, "", 0) != 0;
}
static int start_process(const struct walls *walls) {
  (void)walls;
  return fork() != 0;
}
static int signal_another(const struct walls *walls) {
  (void)walls;
  return kill(getppid(), 0);
}
static int make_socket(const struct walls *walls) {
  (void)walls;
  return socket(AF_UNIX, SOCK_STREAM, 0);
}

static void anything_else_ends_it(void **state) {
  static deed_fn *const deeds[] = {open_file,     map_file,        map_code,
                                   make_code,     write_elsewhere, say_elsewhere,
                                   start_process, signal_another,  make_socket};
  struct walls *walls = *state;
  if (!os_sandbox_is_strict())
    skip();
  for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++) {
    int status = behind(walls, deeds[i]);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
      fail_msg("deed %zu ended with status %#x", i, (unsigned)status);
    close(walls->answer);
  }
  walls->answer = -1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(what_is_needed_goes_on), TEST(more_memory_is_not_there), TEST(more_time_ends_it),
      TEST(a_larger_file_ends_it),  TEST(anything_else_ends_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
