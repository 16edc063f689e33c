/* mover: bytes arrive where they should and nowhere else, sums are those of the bytes, a cancel and
 * a failure end it; between memory that can be mapped and memory that cannot. */
#include "worker/mover.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/os_memfd.h"
#include "base/units.h"
#include "worker/load.h"

#define SEGMENT (48 * MIB)
#define GUARD 0x5A

/* A device, one segment of it, and its bytes as the kernel has them. */
struct piece {
  struct device_mover *mover;
  struct device_segment *segment;
  unsigned char *bytes;
};

struct watch {
  uint64_t last, count;
  bool rose;
  uint64_t cancel_at;
  atomic_bool cancel;
};

static void piece_open(struct piece *piece, const char *text) {
  struct spec spec;
  struct problem problem;
  struct share share;
  void *map;
  assert_int_equal(spec_parse(text, &spec, &problem), STATUS_OK);
  assert_int_equal(device_mover_open(&spec, &piece->mover), STATUS_OK);
  assert_int_equal(os_memfd_create("test_mover", SEGMENT, &share), STATUS_OK);
  assert_int_equal(os_memfd_seal(&share, OS_MEMFD_SEAL_SIZE), STATUS_OK);
  assert_int_equal(os_memfd_map(&share, SEGMENT, true, &map), STATUS_OK);
  piece->bytes = map;
  assert_int_equal(device_import(piece->mover, &share, SEGMENT, &piece->segment), STATUS_OK);
  share_close(&share);
}

static void piece_close(struct piece *piece) {
  device_drop(piece->segment);
  device_mover_close(piece->mover);
  os_memfd_unmap(piece->bytes, SEGMENT);
}

static void on_progress(void *arg, uint64_t bytes_done) {
  struct watch *watch = arg;
  watch->rose &= bytes_done > watch->last;
  watch->last = bytes_done;
  watch->count++;
  if (watch->cancel_at && bytes_done >= watch->cancel_at)
    atomic_store(&watch->cancel, true);
}

static struct mover_work work_on(struct piece *from, struct piece *to, uint64_t size,
                                 struct watch *watch) {
  *watch = (struct watch){.rose = true};
  struct mover_work work = {.to = {to->segment, 100},
                            .size = size,
                            .cancel = &watch->cancel,
                            .progress = on_progress,
                            .arg = watch};
  if (from)
    work.from = (struct device_place){from->segment, 33};
  return work;
}

static void scatter(unsigned char *bytes, uint64_t size) {
  uint64_t seed = size + 1;
  for (uint64_t i = 0; i < size; i++) {
    seed = seed * UINT64_C(6364136223846793005) + 1;
    bytes[i] = (unsigned char)(seed >> 56);
  }
}

static void assert_guarded(const struct piece *to, uint64_t size) {
  assert_int_equal(to->bytes[99], GUARD);
  assert_int_equal(to->bytes[100 + size], GUARD);
}

static void copy_once(struct piece *from, struct piece *to, uint64_t size, bool verify) {
  struct watch watch;
  struct mover_work work = work_on(from, to, size, &watch);
  work.verify = verify;
  scatter(from->bytes + 33, size);
  memset(to->bytes, GUARD, size + 200);
  assert_int_equal(mover_copy(&work), STATUS_OK);
  assert_memory_equal(to->bytes + 100, from->bytes + 33, size);
  assert_guarded(to, size);
  assert_true(watch.rose && watch.last == size);
  assert_int_equal(work.checksum_known, verify);
  assert_int_equal(work.verified, verify);
  if (verify)
    assert_true(work.checksum == XXH3_64bits(from->bytes + 33, size));
}

static void between(const char *source, const char *target) {
  static const uint64_t sizes[] = {1, 1000, 256 * KIB - 1, 256 * KIB + 1, 3 * MIB + 7};
  struct piece from, to;
  piece_open(&from, source);
  piece_open(&to, target);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    copy_once(&from, &to, sizes[i], true);
    copy_once(&from, &to, sizes[i], false);
  }
  piece_close(&from);
  piece_close(&to);
}

static void copies_between_all_kinds(void **state) {
  (void)state;
  between("host:0=1GiB", "host:1=1GiB");
  between("host:0=1GiB", "fake:0=1GiB");
  between("fake:0=1GiB", "host:0=1GiB");
  between("fake:0=1GiB", "fake:1=1GiB");
}

static void a_large_copy_is_shared_by_threads(void **state) {
  (void)state;
  struct piece from, to;
  piece_open(&from, "host:0=1GiB");
  piece_open(&to, "host:1=1GiB");
  copy_once(&from, &to, 40 * MIB + 3, false);
  copy_once(&from, &to, 40 * MIB + 3, true);
  piece_close(&from);
  piece_close(&to);
}

/* The same as of a file that is loaded, also where the target is not whole pages. */
static void sum_up(const char *source, const char *target) {
  static const uint64_t size = 2 * LOAD_CHUNK + 12345;
  struct piece from, to;
  struct watch watch;
  uint64_t sums[3];
  piece_open(&from, source);
  piece_open(&to, target);
  struct mover_work work = work_on(&from, &to, size, &watch);
  work.sums = true;
  scatter(from.bytes + 33, size);
  memset(to.bytes, GUARD, size + 200);
  assert_int_equal(mover_copy(&work), STATUS_OK);
  assert_memory_equal(to.bytes + 100, from.bytes + 33, size);
  assert_guarded(&to, size);
  for (uint64_t i = 0; i < 3; i++)
    sums[i] =
        XXH3_64bits(from.bytes + 33 + i * LOAD_CHUNK, units_min(LOAD_CHUNK, size - i * LOAD_CHUNK));
  assert_true(work.fingerprint == load_fingerprint(sums, 3));
  assert_false(work.checksum_known || work.verified);
  piece_close(&from);
  piece_close(&to);
}

static void sums_of_chunks_are_a_load_s(void **state) {
  (void)state;
  sum_up("host:0=1GiB", "fake:0=1GiB");
  sum_up("fake:0=1GiB", "host:0=1GiB");
}

static void within_one_segment(void **state) {
  (void)state;
  struct piece piece;
  struct watch watch;
  piece_open(&piece, "host:0=1GiB");
  scatter(piece.bytes, MIB);
  struct mover_work work = work_on(&piece, &piece, MIB, &watch);
  work.from.offset = 0;
  work.to.offset = MIB;
  work.verify = true;
  assert_int_equal(mover_copy(&work), STATUS_OK);
  assert_memory_equal(piece.bytes, piece.bytes + MIB, MIB);
  piece_close(&piece);
}

static void fills(const char *target) {
  static const uint64_t sizes[] = {1, 4097, 256 * KIB + 1, 5 * MIB + 11};
  struct piece to;
  piece_open(&to, target);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    struct watch watch;
    struct mover_work work = work_on(NULL, &to, sizes[i], &watch);
    work.verify = true;
    work.value = (uint8_t)(0xA0 + i);
    memset(to.bytes, GUARD, sizes[i] + 200);
    assert_int_equal(mover_fill(&work), STATUS_OK);
    for (uint64_t k = 0; k < sizes[i]; k++)
      assert_true(to.bytes[100 + k] == 0xA0 + i);
    assert_guarded(&to, sizes[i]);
    assert_true(work.checksum_known);
    assert_true(work.checksum == XXH3_64bits(to.bytes + 100, sizes[i]));
    assert_true(watch.rose && watch.last == sizes[i]);
  }
  piece_close(&to);
}

static void a_fill_is_read_back(void **state) {
  (void)state;
  fills("host:0=1GiB");
  fills("fake:0=1GiB");
}

static void a_fill_that_nobody_asks_about_is_not_read(void **state) {
  static const char *const devices[] = {"host:0=1GiB", "fake:0=1GiB"};
  const uint64_t size = 40 * MIB + 11; /* some threads', some chunks' */
  (void)state;
  for (unsigned i = 0; i < 2; i++) {
    struct piece to;
    struct watch watch;
    piece_open(&to, devices[i]);
    struct mover_work work = work_on(NULL, &to, size, &watch);
    work.verify = false;
    work.value = 0xA7;
    memset(to.bytes, GUARD, SEGMENT);
    assert_int_equal(mover_fill(&work), STATUS_OK);
    for (uint64_t k = 0; k < size; k++)
      assert_true(to.bytes[100 + k] == 0xA7);
    assert_guarded(&to, size);
    assert_false(work.checksum_known || work.verified);
    assert_true(watch.rose && watch.last == size);
    piece_close(&to);
  }
}

static void a_cancel_ends_it_between_chunks(void **state) {
  (void)state;
  struct piece from, to;
  piece_open(&from, "host:0=1GiB");
  piece_open(&to, "fake:0=1GiB");
  for (int verify = 0; verify < 2; verify++) {
    struct watch watch;
    struct mover_work work = work_on(&from, &to, 40 * MIB, &watch);
    work.verify = verify;
    watch.cancel_at = 1;
    assert_int_equal(mover_copy(&work), STATUS_CANCELLED);
    assert_true(watch.last > 0 && watch.last < 40 * MIB);
    assert_false(work.verified || work.checksum_known);
  }
  piece_close(&from);
  piece_close(&to);
}

static void what_was_cancelled_before_moves_nothing(void **state) {
  (void)state;
  struct piece from, to;
  piece_open(&from, "host:0=1GiB");
  piece_open(&to, "host:1=1GiB");
  memset(to.bytes, GUARD, MIB);
  for (int verify = 0; verify < 2; verify++) {
    struct watch watch;
    struct mover_work work = work_on(&from, &to, MIB - 200, &watch);
    work.verify = verify;
    atomic_store(&watch.cancel, true);
    assert_int_equal(mover_copy(&work), STATUS_CANCELLED);
    assert_int_equal(watch.count, 0);
    for (uint64_t i = 0; i < MIB; i++)
      assert_true(to.bytes[i] == GUARD);
  }
  piece_close(&from);
  piece_close(&to);
}

static void a_failing_device_ends_it(void **state) {
  (void)state;
  struct piece from, to;
  piece_open(&from, "host:0=1GiB");
  piece_open(&to, "fake:0=1GiB,fail=write:3");
  for (int verify = 0; verify < 2; verify++) {
    struct watch watch;
    struct mover_work work = work_on(&from, &to, 40 * MIB, &watch);
    work.verify = verify;
    enum status status = mover_copy(&work);
    assert_true(status != STATUS_OK && status != STATUS_CANCELLED);
    assert_true(watch.last < 40 * MIB);
    assert_false(work.verified || work.checksum_known);
  }
  piece_close(&from);
  piece_close(&to);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(copies_between_all_kinds),
      cmocka_unit_test(a_large_copy_is_shared_by_threads),
      cmocka_unit_test(sums_of_chunks_are_a_load_s),
      cmocka_unit_test(within_one_segment),
      cmocka_unit_test(a_fill_is_read_back),
      cmocka_unit_test(a_fill_that_nobody_asks_about_is_not_read),
      cmocka_unit_test(a_cancel_ends_it_between_chunks),
      cmocka_unit_test(what_was_cancelled_before_moves_nothing),
      cmocka_unit_test(a_failing_device_ends_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
