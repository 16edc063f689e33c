/*
 * device/cuda/owner, on FAKE cards: its books are the card's, nothing leaks, no context is made.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/queue.h"
#include "base/units.h"
#include "cuda_fixture.h"
#include "device/cuda/owner.h"
#include "files_fixture.h"

static const struct spec spec = {.id = "cuda:0", .backend = "cuda"};

static void *open_owner(void) {
  void *owner;
  cuda_fixture_use("fake_libcuda");
  assert_int_equal(STATUS_OK, cuda_owner_open(&spec, &owner));
  return owner;
}

static struct device_budget budget(void *owner) {
  struct device_budget budget;
  assert_int_equal(STATUS_OK, cuda_owner_budget(owner, &budget));
  return budget;
}

static void memory_is_used_until_its_last_descriptor_goes(void **state) {
  (void)state;
  void *owner = open_owner();
  struct share share, held;
  assert_int_equal(0, budget(owner).used_bytes);
  assert_int_equal(STATUS_OK, cuda_owner_create(owner, 3 * MIB, &share));
  assert_int_equal(4 * MIB, budget(owner).used_bytes);
  assert_int_equal(STATUS_OK, share_copy(&share, &held));
  cuda_owner_release(owner, &share, 4 * MIB, true);
  assert_int_equal(4 * MIB, budget(owner).used_bytes);
  share_close(&held);
  assert_int_equal(0, budget(owner).used_bytes);
  assert_int_equal(SHARE_NONE, share.kind);
  cuda_owner_close(owner);
}

static void what_it_exports_is_not_inherited(void **state) {
  (void)state;
  void *owner = open_owner();
  struct share share;
  assert_int_equal(STATUS_OK, cuda_owner_create(owner, 2 * MIB, &share));
  assert_int_equal(SHARE_CUDA_VMM, share.kind);
  assert_true(share.value > STDERR_FILENO);
  assert_true(fcntl((int)share.value, F_GETFD) & FD_CLOEXEC);
  cuda_owner_release(owner, &share, 2 * MIB, false);
  cuda_owner_close(owner);
}

static void nothing_is_left_of_ten_thousand(void **state) {
  (void)state;
  void *owner = open_owner();
  struct share share;
  assert_int_equal(STATUS_OK, cuda_owner_create(owner, 2 * MIB, &share));
  cuda_owner_release(owner, &share, 2 * MIB, false);
  unsigned before = files_fixture_count();
  for (unsigned i = 0; i < 10000; i++) {
    assert_int_equal(STATUS_OK, cuda_owner_create(owner, 2 * MIB, &share));
    cuda_owner_release(owner, &share, 2 * MIB, i % 2);
  }
  assert_int_equal(0, budget(owner).used_bytes);
  assert_int_equal(before, files_fixture_count());
  cuda_owner_close(owner);
}

/* More than wait for their release at once. */
static void many_are_held_at_a_time(void **state) {
  (void)state;
  void *owner = open_owner();
  struct share shares[100];
  for (unsigned i = 0; i < 100; i++)
    assert_int_equal(STATUS_OK, cuda_owner_create(owner, 2 * MIB, &shares[i]));
  assert_int_equal(200 * MIB, budget(owner).used_bytes);
  for (unsigned i = 0; i < 100; i++)
    cuda_owner_release(owner, &shares[i], 2 * MIB, false);
  assert_int_equal(0, budget(owner).used_bytes);
  cuda_owner_close(owner);
}

static void a_card_that_is_full_says_so(void **state) {
  (void)state;
  void *owner = open_owner();
  struct share share;
  struct share none = {SHARE_NONE, 0};
  assert_int_equal(STATUS_OK, cuda_owner_create(owner, 1000 * MIB, &share));
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, cuda_owner_create(owner, 100 * MIB, &none));
  assert_int_equal(SHARE_NONE, none.kind);
  cuda_owner_release(owner, &share, 1000 * MIB, false);
  assert_int_equal(STATUS_OK, cuda_owner_create(owner, 100 * MIB, &share));
  cuda_owner_release(owner, &share, 100 * MIB, false);
  cuda_owner_close(owner);
}

static void an_export_that_fails_leaves_nothing(void **state) {
  (void)state;
  void *owner = open_owner();
  struct share share = {SHARE_NONE, 0};
  setenv("FAKE_CUDA_FAIL", "cuMemExportToShareableHandle:1:304,cuMemCreate:2:999", 1);
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, cuda_owner_create(owner, 2 * MIB, &share));
  assert_int_equal(0, budget(owner).used_bytes);
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, cuda_owner_create(owner, 2 * MIB, &share));
  assert_int_equal(SHARE_NONE, share.kind);
  assert_int_equal(STATUS_OK, cuda_owner_create(owner, 2 * MIB, &share));
  cuda_owner_release(owner, &share, 2 * MIB, false);
  cuda_owner_close(owner);
}

static void what_it_keeps_exported_is_the_hosts(void **state) {
  (void)state;
  void *owner = open_owner();
  unsigned open = files_fixture_count();
  assert_int_equal(0, budget(owner).used_bytes);
  cuda_owner_close(owner);
  assert_true(files_fixture_count() < open);
}

static void a_driver_that_exports_no_host_memory_is_fine(void **state) {
  (void)state;
  static const char *const failures[] = {"cuMemCreate host:1:801",
                                         "cuMemExportToShareableHandle:1:801"};
  for (unsigned i = 0; i < 2; i++) {
    void *owner;
    struct share share;
    cuda_fixture_use("fake_libcuda");
    setenv("FAKE_CUDA_FAIL", failures[i], 1);
    assert_int_equal(STATUS_OK, cuda_owner_open(&spec, &owner));
    assert_int_equal(STATUS_OK, cuda_owner_create(owner, 2 * MIB, &share));
    cuda_owner_release(owner, &share, 2 * MIB, false);
    cuda_owner_close(owner);
  }
}

static void settling_leaves_nothing(void **state) {
  (void)state;
  void *owner = open_owner();
  struct share share;
  cuda_owner_settle(owner);
  assert_int_equal(0, budget(owner).used_bytes);
  assert_int_equal(STATUS_OK, cuda_owner_create(owner, 1000 * MIB, &share));
  cuda_owner_settle(owner); /* a full one has no room for it */
  assert_int_equal(1000 * MIB, budget(owner).used_bytes);
  cuda_owner_release(owner, &share, 1000 * MIB, false);
  cuda_owner_close(owner);
}

struct back {
  struct device_call call;
  atomic_bool done;
};

static void came_back(struct device_call *call) {
  atomic_store(&((struct back *)call)->done, true);
}

/* How often the FAKE driver was settled with. */
static uint64_t settled(void) { return cuda_fixture_count("fake_kept"); }

static void what_went_back_is_settled_without_being_asked(void **state) {
  (void)state;
  struct queue *reaper;
  struct device *device;
  struct back back = {.call = {.action = DEVICE_CREATE, .size = 2 * MIB}};
  cuda_fixture_use("fake_libcuda");
  assert_int_equal(STATUS_OK, queue_create("reaper", &reaper));
  assert_int_equal(STATUS_OK, device_open(&spec, reaper, &device));
  assert_int_equal(STATUS_OK, device_run(device, &back.call));
  uint64_t before = settled();
  back.call.action = DEVICE_RELEASE;
  back.call.done = came_back;
  device_start(device, &back.call);
  while (settled() == before)
    usleep(1000);
  assert_true(atomic_load(&back.done));
  queue_free(reaper);
  device_close(device);
}

static void no_context_is_made(void **state) {
  (void)state;
  void *owner = open_owner();
  struct device_process processes[4];
  struct share share;
  assert_int_equal(STATUS_OK, cuda_owner_create(owner, 2 * MIB, &share));
  assert_int_equal(0, cuda_owner_processes(owner, processes, 4));
  assert_int_equal(2 * MIB, budget(owner).used_bytes);
  cuda_owner_release(owner, &share, 2 * MIB, false);
  cuda_owner_close(owner);
}

static void a_size_is_a_limit(void **state) {
  (void)state;
  struct spec part = {.id = "cuda:0", .backend = "cuda", .size_bytes = 100 * MIB};
  struct device_info info = {.id = ""};
  void *owner;
  cuda_fixture_use("fake_libcuda");
  assert_int_equal(STATUS_OK, cuda_owner_open(&part, &owner));
  assert_int_equal(STATUS_OK, cuda_owner_describe(owner, &info));
  assert_int_equal(GIB, info.total_bytes);
  assert_int_equal(8 * MIB, info.kept_bytes);
  assert_int_equal(100 * MIB, info.limit_bytes);
  assert_int_equal(2 * MIB, info.granularity);
  assert_string_equal("GPU-fafafafa-fafa-fafa-fafa-fafafafafa00", info.uuid);
  assert_string_equal("0000:fa:00.0", info.pci);
  cuda_owner_close(owner);
}

static void an_older_nvml_counts_its_reserve_as_used(void **state) {
  (void)state;
  struct device_info info = {.id = ""};
  void *owner;
  cuda_fixture_use("fake_libcuda_old");
  assert_int_equal(STATUS_OK, cuda_owner_open(&spec, &owner));
  assert_int_equal(STATUS_OK, cuda_owner_describe(owner, &info));
  assert_int_equal(0, info.kept_bytes);
  assert_int_equal(8 * MIB, budget(owner).used_bytes);
  cuda_owner_close(owner);
}

static void a_card_that_falls_off_does_not_answer(void **state) {
  (void)state;
  char path[] = "/tmp/memkeep-test-lost-XXXXXX", flag[64];
  int fd = mkstemp(path);
  void *owner = open_owner();
  struct device_budget figures;
  struct share share;
  assert_true(fd >= 0);
  close(fd);
  setenv("FAKE_CUDA_LOST", path, 1);
  snprintf(flag, sizeof flag, "%s.0", path);
  assert_int_equal(0, rename(path, flag));
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, cuda_owner_budget(owner, &figures));
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, cuda_owner_create(owner, 2 * MIB, &share));
  assert_int_equal(0, unlink(flag));
  assert_int_equal(STATUS_OK, cuda_owner_budget(owner, &figures));
  cuda_owner_close(owner);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(memory_is_used_until_its_last_descriptor_goes),
      cmocka_unit_test(what_it_exports_is_not_inherited),
      cmocka_unit_test(nothing_is_left_of_ten_thousand),
      cmocka_unit_test(many_are_held_at_a_time),
      cmocka_unit_test(a_card_that_is_full_says_so),
      cmocka_unit_test(an_export_that_fails_leaves_nothing),
      cmocka_unit_test(what_it_keeps_exported_is_the_hosts),
      cmocka_unit_test(a_driver_that_exports_no_host_memory_is_fine),
      cmocka_unit_test(settling_leaves_nothing),
      cmocka_unit_test(what_went_back_is_settled_without_being_asked),
      cmocka_unit_test(no_context_is_made),
      cmocka_unit_test(a_size_is_a_limit),
      cmocka_unit_test(an_older_nvml_counts_its_reserve_as_used),
      cmocka_unit_test(a_card_that_falls_off_does_not_answer),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
