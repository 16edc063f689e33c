/*
 * device/cuda/find, on FAKE cards: whole ones, divided ones, and both; what a process may see.
 */
#include "device/cuda/find.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cuda_fixture.h"
#include "device/cuda/owner.h"

#define UUID "fafafafa-fafa-fafa-fafa-fafafafafa"
#define VISIBLE "CUDA_VISIBLE_DEVICES"
#define MAX 8

struct row {
  const char *id, *environment;
};

static void use(const char *library, const char *divided, const char *visible) {
  cuda_fixture_use(library);
  setenv("FAKE_CUDA_CARDS", "3", 1);
  if (divided)
    setenv("FAKE_CUDA_MIG", divided, 1);
  if (visible)
    setenv(VISIBLE, visible, 1);
}

static void assert_found(const struct row *rows, unsigned count) {
  struct spec found[MAX];
  assert_int_equal(count, cuda_find(found, MAX));
  for (unsigned i = 0; i < count; i++) {
    assert_string_equal(rows[i].id, found[i].id);
    assert_int_equal(strcspn(rows[i].id, ":"), strlen(found[i].backend));
    assert_memory_equal(rows[i].id, found[i].backend, strlen(found[i].backend));
    assert_string_equal(rows[i].environment, found[i].environment);
  }
}

static void whole_cards_are_the_driver_s(void **state) {
  (void)state;
  static const struct row all[] = {{"cuda:0", ""}, {"cuda:1", ""}, {"cuda:2", ""}};
  use("fake_libcuda", NULL, NULL);
  assert_found(all, 3);
  use("fake_libcuda", NULL, "GPU-" UUID "02,0");
  assert_found(all, 2);
}

static void instances_need_an_environment_each_and_cards_one_for_all(void **state) {
  (void)state;
  static const struct row all[] = {{"cuda:0", VISIBLE "=GPU-" UUID "00,GPU-" UUID "02"},
                                   {"cuda:1", VISIBLE "=GPU-" UUID "00,GPU-" UUID "02"},
                                   {"mig:0", VISIBLE "=MIG-" UUID "03"},
                                   {"mig:1", VISIBLE "=MIG-" UUID "04"}};
  use("fake_libcuda", "1:2", NULL);
  assert_found(all, 4);
  struct spec found[3];
  assert_int_equal(3, cuda_find(found, 3));
}

static void a_divided_card_is_none(void **state) {
  (void)state;
  static const struct row all[] = {{"mig:0", VISIBLE "=MIG-" UUID "01"}};
  use("fake_libcuda", "0:1", NULL);
  setenv("FAKE_CUDA_CARDS", "1", 1);
  assert_found(all, 1);
}

static void only_what_is_named_is_there(void **state) {
  (void)state;
  static const struct row some[] = {{"cuda:0", VISIBLE "=GPU-" UUID "02"},
                                    {"mig:0", VISIBLE "=MIG-" UUID "04"}};
  static const struct row cards[] = {{"cuda:0", ""}};
  use("fake_libcuda", "1:2", "GPU-" UUID "02,MIG-" UUID "04");
  assert_found(some, 2);
  use("fake_libcuda", "1:2", "GPU-" UUID "02");
  assert_found(cards, 1);
  use("fake_libcuda", "1:2", "");
  assert_found(NULL, 0);
}

/* Its only instance is what CUDA shows. */
static void an_nvml_that_knows_no_instances_leaves_it_to_the_driver(void **state) {
  (void)state;
  static const struct row all[] = {{"cuda:0", ""}};
  use("fake_libcuda_old", "1:2", NULL);
  assert_found(all, 1);
}

static void a_process_with_its_environment_owns_an_instance(void **state) {
  (void)state;
  const struct spec spec = {.id = "mig:1", .backend = "mig"};
  struct device_info info = {.id = ""};
  void *owner;
  use("fake_libcuda", "1:2", "MIG-" UUID "04");
  assert_int_equal(STATUS_OK, cuda_owner_open(&spec, &owner));
  assert_int_equal(STATUS_OK, cuda_owner_describe(owner, &info));
  assert_string_equal("MIG-" UUID "04", info.uuid);
  assert_int_equal((1 << 30) / 4, info.total_bytes);
  cuda_owner_close(owner);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole_cards_are_the_driver_s),
      cmocka_unit_test(instances_need_an_environment_each_and_cards_one_for_all),
      cmocka_unit_test(a_divided_card_is_none),
      cmocka_unit_test(only_what_is_named_is_there),
      cmocka_unit_test(an_nvml_that_knows_no_instances_leaves_it_to_the_driver),
      cmocka_unit_test(a_process_with_its_environment_owns_an_instance),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
