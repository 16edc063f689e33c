/*
 * device_suite: what every kind of device must do, asked of every device there is. A kind that this
 * machine or build has not is left out, with its reason.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/os_memfd.h"
#include "base/units.h"
#include "device/backend.h"
#include "device/device.h"
#include "device/probe.h"
#include "unit/broker_fixture.h"

#define SIZE (4 * MIB)

struct bench {
  struct spec spec;
  struct queue *reaper;
  struct device *device;
  struct device_mover *mover;
  char *bytes, *back;
};

static struct bench *bench_make(const char *text) {
  struct bench *bench = calloc(1, sizeof *bench);
  struct problem problem;
  assert_int_equal(STATUS_OK, spec_parse(text, &bench->spec, &problem));
  broker_fixture_place(&bench->spec);
  assert_int_equal(STATUS_OK, queue_create("reaper", &bench->reaper));
  assert_int_equal(STATUS_OK, device_open(&bench->spec, bench->reaper, &bench->device));
  assert_int_equal(STATUS_OK, device_mover_open(&bench->spec, &bench->mover));
  bench->bytes = malloc(SIZE);
  bench->back = malloc(SIZE);
  for (size_t i = 0; i < SIZE; i++)
    bench->bytes[i] = (char)(i * 31 + i / 977);
  return bench;
}

static void bench_done(struct bench *bench) {
  device_mover_close(bench->mover);
  queue_free(bench->reaper);
  device_close(bench->device);
  free(bench->bytes);
  free(bench->back);
  free(bench);
}

static struct share create(struct bench *bench, uint64_t size) {
  struct device_call call = {.action = DEVICE_CREATE, .size = size};
  assert_int_equal(STATUS_OK, device_run(bench->device, &call));
  assert_int_equal(device_info(bench->device)->share, call.share.kind);
  return call.share;
}

static void release(struct bench *bench, struct share share, uint64_t size, bool exported) {
  struct device_call call = {
      .action = DEVICE_RELEASE, .size = size, .share = share, .exported = exported};
  assert_int_equal(STATUS_OK, device_run(bench->device, &call));
}

static struct device_budget budget(struct bench *bench) {
  struct device_call call = {.action = DEVICE_BUDGET};
  assert_int_equal(STATUS_OK, device_run(bench->device, &call));
  return call.budget;
}

static struct device_segment *import(struct bench *bench, const struct share *share) {
  struct device_segment *segment;
  assert_int_equal(STATUS_OK, device_import(bench->mover, share, SIZE, &segment));
  assert_int_equal(SIZE, device_segment_size(segment));
  return segment;
}

/* ---- owner half ---- */

static void it_describes_itself(struct bench *bench) {
  const struct device_info *info = device_info(bench->device);
  assert_string_equal(bench->spec.id, info->id);
  assert_string_equal(probe_backend(bench->spec.backend)->name, info->backend);
  assert_true(info->total_bytes > 0 && info->limit_bytes > 0);
  assert_true(info->limit_bytes <= info->total_bytes);
  assert_true(units_is_power(info->granularity));
  assert_true(info->name[0]);
}

static void its_budget_is_fresh(struct bench *bench) {
  uint64_t before = clock_now();
  struct device_budget now = budget(bench);
  assert_true(now.sampled_ns >= before && now.sampled_ns <= clock_now());
  assert_true(now.free_bytes > 0);
}

static void what_it_made_it_takes_back(struct bench *bench) {
  struct share shares[16];
  uint64_t before = budget(bench).free_bytes, limit = clock_now() + 5 * CLOCK_SECOND;
  for (unsigned i = 0; i < 16; i++)
    shares[i] = create(bench, SIZE);
  for (unsigned i = 0; i < 16; i++)
    release(bench, shares[i], SIZE, false);
  if (device_info(bench->device)->host_memory) /* the machine's own figure is everybody's */
    return;
  while (budget(bench).free_bytes < before && clock_now() < limit)
    ;
  assert_true(budget(bench).free_bytes >= before);
}

static void nobody_can_cut_a_segment(struct bench *bench) {
  struct share share = create(bench, SIZE);
  if (share.kind == SHARE_MEMFD)
    assert_true(os_memfd_is_sealed(&share, OS_MEMFD_SEAL_SIZE | OS_MEMFD_SEAL_FINAL));
  release(bench, share, SIZE, false);
}

static void committing_and_releasing_show_in_what_is_resident(struct bench *bench) {
  struct share share = create(bench, SIZE), held;
  struct device_call commit = {.action = DEVICE_COMMIT, .size = SIZE, .share = share};
  struct device_call resident = {.action = DEVICE_RESIDENT, .size = SIZE, .share = share};
  assert_int_equal(STATUS_OK, device_run(bench->device, &commit));
  assert_int_equal(STATUS_OK, device_run(bench->device, &resident));
  assert_int_equal(SIZE, resident.bytes);
  assert_int_equal(STATUS_OK, share_copy(&share, &held));
  release(bench, share, SIZE, true);
  uint64_t kept;
  if (device_info(bench->device)->host_memory) { /* also from a holder who will not let go */
    assert_int_equal(STATUS_OK, os_memfd_resident(&held, &kept));
    assert_int_equal(0, kept);
  }
  share_close(&held);
}

static void memory_outlives_its_owner(struct bench *bench) {
  struct share share = create(bench, SIZE);
  struct device_segment *segment = import(bench, &share);
  assert_int_equal(STATUS_OK, device_write((struct device_place){segment, 0}, SIZE, bench->bytes));
  struct device *old = bench->device;
  assert_int_equal(STATUS_OK, device_open(&bench->spec, bench->reaper, &bench->device));
  device_close(old);
  assert_int_equal(STATUS_OK, device_read((struct device_place){segment, 0}, SIZE, bench->back));
  assert_memory_equal(bench->bytes, bench->back, SIZE);
  device_drop(segment);
  share_close(&share);
}

/* ---- mover half ---- */

static void fresh_memory_is_what_it_says(struct bench *bench) {
  struct share share = create(bench, SIZE);
  struct device_segment *segment = import(bench, &share);
  memset(bench->back, 1, SIZE);
  assert_int_equal(STATUS_OK, device_read((struct device_place){segment, 0}, SIZE, bench->back));
  if (device_info(bench->device)->fresh_is_zero)
    for (size_t i = 0; i < SIZE; i++)
      assert_int_equal(0, bench->back[i]);
  device_drop(segment);
  release(bench, share, SIZE, false);
}

static void what_is_written_is_read_by_who_imports_it_too(struct bench *bench) {
  struct share share = create(bench, SIZE);
  struct device_segment *one = import(bench, &share), *other = import(bench, &share);
  assert_int_equal(STATUS_OK,
                   device_write((struct device_place){one, 4097}, SIZE - 4097, bench->bytes));
  assert_int_equal(STATUS_OK,
                   device_read((struct device_place){other, 4097}, SIZE - 4097, bench->back));
  assert_memory_equal(bench->bytes, bench->back, SIZE - 4097);
  device_drop(one);
  device_drop(other);
  release(bench, share, SIZE, false);
}

static void a_fill_ends_where_it_should(struct bench *bench) {
  struct share share = create(bench, SIZE);
  struct device_segment *segment = import(bench, &share);
  assert_int_equal(STATUS_OK, device_write((struct device_place){segment, 0}, SIZE, bench->bytes));
  assert_int_equal(STATUS_OK, device_fill((struct device_place){segment, 1001}, SIZE - 3001, 0xa5));
  assert_int_equal(STATUS_OK, device_read((struct device_place){segment, 0}, SIZE, bench->back));
  assert_memory_equal(bench->bytes, bench->back, 1001);
  for (size_t i = 1001; i < SIZE - 2000; i++)
    assert_int_equal((char)0xa5, bench->back[i]);
  assert_memory_equal(bench->bytes + SIZE - 2000, bench->back + SIZE - 2000, 2000);
  device_drop(segment);
  release(bench, share, SIZE, false);
}

static void copies_within_and_between_segments_are_exact(struct bench *bench) {
  struct share shares[2] = {create(bench, SIZE), create(bench, SIZE)};
  struct device_segment *a = import(bench, &shares[0]), *b = import(bench, &shares[1]);
  char *staging = malloc(SIZE);
  assert_int_equal(STATUS_OK, device_write((struct device_place){a, 0}, SIZE, bench->bytes));
  struct device_copy between = {{a, 3}, {b, 7}, MIB + 5, staging};
  struct device_copy within = {{b, 7}, {b, 2 * MIB + 7}, MIB + 5, staging};
  assert_int_equal(STATUS_OK, device_copy(&between));
  assert_int_equal(STATUS_OK, device_copy(&within));
  assert_int_equal(STATUS_OK,
                   device_read((struct device_place){b, 2 * MIB + 7}, MIB + 5, bench->back));
  assert_memory_equal(bench->bytes + 3, bench->back, MIB + 5);
  assert_int_equal(DEVICE_PATH_SAME, device_path(a, b));
  free(staging);
  device_drop(a);
  device_drop(b);
  release(bench, shares[0], SIZE, false);
  release(bench, shares[1], SIZE, false);
}

static void many_copies_at_once_are_exact(struct bench *bench) {
  struct share share = create(bench, SIZE);
  struct device_segment *a = import(bench, &share);
  struct device_move moves[] = {{{a, 0}, {a, 2 * MIB + 1}, MIB + 5, false},
                                {{a, MIB + 7}, {a, 2 * MIB + 1 + MIB + 6}, 100, false}};
  assert_int_equal(STATUS_OK, device_write((struct device_place){a, 0}, SIZE, bench->bytes));
  if (device_copy_all(moves, 2) != STATUS_INVALID_ARGUMENT) { /* else it cannot */
    assert_true(moves[0].same && moves[1].same);
    assert_int_equal(STATUS_OK, device_read(moves[0].to, MIB + 106, bench->back));
    assert_memory_equal(bench->bytes, bench->back, MIB + 5);
    assert_memory_equal(bench->bytes + MIB + 7, bench->back + MIB + 6, 100);
  }
  device_drop(a);
  release(bench, share, SIZE, false);
}

/* Wherever a range begins, and whatever the last chunk is: a byte, or too few for a kernel. */
static void sums_are_those_of_the_bytes(struct bench *bench) {
  static const uint64_t sizes[] = {1, 240, 241, 8192, 8193, 66561, MIB + 5, 2 * MIB + 1023};
  struct share share = create(bench, SIZE);
  struct device_segment *a = import(bench, &share);
  uint64_t sums[1024];
  assert_int_equal(STATUS_OK, device_write((struct device_place){a, 0}, SIZE, bench->bytes));
  for (unsigned i = 0; device_sums(a) && i < 18 * sizeof sizes / sizeof *sizes; i++) {
    uint64_t from = i % 18, size = sizes[i / 18], chunk = i % 2 ? 4 * KIB : 256 * KIB;
    assert_int_equal(STATUS_OK, device_sum((struct device_place){a, from}, size, chunk, sums));
    for (uint64_t at = 0; at < size; at += chunk)
      assert_true(sums[at / chunk] ==
                  XXH3_64bits(bench->bytes + from + at, units_min(chunk, size - at)));
  }
  device_drop(a);
  release(bench, share, SIZE, false);
}

static void a_copy_onto_itself_is_refused(struct bench *bench) {
  struct share share = create(bench, SIZE);
  struct device_segment *segment = import(bench, &share);
  struct device_copy copy = {{segment, 0}, {segment, 4095}, 4096, bench->back};
  assert_int_equal(STATUS_INVALID_ARGUMENT, device_copy(&copy));
  copy.to.offset = 4096;
  assert_int_equal(STATUS_OK, device_copy(&copy));
  device_drop(segment);
  release(bench, share, SIZE, false);
}

/* Often, for what is used often is mapped. */
static void bytes_come_from_and_go_to_host_memory(struct bench *bench) {
  struct bench *host = bench_make("host:9=64MiB");
  struct share here = create(bench, SIZE), there = create(host, SIZE);
  struct device_segment *a = import(bench, &here), *b = import(host, &there);
  struct device_place first = {b, 0}, second = {b, SIZE / 2};
  struct device_copy out = {first, {a, 0}, SIZE / 2, bench->back};
  struct device_copy home = {out.to, second, SIZE / 2, bench->back};
  for (unsigned use = 0; use < 6; bench->bytes[use++]++) {
    assert_int_equal(STATUS_OK, device_write(first, SIZE / 2, bench->bytes));
    assert_int_equal(STATUS_OK, device_copy(&out) || device_copy(&home));
    assert_int_equal(STATUS_OK, device_read(second, SIZE / 2, bench->back));
    assert_memory_equal(bench->bytes, bench->back, SIZE / 2);
  }
  bool near = device_info(bench->device)->host_memory;
  assert_int_equal(near ? DEVICE_PATH_PEER : DEVICE_PATH_STAGED, device_path(a, b));
  device_drop(a);
  device_drop(b);
  release(bench, here, SIZE, false);
  release(host, there, SIZE, false);
  bench_done(host);
}

/* ---- calls that are started ---- */

struct started {
  struct device_call call; /* first */
  struct tally *tally;
};

struct tally {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  unsigned done;
};

static void count_done(struct device_call *call) {
  struct tally *tally = ((struct started *)call)->tally;
  pthread_mutex_lock(&tally->lock);
  tally->done++;
  pthread_cond_signal(&tally->changed);
  pthread_mutex_unlock(&tally->lock);
}

static void start_all(struct bench *bench, struct tally *tally, struct started *calls, unsigned n) {
  tally->done = 0;
  for (unsigned i = 0; i < n; i++) {
    calls[i].tally = tally;
    calls[i].call.done = count_done;
    device_start(bench->device, &calls[i].call);
  }
  pthread_mutex_lock(&tally->lock);
  while (tally->done < n)
    pthread_cond_wait(&tally->changed, &tally->lock);
  pthread_mutex_unlock(&tally->lock);
}

static void started_calls_are_done_once_each(struct bench *bench) {
  struct tally tally = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
  struct started made[8] = {0}, given[16] = {0};
  for (unsigned i = 0; i < 8; i++)
    made[i].call = (struct device_call){.action = DEVICE_CREATE, .size = SIZE};
  start_all(bench, &tally, made, 8);
  for (unsigned i = 0; i < 8; i++) {
    assert_int_equal(STATUS_OK, made[i].call.status);
    given[i].call = (struct device_call){.action = DEVICE_BUDGET};
    given[8 + i].call =
        (struct device_call){.action = DEVICE_RELEASE, .size = SIZE, .share = made[i].call.share};
  }
  start_all(bench, &tally, given, 16);
  for (unsigned i = 0; i < 16; i++)
    assert_int_equal(STATUS_OK, given[i].call.status);
  while (device_busy_since(bench->device)) /* it may have something to settle */
    ;
}

static void a_commit_larger_than_a_piece_is_one_call(struct bench *bench) {
  struct tally tally = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
  uint64_t size = 300 * MIB;
  struct started commit = {0};
  struct share share = create(bench, size);
  commit.call = (struct device_call){.action = DEVICE_COMMIT, .size = size, .share = share};
  start_all(bench, &tally, &commit, 1);
  struct device_call resident = {.action = DEVICE_RESIDENT, .size = size, .share = share};
  assert_int_equal(STATUS_OK, commit.call.status);
  assert_int_equal(STATUS_OK, device_run(bench->device, &resident));
  assert_int_equal(size, resident.bytes);
  release(bench, share, size, false);
}

/* ---- who is asked what ---- */

static const char *const devices[] = {"host:0=1GiB",
                                      "host:0",
                                      "fake:0=1GiB",
                                      "fake:0=1GiB,rate=8GiB/s,latency=10us",
                                      "host:0=1GiB,trace=on",
                                      "fake:0=1GiB,quota=1GiB",
                                      "cuda:0",
                                      "mig:0",
                                      "vulkan:0"};

static void (*const behaviours[])(struct bench *bench) = {
    it_describes_itself,
    its_budget_is_fresh,
    what_it_made_it_takes_back,
    nobody_can_cut_a_segment,
    committing_and_releasing_show_in_what_is_resident,
    memory_outlives_its_owner,
    fresh_memory_is_what_it_says,
    what_is_written_is_read_by_who_imports_it_too,
    a_fill_ends_where_it_should,
    copies_within_and_between_segments_are_exact,
    many_copies_at_once_are_exact,
    sums_are_those_of_the_bytes,
    a_copy_onto_itself_is_refused,
    bytes_come_from_and_go_to_host_memory,
    started_calls_are_done_once_each,
    a_commit_larger_than_a_piece_is_one_call,
};

static bool is_here(const char *text) {
  struct spec spec;
  struct problem problem;
  struct backend table;
  void *owner;
  assert_int_equal(STATUS_OK, spec_parse(text, &spec, &problem));
  broker_fixture_place(&spec);
  return probe_table(&spec, &table) && !table.open(&spec, &owner) && (table.close(owner), true);
}

static void every_device_behaves(void **state) {
  const char *device = *state;
  if (!is_here(device)) {
    print_message("%s: left out: this machine, or this build, has none\n", device);
    skip();
  }
  for (size_t i = 0; i < sizeof behaviours / sizeof *behaviours; i++) {
    struct bench *bench = bench_make(device);
    behaviours[i](bench);
    bench_done(bench);
  }
}

/* ---- what is set ---- */

/* A call that the driver does not end is seen from outside. */
static void a_call_that_takes_long_is_seen(void **state) {
  (void)state;
  struct tally tally = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
  struct bench *bench = bench_make("fake:0=1GiB,delay=100ms");
  struct started slow = {.call = {.action = DEVICE_BUDGET, .done = count_done}, .tally = &tally};
  uint64_t before = clock_now(), since;
  device_start(bench->device, &slow.call);
  while (!(since = device_busy_since(bench->device)))
    ;
  assert_true(since >= before && since <= clock_now());
  pthread_mutex_lock(&tally.lock);
  while (!tally.done)
    pthread_cond_wait(&tally.changed, &tally.lock);
  pthread_mutex_unlock(&tally.lock);
  assert_int_equal(0, device_busy_since(bench->device));
  bench_done(bench);
}

/* What is set is what is had: a fake link that were faster would hide what it stands for. */
static void a_fake_link_is_no_faster_than_it_was_set(void **state) {
  (void)state;
  struct bench *bench = bench_make("fake:0=1GiB,rate=100MiB/s");
  struct share share = create(bench, SIZE);
  struct device_segment *segment = import(bench, &share);
  uint64_t start = clock_now();
  assert_int_equal(STATUS_OK, device_write((struct device_place){segment, 0}, SIZE, bench->bytes));
  assert_int_equal(STATUS_OK, device_read((struct device_place){segment, 0}, SIZE, bench->back));
  assert_true(clock_now() - start >= 80 * CLOCK_MS);
  device_drop(segment);
  release(bench, share, SIZE, false);
  bench_done(bench);
}

static void names_of_paths(void **state) {
  (void)state;
  assert_string_equal("same-device", device_path_name(DEVICE_PATH_SAME));
  assert_string_equal("peer", device_path_name(DEVICE_PATH_PEER));
  assert_string_equal("pinned", device_path_name(DEVICE_PATH_PINNED));
  assert_string_equal("staged", device_path_name(DEVICE_PATH_STAGED));
}

int main(void) {
  enum { DEVICES = sizeof devices / sizeof *devices };
  struct CMUnitTest of_devices[DEVICES];
  for (size_t i = 0; i < DEVICES; i++)
    of_devices[i] = (struct CMUnitTest){
        .name = devices[i], .test_func = every_device_behaves, .initial_state = (void *)devices[i]};
  const struct CMUnitTest others[] = {
      cmocka_unit_test(a_call_that_takes_long_is_seen),
      cmocka_unit_test(a_fake_link_is_no_faster_than_it_was_set),
      cmocka_unit_test(names_of_paths),
  };
  int failed = cmocka_run_group_tests_name("devices", of_devices, NULL, NULL);
  return failed + cmocka_run_group_tests_name("others", others, NULL, NULL);
}
