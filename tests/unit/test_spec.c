/* spec: what a user may say about a device, and what he is told when he may not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "device/spec.h"

static struct spec good(const char *text) {
  struct spec spec;
  struct problem problem;
  assert_int_equal(STATUS_OK, spec_parse(text, &spec, &problem));
  return spec;
}

static void a_size_and_settings_are_read(void **state) {
  (void)state;
  struct spec spec = good("fake:12=8GiB,rate=20GiB/s,latency=50us,fail=create:3,delay=2ms,"
                          "quota=1GiB,trace=on");
  assert_string_equal("fake:12", spec.id);
  assert_string_equal("fake", spec.backend);
  assert_int_equal(8 * GIB, spec.size_bytes);
  assert_int_equal(20 * GIB, spec.rate_bytes);
  assert_int_equal(50000, spec.latency_ns);
  assert_int_equal(SPEC_CREATE, spec.fail);
  assert_int_equal(3, spec.fail_nth);
  assert_int_equal(2000000, spec.delay_ns);
  assert_int_equal(GIB, spec.quota_bytes);
  assert_true(spec.trace);
}

static void a_host_needs_no_size(void **state) {
  (void)state;
  assert_int_equal(0, good("host:0").size_bytes);
  assert_int_equal(SPEC_WRITE, good("host:999,fail=write:1").fail);
}

static void the_canonical_text_means_the_same(void **state) {
  (void)state;
  static const char *const texts[] = {
      "host:0", "host:3=1.5GiB", "fake:0=512M,rate=1GiB/s,latency=1500us",
      "fake:0=1GiB,fail=fill:20,delay=1s,quota=3MiB,trace=on", "vulkan:1=4GiB,uuid=00a1-b2/C3-d4"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    char text[256];
    struct spec spec = good(texts[i]), again = good(spec_format(&spec, text, sizeof text));
    assert_memory_equal(&spec, &again, sizeof spec);
  }
}

static void what_is_wrong_is_named(void **state) {
  (void)state;
  static const char *const bad[][2] = {{"", "host:0=2GiB"},
                                       {"host", "host"},
                                       {"host=1GiB", "host"},
                                       {":0=1GiB", ":0"},
                                       {"host:x=1GiB", "host:x"},
                                       {"host:0x1=1GiB", "host:0x1"},
                                       {"host:01=1GiB", "host:01"},
                                       {"host:1000=1GiB", "host:1000"},
                                       {"host:-1=1GiB", "host:-1"},
                                       {"moon:0=1GiB", "moon"},
                                       {"host:0=", "size"},
                                       {"host:0=lots", "lots"},
                                       {"host:0=0", "size"},
                                       {"host:0=-1", "-1"},
                                       {"fake:0", "needs a size"},
                                       {"fake:0=1GiB,speed=5", "speed"},
                                       {"fake:0=1GiB,rate", "rate"},
                                       {"fake:0=1GiB,rate=fast", "rate"},
                                       {"fake:0=1GiB,rate=0", "rate"},
                                       {"host:0=1GiB,rate=1GiB/s", "rate"},
                                       {"fake:0=1GiB,latency=61s", "latency"},
                                       {"fake:0=1GiB,fail=dance:3", "dance"},
                                       {"fake:0=1GiB,fail=create", "create"},
                                       {"fake:0=1GiB,fail=create:0", "create:0"},
                                       {"fake:0=1GiB,fail=create:-3", "create:-3"},
                                       {"fake:0=1GiB,fail=create:3x", "create:3x"},
                                       {"fake:0=1GiB,trace=maybe", "trace"},
                                       {"fake:0=1GiB,uuid=00", "uuid"},
                                       {"vulkan:0,uuid=", "uuid"},
                                       {"vulkan:0,uuid=0x1", "uuid"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct spec spec;
    struct problem problem;
    assert_int_equal(STATUS_INVALID_ARGUMENT, spec_parse(bad[i][0], &spec, &problem));
    if (!strstr(problem.text, bad[i][1]))
      fail_msg("'%s' is not in: %s", bad[i][1], problem.text);
  }
}

static void a_text_of_any_length_is_refused_safely(void **state) {
  (void)state;
  char text[5000];
  struct spec spec;
  struct problem problem;
  memset(text, 'h', sizeof text);
  text[sizeof text - 1] = 0;
  for (size_t n = 1; n < sizeof text; n += 97)
    assert_int_equal(STATUS_INVALID_ARGUMENT, spec_parse(text + n, &spec, &problem));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_size_and_settings_are_read),
      cmocka_unit_test(a_host_needs_no_size),
      cmocka_unit_test(the_canonical_text_means_the_same),
      cmocka_unit_test(what_is_wrong_is_named),
      cmocka_unit_test(a_text_of_any_length_is_refused_safely),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
