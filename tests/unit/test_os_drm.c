/*
 * os_drm and os_drm_users, on recorded trees (tests/drm) and on hostile ones: what the kernel says
 * of cards and of who has their memory, and nothing where it does not say it.
 */
#include "base/os_drm.h"
#include "base/os_drm_users.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "drm_fixture.h"

#define USERS 64
#define CLIENT "drm-pdev:\t0000:03:00.0\ndrm-client-id:\t%d\ndrm-memory-vram:\t1 MiB\n"
#define CARD "0000:03:00.0"
#define FOLDER "sys/bus/pci/devices/" CARD "/"

static uint32_t users(const char *pci, struct os_drm_user out[USERS]) {
  struct os_drm_root root;
  os_drm_root(&root);
  return os_drm_users(&root, pci, out, USERS);
}

static struct os_drm_card card(const char *pci) {
  struct os_drm_root root;
  struct os_drm_card card;
  os_drm_root(&root);
  assert_int_equal(STATUS_OK, os_drm_card(&root, pci, &card));
  return card;
}

static void assert_user(const struct os_drm_user *user, int pid, const char *name, uint64_t own) {
  assert_int_equal(pid, user->pid);
  assert_string_equal(name, user->name);
  assert_true(own == user->bytes[OS_DRM_CARD]);
}

/* ---- recorded ---- */

static void cards_are_listed_by_address(void **state) {
  (void)state;
  struct os_drm_root root;
  struct os_drm_card cards[4];
  drm_fixture_use("amd-discrete");
  os_drm_root(&root);
  assert_int_equal(2, os_drm_cards(&root, cards, 4));
  assert_string_equal(CARD, cards[0].pci);
  assert_string_equal("0000:43:00.0", cards[1].pci);
  assert_string_equal("amdgpu", cards[0].driver);
  assert_true(cards[0].vendor == 0x1002 && cards[0].device == 0x744c);
  assert_int_equal(1, os_drm_cards(&root, cards, 1));
}

static void a_discrete_card_has_its_own_memory(void **state) {
  (void)state;
  drm_fixture_use("amd-discrete");
  struct os_drm_card it = card(CARD);
  struct os_drm_bytes own = os_drm_sum(&it, false);
  assert_true(own.total_bytes == 25753026560 && own.used_bytes == 3 * GIB + 16 * MIB);
  assert_true(it.visible.total_bytes == own.total_bytes);
}

static void one_budget_of_two_heaps(void **state) {
  (void)state;
  drm_fixture_use("amd-apu");
  struct os_drm_card it = card("0000:C1:00.0");
  assert_string_equal("0000:c1:00.0", it.pci);
  struct os_drm_bytes sum = os_drm_sum(&it, true);
  assert_true(sum.total_bytes == 15 * GIB + 512 * MIB && sum.used_bytes == 2 * GIB + 400 * MIB);
}

static void intel_tells_a_size_or_nothing(void **state) {
  (void)state;
  drm_fixture_use("intel-arc-xe");
  struct os_drm_card it = card(CARD);
  struct os_drm_bytes own = os_drm_sum(&it, false);
  assert_true(own.total_bytes == 12 * GIB && own.used_bytes == OS_DRM_UNKNOWN);
  drm_fixture_use("intel-igpu-i915");
  it = card("0000:00:02.0");
  own = os_drm_sum(&it, true);
  assert_true(own.total_bytes == OS_DRM_UNKNOWN && own.used_bytes == OS_DRM_UNKNOWN);
}

static void a_client_counts_once(void **state) {
  (void)state;
  struct os_drm_user all[USERS];
  drm_fixture_use("amd-discrete");
  assert_int_equal(2, users(CARD, all)); /* 3460 has nothing but what 3456 gave it */
  assert_user(&all[0], 1200, "Xorg", 96 * MIB);
  assert_user(&all[1], 3456, "python3", 2 * GIB + 512 * MIB);
  assert_true(all[1].bytes[OS_DRM_HOST] == 4 * MIB);
  assert_int_equal(1, users("0000:43:00.0", all));
  assert_user(&all[0], 1200, "Xorg", 16 * MIB);
}

static void old_drivers_and_intels_are_read_too(void **state) {
  (void)state;
  struct os_drm_user all[USERS];
  drm_fixture_use("amd-apu");
  assert_int_equal(2, users("0000:c1:00.0", all));
  assert_user(&all[0], 900, "gnome-shell", 257 * MIB);
  assert_true(all[1].bytes[OS_DRM_HOST] == 1835008 * KIB);
  drm_fixture_use("intel-arc-xe");
  assert_int_equal(2, users(CARD, all));
  assert_user(&all[0], 1500, "Xwayland", 23992 * KIB);
  assert_user(&all[1], 4100, "ollama", 4 * GIB);
  assert_true(all[1].bytes[OS_DRM_HOST] == 2 * MIB); /* what was moved out is not resident */
  drm_fixture_use("intel-igpu-i915");
  assert_int_equal(1, users("0000:00:02.0", all));
  assert_user(&all[0], 1100, "firefox", OS_DRM_UNKNOWN);
  assert_true(all[0].bytes[OS_DRM_HOST] == 6656 * KIB);
}

static void a_machine_without_cards_has_none(void **state) {
  (void)state;
  struct os_drm_root root;
  struct os_drm_card cards[4];
  struct os_drm_user all[USERS];
  drm_fixture_make();
  os_drm_root(&root);
  assert_int_equal(0, os_drm_cards(&root, cards, 4));
  assert_int_equal(STATUS_NOT_FOUND, os_drm_card(&root, CARD, cards));
  assert_int_equal(0, users(CARD, all));
}

/* ---- hostile ---- */

static void what_is_no_address_is_no_card(void **state) {
  (void)state;
  static const char *const wrong[] = {"",
                                      "..",
                                      "../../../etc",
                                      "0000:03:00",
                                      "0000:03:00.0/x",
                                      "0000:03-00",
                                      "0000:0g:00.0",
                                      "000:03:00.0",
                                      " 000:03:00.0",
                                      "0000:03:00.00",
                                      "0000: 3: 0.0",
                                      "0000:+3:+0.0"};
  struct os_drm_root root;
  struct os_drm_card found;
  drm_fixture_use("amd-discrete");
  os_drm_root(&root);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    assert_int_equal(STATUS_NOT_FOUND, os_drm_card(&root, wrong[i], &found));
}

static void a_number_is_a_number_or_not_known(void **state) {
  (void)state;
  static const char *const wrong[] = {"",
                                      "\n",
                                      "-1\n",
                                      "1x\n",
                                      "0x10\n",
                                      " 5\n",
                                      "1.5\n",
                                      "99999999999999999999999\n",
                                      "18446744073709551615\n",
                                      "11111111111111111111111111111111111111111111\n"};
  drm_fixture_make();
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    drm_fixture_file(FOLDER "mem_info_vram_total", wrong[i]);
    drm_fixture_file(FOLDER "mem_info_vram_used", wrong[i]);
    drm_fixture_file(FOLDER "vendor", wrong[i]);
    struct os_drm_card it = card(CARD);
    assert_true(it.heaps[OS_DRM_CARD].total_bytes == OS_DRM_UNKNOWN);
    assert_true(it.heaps[OS_DRM_CARD].used_bytes == OS_DRM_UNKNOWN);
    assert_true(i == 4 || !it.vendor);
  }
  drm_fixture_remove(FOLDER "mem_info_vram_total");
  drm_fixture_file(FOLDER "mem_info_vram_total/a", "a folder");
  assert_true(card(CARD).heaps[OS_DRM_CARD].total_bytes == OS_DRM_UNKNOWN);
}

static void two_readings_that_do_not_fit_are_made_to(void **state) {
  (void)state;
  drm_fixture_make();
  drm_fixture_file(FOLDER "mem_info_vram_total", "1000\n");
  drm_fixture_file(FOLDER "mem_info_vram_used", "1001\n");
  assert_true(card(CARD).heaps[OS_DRM_CARD].used_bytes == 1000);
}

static void intels_own_edition_tells_a_size_beside_the_node(void **state) {
  (void)state;
  drm_fixture_make();
  drm_fixture_file(FOLDER "drm/card0/lmem_total_bytes", "4096\n");
  assert_true(card(CARD).heaps[OS_DRM_CARD].total_bytes == 4096);
}

static void circles_of_links_end(void **state) {
  (void)state;
  struct os_drm_root root;
  struct os_drm_card found[4];
  struct os_drm_user all[USERS];
  drm_fixture_make();
  drm_fixture_link("sys/class/drm/renderD128", "renderD128");
  drm_fixture_link("sys/class/drm/renderD129/device", "../renderD129/device");
  drm_fixture_link("sys/class/drm/renderD130/device", "a/b/c/");
  drm_fixture_link(FOLDER "mem_info_vram_total", "mem_info_vram_total");
  drm_fixture_link("proc/5", "5");
  drm_fixture_link("proc/6/fd", "../6/fd");
  drm_fixture_link("proc/7/fd/3", "/dev/dri/card0");
  drm_fixture_link("proc/7/fdinfo/3", "3");
  os_drm_root(&root);
  assert_int_equal(0, os_drm_cards(&root, found, 4));
  assert_true(card(CARD).heaps[OS_DRM_CARD].total_bytes == OS_DRM_UNKNOWN);
  assert_int_equal(0, users(CARD, all));
}

static void more_nodes_than_a_machine_has(void **state) {
  (void)state;
  struct os_drm_root root;
  struct os_drm_card found[128];
  char node[128], target[96];
  drm_fixture_make();
  for (int i = 0; i < 600; i++) {
    snprintf(node, sizeof node, "sys/class/drm/renderD%d/device", i);
    snprintf(target, sizeof target, "../../../bus/pci/devices/0000:%02x:%02x.%d", i / 256,
             i / 8 % 32, i % 8);
    drm_fixture_link(node, target);
    snprintf(node, sizeof node, "sys/%s/vendor", target + strlen("../../../"));
    drm_fixture_file(node, "0x1002\n");
  }
  os_drm_root(&root);
  assert_int_equal(64, os_drm_cards(&root, found, 128));
}

static void hold(int pid, int fd, const char *text) {
  char path[96];
  snprintf(path, sizeof path, "proc/%d/fd/%d", pid, fd);
  drm_fixture_link(path, "/dev/dri/renderD128");
  snprintf(path, sizeof path, "proc/%d/fdinfo/%d", pid, fd);
  drm_fixture_file(path, text);
}

static void a_text_that_is_no_text_tells_nothing(void **state) {
  (void)state;
  static const char *const wrong[] = {
      "",
      "drm-pdev\n",
      "drm-pdev:\t0000:04:00.0\ndrm-client-id:\t1\ndrm-memory-vram:\t7 KiB\n",
      "drm-client-id:\t1\ndrm-memory-vram:\t7 KiB\n",
  };
  static const char *const unknown[] = {"7",
                                        "7 KiB",
                                        "-7 KiB",
                                        "7 GiB",
                                        "7 KiBB",
                                        "KiB",
                                        "99999999999999999999 KiB",
                                        "18446744073709551615 MiB"};
  struct os_drm_user all[USERS];
  char text[256];
  drm_fixture_make();
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    hold(9, 3, wrong[i]);
    assert_int_equal(0, users(CARD, all));
  }
  for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
    snprintf(text, sizeof text, "drm-pdev:\t" CARD "\ndrm-client-id:\t%zu\ndrm-memory-vram:\t%s\n",
             i, unknown[i]);
    hold(9, 3, text);
    assert_int_equal(1, users(CARD, all));
    assert_true(all[0].bytes[OS_DRM_CARD] == (i == 0 ? 7 : i == 1 ? 7 * KIB : OS_DRM_UNKNOWN));
  }
}

static void without_an_id_nothing_is_added_up(void **state) {
  (void)state;
  struct os_drm_user all[USERS];
  drm_fixture_make();
  hold(9, 3, "drm-pdev:\t" CARD "\ndrm-memory-vram:\t7 KiB\n");
  hold(9, 4, "drm-pdev:\t" CARD "\ndrm-memory-vram:\t7 KiB\n");
  assert_int_equal(1, users(CARD, all));
  assert_true(all[0].bytes[OS_DRM_CARD] == OS_DRM_UNKNOWN);
}

static void thousands_of_files_and_a_long_text_are_read(void **state) {
  (void)state;
  struct os_drm_user all[USERS];
  char *padded = malloc(65536), one[256];
  assert_non_null(padded);
  drm_fixture_make();
  for (int fd = 0; fd < 3000; fd++) {
    snprintf(one, sizeof one, CLIENT, fd / 3);
    hold(9, fd, one);
  }
  int n = snprintf(padded, 65536, CLIENT, 5000);
  memset(padded + n, 'x', 65000 - (size_t)n);
  padded[65000] = 0;
  hold(10, 3, padded);
  uint32_t count = users(CARD, all); /* a slow machine may be out of time before the end */
  assert_in_range(count, 1, 2);
  assert_true(all[0].bytes[OS_DRM_CARD] <= 1000 * MIB && all[0].bytes[OS_DRM_CARD] % MIB == 0);
  if (count == 2)
    assert_true(all[1].bytes[OS_DRM_CARD] == MIB);
  free(padded);
}

static void a_process_that_goes_away_is_left_out(void **state) {
  (void)state;
  struct os_drm_user all[USERS];
  drm_fixture_make();
  hold(9, 3, "drm-pdev:\t" CARD "\ndrm-client-id:\t1\ndrm-memory-vram:\t7 KiB\n");
  drm_fixture_remove("proc/9/fdinfo/3");
  hold(10, 3, "drm-pdev:\t" CARD "\ndrm-client-id:\t1\ndrm-memory-vram:\t7 KiB\n");
  drm_fixture_file("proc/11/comm", "no files\n");
  drm_fixture_file("proc/self/comm", "no number\n");
  drm_fixture_file("proc/12x/comm", "no number\n");
  assert_int_equal(1, users(CARD, all));
  assert_user(&all[0], 10, "", 7 * KIB); /* and its name went first */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(cards_are_listed_by_address),
      cmocka_unit_test(a_discrete_card_has_its_own_memory),
      cmocka_unit_test(one_budget_of_two_heaps),
      cmocka_unit_test(intel_tells_a_size_or_nothing),
      cmocka_unit_test(a_client_counts_once),
      cmocka_unit_test(old_drivers_and_intels_are_read_too),
      cmocka_unit_test(a_machine_without_cards_has_none),
      cmocka_unit_test(what_is_no_address_is_no_card),
      cmocka_unit_test(a_number_is_a_number_or_not_known),
      cmocka_unit_test(two_readings_that_do_not_fit_are_made_to),
      cmocka_unit_test(intels_own_edition_tells_a_size_beside_the_node),
      cmocka_unit_test(circles_of_links_end),
      cmocka_unit_test(more_nodes_than_a_machine_has),
      cmocka_unit_test(a_text_that_is_no_text_tells_nothing),
      cmocka_unit_test(without_an_id_nothing_is_added_up),
      cmocka_unit_test(thousands_of_files_and_a_long_text_are_read),
      cmocka_unit_test(a_process_that_goes_away_is_left_out),
  };
  return cmocka_run_group_tests(tests, NULL, drm_fixture_done);
}
