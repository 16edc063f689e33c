/*
 * Flows over device/vulkan, on a software driver as a FAKE card, whose memory no core sees: pieces
 * that are filled while others are on the link, what ends a flow in the middle, and a worker's
 * transfers by it. The FAKE card's trace (tests/vk_pretend.h) says what went on when.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/os_memfd.h"
#include "base/units.h"
#include "device/vulkan/mover.h"
#include "device/vulkan/owner.h"
#include "vulkan_fixture.h"
#include "worker/load.h"
#include "worker/mover.h"

#define SIZE (40 * MIB)
#define FLOW (8 * MIB)
#define PIECES 16 /* of a flow, 512 KiB each */
#define RING 3    /* pieces that may be under way, as in vulkan/lane */

static const struct spec spec = {.id = "vulkan:0", .backend = "vulkan"};

struct bench {
  void *owner, *mover, *segment;
  struct share share;
  char *bytes, *back;
};

/* Of the bytes that come and go. */
struct side {
  char *bytes;
  uint64_t next;        /* where the next piece must begin */
  unsigned calls, last; /* of which the last answers with `end` */
  enum status end;
};

/* SIZE bytes, eight at a time: under a sanitizer each takes a while. */
static void scatter(char *bytes) {
  for (uint64_t i = 0; i < SIZE; i += 8) {
    uint64_t eight = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    memcpy(bytes + i, &eight, sizeof eight);
  }
}

static struct bench bench_make(bool two_families) {
  struct bench bench = {.bytes = malloc(SIZE), .back = calloc(1, SIZE)};
  vulkan_fixture_use(1, true);
  if (two_families)
    setenv("VK_PRETEND_FAMILIES", "1", 1);
  scatter(bench.bytes);
  assert_int_equal(STATUS_OK, vulkan_owner_open(&spec, &bench.owner));
  assert_int_equal(STATUS_OK, vulkan_owner_create(bench.owner, SIZE, &bench.share));
  assert_int_equal(STATUS_OK, vulkan_mover_start(&spec, &bench.mover));
  assert_int_equal(STATUS_OK, vulkan_mover_import(bench.mover, &bench.share, SIZE, &bench.segment));
  return bench;
}

static void bench_done(struct bench *bench) {
  vulkan_mover_drop(bench->mover, bench->segment, SIZE);
  vulkan_mover_stop(bench->mover);
  vulkan_owner_release(bench->owner, &bench->share, SIZE, true);
  vulkan_owner_close(bench->owner);
  free(bench->bytes);
  free(bench->back);
}

static enum status count(struct side *side, uint64_t offset, uint64_t size) {
  assert_int_equal(side->next, offset);
  side->next += size;
  return ++side->calls == side->last ? side->end : STATUS_OK;
}

static enum status fill(void *arg, void *bytes, uint64_t offset, uint64_t size) {
  struct side *side = arg;
  memcpy(bytes, side->bytes + offset, size);
  return count(side, offset, size);
}

static enum status empty(void *arg, void *bytes, uint64_t offset, uint64_t size) {
  struct side *side = arg;
  memcpy(side->bytes + offset, bytes, size);
  return count(side, offset, size);
}

static enum status feed(struct bench *bench, uint64_t size, struct side *side) {
  struct device_range to = {bench->segment, 3, size};
  side->bytes = bench->bytes;
  const struct device_flow flow = {fill, side};
  return vulkan_mover_feed(bench->mover, &to, &flow);
}

static enum status drain(struct bench *bench, uint64_t size, struct side *side) {
  struct device_range from = {bench->segment, 3, size};
  side->bytes = bench->back;
  const struct device_flow flow = {empty, side};
  return vulkan_mover_drain(bench->mover, &from, &flow);
}

static void go_and_come_back(struct bench *bench, uint64_t size) {
  struct side in = {.next = 0}, out = {.next = 0};
  memset(bench->back, 0, size);
  assert_int_equal(STATUS_OK, feed(bench, size, &in));
  assert_int_equal(STATUS_OK, drain(bench, size, &out));
  assert_true(in.next == size && out.next == size);
  assert_memory_equal(bench->bytes, bench->back, size);
}

static void each_byte_comes_once_and_in_order(void **state) {
  (void)state;
  static const uint64_t sizes[] = {1, 4095, MIB - 1, MIB, MIB + 1, 5 * MIB + 7, SIZE - 3};
  struct bench bench = bench_make(false);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    go_and_come_back(&bench, sizes[i]);
  bench_done(&bench);
}

/* ---- what is under way when ---- */

static unsigned count_of(const char *trace, char what) {
  unsigned n = 0;
  for (; *trace; trace++)
    n += *trace == what;
  return n;
}

/* A way that waits for each piece before it fills the next begins with "tw"; one that waits for
 * what it need not, waits as often as it submits. */
static void a_piece_is_waited_for_when_it_is_used_again(void **state) {
  (void)state;
  char trace[64];
  struct side in = {.next = 0}, out = {.next = 0};
  struct bench bench = bench_make(true);
  vulkan_fixture_set("trace", "");
  assert_int_equal(STATUS_OK, feed(&bench, FLOW, &in));
  vulkan_fixture_trace(trace, sizeof trace);
  assert_int_equal(0, strncmp(trace, "tttwt", RING + 2));
  assert_int_equal(PIECES, count_of(trace, 't'));
  assert_int_equal(PIECES - RING + 1, count_of(trace, 'w'));
  assert_int_equal(STATUS_OK, drain(&bench, FLOW, &out));
  vulkan_fixture_trace(trace, sizeof trace);
  assert_int_equal(0, strncmp(trace, "tttwt", RING + 2));
  assert_int_equal(PIECES, count_of(trace, 't'));
  assert_int_equal(PIECES, count_of(trace, 'w'));
  assert_memory_equal(bench.bytes, bench.back, FLOW);
  bench_done(&bench);
}

/* The family that can but copy is for the link; what stays on the card goes by the other. */
static void inside_the_card_it_goes_by_the_family_that_computes(void **state) {
  (void)state;
  char trace[64];
  struct side in = {.next = 0};
  struct bench bench = bench_make(true);
  struct device_range from = {bench.segment, 3, FLOW}, to = {bench.segment, 16 * MIB, FLOW};
  assert_int_equal(STATUS_OK, feed(&bench, FLOW, &in));
  vulkan_fixture_set("trace", "");
  assert_int_equal(STATUS_OK, vulkan_mover_copy(bench.mover, &from, &to));
  assert_int_equal(STATUS_OK, vulkan_mover_read(bench.mover, &to, bench.back));
  assert_memory_equal(bench.bytes, bench.back, FLOW);
  assert_int_equal(STATUS_OK, vulkan_mover_fill(bench.mover, &to, 7));
  vulkan_fixture_trace(trace, sizeof trace);
  assert_int_equal(0, strncmp(trace, "sw", 2));
  assert_int_equal(2, count_of(trace, 's'));
  assert_int_equal(PIECES, count_of(trace, 't'));
  assert_int_equal('w', trace[strlen(trace) - 1]);
  assert_int_equal(STATUS_OK, vulkan_mover_read(bench.mover, &to, bench.back));
  assert_true(bench.back[0] == 7 && !memcmp(bench.back, bench.back + 1, FLOW - 1));
  bench_done(&bench);
}

/* ---- what ends in the middle ---- */

/* Also when the other end is a card that fell off: that is no word on this one. */
static void what_the_caller_says_ends_it(void **state) {
  (void)state;
  static const enum status ends[] = {STATUS_CANCELLED, STATUS_DEVICE_UNAVAILABLE};
  struct bench bench = bench_make(false);
  for (unsigned last = 1; last <= PIECES; last++)
    for (unsigned i = 0; i < 2; i++) {
      struct side in = {.last = last, .end = ends[i]}, out = in;
      assert_int_equal(ends[i], feed(&bench, FLOW, &in));
      assert_int_equal(ends[i], drain(&bench, FLOW, &out));
      assert_true(in.calls == last && out.calls == last);
    }
  go_and_come_back(&bench, FLOW);
  bench_done(&bench);
}

static void a_card_that_falls_off_in_the_middle_says_so(void **state) {
  (void)state;
  static const unsigned afters[] = {0, 1, RING, RING + 1, PIECES - 1};
  for (unsigned i = 0; i < 2 * sizeof afters / sizeof *afters; i++) {
    char text[16];
    struct side side = {.next = 0};
    struct bench bench = bench_make(false);
    go_and_come_back(&bench, FLOW);
    snprintf(text, sizeof text, "%u", afters[i / 2]);
    vulkan_fixture_set("lost", text);
    assert_int_equal(STATUS_DEVICE_UNAVAILABLE,
                     i % 2 ? feed(&bench, FLOW, &side) : drain(&bench, FLOW, &side));
    vulkan_fixture_unset("lost");
    side = (struct side){.next = 0};
    assert_int_equal(STATUS_DEVICE_UNAVAILABLE, feed(&bench, 1, &side));
    assert_int_equal(0, side.calls);
    bench_done(&bench);
  }
}

static void a_host_without_memory_is_no_lost_card(void **state) {
  (void)state;
  struct bench bench = bench_make(false);
  struct side side = {.next = 0};
  vulkan_fixture_set("full", "");
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, feed(&bench, FLOW, &side));
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, drain(&bench, FLOW, &side));
  assert_int_equal(0, side.calls);
  vulkan_fixture_unset("full");
  go_and_come_back(&bench, FLOW);
  bench_done(&bench);
}

/* ---- where a core sees the memory ---- */

static enum status must_be_there(void *arg, void *bytes, uint64_t offset, uint64_t size) {
  const char **there = arg;
  assert_ptr_equal(*there + offset, bytes);
  (void)size;
  return STATUS_OK;
}

static void what_a_core_sees_is_filled_where_it_lies(void **state) {
  (void)state;
  struct bench bench = bench_make(false);
  vulkan_mover_drop(bench.mover, bench.segment, SIZE);
  vulkan_mover_stop(bench.mover);
  setenv("VK_PRETEND_SEEN", "1", 1);
  assert_int_equal(STATUS_OK, vulkan_mover_start(&spec, &bench.mover));
  assert_int_equal(STATUS_OK, vulkan_mover_import(bench.mover, &bench.share, SIZE, &bench.segment));
  struct device_range range = {bench.segment, 3, FLOW};
  const char *there = vulkan_mover_peek(bench.mover, &range);
  const struct device_flow flow = {must_be_there, &there};
  assert_int_equal(STATUS_OK, vulkan_mover_feed(bench.mover, &range, &flow));
  go_and_come_back(&bench, SIZE - 3);
  assert_memory_equal(bench.bytes, there, SIZE - 3);
  bench_done(&bench);
}

/* ---- a worker's transfers ---- */

struct worker {
  struct device_mover *host, *card;
  struct device_segment *here, *there;
  char *bytes; /* of host memory */
  void *owner;
  struct share share;
  atomic_bool cancel;
  uint64_t cancel_at, done;
};

static void worker_open(struct worker *worker) {
  static const struct spec host = {.id = "host:0", .backend = "host"};
  struct share share;
  void *map;
  assert_int_equal(STATUS_OK, device_mover_open(&host, &worker->host));
  assert_int_equal(STATUS_OK, device_mover_open(&spec, &worker->card));
  assert_int_equal(STATUS_OK, os_memfd_create("test", SIZE, &share));
  assert_int_equal(STATUS_OK, os_memfd_seal(&share, OS_MEMFD_SEAL_SIZE));
  assert_int_equal(STATUS_OK, os_memfd_map(&share, SIZE, true, &map));
  assert_int_equal(STATUS_OK, device_import(worker->host, &share, SIZE, &worker->here));
  share_close(&share);
  worker->bytes = map;
  assert_int_equal(STATUS_OK, vulkan_owner_open(&spec, &worker->owner));
  assert_int_equal(STATUS_OK, vulkan_owner_create(worker->owner, SIZE, &worker->share));
  assert_int_equal(STATUS_OK, device_import(worker->card, &worker->share, SIZE, &worker->there));
}

static void worker_close(struct worker *worker) {
  device_drop(worker->here);
  device_drop(worker->there);
  device_mover_close(worker->host);
  device_mover_close(worker->card);
  vulkan_owner_release(worker->owner, &worker->share, SIZE, true);
  vulkan_owner_close(worker->owner);
  os_memfd_unmap(worker->bytes, SIZE);
}

static void on_progress(void *arg, uint64_t done) {
  struct worker *worker = arg;
  worker->done = done;
  if (worker->cancel_at && done >= worker->cancel_at)
    atomic_store(&worker->cancel, true);
}

static struct mover_work work_of(struct worker *worker, bool in) {
  atomic_store(&worker->cancel, false);
  return (struct mover_work){.from = {in ? worker->here : worker->there, 5},
                             .to = {in ? worker->there : worker->here, 5},
                             .size = SIZE - 9,
                             .cancel = &worker->cancel,
                             .progress = on_progress,
                             .arg = worker};
}

static uint64_t fingerprint_of(const char *bytes, uint64_t size) {
  uint64_t sums[SIZE / LOAD_CHUNK], chunks = 0;
  for (uint64_t done = 0; done < size; done += LOAD_CHUNK)
    sums[chunks++] = XXH3_64bits(bytes + done, units_min(LOAD_CHUNK, size - done));
  return load_fingerprint(sums, chunks);
}

/* Often enough that host memory is mapped in the end, by turns with sums and without. */
static void a_transfer_goes_and_comes_back(void **state) {
  (void)state;
  struct worker worker = {.cancel_at = 0};
  char *bytes = malloc(SIZE);
  vulkan_fixture_use(1, true);
  worker_open(&worker);
  scatter(bytes);
  uint64_t print = fingerprint_of(bytes + 5, SIZE - 9);
  for (unsigned round = 0; round < 8; round++) {
    struct mover_work in = work_of(&worker, true), out = work_of(&worker, false);
    in.sums = out.sums = round % 2;
    memcpy(worker.bytes, bytes, SIZE);
    assert_int_equal(STATUS_OK, mover_copy(&in));
    assert_int_equal(SIZE - 9, worker.done);
    memset(worker.bytes, 0, SIZE);
    assert_int_equal(STATUS_OK, mover_copy(&out));
    assert_memory_equal(bytes + 5, worker.bytes + 5, SIZE - 9);
    assert_true(worker.bytes[4] == 0 && worker.bytes[SIZE - 4] == 0);
    assert_true(!in.sums || (in.fingerprint == print && out.fingerprint == print));
  }
  free(bytes);
  worker_close(&worker);
}

static void a_transfer_is_cancelled_between_pieces(void **state) {
  (void)state;
  struct worker worker = {.cancel_at = 1};
  vulkan_fixture_use(1, true);
  worker_open(&worker);
  for (unsigned in = 0; in < 2; in++)
    for (unsigned sums = 0; sums < 2; sums++) {
      struct mover_work work = work_of(&worker, in);
      work.sums = sums;
      assert_int_equal(STATUS_CANCELLED, mover_copy(&work));
      assert_in_range(worker.done, 1, SIZE - 10);
    }
  worker_close(&worker);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_byte_comes_once_and_in_order),
      cmocka_unit_test(a_piece_is_waited_for_when_it_is_used_again),
      cmocka_unit_test(inside_the_card_it_goes_by_the_family_that_computes),
      cmocka_unit_test(what_the_caller_says_ends_it),
      cmocka_unit_test(a_card_that_falls_off_in_the_middle_says_so),
      cmocka_unit_test(a_host_without_memory_is_no_lost_card),
      cmocka_unit_test(what_a_core_sees_is_filled_where_it_lies),
      cmocka_unit_test(a_transfer_goes_and_comes_back),
      cmocka_unit_test(a_transfer_is_cancelled_between_pieces),
  };
  return cmocka_run_group_tests(tests, NULL, vulkan_fixture_done);
}
