/*
 * device/cuda/mover, on FAKE cards, whose streams are as late as they may be: bytes through the
 * pinned pieces, many threads, what fails and what is lost.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "bench_fixture.h"
#include "cuda_fixture.h"
#include "device/cuda/backend.h"
#include "device/cuda/mover.h"
#include "device/cuda/owner.h"

#define SIZE BENCH_SIZE
#define THREADS 12 /* more than there are lanes */

static struct bench_fixture bench_make(const char *fail) {
  static const struct spec spec = {.id = "cuda:0", .backend = "cuda"};
  cuda_fixture_use("fake_libcuda");
  if (fail)
    setenv("FAKE_CUDA_FAIL", fail, 1);
  return bench_fixture_make(&cuda_backend, &spec);
}

/* Nothing is mapped any more, and there is no context. */
static void bench_done(struct bench_fixture *bench) {
  assert_int_equal(0, bench_fixture_done(bench));
}

static void bytes_go_through_many_pieces(void **state) {
  (void)state;
  struct bench_fixture bench = bench_make(NULL);
  bench_fixture_import(&bench);
  bench_fixture_go_and_come_back(&bench);
  bench_done(&bench);
}

static void no_context_before_the_first_segment(void **state) {
  (void)state;
  struct bench_fixture bench = bench_make(NULL);
  struct device_process processes[2];
  assert_int_equal(0, cuda_owner_processes(bench.owner, processes, 2));
  bench_fixture_import(&bench);
  assert_int_equal(1, cuda_owner_processes(bench.owner, processes, 2));
  assert_true(processes[0].used_bytes >= SIZE);
  assert_false(processes[0].dead);
  bench_done(&bench);
}

static void a_copy_and_a_fill(void **state) {
  (void)state;
  struct bench_fixture bench = bench_make(NULL);
  bench_fixture_import(&bench);
  struct device_range from = {bench.segment, 0, 3 * MIB + 1};
  struct device_range to = {bench.segment, 8 * MIB, 3 * MIB + 1};
  struct device_range hole = {bench.segment, 8 * MIB + 10, 100};
  assert_int_equal(STATUS_OK, bench_fixture_write(&bench, 0, 4 * MIB));
  assert_int_equal(STATUS_OK, cuda_mover_copy(bench.mover, &from, &to));
  assert_int_equal(STATUS_OK, cuda_mover_fill(bench.mover, &hole, 0x5a));
  assert_int_equal(STATUS_OK, bench_fixture_read(&bench, 8 * MIB, 3 * MIB + 1));
  memset(bench.bytes + 10, 0x5a, 100);
  assert_memory_equal(bench.bytes, bench.back + 8 * MIB, 3 * MIB + 1);
  bench_done(&bench);
}

/* Two cards, the bytes on the first, a segment on each. */
struct two {
  struct bench_fixture bench;
  void *owner, *mover, *segment;
  struct share share;
};

static struct two two_make(const char *fail, bool apart) {
  static const struct spec spec = {.id = "cuda:1", .backend = "cuda"};
  struct two two = {.bench = bench_make(fail)};
  setenv("FAKE_CUDA_CARDS", "2", 1);
  if (apart)
    setenv("FAKE_CUDA_APART", "1", 1);
  bench_fixture_import(&two.bench);
  assert_int_equal(STATUS_OK, bench_fixture_write(&two.bench, 0, SIZE));
  assert_int_equal(STATUS_OK, cuda_owner_open(&spec, &two.owner));
  assert_int_equal(STATUS_OK, cuda_owner_create(two.owner, SIZE, &two.share));
  assert_int_equal(STATUS_OK, cuda_mover_start(&spec, &two.mover));
  assert_int_equal(STATUS_OK, cuda_mover_import(two.mover, &two.share, SIZE, &two.segment));
  return two;
}

static void two_done(struct two *two) {
  struct device_budget budget;
  cuda_mover_drop(two->mover, two->segment, SIZE);
  cuda_mover_stop(two->mover);
  cuda_owner_release(two->owner, &two->share, SIZE, true);
  assert_int_equal(STATUS_OK, cuda_owner_budget(two->owner, &budget));
  assert_int_equal(0, budget.used_bytes);
  cuda_owner_close(two->owner);
  bench_done(&two->bench);
}

static enum status send_all(struct two *two) {
  const struct device_range from = {two->bench.segment, 3, 5 * MIB},
                            to = {two->segment, 3, 5 * MIB};
  return cuda_mover_copy(two->bench.mover, &from, &to);
}

static void assert_sent(struct two *two) {
  struct device_range range = {two->segment, 3, 5 * MIB};
  assert_int_equal(STATUS_OK, cuda_mover_read(two->mover, &range, two->bench.back));
  assert_memory_equal(two->bench.bytes + 3, two->bench.back, 5 * MIB);
}

static void a_card_sends_to_another(void **state) {
  (void)state;
  struct two two = two_make(NULL, false);
  assert_true(cuda_mover_sends(two.bench.segment, two.segment));
  assert_int_equal(STATUS_OK, send_all(&two));
  assert_sent(&two);
  two_done(&two);
}

/* Then neither of them is lost, and both go on. */
static void a_card_that_does_not_reach_another(void **state) {
  (void)state;
  static const struct {
    const char *fail;
    bool apart;
  } cases[] = {{NULL, true}, {"cuDeviceCanAccessPeer:1:1", false}, {"cuMemSetAccess:3:1", false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct two two = two_make(cases[i].fail, cases[i].apart);
    struct device_range all = {two.segment, 0, SIZE};
    assert_false(cuda_mover_sends(two.bench.segment, two.segment));
    assert_false(cuda_mover_sends(two.bench.segment, two.segment)); /* asked once */
    assert_int_equal(STATUS_OK, bench_fixture_read(&two.bench, 0, SIZE));
    assert_int_equal(STATUS_OK, cuda_mover_write(two.mover, &all, two.bench.bytes));
    two_done(&two);
  }
}

static void what_cannot_be_sent_says_so(void **state) {
  (void)state;
  struct two two = two_make("cuMemcpyDtoDAsync_v2:1:1", false);
  assert_true(cuda_mover_sends(two.bench.segment, two.segment));
  assert_int_equal(STATUS_INTERNAL_ERROR, send_all(&two));
  assert_int_equal(STATUS_OK, send_all(&two));
  assert_sent(&two);
  two_done(&two);
}

/* The other card's loss is not this one's. */
static void nothing_is_sent_to_a_card_that_is_lost(void **state) {
  (void)state;
  struct two two = two_make("cuMemcpyDtoHAsync_v2:1:700", false);
  struct device_range one = {two.segment, 0, 1};
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, cuda_mover_read(two.mover, &one, two.bench.back));
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, send_all(&two));
  assert_int_equal(STATUS_OK, bench_fixture_read(&two.bench, 0, SIZE));
  assert_memory_equal(two.bench.bytes, two.bench.back, SIZE);
  cuda_mover_drop(two.mover, two.segment, SIZE);
  cuda_mover_stop(two.mover);
  cuda_owner_release(two.owner, &two.share, SIZE, true);
  cuda_owner_close(two.owner);
  bench_done(&two.bench);
}

struct worker {
  struct bench_fixture *bench;
  uint64_t offset, size;
  enum status status;
  pthread_t thread;
};

static void *go(void *arg) {
  struct worker *worker = arg;
  for (unsigned i = 0; i < 8 && !worker->status; i++) {
    worker->status = bench_fixture_write(worker->bench, worker->offset, worker->size);
    if (!worker->status)
      worker->status = bench_fixture_read(worker->bench, worker->offset, worker->size);
  }
  return NULL;
}

static void many_threads_at_once(void **state) {
  (void)state;
  struct bench_fixture bench = bench_make(NULL);
  struct worker workers[THREADS];
  bench_fixture_import(&bench);
  for (unsigned i = 0; i < THREADS; i++) {
    workers[i] = (struct worker){&bench, SIZE / THREADS * i, SIZE / THREADS, STATUS_OK, 0};
    assert_int_equal(0, pthread_create(&workers[i].thread, NULL, go, &workers[i]));
  }
  for (unsigned i = 0; i < THREADS; i++) {
    pthread_join(workers[i].thread, NULL);
    assert_int_equal(STATUS_OK, workers[i].status);
  }
  assert_memory_equal(bench.bytes, bench.back, SIZE / THREADS * THREADS);
  bench_done(&bench);
}

static void what_is_no_cards_memory_is_not_imported(void **state) {
  (void)state;
  struct bench_fixture bench = bench_make(NULL);
  struct share wrong = {SHARE_FILE, bench.share.value};
  struct share nothing = {SHARE_CUDA_VMM, 0};
  assert_int_equal(STATUS_INVALID_ARGUMENT,
                   cuda_mover_import(bench.mover, &wrong, SIZE, &bench.segment));
  assert_int_equal(STATUS_INTERNAL_ERROR,
                   cuda_mover_import(bench.mover, &nothing, SIZE, &bench.segment));
  assert_null(bench.segment);
  bench_done(&bench);
}

/* Each step of an import fails once; the next one works, and nothing is left of the first. */
static void an_import_that_fails_leaves_nothing(void **state) {
  (void)state;
  static const char *const steps[] = {"cuDevicePrimaryCtxRetain:1:2", "cuMemAddressReserve:1:2",
                                      "cuMemMap:1:2", "cuMemSetAccess:1:2"};
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    struct bench_fixture bench = bench_make(steps[i]);
    assert_int_equal(STATUS_INSUFFICIENT_MEMORY,
                     cuda_mover_import(bench.mover, &bench.share, SIZE, &bench.segment));
    bench_fixture_import(&bench);
    assert_int_equal(STATUS_OK, bench_fixture_write(&bench, 0, SIZE));
    bench_done(&bench);
  }
}

static void a_copy_that_fails_says_so(void **state) {
  (void)state;
  /* No kernels either, beside which a stream is made, and memory pinned, by another thread. */
  struct bench_fixture bench = bench_make("cuModuleLoadData:1:2,cuModuleLoadData sum:1:2,"
                                          "cuMemcpyHtoDAsync_v2:3:1,"
                                          "cuMemHostAlloc:2:2,cuStreamCreate:1:2");
  bench_fixture_import(&bench);
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY,
                   bench_fixture_write(&bench, 0, SIZE)); /* the stream */
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY,
                   bench_fixture_write(&bench, 0, SIZE)); /* the second piece */
  assert_int_equal(STATUS_INTERNAL_ERROR, bench_fixture_write(&bench, 0, SIZE));
  assert_int_equal(STATUS_OK, bench_fixture_write(&bench, 0, SIZE));
  assert_int_equal(STATUS_OK, bench_fixture_read(&bench, 0, SIZE));
  assert_memory_equal(bench.bytes, bench.back, SIZE);
  bench_done(&bench);
}

/* What is lost is lost until the process ends; so no cleaning up is expected either. */
static void a_lost_context_stays_lost(void **state) {
  (void)state;
  struct bench_fixture bench = bench_make("cuMemcpyDtoHAsync_v2:2:700");
  bench_fixture_import(&bench);
  assert_int_equal(STATUS_OK, bench_fixture_write(&bench, 0, SIZE));
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, bench_fixture_read(&bench, 0, SIZE));
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, bench_fixture_write(&bench, 0, 1));
  void *another = NULL;
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE,
                   cuda_mover_import(bench.mover, &bench.share, SIZE, &another));
  cuda_mover_drop(bench.mover, bench.segment, SIZE);
  cuda_mover_stop(bench.mover);
  cuda_owner_release(bench.owner, &bench.share, SIZE, true);
  cuda_owner_close(bench.owner);
  free(bench.bytes);
  free(bench.back);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bytes_go_through_many_pieces),
      cmocka_unit_test(no_context_before_the_first_segment),
      cmocka_unit_test(a_copy_and_a_fill),
      cmocka_unit_test(a_card_sends_to_another),
      cmocka_unit_test(a_card_that_does_not_reach_another),
      cmocka_unit_test(what_cannot_be_sent_says_so),
      cmocka_unit_test(nothing_is_sent_to_a_card_that_is_lost),
      cmocka_unit_test(many_threads_at_once),
      cmocka_unit_test(what_is_no_cards_memory_is_not_imported),
      cmocka_unit_test(an_import_that_fails_leaves_nothing),
      cmocka_unit_test(a_copy_that_fails_says_so),
      cmocka_unit_test(a_lost_context_stays_lost),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
