/*
 * device/vulkan/mover, on a software driver as a FAKE card, whose memory no core sees: bytes
 * through pieces and from staging, many threads, what fails and what is lost.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "bench_fixture.h"
#include "device/vulkan/backend.h"
#include "device/vulkan/mover.h"
#include "device/vulkan/owner.h"
#include "vulkan_fixture.h"

#define SIZE BENCH_SIZE
#define THREADS 16 /* more than there are lanes */
#define STAGED 64  /* pieces, as in vulkan/staging */

static const struct spec specs[] = {{.id = "vulkan:0", .backend = "vulkan"},
                                    {.id = "vulkan:1", .backend = "vulkan"}};

static struct bench_fixture bench_make(const struct spec *spec) {
  return bench_fixture_make(&vulkan_backend, spec);
}

static void bench_done(struct bench_fixture *bench) { (void)bench_fixture_done(bench); }

static void go_and_come_back(void) {
  struct bench_fixture bench = bench_make(&specs[0]);
  bench_fixture_import(&bench);
  bench_fixture_go_and_come_back(&bench);
  bench_done(&bench);
}

static void bytes_go_through_pieces_by_turns(void **state) {
  (void)state;
  vulkan_fixture_use(1, true);
  go_and_come_back();
}

/* A card that shares the host's memory; then one whose driver cannot. */
static void bytes_go_from_and_to_lent_memory(void **state) {
  (void)state;
  vulkan_fixture_use(1, true);
  setenv("VK_PRETEND_INTEGRATED", "1", 1);
  go_and_come_back();
  vulkan_fixture_set("full", ""); /* there is no staging to go by way of */
  struct bench_fixture bench = bench_make(&specs[0]);
  bench_fixture_import(&bench);
  assert_int_equal(STATUS_OK, bench_fixture_write(&bench, 0, SIZE));
  assert_int_equal(STATUS_OK, bench_fixture_read(&bench, 0, SIZE));
  assert_memory_equal(bench.bytes, bench.back, SIZE);
  bench_done(&bench);
  vulkan_fixture_unset("full");
  setenv("VK_PRETEND_LACKS", "VK_EXT_external_memory_host", 1);
  go_and_come_back();
}

/* A core's writes and the card's by turns, each of which sees what the other did. */
static void a_core_copies_where_it_sees_the_memory(void **state) {
  (void)state;
  vulkan_fixture_use(1, false);
  go_and_come_back();
  struct bench_fixture bench = bench_make(&specs[0]);
  bench_fixture_import(&bench);
  struct device_range whole = {bench.segment, 0, SIZE};
  struct device_range from = {bench.segment, 5, 3 * MIB}, to = {bench.segment, 8 * MIB, 3 * MIB};
  assert_int_equal(STATUS_OK, bench_fixture_write(&bench, 0, SIZE));
  const char *bytes = vulkan_mover_peek(bench.mover, &whole);
  assert_non_null(bytes);
  assert_memory_equal(bench.bytes, bytes, SIZE);
  for (unsigned i = 1; i < 9; i++) {
    memset(vulkan_mover_poke(bench.mover, &from), (int)i, 3 * MIB);
    assert_int_equal(STATUS_OK, vulkan_mover_copy(bench.mover, &from, &to));
    assert_memory_equal(bytes + 5, bytes + 8 * MIB, 3 * MIB);
    assert_int_equal((char)i, bytes[8 * MIB]);
    assert_int_equal(STATUS_OK, vulkan_mover_fill(bench.mover, &from, 0x5a));
    assert_int_equal(0x5a, bytes[5 + 3 * MIB - 1]);
  }
  bench_done(&bench);
}

static void what_cannot_be_mapped_goes_by_the_lanes(void **state) {
  (void)state;
  vulkan_fixture_use(1, true);
  setenv("VK_PRETEND_SEEN", "1", 1);
  struct bench_fixture seen = bench_make(&specs[0]);
  bench_fixture_import(&seen);
  struct device_range whole = {seen.segment, 0, SIZE};
  assert_non_null(vulkan_mover_peek(seen.mover, &whole));
  bench_done(&seen);
  vulkan_fixture_set("far", "");
  go_and_come_back();
  struct bench_fixture far = bench_make(&specs[0]);
  bench_fixture_import(&far);
  whole.segment = far.segment;
  assert_null(vulkan_mover_peek(far.mover, &whole));
  assert_null(vulkan_mover_poke(far.mover, &whole));
  bench_done(&far);
}

/* The card takes them by itself, and what comes back is where it was asked for. */
static void bytes_go_from_and_to_staging(void **state) {
  (void)state;
  vulkan_fixture_use(1, true);
  struct bench_fixture bench = bench_make(&specs[0]);
  bench_fixture_import(&bench);
  struct device_range range = {bench.segment, 5, MIB - 7};
  char *out = vulkan_mover_stage(bench.mover, MIB), *back = vulkan_mover_stage(bench.mover, MIB);
  assert_true(out && back && out != back);
  memcpy(out, bench.bytes, MIB);
  memset(back, 0, MIB);
  assert_int_equal(STATUS_OK, vulkan_mover_write(bench.mover, &range, out + 3));
  assert_int_equal(STATUS_OK, vulkan_mover_read(bench.mover, &range, back + 7));
  assert_memory_equal(bench.bytes + 3, back + 7, MIB - 7);
  assert_true(back[6] == 0);
  assert_true(vulkan_mover_unstage(bench.mover, out));
  assert_ptr_equal(out, vulkan_mover_stage(bench.mover, MIB)); /* it was kept */
  assert_true(vulkan_mover_unstage(bench.mover, out) && vulkan_mover_unstage(bench.mover, back));
  assert_false(vulkan_mover_unstage(bench.mover, bench.bytes));
  bench_done(&bench);
}

static void staging_has_an_end(void **state) {
  (void)state;
  char *pieces[STAGED + 1];
  unsigned count = 0;
  vulkan_fixture_use(1, true);
  struct bench_fixture bench = bench_make(&specs[0]);
  bench_fixture_import(&bench);
  while (count <= STAGED && (pieces[count] = vulkan_mover_stage(bench.mover, 2 * MIB)))
    count++;
  assert_int_equal(STAGED, count);
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, bench_fixture_write(&bench, 0, SIZE));
  while (count)
    assert_true(vulkan_mover_unstage(bench.mover, pieces[--count]));
  assert_int_equal(STATUS_OK, bench_fixture_write(&bench, 0, SIZE));
  bench_done(&bench);
}

static void a_host_without_memory_is_no_lost_card(void **state) {
  (void)state;
  vulkan_fixture_use(1, true);
  struct bench_fixture bench = bench_make(&specs[0]);
  bench_fixture_import(&bench);
  vulkan_fixture_set("full", "");
  assert_null(vulkan_mover_stage(bench.mover, MIB));
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, bench_fixture_write(&bench, 0, SIZE));
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, bench_fixture_read(&bench, 0, SIZE));
  vulkan_fixture_unset("full");
  assert_int_equal(STATUS_OK, bench_fixture_write(&bench, 0, SIZE));
  assert_int_equal(STATUS_OK, bench_fixture_read(&bench, 0, SIZE));
  assert_memory_equal(bench.bytes, bench.back, SIZE);
  bench_done(&bench);
}

static void a_copy_and_a_fill(void **state) {
  (void)state;
  static const struct {
    uint64_t offset, size;
  } holes[] = {{10, 100}, {13, 1}, {17, 2}, {21, 7}, {32, 4}, {41, MIB + 2}};
  vulkan_fixture_use(1, true);
  struct bench_fixture bench = bench_make(&specs[0]);
  bench_fixture_import(&bench);
  struct device_range from = {bench.segment, 1, 3 * MIB};
  struct device_range to = {bench.segment, 8 * MIB, 3 * MIB};
  assert_int_equal(STATUS_OK, bench_fixture_write(&bench, 0, 4 * MIB));
  for (size_t i = 0; i < sizeof holes / sizeof *holes; i++) {
    struct device_range hole = {bench.segment, 8 * MIB + holes[i].offset, holes[i].size};
    assert_int_equal(STATUS_OK, vulkan_mover_copy(bench.mover, &from, &to));
    assert_int_equal(STATUS_OK, vulkan_mover_fill(bench.mover, &hole, 0x5a));
    assert_int_equal(STATUS_OK, bench_fixture_read(&bench, 8 * MIB, 3 * MIB));
    memcpy(bench.back, bench.bytes + 1, 3 * MIB);
    memset(bench.back + holes[i].offset, 0x5a, holes[i].size);
    assert_memory_equal(bench.back, bench.back + 8 * MIB, 3 * MIB);
  }
  bench_done(&bench);
}

/* The same driver twice: over host memory, each card with its own. */
static void from_one_card_to_another(void **state) {
  (void)state;
  vulkan_fixture_use(2, true);
  struct bench_fixture one = bench_make(&specs[0]), other = bench_make(&specs[1]);
  bench_fixture_import(&one);
  bench_fixture_import(&other);
  assert_int_equal(STATUS_OK, bench_fixture_write(&one, 0, SIZE));
  assert_int_equal(STATUS_OK, bench_fixture_read(&one, 0, SIZE));
  memcpy(other.bytes, one.back, SIZE);
  assert_int_equal(STATUS_OK, bench_fixture_write(&other, 0, SIZE));
  assert_int_equal(STATUS_OK, bench_fixture_read(&other, 0, SIZE));
  assert_memory_equal(one.bytes, other.back, SIZE);
  bench_done(&one);
  bench_done(&other);
}

struct runner {
  struct bench_fixture *bench;
  uint64_t offset;
  enum status status;
};

static void *run(void *arg) {
  struct runner *runner = arg;
  uint64_t size = SIZE / THREADS;
  for (unsigned i = 0; i < 4 && !runner->status; i++) {
    runner->status = bench_fixture_write(runner->bench, runner->offset, size);
    if (!runner->status)
      runner->status = bench_fixture_read(runner->bench, runner->offset, size);
  }
  return NULL;
}

static void more_threads_than_lanes(void **state) {
  (void)state;
  vulkan_fixture_use(1, true);
  struct bench_fixture bench = bench_make(&specs[0]);
  struct runner runners[THREADS];
  pthread_t threads[THREADS];
  bench_fixture_import(&bench);
  for (unsigned i = 0; i < THREADS; i++) {
    runners[i] = (struct runner){&bench, i * (SIZE / THREADS), STATUS_OK};
    assert_int_equal(0, pthread_create(&threads[i], NULL, run, &runners[i]));
  }
  for (unsigned i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    assert_int_equal(STATUS_OK, runners[i].status);
  }
  assert_memory_equal(bench.bytes, bench.back, SIZE / THREADS * THREADS);
  bench_done(&bench);
}

static void what_is_no_memory_of_a_card_is_refused(void **state) {
  (void)state;
  vulkan_fixture_use(1, true);
  struct bench_fixture bench = bench_make(&specs[0]);
  struct share file = {SHARE_MEMFD, bench.share.value}, closed = {SHARE_VULKAN_OPAQUE, -1};
  void *none;
  assert_int_equal(STATUS_INVALID_ARGUMENT, vulkan_mover_import(bench.mover, &file, SIZE, &none));
  assert_int_not_equal(STATUS_OK, vulkan_mover_import(bench.mover, &closed, SIZE, &none));
  bench_fixture_import(&bench);
  assert_int_equal(STATUS_OK, bench_fixture_write(&bench, 0, SIZE));
  bench_done(&bench);
}

/* An fd imported across cards can succeed, with wrong bytes: no other card is ever opened. */
static void a_mover_of_another_card_imports_nothing(void **state) {
  (void)state;
  struct spec spec = specs[0];
  struct device_info info;
  void *mover, *none;
  vulkan_fixture_use(1, true);
  struct bench_fixture bench = bench_make(&specs[0]);
  assert_int_equal(STATUS_OK, vulkan_owner_describe(bench.owner, &info));
  snprintf(spec.uuid, sizeof spec.uuid, "%s/00000000-0000-0000-0000-000000000000", info.uuid);
  assert_int_equal(STATUS_OK, vulkan_mover_start(&spec, &mover));
  assert_int_equal(STATUS_DEVICE_NOT_FOUND, vulkan_mover_import(mover, &bench.share, SIZE, &none));
  vulkan_mover_stop(mover);
  bench_done(&bench);
}

/* The same descriptor, the same driver, but the card that is there now says that it is another: as
 * it is between two cards, or after one was changed. */
static void a_card_that_says_it_is_another_imports_nothing(void **state) {
  (void)state;
  struct spec spec = specs[0];
  struct device_info info;
  void *mover, *none = NULL;
  vulkan_fixture_use(1, true);
  struct bench_fixture bench = bench_make(&specs[0]);
  assert_int_equal(STATUS_OK, vulkan_owner_describe(bench.owner, &info));
  spec_bind(&spec, info.uuid, info.driver_uuid);
  setenv("VK_PRETEND_UUIDS", "7", 1);
  assert_int_equal(STATUS_OK, vulkan_mover_start(&spec, &mover));
  assert_int_equal(STATUS_DEVICE_NOT_FOUND, vulkan_mover_import(mover, &bench.share, SIZE, &none));
  assert_null(none);
  unsetenv("VK_PRETEND_UUIDS");
  assert_int_equal(STATUS_OK, vulkan_mover_import(mover, &bench.share, SIZE, &none));
  vulkan_mover_drop(mover, none, SIZE);
  vulkan_mover_stop(mover);
  bench_done(&bench);
}

static void a_card_that_fell_off_is_not_asked_again(void **state) {
  (void)state;
  vulkan_fixture_use(1, true);
  struct bench_fixture bench = bench_make(&specs[0]);
  bench_fixture_import(&bench);
  assert_int_equal(STATUS_OK, bench_fixture_write(&bench, 0, SIZE));
  vulkan_fixture_set("lost", "");
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, bench_fixture_write(&bench, 0, SIZE));
  vulkan_fixture_unset("lost");
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, bench_fixture_read(&bench, 0, 1));
  bench_done(&bench);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bytes_go_through_pieces_by_turns),
      cmocka_unit_test(bytes_go_from_and_to_lent_memory),
      cmocka_unit_test(a_core_copies_where_it_sees_the_memory),
      cmocka_unit_test(what_cannot_be_mapped_goes_by_the_lanes),
      cmocka_unit_test(bytes_go_from_and_to_staging),
      cmocka_unit_test(staging_has_an_end),
      cmocka_unit_test(a_host_without_memory_is_no_lost_card),
      cmocka_unit_test(a_copy_and_a_fill),
      cmocka_unit_test(from_one_card_to_another),
      cmocka_unit_test(more_threads_than_lanes),
      cmocka_unit_test(what_is_no_memory_of_a_card_is_refused),
      cmocka_unit_test(a_mover_of_another_card_imports_nothing),
      cmocka_unit_test(a_card_that_says_it_is_another_imports_nothing),
      cmocka_unit_test(a_card_that_fell_off_is_not_asked_again),
  };
  return cmocka_run_group_tests(tests, NULL, vulkan_fixture_done);
}
