/* os_view: the same bytes at the first use and at the tenth, and no page that was not there. */
#include "base/os_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <pthread.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/os_memfd.h"
#include "base/units.h"

#define SIZE (MIB + 4 * KIB + 5) /* ends within a granule and within a page */
#define USES 6                   /* some by calls, some mapped */

struct fixture {
  struct share share;
  struct os_view *view;
};

static char bytes[SIZE], seen[SIZE];

static void open_view(struct fixture *fixture, unsigned seals) {
  assert_int_equal(STATUS_OK, os_memfd_create("view", SIZE, &fixture->share));
  assert_int_equal(STATUS_OK, os_memfd_seal(&fixture->share, seals));
  assert_int_equal(STATUS_OK, os_view_open(&fixture->share, SIZE, &fixture->view));
}

static void close_view(struct fixture *fixture) {
  os_view_close(fixture->view);
  share_close(&fixture->share);
}

static uint64_t resident(const struct fixture *fixture) {
  uint64_t found;
  assert_int_equal(STATUS_OK, os_memfd_resident(&fixture->share, &found));
  return found;
}

static void reads(struct fixture *fixture, uint64_t offset, uint64_t n) {
  memset(seen, 0xee, sizeof seen);
  assert_int_equal(STATUS_OK, os_view_read(fixture->view, offset, seen, n));
  assert_memory_equal(bytes + offset, seen, n);
}

static void fill_with(int salt) {
  for (size_t i = 0; i < SIZE; i++)
    bytes[i] = (char)(i * 7 + i / 4096 + (size_t)salt);
}

static void test_what_is_written_is_read(void **state) {
  struct fixture fixture;
  (void)state;
  open_view(&fixture, OS_MEMFD_SEAL_SIZE);
  for (int use = 0; use < USES; use++) {
    fill_with(use);
    assert_int_equal(STATUS_OK, os_view_write(fixture.view, 0, bytes, SIZE));
    reads(&fixture, 0, SIZE);
    reads(&fixture, 256 * KIB - 3, 512 * KIB); /* across granules */
    memset(bytes + 100, use, 300 * KIB);
    assert_int_equal(STATUS_OK, os_view_fill(fixture.view, 100, (uint8_t)use, 300 * KIB));
    assert_int_equal(SIZE, pread((int)fixture.share.value, seen, SIZE, 0));
    assert_memory_equal(bytes, seen, SIZE);
  }
  close_view(&fixture);
}

static void test_a_look_makes_no_page(void **state) {
  struct fixture fixture;
  (void)state;
  open_view(&fixture, OS_MEMFD_SEAL_SIZE);
  memset(bytes, 0, sizeof bytes);
  for (int use = 0; use < USES; use++)
    reads(&fixture, 0, SIZE);
  assert_int_equal(0, resident(&fixture));
  close_view(&fixture);
}

static void test_nor_does_one_where_pages_were_given_back(void **state) {
  struct fixture fixture;
  (void)state;
  open_view(&fixture, OS_MEMFD_SEAL_SIZE);
  fill_with(0);
  for (int use = 0; use < USES; use++)
    assert_int_equal(STATUS_OK, os_view_write(fixture.view, 0, bytes, SIZE));
  assert_int_equal(STATUS_OK, os_memfd_punch(&fixture.share, 64 * KIB, 512 * KIB));
  uint64_t before = resident(&fixture);
  memset(bytes + 64 * KIB, 0, 512 * KIB);
  for (int use = 0; use < USES; use++)
    reads(&fixture, 0, SIZE);
  assert_int_equal(before, resident(&fixture));
  close_view(&fixture);
}

static void test_what_can_shrink_is_no_signal(void **state) {
  struct fixture fixture;
  (void)state;
  open_view(&fixture, 0);
  fill_with(0);
  for (int use = 0; use < USES; use++)
    assert_int_equal(STATUS_OK, os_view_write(fixture.view, 0, bytes, SIZE));
  assert_int_equal(0, ftruncate((int)fixture.share.value, 0));
  assert_int_equal(STATUS_NOT_FOUND, os_view_read(fixture.view, 0, seen, SIZE));
  close_view(&fixture);
}

static void test_what_is_sealed_is_read_only(void **state) {
  struct fixture fixture;
  (void)state;
  open_view(&fixture, OS_MEMFD_SEAL_SIZE);
  fill_with(0);
  assert_int_equal(STATUS_OK, os_view_write(fixture.view, 0, bytes, SIZE));
  assert_int_equal(STATUS_OK, os_memfd_seal(&fixture.share, OS_MEMFD_SEAL_WRITE));
  for (int use = 0; use < USES; use++) {
    reads(&fixture, 0, SIZE);
    assert_int_equal(STATUS_CONFLICT, os_view_write(fixture.view, 0, "x", 1));
  }
  close_view(&fixture);
}

static void test_what_is_used_often_is_where_it_can_be_reached(void **state) {
  struct fixture fixture;
  (void)state;
  open_view(&fixture, OS_MEMFD_SEAL_SIZE);
  fill_with(0);
  assert_null(os_view_peek(fixture.view, 0, SIZE));
  for (int use = 0; use < USES; use++)
    assert_int_equal(STATUS_OK, os_view_write(fixture.view, 0, bytes, SIZE));
  assert_memory_equal(bytes + 5, os_view_peek(fixture.view, 5, SIZE - 5), SIZE - 5);
  memset(os_view_poke(fixture.view, 5, SIZE - 5), 0x11, SIZE - 5);
  memset(bytes + 5, 0x11, SIZE - 5);
  reads(&fixture, 0, SIZE);
  assert_int_equal(STATUS_OK, os_memfd_punch(&fixture.share, 0, 4 * KIB));
  assert_null(os_view_poke(fixture.view, 5, SIZE - 5));
  close_view(&fixture);
}

static void test_what_is_brought_is_zero_and_can_be_written(void **state) {
  struct fixture fixture;
  (void)state;
  open_view(&fixture, OS_MEMFD_SEAL_SIZE);
  os_view_bring(fixture.view, 256 * KIB + 9, 300 * KIB);
  assert_int_equal(304 * KIB, resident(&fixture)); /* no page besides */
  char *place = os_view_poke(fixture.view, 256 * KIB + 9, 300 * KIB);
  memset(bytes, 0, sizeof bytes);
  assert_memory_equal(bytes, place, 300 * KIB);
  memset(place, 0x22, 300 * KIB);
  memset(bytes + 256 * KIB + 9, 0x22, 300 * KIB);
  assert_null(os_view_poke(fixture.view, 0, SIZE));
  reads(&fixture, 0, SIZE);
  os_view_bring(fixture.view, 0, SIZE); /* what is there stays */
  assert_memory_equal(bytes, os_view_peek(fixture.view, 0, SIZE), SIZE);
  close_view(&fixture);
}

static void test_what_is_sealed_is_not_brought(void **state) {
  struct fixture fixture;
  (void)state;
  open_view(&fixture, OS_MEMFD_SEAL_SIZE | OS_MEMFD_SEAL_WRITE);
  os_view_bring(fixture.view, 0, SIZE);
  assert_int_equal(0, resident(&fixture));
  assert_null(os_view_poke(fixture.view, 0, SIZE));
  close_view(&fixture);
  open_view(&fixture, 0); /* it could be cut meanwhile */
  os_view_bring(fixture.view, 0, SIZE);
  assert_int_equal(0, resident(&fixture));
  assert_null(os_view_poke(fixture.view, 0, SIZE));
  close_view(&fixture);
}

static void test_what_is_sealed_can_be_looked_at_only(void **state) {
  struct fixture fixture;
  (void)state;
  open_view(&fixture, OS_MEMFD_SEAL_SIZE);
  fill_with(0);
  assert_int_equal(STATUS_OK, os_view_write(fixture.view, 0, bytes, SIZE));
  assert_int_equal(STATUS_OK, os_memfd_seal(&fixture.share, OS_MEMFD_SEAL_WRITE));
  for (int use = 0; use < USES; use++)
    reads(&fixture, 0, SIZE);
  assert_memory_equal(bytes, os_view_peek(fixture.view, 0, SIZE), SIZE);
  assert_null(os_view_poke(fixture.view, 0, SIZE));
  close_view(&fixture);
}

static void *use_all(void *arg) {
  struct os_view *view = arg;
  char mine[64 * KIB];
  for (int use = 0; use < USES; use++)
    for (uint64_t at = 0; at < MIB; at += sizeof mine)
      os_view_read(view, at, mine, sizeof mine);
  return NULL;
}

static void test_by_several_threads(void **state) {
  struct fixture fixture;
  pthread_t other;
  (void)state;
  open_view(&fixture, OS_MEMFD_SEAL_SIZE);
  fill_with(1);
  assert_int_equal(STATUS_OK, os_view_write(fixture.view, 0, bytes, SIZE));
  assert_int_equal(0, pthread_create(&other, NULL, use_all, fixture.view));
  for (int use = 0; use < USES; use++)
    reads(&fixture, 0, SIZE);
  pthread_join(other, NULL);
  close_view(&fixture);
}

/* Larger than the caches, smaller, and beside each other in no way that suits anyone. */
static void test_copies_of_every_size(void **state) {
  static const size_t sizes[] = {1, 63, 64, 200, 64 * KIB, 256 * KIB + 1, 9 * MIB + 77};
  enum { WHOLE = 10 * MIB };
  struct share shares[2];
  struct os_view *views[2];
  char *source = malloc(WHOLE), *target = calloc(1, WHOLE), *found = malloc(WHOLE);
  (void)state;
  for (size_t i = 0; i < WHOLE; i++)
    source[i] = (char)(i * 7 + i / 4096);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(STATUS_OK, os_memfd_create("view", WHOLE, &shares[i]));
    assert_int_equal(STATUS_OK, os_memfd_seal(&shares[i], OS_MEMFD_SEAL_SIZE));
    assert_int_equal(STATUS_OK, os_view_open(&shares[i], WHOLE, &views[i]));
    assert_int_equal(STATUS_OK, os_view_write(views[i], 0, i ? target : source, WHOLE));
  }
  for (size_t use = 0; use < USES * sizeof sizes / sizeof *sizes; use++) {
    size_t n = sizes[use / USES], from = 3 + use, to = 1 + use * 5;
    assert_int_equal(STATUS_OK, os_view_copy(&(struct os_view_range){views[0], from},
                                             &(struct os_view_range){views[1], to}, n));
    memcpy(target + to, source + from, n);
    assert_int_equal(STATUS_OK, os_view_read(views[1], 0, found, WHOLE));
    assert_memory_equal(target, found, WHOLE);
  }
  for (int i = 0; i < 2; i++) {
    os_view_close(views[i]);
    share_close(&shares[i]);
  }
  free(source);
  free(target);
  free(found);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_is_written_is_read),
      cmocka_unit_test(test_a_look_makes_no_page),
      cmocka_unit_test(test_nor_does_one_where_pages_were_given_back),
      cmocka_unit_test(test_what_can_shrink_is_no_signal),
      cmocka_unit_test(test_what_is_sealed_is_read_only),
      cmocka_unit_test(test_what_is_used_often_is_where_it_can_be_reached),
      cmocka_unit_test(test_what_is_brought_is_zero_and_can_be_written),
      cmocka_unit_test(test_what_is_sealed_is_not_brought),
      cmocka_unit_test(test_what_is_sealed_can_be_looked_at_only),
      cmocka_unit_test(test_by_several_threads),
      cmocka_unit_test(test_copies_of_every_size),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
