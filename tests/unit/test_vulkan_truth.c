/*
 * device/vulkan/find and owner, beside what the kernel says of the card at the same address: FAKE
 * cards (tests/vk_pretend.h), recorded trees (tests/drm), FAKE answers (tests/shim/fake_intel.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "device/vulkan/find.h"
#include "device/vulkan/owner.h"
#include "drm_fixture.h"
#include "vulkan_fixture.h"

#define PCI "0000:03:00.0"
#define FOLDER "sys/bus/pci/devices/" PCI "/"
#define PROCESSES 16

static const struct spec first = {.id = "vulkan:0", .backend = "vulkan"};

static void *open_at(const char *tree, const char *pci) {
  vulkan_fixture_use(1, true);
  setenv("VK_PRETEND_PCI", pci, 1);
  drm_fixture_use(tree);
  return vulkan_fixture_owner(&first);
}

/* An Intel card that answers so, and of which a file tells a size. */
static void *open_made(const char *answer, const char *lacks) {
  vulkan_fixture_use(1, true);
  setenv("VK_PRETEND_PCI", PCI, 1);
  if (lacks)
    setenv("VK_PRETEND_LACKS", lacks, 1);
  drm_fixture_make();
  drm_fixture_link(FOLDER "driver", "../../../../bus/pci/drivers/xe");
  drm_fixture_file(FOLDER "tile0/physical_vram_size_bytes", "12884901888\n");
  drm_fixture_file(FOLDER "drm/renderD128/dev", "226:128\n");
  drm_fixture_file("dev/dri/renderD128", answer);
  return vulkan_fixture_owner(&first);
}

static void a_cards_own_memory_is_the_kernels_figure(void **state) {
  (void)state;
  struct device_process all[PROCESSES];
  void *owner = open_at("amd-discrete", PCI);
  struct device_info info = vulkan_fixture_describe(owner);
  assert_string_equal(PCI, info.pci);
  assert_int_equal(DEVICE_VRAM, info.memory);
  assert_true(info.total_bytes == 25753026560 && info.limit_bytes == GIB);
  assert_true(vulkan_fixture_budget(owner).used_bytes == 3 * GIB + 16 * MIB);
  assert_true(vulkan_fixture_budget(owner).free_bytes == GIB); /* all that this driver gives */
  assert_int_equal(2, vulkan_owner_processes(owner, all, PROCESSES));
  assert_int_equal(3456, all[0].pid); /* the largest first */
  assert_string_equal("python3", all[0].name);
  assert_true(all[0].used_bytes == 2 * GIB + 512 * MIB && all[1].used_bytes == 96 * MIB);
  assert_int_equal(1, vulkan_owner_processes(owner, all, 1));
  vulkan_owner_close(owner);
}

static void graphics_of_the_processor_have_one_budget(void **state) {
  (void)state;
  struct device_process all[PROCESSES];
  vulkan_fixture_use(1, true);
  setenv("VK_PRETEND_PCI", "0000:c1:00.0", 1);
  setenv("VK_PRETEND_INTEGRATED", "1", 1);
  drm_fixture_use("amd-apu");
  void *owner = vulkan_fixture_owner(&first);
  struct device_info info = vulkan_fixture_describe(owner);
  assert_int_equal(DEVICE_UNIFIED, info.memory);
  assert_true(info.total_bytes == 15 * GIB + 512 * MIB && info.limit_bytes == GIB);
  assert_true(vulkan_fixture_budget(owner).used_bytes == 2 * GIB + 400 * MIB);
  assert_int_equal(2, vulkan_owner_processes(owner, all, PROCESSES));
  assert_int_equal(2345, all[0].pid);
  assert_true(all[0].used_bytes == 128 * MIB + 1835008 * KIB);
  vulkan_owner_close(owner);
}

static void intels_driver_is_asked(void **state) {
  (void)state;
  struct device_process all[PROCESSES];
  void *owner = open_at("intel-arc-xe", PCI);
  assert_true(vulkan_fixture_describe(owner).total_bytes ==
              12 * GIB - 240 * MIB); /* not all that is built in */
  assert_true(vulkan_fixture_describe(owner).limit_bytes == GIB);
  assert_true(vulkan_fixture_budget(owner).used_bytes == 4 * GIB + 64 * MIB);
  assert_true(vulkan_fixture_budget(owner).free_bytes == GIB);
  assert_int_equal(2, vulkan_owner_processes(owner, all, PROCESSES));
  assert_true(all[0].pid == 4100 && all[0].used_bytes == 4 * GIB);
  vulkan_owner_close(owner);
}

/* Vulkan's own figure stays. */
static void intels_driver_may_tell_a_size_alone(void **state) {
  (void)state;
  void *owner = open_made("xe 0 0\n0 17179869184 0\n1 8589934592 0\n", NULL);
  assert_true(vulkan_fixture_describe(owner).total_bytes == 8 * GIB &&
              vulkan_fixture_budget(owner).used_bytes == 0);
  vulkan_owner_close(owner);
  owner = open_made("xe 0 0\n0 17179869184 0\n1 8589934592 0\n", "VK_EXT_memory_budget");
  assert_true(vulkan_fixture_describe(owner).total_bytes == 8 * GIB);
  assert_true(vulkan_fixture_budget(owner).used_bytes == DEVICE_BYTES_UNKNOWN);
  assert_true(vulkan_fixture_budget(owner).free_bytes == DEVICE_BYTES_UNKNOWN);
  vulkan_owner_close(owner);
}

static void a_size_in_a_file_alone_is_not_taken(void **state) {
  (void)state;
  void *owner = open_made("", NULL);
  assert_true(vulkan_fixture_describe(owner).total_bytes ==
              GIB); /* not the 12 GiB of the kernel's */
  assert_true(vulkan_fixture_budget(owner).used_bytes == 0);
  vulkan_owner_close(owner);
}

static void a_driver_that_is_silent_is_not_missed(void **state) {
  (void)state;
  vulkan_fixture_use(1, true);
  setenv("VK_PRETEND_PCI", PCI, 1);
  setenv("VK_PRETEND_LACKS", "VK_EXT_memory_budget", 1);
  drm_fixture_use("amd-discrete");
  void *owner = vulkan_fixture_owner(&first);
  assert_true(vulkan_fixture_budget(owner).used_bytes == 3 * GIB + 16 * MIB);
  assert_true(vulkan_fixture_budget(owner).free_bytes == 25753026560 - 3 * GIB - 16 * MIB);
  vulkan_owner_close(owner);
}

static void another_address_is_another_card(void **state) {
  (void)state;
  struct device_process all[PROCESSES];
  void *owner = open_at("amd-discrete", "0000:07:00.0");
  assert_true(vulkan_fixture_describe(owner).total_bytes == GIB &&
              vulkan_fixture_budget(owner).used_bytes == 0);
  assert_int_equal(0, vulkan_owner_processes(owner, all, PROCESSES));
  vulkan_owner_close(owner);
}

static void real_cards_are_found(void **state) {
  (void)state;
  struct spec all[4];
  vulkan_fixture_use(2, true);
  setenv("VK_PRETEND_PCI", PCI ",0000:43:00.0", 1);
  assert_int_equal(2, vulkan_find(all, 4));
  assert_string_equal("vulkan:0", all[0].id);
  assert_string_equal("vulkan", all[1].backend);
  assert_true(!strcmp(all[0].pci, PCI) || !strcmp(all[1].pci, PCI));
  assert_string_not_equal(all[0].pci, all[1].pci);
  for (int i = 0; i < 2; i++) {
    void *owner = vulkan_fixture_owner(&all[i]);
    assert_string_equal(all[i].pci, vulkan_fixture_describe(owner).pci);
    vulkan_owner_close(owner);
  }
  assert_int_equal(1, vulkan_find(all, 1));
  unsetenv("VK_PRETEND_PCI");
  assert_int_equal(2, vulkan_find(all, 4));
  assert_string_equal("", all[0].pci);
}

static void what_is_no_card_of_use_is_not_found(void **state) {
  (void)state;
  struct spec all[4];
  vulkan_fixture_use(2, false);
  assert_int_equal(0, vulkan_find(all, 4)); /* software */
  vulkan_fixture_use(0, false);
  assert_int_equal(0, vulkan_find(all, 4));
  vulkan_fixture_use(1, true);
  setenv("VK_PRETEND_LACKS", "VK_KHR_external_memory_fd", 1);
  assert_int_equal(0, vulkan_find(all, 4));
}

static int clean(void **state) {
  (void)drm_fixture_done(state);
  return vulkan_fixture_done(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_cards_own_memory_is_the_kernels_figure),
      cmocka_unit_test(graphics_of_the_processor_have_one_budget),
      cmocka_unit_test(intels_driver_is_asked),
      cmocka_unit_test(intels_driver_may_tell_a_size_alone),
      cmocka_unit_test(a_size_in_a_file_alone_is_not_taken),
      cmocka_unit_test(a_driver_that_is_silent_is_not_missed),
      cmocka_unit_test(another_address_is_another_card),
      cmocka_unit_test(real_cards_are_found),
      cmocka_unit_test(what_is_no_card_of_use_is_not_found),
  };
  return cmocka_run_group_tests(tests, NULL, clean);
}
