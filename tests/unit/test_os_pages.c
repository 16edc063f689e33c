/*
 * os_pages: huge pages are there where they are asked for, as /proc/self/smaps says, if this kernel
 * is set so and has some left. What it is set to is not ours to change: where it gives none, or
 * gives the test's own plain request none, the same calls are to work with small ones, and the
 * output says that no more was tested.
 */
#include "base/os_pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <sys/mman.h>

#include <cmocka.h>

#include "base/os_memfd.h"
#include "base/os_view.h"
#include "base/units.h"

#define SIZE (32 * MIB)
#define SETTING(name) "/sys/kernel/mm/transparent_hugepage/" name

/* ---- what the kernel says ---- */

static bool is_set(const char *setting, const char *word) {
  char words[128] = "";
  FILE *file = fopen(setting, "r");
  if (!file)
    return false;
  bool found = fgets(words, sizeof words, file) && strstr(words, word);
  fclose(file);
  return found;
}

/* Of the mappings that begin in a range. */
static uint64_t smaps(const void *start, size_t bytes, const char *figure) {
  uint64_t from, to, value, sum = 0, first = (uintptr_t)start;
  char line[512], name[64];
  bool inside = false;
  FILE *file = fopen("/proc/self/smaps", "r");
  assert_non_null(file);
  while (fgets(line, sizeof line, file))
    if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
      inside = from < first + bytes && to > first;
    else if (inside && sscanf(line, "%63[^:]: %lu kB", name, &value) == 2 && !strcmp(name, figure))
      sum += value * KIB;
  fclose(file);
  return sum;
}

static uint64_t huge(const void *start, size_t bytes) {
  return smaps(start, bytes, "AnonHugePages") + smaps(start, bytes, "ShmemPmdMapped") +
         smaps(start, bytes, "FilePmdMapped");
}

/* Whether a plain request of this kind is answered with huge pages now. fd -1: of private memory.
 */
static bool are_given(int fd) {
  char *pages = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
                     fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
  assert_ptr_not_equal(pages, MAP_FAILED);
  (void)madvise(pages, SIZE, MADV_HUGEPAGE);
  memset(pages, 1, SIZE);
  bool given = huge(pages, SIZE) > 0;
  munmap(pages, SIZE);
  return given;
}

static bool private_ones(void) {
  bool given = are_given(-1);
  if (!given)
    print_message("not tested: this kernel gives no huge pages of private memory now\n");
  return given;
}

static bool shared_ones(void) {
  struct share share;
  if (!os_pages_huge_if_asked()) {
    print_message("not tested: shmem_enabled is not advise, so shared memory has small pages\n");
    return false;
  }
  assert_int_equal(os_memfd_create("control", SIZE, &share), STATUS_OK);
  bool given = are_given((int)share.value);
  share_close(&share);
  if (!given)
    print_message("not tested: this kernel gives no huge pages of shared memory now\n");
  return given;
}

static void assert_zero(const char *bytes) {
  for (size_t i = 0; i < SIZE; i++)
    if (bytes[i])
      fail_msg("byte %zu is not zero", i);
}

/* ---- private memory ---- */

static void what_is_large_is_huge_from_the_third_mib_on(void **state) {
  (void)state;
  char *pages = os_pages_reserve(SIZE);
  assert_non_null(pages);
  assert_zero(pages);
  memset(pages, 1, SIZE);
  if (private_ones())
    assert_true(huge(pages + OS_PAGES_HUGE, SIZE - OS_PAGES_HUGE) >= OS_PAGES_HUGE);
  os_pages_release(pages, SIZE);
}

static void what_stays_small_is_small(void **state) {
  (void)state;
  char *pages = os_pages_reserve(SIZE);
  assert_non_null(pages);
  memset(pages, 1, KIB);
  if (is_set(SETTING("enabled"), "[always]"))
    print_message("not tested: all memory has huge pages here\n");
  else
    assert_int_equal(huge(pages, SIZE), 0);
  os_pages_release(pages, SIZE);
}

/* Whether the first byte of what is expected brings a huge page, where its first can be one. */
static bool begins_huge(void) {
  char *pages = os_pages_reserve(SIZE);
  assert_non_null(pages);
  os_pages_expect(pages, SIZE);
  pages[(OS_PAGES_HUGE - (uintptr_t)pages % OS_PAGES_HUGE) % OS_PAGES_HUGE] = 1;
  uint64_t found = huge(pages, SIZE);
  memset(pages, 1, SIZE);
  os_pages_release(pages, SIZE);
  return found == OS_PAGES_HUGE;
}

/* A single one may not be to be had just then. */
static void what_is_expected_is_huge_from_the_start(void **state) {
  (void)state;
  bool begins = begins_huge();
  for (unsigned i = 0; !begins && i < 20; i++)
    begins = begins_huge();
  if (private_ones())
    assert_true(begins);
}

/* ---- shared memory ---- */

static void whether_shared_memory_has_them_is_the_kernel_s_word(void **state) {
  (void)state;
  assert_int_equal(os_pages_huge_if_asked(), is_set(SETTING("shmem_enabled"), "[advise]"));
}

static void what_is_committed_is_huge(void **state) {
  struct share share;
  uint64_t resident;
  void *pages;
  (void)state;
  assert_int_equal(os_memfd_create("pages", SIZE, &share), STATUS_OK);
  assert_int_equal(os_memfd_commit(&share, 0, SIZE), STATUS_OK);
  assert_int_equal(os_memfd_resident(&share, &resident), STATUS_OK);
  assert_int_equal(resident, SIZE);
  assert_int_equal(os_memfd_map(&share, SIZE, true, &pages), STATUS_OK);
  os_pages_prefer_huge(pages, SIZE);
  assert_true(os_pages_touch(pages, SIZE));
  assert_zero(pages);
  if (shared_ones())
    assert_true(huge(pages, SIZE) >= OS_PAGES_HUGE);
  os_memfd_unmap(pages, SIZE);
  share_close(&share);
}

static void what_a_worker_is_about_to_write_is_huge(void **state) {
  struct share share;
  struct os_view *view;
  (void)state;
  assert_int_equal(os_memfd_create("pages", SIZE, &share), STATUS_OK);
  assert_int_equal(os_memfd_seal(&share, OS_MEMFD_SEAL_SIZE), STATUS_OK);
  assert_int_equal(os_view_open(&share, SIZE, &view), STATUS_OK);
  os_view_bring(view, 0, SIZE);
  char *bytes = os_view_poke(view, 0, SIZE);
  assert_non_null(bytes);
  assert_zero(bytes);
  if (shared_ones())
    assert_true(huge(bytes, SIZE) >= OS_PAGES_HUGE);
  os_view_close(view);
  share_close(&share);
}

static void what_cannot_be_had_is_said_and_harms_nothing(void **state) {
  (void)state;
  struct share share;
  void *pages;
  assert_null(os_pages_reserve(SIZE_MAX / 2));
  os_pages_release(NULL, SIZE);
  assert_int_equal(os_memfd_create("pages", SIZE / 2, &share), STATUS_OK);
  assert_int_equal(os_memfd_map(&share, SIZE, true, &pages), STATUS_OK);
  os_pages_prefer_huge(pages, SIZE);
  assert_false(os_pages_make(pages, SIZE)); /* beyond the end of the file */
  assert_true(os_pages_make(pages, SIZE / 2));
  os_memfd_unmap(pages, SIZE);
  share_close(&share);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_large_is_huge_from_the_third_mib_on),
      cmocka_unit_test(what_stays_small_is_small),
      cmocka_unit_test(what_is_expected_is_huge_from_the_start),
      cmocka_unit_test(whether_shared_memory_has_them_is_the_kernel_s_word),
      cmocka_unit_test(what_is_committed_is_huge),
      cmocka_unit_test(what_a_worker_is_about_to_write_is_huge),
      cmocka_unit_test(what_cannot_be_had_is_said_and_harms_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
