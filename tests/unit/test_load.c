/* load: the segment gets the file's bytes and nothing else is touched, on this side of a link and
 * beyond one; whatever goes wrong meanwhile is seen, and no signal,
 * descriptor or byte beyond is the price. */
#include "worker/load.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cmocka.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/os_memfd.h"
#include "files_fixture.h"
#include "worker/meter.h"

#define CHUNKS 8
#define FILE_BYTES (CHUNKS * LOAD_CHUNK + 8 * KIB)
#define SEGMENT (FILE_BYTES + 16 * KIB)
#define GUARD 0x5A
#define TMPFS                                                                                      \
  0x01021994 /* from linux/magic.h: its files are page cache, there is nothing to go around */

static const char *const devices[] = {"host:0=1GiB", "fake:0=1GiB"};
#define DEVICES (sizeof devices / sizeof *devices)

static const uint64_t file_offsets[] = {0, 4096, 33}, target_offsets[] = {0, 8192, 33, 100};

struct scene {
  struct share file, memory;
  unsigned char *bytes; /* what the file was made with */
  struct device_mover *mover;
  struct device_segment *segment;
  unsigned char *target; /* the segment as the kernel has it */
};

enum deed { DEED_NONE, DEED_CANCEL, DEED_CUT, DEED_TOUCH, DEED_FLIP };

/* Does its deed once, when so many bytes are done; and watches what is told. */
struct watch {
  struct scene *scene;
  enum deed deed;
  uint64_t at;
  atomic_bool cancel;
  bool done, fell, over;
  struct load_progress last;
};

static void segment_open(struct scene *scene, const char *device) {
  struct spec spec;
  struct problem problem;
  void *map;
  assert_int_equal(spec_parse(device, &spec, &problem), STATUS_OK);
  assert_int_equal(device_mover_open(&spec, &scene->mover), STATUS_OK);
  assert_int_equal(os_memfd_create("test_load", SEGMENT, &scene->memory), STATUS_OK);
  assert_int_equal(os_memfd_map(&scene->memory, SEGMENT, true, &map), STATUS_OK);
  scene->target = map;
  assert_int_equal(device_import(scene->mover, &scene->memory, SEGMENT, &scene->segment),
                   STATUS_OK);
}

static void segment_close(struct scene *scene) {
  device_drop(scene->segment);
  device_mover_close(scene->mover);
  os_memfd_unmap(scene->target, SEGMENT);
  share_close(&scene->memory);
}

static int file_make(const unsigned char *bytes, uint64_t size) {
  char path[] = "/tmp/test_load.XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  unlink(path);
  assert_int_equal(write(fd, bytes, size), size);
  return fd;
}

static int set_up(void **state) {
  struct scene *scene = calloc(1, sizeof *scene);
  uint64_t seed = 1;
  scene->bytes = malloc(FILE_BYTES);
  for (uint64_t i = 0; i < FILE_BYTES; i += 4) {
    seed = seed * UINT64_C(6364136223846793005) + 1;
    uint32_t word = (uint32_t)(seed >> 32);
    memcpy(scene->bytes + i, &word, sizeof word);
  }
  scene->file = (struct share){SHARE_FILE, file_make(scene->bytes, FILE_BYTES)};
  *state = scene;
  return 0;
}

static int tear_down(void **state) {
  struct scene *scene = *state;
  share_close(&scene->file);
  free(scene->bytes);
  free(scene);
  return 0;
}

static void act(struct watch *watch) {
  const struct scene *scene = watch->scene;
  const struct timespec long_ago[2] = {{1, 0}, {1, 0}};
  watch->done = true;
  if (watch->deed == DEED_CANCEL)
    atomic_store(&watch->cancel, true);
  if (watch->deed == DEED_CUT)
    assert_int_equal(ftruncate((int)scene->file.value, LOAD_CHUNK), 0);
  if (watch->deed == DEED_TOUCH)
    assert_int_equal(futimens((int)scene->file.value, long_ago), 0);
  if (watch->deed == DEED_FLIP)
    scene->target[LOAD_CHUNK + 1] ^= 1;
}

static void on_progress(void *arg, const struct load_progress *progress) {
  struct watch *watch = arg;
  watch->fell |= progress->bytes_done < watch->last.bytes_done ||
                 progress->bytes_verified < watch->last.bytes_verified;
  watch->over |= progress->bytes_done + progress->bytes_verified ==
                 watch->last.bytes_done + watch->last.bytes_verified;
  watch->last = *progress;
  if (watch->deed && !watch->done && progress->bytes_done >= watch->at)
    act(watch);
}

static uint64_t *sums_make(void) {
  uint64_t *sums = calloc(CHUNKS + 1, sizeof *sums);
  assert_non_null(sums);
  return sums;
}

static struct load_work work_on(struct scene *scene, struct watch *watch, uint64_t size) {
  if (!watch->scene)
    watch->scene = scene;
  return (struct load_work){.file = &scene->file,
                            .size = size,
                            .to = {scene->segment, 0},
                            .verify = true,
                            .cancel = &watch->cancel,
                            .progress = on_progress,
                            .arg = watch,
                            .chunk_sums = sums_make()};
}

static void assert_sums(const struct load_work *work, const unsigned char *bytes) {
  uint64_t chunks = load_chunks(work->size);
  for (uint64_t i = 0; i < chunks; i++) {
    uint64_t offset = i * LOAD_CHUNK, size = units_min(LOAD_CHUNK, work->size - offset);
    assert_true(work->chunk_sums[i] == XXH3_64bits(bytes + offset, size));
  }
  assert_true(work->fingerprint == XXH3_64bits(work->chunk_sums, chunks * sizeof(uint64_t)));
}

static void load_once(struct scene *scene, struct load_work work, struct watch *watch) {
  const unsigned char *expected = scene->bytes + work.file_offset;
  uint64_t to = work.to.offset;
  memset(scene->target + units_minus(to, 4096), GUARD, work.size + 8192);
  assert_int_equal(load_run(&work), STATUS_OK);
  assert_memory_equal(scene->target + to, expected, work.size);
  assert_int_equal(scene->target[to + work.size], GUARD);
  if (to)
    assert_int_equal(scene->target[to - 1], GUARD);
  assert_sums(&work, expected);
  assert_true(work.verified && !work.identity_changed);
  assert_true(work.bytes_done == work.size && work.identity.size == FILE_BYTES);
  assert_true(watch->last.bytes_done == work.size && watch->last.bytes_verified == work.size);
  assert_false(watch->fell || watch->over);
  const struct os_file_figures *how = &work.figures;
  assert_true(how->cached_bytes + how->direct_bytes + how->buffered_bytes == work.size);
  free(work.chunk_sums);
}

static void every_size_at_every_offset(void **state) {
  static const uint64_t sizes[] = {
      0, 1, 4095, 4096, LOAD_CHUNK - 1, LOAD_CHUNK, LOAD_CHUNK + 1, 7 * LOAD_CHUNK / 2};
  struct scene *scene = *state;
  for (size_t device = 0; device < DEVICES; device++) {
    segment_open(scene, devices[device]);
    for (size_t i = 0; i < 12 * sizeof sizes / sizeof *sizes; i++) {
      struct watch watch = {.scene = scene};
      struct load_work work = work_on(scene, &watch, sizes[i / 12]);
      work.file_offset = file_offsets[i % 3];
      work.to.offset = target_offsets[i / 3 % 4];
      if (i % 2)
        posix_fadvise((int)scene->file.value, 0, 0, POSIX_FADV_DONTNEED);
      load_once(scene, work, &watch);
    }
    segment_close(scene);
  }
}

static bool reads_directly(const struct scene *scene) {
  char path[40];
  struct statfs facts;
  snprintf(path, sizeof path, "/proc/self/fd/%d", (int)scene->file.value);
  int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (fd >= 0)
    close(fd);
  return fd >= 0 && !fstatfs((int)scene->file.value, &facts) && facts.f_type != TMPFS;
}

static struct os_file_figures how_it_came(struct scene *scene) {
  struct watch watch = {.scene = scene};
  struct load_work work = work_on(scene, &watch, FILE_BYTES);
  assert_int_equal(load_run(&work), STATUS_OK);
  assert_memory_equal(scene->target, scene->bytes, FILE_BYTES);
  free(work.chunk_sums);
  return work.figures;
}

/* Reads a part of the file into the page cache and holds it there: a machine short of memory would
 * take it back before it is looked for. */
static const void *keep_cached(int fd, uint64_t offset, uint64_t size) {
  void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, (off_t)offset);
  assert_ptr_not_equal(map, MAP_FAILED);
  madvise(map, size, MADV_RANDOM);
  syscall(SYS_mlock, map, size); /* not mlock(), which does nothing under a sanitizer; an ordinary
                                    user may not lock as much */
  assert_int_equal(madvise(map, size, MADV_POPULATE_READ), 0);
  return map;
}

/* A cold file goes past the page cache and leaves it as it was; a warm one is not read again; of
 * one that is half there each half comes from where it is. */
static void what_is_cached_comes_from_there_and_nothing_else_gets_there(void **state) {
  struct scene *scene = *state;
  int fd = (int)scene->file.value;
  if (!reads_directly(scene))
    skip();
  segment_open(scene, "fake:0=1GiB");
  fsync(fd);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  for (int again = 0; again < 2; again++) {
    struct os_file_figures cold = how_it_came(scene);
    assert_true(cold.direct_bytes >= FILE_BYTES - MIB);
  }
  posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); /* nothing is read ahead */
  const void *some = keep_cached(fd, LOAD_CHUNK, 5 * MIB);
  struct os_file_figures half = how_it_came(scene);
  assert_in_range(half.cached_bytes, 4 * MIB, 16 * MIB);
  assert_in_range(half.direct_bytes, FILE_BYTES - 16 * MIB, FILE_BYTES - 4 * MIB);
  const void *all = keep_cached(fd, 0, FILE_BYTES);
  struct os_file_figures warm = how_it_came(scene);
  assert_in_range(warm.cached_bytes, FILE_BYTES - MIB, FILE_BYTES);
  munmap((void *)(uintptr_t)some, 5 * MIB);
  munmap((void *)(uintptr_t)all, FILE_BYTES);
  segment_close(scene);
}

static void a_cancel_leaves_a_first_part(void **state) {
  struct scene *scene = *state;
  for (size_t device = 0; device < DEVICES; device++)
    for (uint64_t k = 0; k < 3; k++) {
      struct watch watch = {.scene = scene, .deed = DEED_CANCEL, .at = k * LOAD_CHUNK};
      segment_open(scene, devices[device]);
      struct load_work work = work_on(scene, &watch, FILE_BYTES);
      atomic_store(&watch.cancel, k == 0);
      memset(scene->target, GUARD, SEGMENT);
      assert_int_equal(load_run(&work), STATUS_CANCELLED);
      assert_true(work.bytes_done >= k * LOAD_CHUNK && work.bytes_done < FILE_BYTES);
      assert_memory_equal(scene->target, scene->bytes, work.bytes_done);
      for (uint64_t i = work.bytes_done; i < SEGMENT; i++)
        assert_true(scene->target[i] == GUARD);
      assert_false(work.verified || work.identity_changed);
      free(work.chunk_sums);
      segment_close(scene);
    }
}

static void a_file_that_is_touched_meanwhile_is_another(void **state) {
  struct scene *scene = *state;
  struct watch watch = {.scene = scene, .deed = DEED_TOUCH};
  segment_open(scene, "fake:0=1GiB");
  struct load_work work = work_on(scene, &watch, FILE_BYTES);
  assert_int_equal(load_run(&work), STATUS_OK);
  assert_true(work.identity_changed);
  free(work.chunk_sums);
  segment_close(scene);
}

static void a_file_that_is_cut_meanwhile_fails_it(void **state) {
  struct scene *scene = *state;
  for (size_t i = 0; i < DEVICES; i++) {
    struct watch watch = {.scene = scene, .deed = DEED_CUT};
    segment_open(scene, devices[i]);
    struct load_work work = work_on(scene, &watch, FILE_BYTES);
    assert_int_equal(load_run(&work), STATUS_MODEL_FORMAT_INVALID);
    assert_true(work.identity_changed && !work.verified);
    assert_non_null(strstr(work.problem.text, "the file ends"));
    free(work.chunk_sums);
    segment_close(scene);
    assert_int_equal(pwrite((int)scene->file.value, scene->bytes, FILE_BYTES, 0), FILE_BYTES);
  }
}

static void a_target_that_changed_is_not_verified(void **state) {
  struct scene *scene = *state;
  for (size_t i = 0; i < DEVICES; i++) {
    struct watch watch = {.scene = scene, .deed = DEED_FLIP, .at = FILE_BYTES};
    segment_open(scene, devices[i]);
    struct load_work work = work_on(scene, &watch, FILE_BYTES);
    assert_int_equal(load_run(&work), STATUS_OK);
    assert_false(work.verified);
    free(work.chunk_sums);
    segment_close(scene);
  }
}

static void fails_with(struct scene *scene, const struct load_work *changed, enum status status) {
  struct load_work work = *changed;
  assert_int_equal(load_run(&work), status);
  assert_int_equal(work.problem.status, status);
  assert_true(work.problem.text[0]);
  assert_false(work.verified);
  assert_true(work.bytes_done < FILE_BYTES || work.verify);
  (void)scene;
  free(work.chunk_sums);
}

static void a_device_that_fails_ends_it(void **state) {
  static const char *const failing[] = {"fake:0=1GiB,fail=write:3", "host:0=1GiB,fail=read:2"};
  struct scene *scene = *state;
  for (int i = 0; i < 2; i++) {
    struct watch watch = {.scene = scene};
    segment_open(scene, failing[i]);
    struct load_work work = work_on(scene, &watch, FILE_BYTES);
    fails_with(scene, &work, STATUS_DEVICE_UNAVAILABLE);
    segment_close(scene);
  }
}

static void no_memory_is_an_error_and_no_signal(void **state) {
  struct scene *scene = *state;
  struct watch watch = {.scene = scene};
  struct share full = {SHARE_MEMFD, open("/dev/full", O_RDWR | O_CLOEXEC)};
  struct device_segment *target;
  segment_open(scene, "host:0=1GiB");
  assert_int_equal(device_import(scene->mover, &full, SEGMENT, &target), STATUS_OK);
  share_close(&full);
  struct load_work work = work_on(scene, &watch, FILE_BYTES);
  work.to.segment = target;
  fails_with(scene, &work, STATUS_INSUFFICIENT_MEMORY);
  device_drop(target);
  segment_close(scene);
}

static void what_cannot_be_loaded_is_refused_at_once(void **state) {
  struct scene *scene = *state;
  struct watch watch = {.scene = scene};
  struct share folder = {SHARE_FILE, open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  segment_open(scene, "host:0=1GiB");
  struct load_work work = work_on(scene, &watch, FILE_BYTES + 1);
  fails_with(scene, &work, STATUS_MODEL_FORMAT_INVALID);
  work = work_on(scene, &watch, 4096);
  work.file_offset = UINT64_MAX - 100;
  fails_with(scene, &work, STATUS_INVALID_ARGUMENT);
  work = work_on(scene, &watch, 4096);
  work.to.offset = SEGMENT - 4095;
  fails_with(scene, &work, STATUS_INVALID_ARGUMENT);
  work = work_on(scene, &watch, 4096);
  work.file = &folder;
  fails_with(scene, &work, STATUS_INVALID_ARGUMENT);
  assert_int_equal(watch.last.bytes_done, 0);
  segment_close(scene);
  share_close(&folder);
}

static void a_failing_read_is_told(void **state) {
  (void)state;
  struct share share = {SHARE_FILE, open("/proc/self/mem", O_RDONLY | O_CLOEXEC)};
  struct os_file *file;
  struct problem problem;
  unsigned char byte = GUARD;
  const struct os_file_piece piece = {0, 1, &byte};
  assert_int_equal(os_file_open(&share, &file), STATUS_OK);
  assert_int_equal(os_file_read(file, &piece, &problem), STATUS_INTERNAL_ERROR);
  assert_non_null(strstr(problem.text, strerror(EIO)));
  assert_int_equal(byte, GUARD);
  os_file_close(file);
  share_close(&share);
}

static void a_sealed_memory_is_a_conflict(void **state) {
  struct scene *scene = *state;
  struct watch watch = {.scene = scene};
  segment_open(scene, "host:0=1GiB");
  assert_int_equal(os_memfd_seal(&scene->memory, OS_MEMFD_SEAL_WRITE), STATUS_OK);
  struct load_work work = work_on(scene, &watch, FILE_BYTES);
  fails_with(scene, &work, STATUS_CONFLICT);
  segment_close(scene);
}

static void the_rate_is_that_of_the_last_seconds(void **state) {
  const uint64_t second = UINT64_C(1000000000);
  struct meter meter;
  (void)state;
  meter_start(&meter, 5 * second);
  assert_int_equal(meter_add(&meter, 5 * second, 0), 0);
  assert_int_equal(meter_add(&meter, 5 * second + second / 2, 50), 100);
  assert_int_equal(meter_add(&meter, 6 * second, 100), 100);
  assert_int_equal(meter_add(&meter, 7 * second, 1100), 1000);
  assert_int_equal(meter_add(&meter, 8 * second, 2100), 1000);
  assert_int_equal(meter_left_ms(1000, 2000), 2001);
  assert_int_equal(meter_left_ms(1000, 0), 0);
  assert_true(meter_left_ms(1, UINT64_MAX) == UINT64_MAX);
}

static void no_descriptor_stays(void **state) {
  unsigned before = files_fixture_count();
  a_file_that_is_touched_meanwhile_is_another(state);
  what_cannot_be_loaded_is_refused_at_once(state);
  a_device_that_fails_ends_it(state);
  assert_int_equal(files_fixture_count(), before);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_size_at_every_offset),
      cmocka_unit_test(what_is_cached_comes_from_there_and_nothing_else_gets_there),
      cmocka_unit_test(a_cancel_leaves_a_first_part),
      cmocka_unit_test(a_file_that_is_touched_meanwhile_is_another),
      cmocka_unit_test(a_file_that_is_cut_meanwhile_fails_it),
      cmocka_unit_test(a_target_that_changed_is_not_verified),
      cmocka_unit_test(a_device_that_fails_ends_it),
      cmocka_unit_test(no_memory_is_an_error_and_no_signal),
      cmocka_unit_test(what_cannot_be_loaded_is_refused_at_once),
      cmocka_unit_test(a_failing_read_is_told),
      cmocka_unit_test(a_sealed_memory_is_a_conflict),
      cmocka_unit_test(the_rate_is_that_of_the_last_seconds),
      cmocka_unit_test(no_descriptor_stays),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
