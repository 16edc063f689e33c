/*
 * device/cuda/load: what is absent is no card; what has an older name is found; answers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cuda_fixture.h"
#include "device/cuda/find.h"
#include "device/cuda/load.h"

#include "device/device.h"
#include "device/probe.h"

static void no_driver_is_no_card(void **state) {
  (void)state;
  struct cuda_load load;
  struct spec found[8];
  cuda_fixture_use("there-is-no-such-library");
  assert_int_equal(STATUS_DEVICE_NOT_FOUND, cuda_load_open(true, &load));
  assert_null(load.driver);
  cuda_load_close(&load);
  assert_int_equal(0, cuda_find(found, 8));
  assert_int_equal(1, probe_defaults(true, found, 4));
  assert_string_equal("host:0", found[0].id);
}

static void a_driver_without_nvml_has_no_cards(void **state) {
  (void)state;
  struct cuda_load load;
  cuda_fixture_use("fake_libcuda");
  setenv("MEMKEEP_LIBNVML", "/nonexistent", 1);
  assert_int_equal(STATUS_DEVICE_NOT_FOUND, cuda_load_open(true, &load));
  assert_int_equal(STATUS_OK, cuda_load_open(false, &load));
  cuda_load_close(&load);
}

static void a_function_that_is_missing_is_no_card(void **state) {
  (void)state;
  struct cuda_load load;
  struct spec found[8];
  cuda_fixture_use("fake_libcuda_broken");
  assert_int_equal(STATUS_DEVICE_NOT_FOUND, cuda_load_open(true, &load));
  assert_null(load.driver);
  assert_int_equal(0, cuda_find(found, 8));
}

static void older_names_are_found(void **state) {
  (void)state;
  struct cuda_load load;
  struct spec found[8];
  cuda_fixture_use("fake_libcuda_old");
  assert_int_equal(STATUS_OK, cuda_load_open(true, &load));
  assert_non_null(load.device_uuid);
  assert_non_null(load.stream_destroy);
  assert_non_null(load.nvml_compute);
  assert_null(load.nvml_memory_2);
  assert_int_equal(1, cuda_find(found, 8));
  cuda_load_close(&load);
}

static void no_cards_and_many(void **state) {
  (void)state;
  struct spec found[8];
  cuda_fixture_use("fake_libcuda");
  setenv("FAKE_CUDA_CARDS", "0", 1);
  assert_int_equal(0, cuda_find(found, 8));
  setenv("FAKE_CUDA_CARDS", "8", 1);
  assert_int_equal(8, cuda_find(found, 8));
  assert_int_equal(4, probe_defaults(true, found, 4));
  assert_string_equal("cuda:2", found[3].id);
  assert_int_equal(1, probe_defaults(false, found, 4));
}

static void a_card_that_is_not_there_cannot_be_opened(void **state) {
  (void)state;
  struct spec spec = {.id = "cuda:7", .backend = "cuda"};
  struct device *device;
  cuda_fixture_use("fake_libcuda");
  assert_int_equal(STATUS_DEVICE_NOT_FOUND, device_open(&spec, NULL, &device));
  assert_int_equal(7, cuda_load_ordinal(&spec));
}

static void answers_mean_what_they_mean_here(void **state) {
  (void)state;
  static const struct {
    int answer;
    enum status status;
  } cases[] = {{API_OK, STATUS_OK},
               {API_OUT_OF_MEMORY, STATUS_INSUFFICIENT_MEMORY},
               {API_NO_DEVICE, STATUS_DEVICE_NOT_FOUND},
               {API_ECC_UNCORRECTABLE, STATUS_DEVICE_UNAVAILABLE},
               {API_ILLEGAL_ADDRESS, STATUS_DEVICE_UNAVAILABLE},
               {API_UNKNOWN, STATUS_DEVICE_UNAVAILABLE},
               {API_INVALID_VALUE, STATUS_INTERNAL_ERROR},
               {4711, STATUS_INTERNAL_ERROR}};
  struct cuda_load load = {.driver = NULL};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_int_equal(cases[i].status, cuda_load_check(&load, "be tested", cases[i].answer));
  assert_int_equal(STATUS_OK, cuda_load_check_nvml("be tested", API_NVML_OK));
  assert_int_equal(STATUS_DEVICE_NOT_FOUND, cuda_load_check_nvml("be tested", API_NVML_NOT_FOUND));
  assert_int_equal(STATUS_DEVICE_UNAVAILABLE, cuda_load_check_nvml("be tested", API_NVML_LOST));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(no_driver_is_no_card),
      cmocka_unit_test(a_driver_without_nvml_has_no_cards),
      cmocka_unit_test(a_function_that_is_missing_is_no_card),
      cmocka_unit_test(older_names_are_found),
      cmocka_unit_test(no_cards_and_many),
      cmocka_unit_test(a_card_that_is_not_there_cannot_be_opened),
      cmocka_unit_test(answers_mean_what_they_mean_here),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
