/*
 * device/vulkan/peer and mover, on two FAKE cards: straight copies where dma-bufs are passed on and
 * hold what they should; elsewhere, and where a driver lies, bytes go by way of host memory.
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
#include "device/vulkan/owner.h"
#include "vulkan_fixture.h"

#define SIZE (8 * MIB)
#define OFFSET 4093 /* of what is copied, at both ends apart */
#define THREADS 8

static const struct spec specs[] = {{.id = "vulkan:0", .backend = "vulkan"},
                                    {.id = "vulkan:1", .backend = "vulkan"}};

struct card {
  void *owner;
  struct share share;
  struct device_mover *mover;
  struct device_segment *segment;
};

static struct card cards[2];
static char bytes[SIZE], back[SIZE];

static void card_make(unsigned i) {
  struct card *card = &cards[i];
  card->owner = vulkan_fixture_owner(&specs[i]);
  assert_int_equal(STATUS_OK, vulkan_owner_create(card->owner, SIZE, &card->share));
  assert_int_equal(STATUS_OK, device_mover_open(&specs[i], &card->mover));
  assert_int_equal(STATUS_OK, device_import(card->mover, &card->share, SIZE, &card->segment));
}

/* Two cards that do so with dma-bufs; NULL: there are none. */
static void make(const char *dmabufs) {
  vulkan_fixture_use(2, true);
  if (dmabufs)
    setenv("VK_PRETEND_DMABUF", dmabufs, 1);
  for (size_t i = 0; i < SIZE; i++)
    bytes[i] = (char)(i * 31 + i / 977 + 1);
  card_make(0);
  card_make(1);
}

static void done(void) {
  for (unsigned i = 0; i < 2; i++)
    device_drop(cards[i].segment);
  for (unsigned i = 0; i < 2; i++) {
    device_mover_close(cards[i].mover);
    vulkan_owner_release(cards[i].owner, &cards[i].share, SIZE, true);
    assert_true(vulkan_fixture_budget(cards[i].owner).used_bytes == 0);
    vulkan_owner_close(cards[i].owner);
  }
}

static enum device_path path(unsigned from) {
  return device_path(cards[from].segment, cards[!from].segment);
}

static enum status copy(unsigned from, uint64_t at, uint64_t size) {
  char *staging = malloc(size);
  const struct device_copy what = {.from = {cards[from].segment, at},
                                   .to = {cards[!from].segment, at + OFFSET},
                                   .size = size,
                                   .staging = staging};
  enum status status = device_copy(&what);
  free(staging);
  return status;
}

/* All of one card's segment goes to the other's, and what was beside it there stays. */
static void goes_across(unsigned from) {
  uint64_t size = SIZE - OFFSET;
  memset(back, 0, SIZE);
  assert_int_equal(STATUS_OK,
                   device_write((struct device_place){cards[from].segment, 0}, SIZE, bytes));
  assert_int_equal(STATUS_OK, device_fill((struct device_place){cards[!from].segment, 0}, SIZE, 9));
  assert_int_equal(STATUS_OK, copy(from, 0, size));
  assert_int_equal(STATUS_OK,
                   device_read((struct device_place){cards[!from].segment, 0}, SIZE, back));
  assert_memory_equal(bytes, back + OFFSET, size);
  for (unsigned i = 0; i < OFFSET; i++)
    assert_int_equal(9, back[i]);
}

static void both_ways(enum device_path expected) {
  for (unsigned from = 0; from < 2; from++) {
    assert_int_equal(expected, path(from));
    goes_across(from);
    assert_int_equal(expected, path(from));
  }
}

static void bytes_go_straight_where_it_is_proven(void **state) {
  char trace[64];
  (void)state;
  make("yes");
  both_ways(DEVICE_PATH_PEER);
  vulkan_fixture_set("trace", "");
  assert_int_equal(STATUS_OK, copy(0, 0, SIZE / 2));
  vulkan_fixture_trace(trace, sizeof trace);
  assert_string_equal("sw", trace); /* one copy, and the wait for it */
  done();
}

static void cards_without_dmabufs_are_staged(void **state) {
  (void)state;
  make(NULL);
  both_ways(DEVICE_PATH_STAGED);
  done();
}

static void a_driver_that_takes_none_is_asked_once(void **state) {
  char trace[64];
  (void)state;
  make("refuses");
  both_ways(DEVICE_PATH_STAGED);
  vulkan_fixture_set("trace", "");
  setenv("VK_PRETEND_DMABUF", "yes", 1);
  assert_int_equal(DEVICE_PATH_STAGED, path(0));
  vulkan_fixture_trace(trace, sizeof trace);
  assert_string_equal("", trace); /* no second trial */
  done();
}

static void a_driver_that_lies_is_found_out(void **state) {
  (void)state;
  make("lies");
  both_ways(DEVICE_PATH_STAGED);
  done();
}

/* The card has no room for the trial's memory. */
static void without_a_trial_nothing_is_believed(void **state) {
  (void)state;
  make("yes");
  vulkan_fixture_set("budget", "1");
  assert_int_equal(DEVICE_PATH_STAGED, path(0));
  vulkan_fixture_unset("budget");
  goes_across(0);
  assert_int_equal(DEVICE_PATH_STAGED, path(0));
  assert_int_equal(DEVICE_PATH_PEER, path(1)); /* was not asked before */
  goes_across(1);
  done();
}

/* Proven, and then refused for this segment. */
static void a_segment_that_cannot_be_opened_is_staged(void **state) {
  struct device_segment *first = NULL;
  (void)state;
  make("yes");
  assert_int_equal(DEVICE_PATH_PEER, path(0));
  first = cards[1].segment;
  assert_int_equal(STATUS_OK,
                   device_import(cards[1].mover, &cards[1].share, SIZE, &cards[1].segment));
  setenv("VK_PRETEND_DMABUF", "refuses", 1);
  assert_int_equal(DEVICE_PATH_STAGED, path(0));
  goes_across(0);
  device_drop(first);
  done();
}

static void a_lost_card_sends_nothing(void **state) {
  (void)state;
  make("yes");
  assert_int_equal(DEVICE_PATH_PEER, path(0));
  vulkan_fixture_set("lost", "0");
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, copy(0, 0, MIB));
  assert_int_equal(DEVICE_PATH_STAGED, path(0));
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, copy(0, 0, MIB));
  done();
}

static void *copy_a_part(void *arg) {
  uint64_t part = (uintptr_t)arg - 1, size = SIZE / THREADS - OFFSET;
  return copy(part % 2, part * (SIZE / THREADS), size) ? arg : NULL;
}

/* Both ways at once, and nobody asked before. */
static void many_threads_begin_at_once(void **state) {
  pthread_t threads[THREADS];
  (void)state;
  make("yes");
  for (unsigned i = 0; i < 2; i++)
    assert_int_equal(STATUS_OK,
                     device_write((struct device_place){cards[i].segment, 0}, SIZE, bytes));
  for (uintptr_t i = 0; i < THREADS; i++)
    assert_int_equal(0, pthread_create(&threads[i], NULL, copy_a_part, (void *)(i + 1)));
  for (unsigned i = 0; i < THREADS; i++) {
    void *failed;
    assert_int_equal(0, pthread_join(threads[i], &failed));
    assert_null(failed);
  }
  for (unsigned part = 0; part < THREADS; part++) {
    uint64_t at = part * (SIZE / THREADS), size = SIZE / THREADS - OFFSET;
    const struct device_place place = {cards[!(part % 2)].segment, at + OFFSET};
    assert_int_equal(STATUS_OK, device_read(place, size, back));
    assert_memory_equal(bytes + at, back, size);
  }
  done();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bytes_go_straight_where_it_is_proven),
      cmocka_unit_test(cards_without_dmabufs_are_staged),
      cmocka_unit_test(a_driver_that_takes_none_is_asked_once),
      cmocka_unit_test(a_driver_that_lies_is_found_out),
      cmocka_unit_test(without_a_trial_nothing_is_believed),
      cmocka_unit_test(a_segment_that_cannot_be_opened_is_staged),
      cmocka_unit_test(a_lost_card_sends_nothing),
      cmocka_unit_test(many_threads_begin_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, vulkan_fixture_done);
}
