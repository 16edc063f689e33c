/*
 * history_faults: whichever write of SQLite's fails, once or until further notice, what was pushed
 * is found afterwards, but for what is counted as dropped.
 *
 * A file system of SQLite's own kind stands before the real one and counts the calls that change a
 * file. With exclusive locking a log beside the file needs no shared memory, so the first version
 * of the methods will do. The time of day stands (cmake/tests.cmake wraps the clocks): what an hour
 * that ends between two pushes makes of them is test_history's.
 */
#include "history/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>
#include <cmocka.h>

#include "base/clock.h"

#define ROUNDS 4
#define EVENTS 16

/* ---- a clock that stands ---- */

uint64_t __wrap_clock_real(void);
uint64_t __wrap_clock_real(void) { return UINT64_C(1764174600) * CLOCK_SECOND; } /* 16:30 */

/* The other one goes on, from where it is put. */
static atomic_uint_fast64_t ahead_ns;
uint64_t __real_clock_now(void);
uint64_t __wrap_clock_now(void);
uint64_t __wrap_clock_now(void) { return __real_clock_now() + ahead_ns; }

/* ---- a file system that fails ---- */

static struct {
  atomic_uint calls, fails_at; /* the first call is 1; fails_at 0: none */
  atomic_bool lasting, hangs;  /* hangs: no file is opened meanwhile */
  atomic_int error;
} faults;
static sqlite3_vfs *real;

struct file {
  sqlite3_file base;
  sqlite3_file *real; /* behind this one */
};

static sqlite3_file *real_of(sqlite3_file *file) { return ((struct file *)file)->real; }

static int next_call(void) {
  unsigned call = atomic_fetch_add(&faults.calls, 1) + 1, at = faults.fails_at;
  bool fails = at && (faults.lasting ? call >= at : call == at);
  return fails ? faults.error : SQLITE_OK;
}

static int close_file(sqlite3_file *file) {
  return real_of(file)->pMethods ? real_of(file)->pMethods->xClose(real_of(file)) : SQLITE_OK;
}

static int read_file(sqlite3_file *file, void *to, int size, sqlite3_int64 at) {
  return real_of(file)->pMethods->xRead(real_of(file), to, size, at);
}

static int write_file(sqlite3_file *file, const void *from, int size, sqlite3_int64 at) {
  int error = next_call();
  return error ? error : real_of(file)->pMethods->xWrite(real_of(file), from, size, at);
}

static int truncate_file(sqlite3_file *file, sqlite3_int64 size) {
  int error = next_call();
  return error ? error : real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static int sync_file(sqlite3_file *file, int flags) {
  int error = next_call();
  return error ? error : real_of(file)->pMethods->xSync(real_of(file), flags);
}

static int size_of_file(sqlite3_file *file, sqlite3_int64 *size) {
  return real_of(file)->pMethods->xFileSize(real_of(file), size);
}

static int lock_file(sqlite3_file *file, int level) {
  return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int unlock_file(sqlite3_file *file, int level) {
  return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int check_lock(sqlite3_file *file, int *reserved) {
  return real_of(file)->pMethods->xCheckReservedLock(real_of(file), reserved);
}

static int control_file(sqlite3_file *file, int what, void *arg) {
  return real_of(file)->pMethods->xFileControl(real_of(file), what, arg);
}

static int sector_size(sqlite3_file *file) {
  return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int characteristics(sqlite3_file *file) {
  return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static const sqlite3_io_methods methods = {.iVersion = 1,
                                           .xClose = close_file,
                                           .xRead = read_file,
                                           .xWrite = write_file,
                                           .xTruncate = truncate_file,
                                           .xSync = sync_file,
                                           .xFileSize = size_of_file,
                                           .xLock = lock_file,
                                           .xUnlock = unlock_file,
                                           .xCheckReservedLock = check_lock,
                                           .xFileControl = control_file,
                                           .xSectorSize = sector_size,
                                           .xDeviceCharacteristics = characteristics};

static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *out, int flags, int *given) {
  struct file *file = (struct file *)out;
  (void)vfs;
  file->base.pMethods = NULL;
  file->real = (sqlite3_file *)(file + 1);
  while (faults.hangs)
    usleep(100);
  int error = flags & SQLITE_OPEN_CREATE ? next_call() : SQLITE_OK;
  if (!error)
    error = real->xOpen(real, name, file->real, flags, given);
  if (!error)
    file->base.pMethods = &methods;
  return error;
}

static int stand_before(void **state) {
  static sqlite3_vfs vfs;
  (void)state;
  sqlite3_initialize();
  real = sqlite3_vfs_find(NULL);
  vfs = *real;
  vfs.zName = "faulty";
  vfs.pNext = NULL;
  vfs.szOsFile = (int)sizeof(struct file) + real->szOsFile;
  vfs.xOpen = open_file;
  return sqlite3_vfs_register(&vfs, 1);
}

/* ---- a history on it ---- */

struct there {
  char folder[64];
  struct history *history;
};

struct question {
  struct task task;
  struct history *history;
  struct history_usage usage;
  struct history_event events[EVENTS];
  struct history_operation operation;
  struct history_route route;
  uint32_t event_count;
  atomic_bool done;
};

static void answer(struct task *task) {
  struct question *q = (struct question *)task;
  const struct history_window window = {"host:0", 0, 2 * clock_real(), 100};
  history_usage(q->history, &window, &q->usage);
  q->event_count = history_events(q->history, &window, q->events, EVENTS);
  history_operations(q->history, &window, &q->operation, 1);
  history_transfers(q->history, &window, &q->route, 1);
  q->done = true;
}

static const struct question *ask(struct there *there) {
  static struct question q;
  q = (struct question){.task.run = answer, .history = there->history};
  assert_true(history_post(there->history, &q.task));
  while (!q.done)
    usleep(100);
  return &q;
}

static struct history_state state_of(struct there *there) {
  struct history_state found;
  history_state(there->history, &found);
  return found;
}

static void open_history(struct there *there) {
  const struct history_params params = {.folder = there->folder, .retry_ns = 1};
  assert_int_equal(history_open(&params, &there->history), STATUS_OK);
}

static void remove_folder(const struct there *there) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", there->folder);
  assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): the words are ours
}

static void push(struct there *there, unsigned round) {
  uint64_t time = clock_real() - UINT64_C(100) * (ROUNDS - round) * CLOCK_SECOND;
  const struct history_event event = {
      .time = time, .subject = round, .type = "x", .device = "host:0"};
  history_event(there->history, &event);
  history_sample(there->history, &(struct history_sample){.time = time, .device = "host:0"});
  history_transfer(there->history, &(struct history_transfer){.time = time, .bytes = 1, .ns = 1});
  history_latency(there->history,
                  &(struct history_latency){.time = time, .action = "a", .buckets = {1}});
}

static void check(const struct question *q, uint64_t dropped) {
  uint64_t found = q->event_count + q->usage.seconds + q->route.count + q->operation.count;
  assert_int_equal(found + dropped, 4 * ROUNDS);
  for (uint32_t i = 1; i < q->event_count; i++)
    assert_true(q->events[i - 1].subject < q->events[i].subject);
}

/* False: so many calls were not made. */
static bool fails(unsigned at, bool lasting, int error) {
  struct there there = {.folder = "/dev/shm/memkeep-faults-XXXXXX"};
  assert_non_null(mkdtemp(there.folder));
  faults.calls = 0;
  faults.error = error;
  faults.lasting = lasting;
  faults.fails_at = at;
  open_history(&there);
  for (unsigned round = 0; round < ROUNDS; round++) {
    push(&there, round);
    ask(&there);
  }
  bool met = faults.calls >= at;
  check(ask(&there), state_of(&there).dropped);
  if (lasting && met)
    assert_false(state_of(&there).on_disk);
  faults.fails_at = 0;
  check(ask(&there), state_of(&there).dropped);
  assert_true(state_of(&there).on_disk);
  uint64_t dropped = state_of(&there).dropped;
  history_close(there.history);
  open_history(&there);
  check(ask(&there), dropped);
  assert_string_equal(state_of(&there).reason, "");
  history_close(there.history);
  remove_folder(&there);
  return met;
}

static void all_fail_in_turn(bool lasting, int error) {
  unsigned at = 1;
  while (fails(at, lasting, error))
    at++;
  assert_true(at > 20);
}

static void test_one_write_fails(void **state) {
  (void)state;
  all_fail_in_turn(false, SQLITE_IOERR_WRITE);
}

static void test_the_disk_is_full_for_one_write(void **state) {
  (void)state;
  all_fail_in_turn(false, SQLITE_FULL);
}

static void test_the_disk_is_full_from_one_on(void **state) {
  (void)state;
  all_fail_in_turn(true, SQLITE_FULL);
}

/* As it is at each start: nothing is wrong yet. */
static void test_what_is_being_opened_is_well_until_that_hangs(void **state) {
  struct there there = {.folder = "/dev/shm/memkeep-faults-XXXXXX"};
  (void)state;
  assert_non_null(mkdtemp(there.folder));
  faults.hangs = true;
  open_history(&there);
  struct history_state found = state_of(&there);
  assert_true(found.opening);
  assert_false(found.on_disk);
  assert_string_equal(found.reason, "being opened");
  ahead_ns = 11 * CLOCK_SECOND;
  found = state_of(&there);
  assert_false(found.opening);
  assert_false(found.on_disk);
  assert_non_null(strstr(found.reason, "hangs"));
  faults.hangs = false;
  ask(&there);
  found = state_of(&there);
  assert_true(found.on_disk);
  assert_false(found.opening);
  assert_string_equal(found.reason, "");
  history_close(there.history);
  remove_folder(&there);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_write_fails),
      cmocka_unit_test(test_the_disk_is_full_for_one_write),
      cmocka_unit_test(test_the_disk_is_full_from_one_on),
      cmocka_unit_test(test_what_is_being_opened_is_well_until_that_hangs),
  };
  return cmocka_run_group_tests(tests, stand_before, NULL);
}
