/*
 * device/broker: a device that a process of its own owns: what it makes stays, whatever becomes of
 * that process; it is replaced, not too often, and never waited for without an end.
 */
#include "device/broker.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/os_memfd.h"
#include "base/units.h"
#include "broker_fixture.h"
#include "cuda_fixture.h"
#include "device/device.h"

#define SIZE (2 * MIB)
#define PATIENCE (60 * CLOCK_SECOND)
#define SECOND_CARD "GPU-fafafafa-fafa-fafa-fafa-fafafafafa01"

static struct spec spec_of(const char *text, const char *environment) {
  struct spec spec;
  struct problem problem;
  assert_int_equal(STATUS_OK, spec_parse(text, &spec, &problem));
  broker_fixture_set(&spec, environment);
  return spec;
}

static struct device *open_device(const char *text, const char *environment) {
  struct spec spec = spec_of(text, environment);
  struct device *device;
  assert_int_equal(STATUS_OK, device_open(&spec, NULL, &device));
  return device;
}

static enum status create(struct device *device, struct share *out) {
  struct device_call call = {.action = DEVICE_CREATE, .size = SIZE};
  enum status status = device_run(device, &call);
  *out = call.share;
  return status;
}

static void release(struct device *device, struct share share) {
  struct device_call call = {.action = DEVICE_RELEASE, .size = SIZE, .share = share};
  assert_int_equal(STATUS_OK, device_run(device, &call));
}

static enum status budget(struct device *device) {
  struct device_call call = {.action = DEVICE_BUDGET};
  return device_run(device, &call);
}

static unsigned descriptors(pid_t pid) {
  char path[64];
  unsigned count = 0;
  snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
  DIR *folder = opendir(path);
  assert_non_null(folder);
  while (readdir(folder))
    count++;
  closedir(folder);
  return count;
}

static void memory_stays_when_its_maker_dies(void **state) {
  (void)state;
  struct device *device = open_device("host:0=64MiB", "A=B");
  struct share share, other;
  void *bytes;
  pid_t first = broker_fixture_child();
  assert_int_not_equal(0, first);
  assert_int_equal(STATUS_OK, create(device, &share));
  assert_int_equal(SHARE_MEMFD, share.kind);
  assert_int_equal(STATUS_OK, os_memfd_map(&share, SIZE, true, &bytes));
  memset(bytes, 7, SIZE);
  assert_int_equal(0, kill(first, SIGKILL));
  assert_int_equal(STATUS_OK, create(device, &other));
  assert_int_not_equal(first, broker_fixture_child());
  assert_int_equal(7, ((char *)bytes)[SIZE - 1]);
  os_memfd_unmap(bytes, SIZE);
  release(device, share);
  release(device, other);
  device_close(device);
  assert_int_equal(0, broker_fixture_child());
}

static void it_keeps_nothing_of_what_it_makes(void **state) {
  (void)state;
  struct device *device = open_device("host:0=64MiB", "A=B");
  struct share shares[20];
  unsigned before = descriptors(broker_fixture_child());
  for (unsigned i = 0; i < 20; i++)
    assert_int_equal(STATUS_OK, create(device, &shares[i]));
  assert_int_equal(STATUS_OK, budget(device)); /* the last one was let go of by then */
  assert_int_equal(before, descriptors(broker_fixture_child()));
  for (unsigned i = 0; i < 20; i++)
    release(device, shares[i]);
  device_close(device);
}

static void it_lets_go_also_when_nobody_asks_again(void **state) {
  (void)state;
  struct device *device = open_device("host:0=64MiB", "A=B");
  struct share share;
  unsigned before = descriptors(broker_fixture_child());
  assert_int_equal(STATUS_OK, create(device, &share));
  uint64_t end = clock_now() + PATIENCE;
  while (descriptors(broker_fixture_child()) != before && clock_now() < end)
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
  assert_int_equal(before, descriptors(broker_fixture_child()));
  release(device, share);
  device_close(device);
}

static void one_that_dies_again_and_again_is_not_started_at_once(void **state) {
  (void)state;
  struct device *device = open_device("host:0=64MiB", "A=B");
  unsigned refused = 0, deaths = 0;
  for (uint64_t end = clock_now() + PATIENCE; !refused && clock_now() < end; deaths++) {
    assert_int_not_equal(0, broker_fixture_child());
    assert_int_equal(0, kill(broker_fixture_child(), SIGKILL));
    refused = budget(device) == STATUS_DEVICE_UNAVAILABLE;
  }
  assert_true(refused && deaths > 1);
  assert_int_equal(0, broker_fixture_child());
  uint64_t end = clock_now() + PATIENCE;
  while (budget(device) && clock_now() < end)
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
  assert_int_not_equal(0, broker_fixture_child());
  device_close(device);
}

static void one_that_does_not_answer_is_replaced(void **state) {
  (void)state;
  struct device *device = open_device("host:0=64MiB", "A=B");
  pid_t silent = broker_fixture_child();
  assert_int_equal(0, kill(silent, SIGSTOP));
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, budget(device));
  assert_int_equal(0, broker_fixture_child());
  assert_int_equal(STATUS_OK, budget(device));
  assert_int_not_equal(silent, broker_fixture_child());
  device_close(device);
}

static void a_program_that_is_not_there_owns_nothing(void **state) {
  (void)state;
  struct spec spec = spec_of("host:0=64MiB", "A=B");
  struct device *device;
  spec.broker = "/nowhere/memkeep-worker";
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, device_open(&spec, NULL, &device));
  spec.broker = "/bin/false";
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, device_open(&spec, NULL, &device));
  assert_int_equal(0, broker_fixture_child());
}

static void a_device_that_is_not_there_is_said_so(void **state) {
  (void)state;
  struct spec spec = spec_of("cuda:7", "A=B");
  struct device *device;
  cuda_fixture_use("fake_libcuda");
  assert_int_equal(STATUS_DEVICE_NOT_FOUND, device_open(&spec, NULL, &device));
  spec = spec_of("mig:0", "");
  assert_int_equal(STATUS_DEVICE_NOT_FOUND, device_open(&spec, NULL, &device));
  assert_int_equal(0, broker_fixture_child());
}

static void what_wraps_a_device_wraps_its_broker(void **state) {
  (void)state;
  struct device *device = open_device("host:0=64MiB,quota=3MiB", "A=B");
  struct share share, other;
  assert_int_equal(STATUS_OK, create(device, &share));
  assert_int_equal(STATUS_INSUFFICIENT_MEMORY, create(device, &other));
  release(device, share);
  assert_int_equal(STATUS_OK, create(device, &share));
  release(device, share);
  device_close(device);
}

static void it_sees_what_its_environment_shows(void **state) {
  (void)state;
  cuda_fixture_use("fake_libcuda");
  setenv("FAKE_CUDA_CARDS", "2", 1);
  struct device *device = open_device("cuda:0", "CUDA_VISIBLE_DEVICES=" SECOND_CARD);
  const struct device_info *info = device_info(device);
  assert_string_equal(SECOND_CARD, info->uuid);
  assert_string_equal("FAKE card 1", info->name);
  assert_string_equal("FAKE 1.0", info->driver);
  assert_string_equal("0000:fa:01.0", info->pci);
  assert_int_equal(DEVICE_GPU, info->type);
  assert_int_equal(DEVICE_VRAM, info->memory);
  assert_int_equal(GIB, info->total_bytes);
  assert_int_equal(8 * MIB, info->kept_bytes);
  assert_int_equal(GIB - 8 * MIB, info->limit_bytes);
  assert_int_equal(2 * MIB, info->granularity);
  assert_true(info->costly);
  device_close(device);
}

/* We have a context on the card. */
static void it_names_who_uses_the_card(void **state) {
  (void)state;
  cuda_fixture_use("fake_libcuda");
  struct device *device = open_device("cuda:0", "A=B");
  const struct spec spec = {.id = "cuda:0", .backend = "cuda"};
  struct device_process found[4];
  struct device_mover *mover;
  struct device_segment *segment;
  struct share share;
  assert_int_equal(0, device_processes(device, found, 4));
  assert_int_equal(STATUS_OK, create(device, &share));
  assert_int_equal(SHARE_CUDA_VMM, share.kind);
  assert_int_equal(STATUS_OK, device_mover_open(&spec, &mover));
  assert_int_equal(STATUS_OK, device_import(mover, &share, SIZE, &segment));
  assert_int_equal(1, device_processes(device, found, 4));
  assert_int_equal(getpid(), found[0].pid);
  assert_true(found[0].used_bytes > SIZE && found[0].used_bytes != DEVICE_BYTES_UNKNOWN);
  assert_true(found[0].name[0] && !found[0].dead);
  device_drop(segment);
  device_mover_close(mover);
  release(device, share);
  device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(memory_stays_when_its_maker_dies),
      cmocka_unit_test(it_keeps_nothing_of_what_it_makes),
      cmocka_unit_test(it_lets_go_also_when_nobody_asks_again),
      cmocka_unit_test(one_that_dies_again_and_again_is_not_started_at_once),
      cmocka_unit_test(one_that_does_not_answer_is_replaced),
      cmocka_unit_test(a_program_that_is_not_there_owns_nothing),
      cmocka_unit_test(a_device_that_is_not_there_is_said_so),
      cmocka_unit_test(what_wraps_a_device_wraps_its_broker),
      cmocka_unit_test(it_sees_what_its_environment_shows),
      cmocka_unit_test(it_names_who_uses_the_card),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
