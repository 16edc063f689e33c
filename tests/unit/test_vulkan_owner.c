/*
 * device/vulkan/card and owner, on a software driver: which card is meant, what it says, what it
 * gives, and when it does not.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/units.h"
#include "broker_fixture.h"
#include "device/vulkan/owner.h"
#include "vulkan_fixture.h"

#define SIZE (16 * MIB)

static const struct spec first = {.id = "vulkan:0", .backend = "vulkan"};
static const struct spec second = {.id = "vulkan:1", .backend = "vulkan"};

static struct share create(void *owner) {
  struct share share;
  assert_int_equal(STATUS_OK, vulkan_owner_create(owner, SIZE, &share));
  return share;
}

static void a_card_says_what_it_is(void **state) {
  (void)state;
  vulkan_fixture_use(1, true);
  void *owner = vulkan_fixture_owner(&first);
  struct device_info info = vulkan_fixture_describe(owner);
  assert_int_equal(DEVICE_GPU, info.type);
  assert_int_equal(DEVICE_VRAM, info.memory);
  assert_true(info.name[0] && info.driver[0]);
  assert_int_equal(36, strlen(info.uuid));
  assert_int_equal(36, strlen(info.driver_uuid));
  assert_true(info.total_bytes == GIB && info.limit_bytes == GIB);
  vulkan_owner_close(owner);
}

static void software_is_no_card_and_says_nothing_of_its_use(void **state) {
  (void)state;
  vulkan_fixture_use(1, false);
  void *owner = vulkan_fixture_owner(&first);
  assert_int_equal(DEVICE_CPU, vulkan_fixture_describe(owner).type);
  assert_int_equal(DEVICE_UNIFIED, vulkan_fixture_describe(owner).memory);
  assert_true(vulkan_fixture_budget(owner).used_bytes == DEVICE_BYTES_UNKNOWN);
  assert_true(vulkan_fixture_budget(owner).free_bytes == DEVICE_BYTES_UNKNOWN);
  vulkan_owner_close(owner);
}

static void a_size_that_was_set_is_the_limit(void **state) {
  (void)state;
  struct spec spec = first;
  vulkan_fixture_use(1, true);
  spec.size_bytes = 64 * MIB;
  void *owner = vulkan_fixture_owner(&spec);
  assert_true(vulkan_fixture_describe(owner).limit_bytes == 64 * MIB);
  assert_true(vulkan_fixture_describe(owner).total_bytes == GIB);
  vulkan_owner_close(owner);
}

static void memory_is_used_while_anybody_has_its_descriptor(void **state) {
  (void)state;
  vulkan_fixture_use(1, true);
  void *owner = vulkan_fixture_owner(&first);
  struct share share = create(owner), copy;
  assert_int_equal(SHARE_VULKAN_OPAQUE, share.kind);
  assert_true(share.value > STDERR_FILENO);
  assert_true(fcntl((int)share.value, F_GETFD) & FD_CLOEXEC);
  assert_true(vulkan_fixture_budget(owner).used_bytes >= SIZE);
  assert_int_equal(STATUS_OK, share_copy(&share, &copy));
  vulkan_owner_release(owner, &share, SIZE, true);
  assert_true(vulkan_fixture_budget(owner).used_bytes >= SIZE);
  share_close(&copy);
  assert_true(vulkan_fixture_budget(owner).used_bytes == 0 &&
              vulkan_fixture_budget(owner).free_bytes == GIB);
  vulkan_owner_close(owner);
}

static void a_budget_that_falls_is_seen_and_kept(void **state) {
  (void)state;
  vulkan_fixture_use(1, true);
  void *owner = vulkan_fixture_owner(&first);
  struct share share = create(owner), more;
  vulkan_fixture_set("budget", "24");
  assert_true(vulkan_fixture_budget(owner).free_bytes <= 8 * MIB);
  assert_true(vulkan_fixture_budget(owner).used_bytes >= GIB - 8 * MIB);
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, vulkan_owner_create(owner, SIZE, &more));
  vulkan_fixture_set("budget", "8"); /* less than there is */
  assert_true(vulkan_fixture_budget(owner).free_bytes == 0);
  assert_true(vulkan_fixture_budget(owner).used_bytes == GIB + SIZE - 8 * MIB);
  vulkan_owner_release(owner, &share, SIZE, false);
  vulkan_owner_close(owner);
}

static void a_call_that_fails_leaves_nothing_behind(void **state) {
  (void)state;
  vulkan_fixture_use(1, true);
  void *owner = vulkan_fixture_owner(&first);
  setenv("VK_PRETEND_FAIL", "2", 1);
  for (unsigned i = 0; i < 4; i++) {
    struct share share = create(owner), more = {SHARE_NONE, 0};
    assert_int_equal(STATUS_INSUFFICIENT_MEMORY, vulkan_owner_create(owner, SIZE, &more));
    assert_int_equal(SHARE_NONE, more.kind);
    vulkan_owner_release(owner, &share, SIZE, false);
  }
  assert_true(vulkan_fixture_budget(owner).used_bytes == 0);
  vulkan_owner_close(owner);
}

static void a_driver_that_makes_less_at_once_says_so(void **state) {
  (void)state;
  vulkan_fixture_use(1, true);
  setenv("VK_PRETEND_MOST", "8", 1);
  void *owner = vulkan_fixture_owner(&first);
  struct share share;
  assert_int_equal(STATUS_ALLOCATION_TOO_LARGE, vulkan_owner_create(owner, SIZE, &share));
  assert_int_equal(STATUS_OK, vulkan_owner_create(owner, 8 * MIB, &share));
  vulkan_owner_release(owner, &share, 8 * MIB, false);
  vulkan_fixture_set("budget", "4");
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, vulkan_owner_create(owner, 8 * MIB, &share));
  vulkan_owner_close(owner);
}

/* ---- in a process of its own ---- */

static struct device *open_apart(void) {
  struct spec spec = first;
  struct device *device;
  vulkan_fixture_use(1, true);
  broker_fixture_set(&spec, "");
  assert_int_equal(STATUS_OK, device_open(&spec, NULL, &device));
  return device;
}

static struct share create_apart(struct device *device) {
  struct device_call call = {.action = DEVICE_CREATE, .size = SIZE};
  assert_int_equal(STATUS_OK, device_run(device, &call));
  return call.share;
}

static uint64_t used_apart(struct device *device) {
  struct device_call call = {.action = DEVICE_BUDGET};
  assert_int_equal(STATUS_OK, device_run(device, &call));
  return call.budget.used_bytes;
}

static void release_apart(struct device *device, struct share share) {
  struct device_call call = {.action = DEVICE_RELEASE, .size = SIZE, .share = share};
  assert_int_equal(STATUS_OK, device_run(device, &call));
}

/* The driver frees the handle when we have the answer, not before. */
static void an_answer_does_not_wait_for_the_handle(void **state) {
  (void)state;
  struct device *device = open_apart();
  vulkan_fixture_set("slow", "");
  struct share share = create_apart(device);
  vulkan_fixture_unset("slow");
  assert_true(used_apart(device) >= SIZE && used_apart(device) < 2 * SIZE);
  release_apart(device, share);
  assert_true(used_apart(device) == 0);
  device_close(device);
}

/* Room for one at a time. */
static void the_next_question_finds_nothing_of_the_handle(void **state) {
  (void)state;
  struct device *device = open_apart();
  vulkan_fixture_set("budget", "24");
  for (unsigned i = 0; i < 20; i++)
    release_apart(device, create_apart(device));
  assert_true(used_apart(device) == GIB - 24 * MIB);
  device_close(device);
}

/* Its process is killed meanwhile. */
static void a_handle_that_is_never_freed_leaves_no_memory_behind(void **state) {
  (void)state;
  struct device *device = open_apart();
  vulkan_fixture_set("slow", "");
  struct share share = create_apart(device);
  assert_int_equal(0, kill(broker_fixture_child(), SIGKILL));
  vulkan_fixture_unset("slow");
  assert_true(used_apart(device) >= SIZE && used_apart(device) < 2 * SIZE);
  release_apart(device, share);
  assert_true(used_apart(device) == 0);
  device_close(device);
}

/* ---- which card ---- */

/* Whatever its number is. */
static void a_card_is_found_by_its_uuid(void **state) {
  (void)state;
  vulkan_fixture_use(2, true);
  void *owners[] = {vulkan_fixture_owner(&first), vulkan_fixture_owner(&second)};
  struct device_info one = vulkan_fixture_describe(owners[0]),
                     other = vulkan_fixture_describe(owners[1]);
  assert_string_not_equal(one.uuid, other.uuid);
  struct spec spec = first;
  snprintf(spec.uuid, sizeof spec.uuid, "%s/%s", other.uuid, other.driver_uuid);
  void *owner = vulkan_fixture_owner(&spec);
  assert_string_equal(other.uuid, vulkan_fixture_describe(owner).uuid);
  vulkan_owner_close(owner);
  snprintf(spec.uuid, sizeof spec.uuid, "%s", one.uuid); /* of any driver */
  owner = vulkan_fixture_owner(&spec);
  assert_string_equal(one.uuid, vulkan_fixture_describe(owner).uuid);
  vulkan_owner_close(owner);
  vulkan_owner_close(owners[0]);
  vulkan_owner_close(owners[1]);
}

static void no_other_card_and_no_other_driver_will_do(void **state) {
  (void)state;
  struct spec spec = first;
  void *none;
  vulkan_fixture_use(1, true);
  void *owner = vulkan_fixture_owner(&first);
  struct device_info info = vulkan_fixture_describe(owner);
  vulkan_owner_close(owner);
  snprintf(spec.uuid, sizeof spec.uuid, "%s/00000000-0000-0000-0000-000000000000", info.uuid);
  assert_int_equal(STATUS_DEVICE_NOT_FOUND, vulkan_owner_open(&spec, &none));
  snprintf(spec.uuid, sizeof spec.uuid, "%s", info.driver_uuid);
  assert_int_equal(STATUS_DEVICE_NOT_FOUND, vulkan_owner_open(&spec, &none));
  assert_int_equal(STATUS_DEVICE_NOT_FOUND, vulkan_owner_open(&second, &none));
}

static void without_a_driver_there_is_no_card(void **state) {
  (void)state;
  void *none;
  vulkan_fixture_use(0, false);
  assert_int_equal(STATUS_DEVICE_NOT_FOUND, vulkan_owner_open(&first, &none));
}

static void a_card_that_cannot_share_is_left_out(void **state) {
  (void)state;
  void *none;
  vulkan_fixture_use(1, true);
  setenv("VK_PRETEND_LACKS", "VK_KHR_external_memory_fd", 1);
  assert_int_equal(STATUS_DEVICE_NOT_FOUND, vulkan_owner_open(&first, &none));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_card_says_what_it_is),
      cmocka_unit_test(software_is_no_card_and_says_nothing_of_its_use),
      cmocka_unit_test(a_size_that_was_set_is_the_limit),
      cmocka_unit_test(memory_is_used_while_anybody_has_its_descriptor),
      cmocka_unit_test(a_budget_that_falls_is_seen_and_kept),
      cmocka_unit_test(a_call_that_fails_leaves_nothing_behind),
      cmocka_unit_test(a_driver_that_makes_less_at_once_says_so),
      cmocka_unit_test(an_answer_does_not_wait_for_the_handle),
      cmocka_unit_test(the_next_question_finds_nothing_of_the_handle),
      cmocka_unit_test(a_handle_that_is_never_freed_leaves_no_memory_behind),
      cmocka_unit_test(a_card_is_found_by_its_uuid),
      cmocka_unit_test(no_other_card_and_no_other_driver_will_do),
      cmocka_unit_test(without_a_driver_there_is_no_card),
      cmocka_unit_test(a_card_that_cannot_share_is_left_out),
  };
  return cmocka_run_group_tests(tests, NULL, vulkan_fixture_done);
}
