/*
 * base/os_drm_query against FAKE answers of xe and i915 (tests/shim/fake_intel.c, linked in): as
 * recorded trees have them, and hostile ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/os_drm_query.h"
#include "base/units.h"
#include "drm_fixture.h"

#define CARD "0000:03:00.0"
#define FOLDER "sys/bus/pci/devices/" CARD "/"
#define NODE "dev/dri/renderD128"

static bool ask(const char *pci, struct os_drm_card *out) {
  struct os_drm_root root;
  os_drm_root(&root);
  assert_int_equal(STATUS_OK, os_drm_card(&root, pci, out));
  return os_drm_query(&root, out);
}

/* A card of that driver that answers so. */
static void make(const char *driver, const char *answer) {
  char target[64];
  drm_fixture_make();
  snprintf(target, sizeof target, "../../../../bus/pci/drivers/%s", driver);
  drm_fixture_link(FOLDER "driver", target);
  drm_fixture_file(FOLDER "drm/renderD128/dev", "226:128\n");
  drm_fixture_file(NODE, answer);
}

static void assert_bytes(const struct os_drm_bytes *heap, uint64_t total, uint64_t used) {
  assert_true(heap->total_bytes == total);
  assert_true(heap->used_bytes == used);
}

static void xe_tells_both(void **state) {
  (void)state;
  struct os_drm_card card;
  drm_fixture_use("intel-arc-xe");
  assert_true(ask(CARD, &card));
  assert_bytes(&card.heaps[OS_DRM_CARD], 12 * GIB - 240 * MIB, 4 * GIB + 64 * MIB);
  assert_bytes(&card.heaps[OS_DRM_HOST], 16 * GIB, 66 * MIB);
}

static void the_tiles_of_a_card_are_added_up(void **state) {
  (void)state;
  struct os_drm_card card;
  make("xe", "xe 0 0\n0 1000 0\n1 500 100\n1 600 0\n");
  assert_true(ask(CARD, &card));
  assert_bytes(&card.heaps[OS_DRM_CARD], 1100, 100);
  assert_bytes(&card.heaps[OS_DRM_HOST], 1000, OS_DRM_UNKNOWN);
}

static void graphics_of_a_processor_have_the_hosts(void **state) {
  (void)state;
  struct os_drm_card card;
  make("xe", "xe 0 0\n0 1000 300\n");
  assert_true(ask(CARD, &card));
  struct os_drm_bytes sum = os_drm_sum(&card, true);
  assert_bytes(&sum, 1000, 300);
}

static void i915_tells_what_is_left(void **state) {
  (void)state;
  struct os_drm_card card;
  make("i915", "i915 0 0\n0 5000 5000\n1 1000 700\n");
  assert_true(ask(CARD, &card));
  assert_bytes(&card.heaps[OS_DRM_CARD], 1000, 300);
  assert_bytes(&card.heaps[OS_DRM_HOST], OS_DRM_UNKNOWN, OS_DRM_UNKNOWN);
}

static void who_may_not_know_is_told_a_size(void **state) {
  (void)state;
  struct os_drm_card card;
  make("xe", "xe 0 0\n0 5000 0\n1 1000 0\n");
  assert_true(ask(CARD, &card));
  assert_bytes(&card.heaps[OS_DRM_CARD], 1000, OS_DRM_UNKNOWN);
  make("i915", "i915 0 0\n0 5000 5000\n1 1000 1000\n");
  assert_true(ask(CARD, &card));
  assert_bytes(&card.heaps[OS_DRM_CARD], 1000, OS_DRM_UNKNOWN);
}

static void all_of_the_machines_ram_is_no_cards(void **state) {
  (void)state;
  struct os_drm_card card;
  drm_fixture_use("intel-igpu-i915");
  assert_false(ask("0000:00:02.0", &card));
  assert_bytes(&card.heaps[OS_DRM_HOST], OS_DRM_UNKNOWN, OS_DRM_UNKNOWN);
}

static void what_is_no_answer_leaves_the_card_as_it_was(void **state) {
  (void)state;
  static const char *const wrong[] = {
      "",                                   /* none */
      "xe 0 0\n",                           /* no regions */
      "xe 1000000 0\n1 1000 10\n",          /* longer than any */
      "xe 8 0\n1 1000 10\n",                /* shorter than it is */
      "xe 7 0\n",                           /* no head */
      "xe 0 2\n1 1000 10\n",                /* more regions than it has */
      "xe 0 4294967295\n1 1000 10\n",       /* ... so many that their length is none */
      "xe 0 0\n1 1000 1001\n",              /* more in use than there is */
      "xe 0 0\n1 18446744073709551615 0\n", /* no size */
      "xe 0 0\n7 1000 10\n",                /* another kind */
      "i915 0 0\n1 1000 10\n",              /* another driver's */
  };
  struct os_drm_card card;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    make("xe", wrong[i]);
    drm_fixture_file(FOLDER "tile0/physical_vram_size_bytes", "4096\n");
    assert_false(ask(CARD, &card));
    assert_bytes(&card.heaps[OS_DRM_CARD], 4096, OS_DRM_UNKNOWN);
  }
}

static void nobody_is_asked_who_does_not_know(void **state) {
  (void)state;
  struct os_drm_card card;
  make("amdgpu", "xe 0 0\n1 1000 10\n"); /* it says that in its files */
  assert_false(ask(CARD, &card));
  make("xe", "xe 0 0\n1 1000 10\n");
  assert_true(ask(CARD, &card));
  drm_fixture_remove(NODE);
  assert_false(ask(CARD, &card)); /* or may not open it */
  make("xe", "xe 0 0\n1 1000 10\n");
  drm_fixture_remove(FOLDER "drm");
  assert_false(ask(CARD, &card));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(xe_tells_both),
      cmocka_unit_test(the_tiles_of_a_card_are_added_up),
      cmocka_unit_test(graphics_of_a_processor_have_the_hosts),
      cmocka_unit_test(i915_tells_what_is_left),
      cmocka_unit_test(who_may_not_know_is_told_a_size),
      cmocka_unit_test(all_of_the_machines_ram_is_no_cards),
      cmocka_unit_test(what_is_no_answer_leaves_the_card_as_it_was),
      cmocka_unit_test(nobody_is_asked_who_does_not_know),
  };
  return cmocka_run_group_tests(tests, NULL, drm_fixture_done);
}
