/*
 * device, on a FAKE card: host memory that nobody writes any more is copied from by the card
 * itself, summed up where it lies; other host memory, and where the card cannot, goes by staging.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/os_memfd.h"
#include "base/units.h"
#include "cuda_fixture.h"
#include "device/cuda/owner.h"
#include "device/device.h"
#include "worker/load.h"
#include "worker/mover.h"

#define SIZE (48 * MIB)

struct bench {
  void *owner;
  struct device_mover *host_mover, *card_mover;
  struct device_segment *host, *card;
  struct share host_share, card_share;
  char *bytes, *back;
};

static struct device_mover *open_mover(const char *text) {
  struct spec spec;
  struct problem problem;
  struct device_mover *mover;
  assert_int_equal(STATUS_OK, spec_parse(text, &spec, &problem));
  assert_int_equal(STATUS_OK, device_mover_open(&spec, &mover));
  return mover;
}

/* Written, and then sealed as a model's memory is. */
static void make_host(struct bench *bench, bool sealed) {
  struct share *share = &bench->host_share;
  void *map;
  assert_int_equal(STATUS_OK, os_memfd_create("test", SIZE, share));
  assert_int_equal(STATUS_OK, os_memfd_map(share, SIZE, true, &map));
  for (size_t i = 0; i < SIZE; i++)
    bench->bytes[i] = (char)(i * 31 + i / 977);
  memcpy(map, bench->bytes, SIZE);
  os_memfd_unmap(map, SIZE);
  if (sealed)
    assert_int_equal(STATUS_OK, os_memfd_seal(share, OS_MEMFD_SEAL_SIZE | OS_MEMFD_SEAL_WRITE |
                                                         OS_MEMFD_SEAL_FINAL));
  assert_int_equal(STATUS_OK, device_import(bench->host_mover, share, SIZE, &bench->host));
}

static struct bench bench_make(bool sealed, const char *lacks) {
  static const struct spec spec = {.id = "cuda:0", .backend = "cuda"};
  struct bench bench = {.bytes = malloc(SIZE), .back = calloc(1, SIZE)};
  cuda_fixture_use("fake_libcuda");
  setenv("FAKE_CUDA_LACKS", lacks, 1);
  bench.host_mover = open_mover("host:0=1GiB");
  bench.card_mover = open_mover("cuda:0");
  assert_int_equal(STATUS_OK, cuda_owner_open(&spec, &bench.owner));
  assert_int_equal(STATUS_OK, cuda_owner_create(bench.owner, SIZE, &bench.card_share));
  assert_int_equal(STATUS_OK,
                   device_import(bench.card_mover, &bench.card_share, SIZE, &bench.card));
  make_host(&bench, sealed);
  return bench;
}

static void bench_done(struct bench *bench) {
  struct device_budget budget;
  device_drop(bench->host);
  device_drop(bench->card);
  device_mover_close(bench->card_mover);
  device_mover_close(bench->host_mover);
  cuda_owner_release(bench->owner, &bench->card_share, SIZE, true);
  assert_int_equal(STATUS_OK, cuda_owner_budget(bench->owner, &budget));
  assert_int_equal(0, budget.used_bytes);
  cuda_owner_close(bench->owner);
  share_close(&bench->host_share);
  free(bench->bytes);
  free(bench->back);
}

static struct mover_work work_on(const struct bench *bench, uint64_t size) {
  static atomic_bool never;
  return (struct mover_work){
      .from = {bench->host, 7}, .to = {bench->card, 3}, .size = size, .cancel = &never};
}

static void assert_arrived(struct bench *bench, uint64_t size) {
  assert_int_equal(STATUS_OK,
                   device_read((struct device_place){bench->card, 3}, size, bench->back));
  assert_memory_equal(bench->bytes + 7, bench->back, size);
}

static void a_card_reads_what_nobody_writes(void **state) {
  (void)state;
  struct bench bench = bench_make(true, "");
  struct device_place from = {bench.host, 7};
  struct mover_work work = work_on(&bench, SIZE - 7);
  assert_int_equal(DEVICE_PATH_STAGED, device_path(bench.host, bench.card));
  assert_int_equal(STATUS_OK, mover_copy(&work));
  assert_int_equal(DEVICE_PATH_PINNED, device_path(bench.host, bench.card));
  assert_memory_equal(device_peek(from, SIZE - 7), bench.bytes + 7, SIZE - 7);
  assert_arrived(&bench, SIZE - 7);
  work.verify = true;
  assert_int_equal(STATUS_OK, mover_copy(&work));
  assert_true(work.verified && work.checksum == XXH3_64bits(bench.bytes + 7, SIZE - 7));
  bench_done(&bench);
}

static void sums_are_the_same_whichever_way(void **state) {
  (void)state;
  uint64_t prints[2];
  for (unsigned sealed = 0; sealed < 2; sealed++) {
    struct bench bench = bench_make(sealed, "");
    struct mover_work work = work_on(&bench, 2 * LOAD_CHUNK + 5);
    work.sums = true;
    assert_int_equal(STATUS_OK, mover_copy(&work));
    assert_int_equal(sealed, device_path(bench.host, bench.card) == DEVICE_PATH_PINNED);
    assert_arrived(&bench, work.size);
    prints[sealed] = work.fingerprint;
    bench_done(&bench);
  }
  assert_true(prints[0] == prints[1]);
}

static void comes_to_fresh_memory(struct bench *bench, bool verify, bool sums) {
  const uint64_t size = SIZE - 9;
  struct mover_work work = work_on(bench, size);
  struct device_segment *fresh;
  struct share share;
  assert_int_equal(STATUS_OK, os_memfd_create("fresh", SIZE, &share));
  assert_int_equal(STATUS_OK, os_memfd_seal(&share, OS_MEMFD_SEAL_SIZE));
  assert_int_equal(STATUS_OK, device_import(bench->host_mover, &share, SIZE, &fresh));
  work.from = (struct device_place){bench->card, 3};
  work.to = (struct device_place){fresh, 5};
  work.verify = verify;
  work.sums = sums;
  assert_int_equal(STATUS_OK, mover_copy(&work));
  if (sysconf(_SC_NPROCESSORS_ONLN) >= 4)
    assert_non_null(device_peek(work.to, size)); /* written in place */
  assert_int_equal(STATUS_OK, device_read((struct device_place){fresh, 0}, size + 5, bench->back));
  assert_memory_equal(bench->bytes + 7, bench->back + 5, size);
  assert_memory_equal("\0\0\0\0\0", bench->back, 5);
  assert_true(!verify || (work.verified && work.checksum == XXH3_64bits(bench->bytes + 7, size)));
  device_drop(fresh);
  share_close(&share);
}

static void what_comes_from_a_card_is_written_in_place(void **state) {
  (void)state;
  struct bench bench = bench_make(true, "");
  struct mover_work work = work_on(&bench, SIZE - 9);
  assert_int_equal(STATUS_OK, mover_copy(&work));
  comes_to_fresh_memory(&bench, false, false);
  comes_to_fresh_memory(&bench, true, false);
  comes_to_fresh_memory(&bench, false, true);
  bench_done(&bench);
}

static void what_may_be_written_is_staged(void **state) {
  (void)state;
  struct bench bench = bench_make(false, "");
  struct mover_work work = work_on(&bench, 5 * MIB);
  assert_int_equal(STATUS_OK, mover_copy(&work));
  assert_int_equal(DEVICE_PATH_STAGED, device_path(bench.host, bench.card));
  assert_arrived(&bench, 5 * MIB);
  bench_done(&bench);
}

static void a_card_that_cannot_is_staged_to(void **state) {
  (void)state;
  struct bench bench = bench_make(true, "113");
  struct mover_work work = work_on(&bench, 5 * MIB);
  assert_int_equal(STATUS_OK, mover_copy(&work));
  assert_int_equal(DEVICE_PATH_STAGED, device_path(bench.host, bench.card));
  assert_arrived(&bench, 5 * MIB);
  bench_done(&bench);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_card_reads_what_nobody_writes),
      cmocka_unit_test(sums_are_the_same_whichever_way),
      cmocka_unit_test(what_comes_from_a_card_is_written_in_place),
      cmocka_unit_test(what_may_be_written_is_staged),
      cmocka_unit_test(a_card_that_cannot_is_staged_to),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
