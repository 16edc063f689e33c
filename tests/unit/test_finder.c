/*
 * daemon/finder: what is told is believed only as far as it is a card; what is not told in time is
 * not waited for. The other end is a script.
 */
#include "daemon/finder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

#define MOST 8
#define UUID(n) "aaaaaaaa-0000-0000-0000-00000000000" #n "/bbbbbbbb-0000-0000-0000-000000000000"
#define CARD(n, pci)                                                                               \
  "echo '{\"device\":\"vulkan:" #n ",uuid=" UUID(n) "\",\"pci\":\"" pci "\"}' >&3\n"
#define LAST "echo '{\"found\":0}' >&3\n"

static char program[64], why[FINDER_WHY];
static struct spec found[MOST];

static unsigned find(const char *script, unsigned max) {
  struct finder finder;
  snprintf(program, sizeof program, "/tmp/test_finder.%d", (int)getpid());
  FILE *file = fopen(program, "we");
  assert_non_null(file);
  fprintf(file, "#!/bin/bash\n%s", script);
  assert_int_equal(0, fclose(file));
  assert_int_equal(0, chmod(program, 0700));
  finder_start(&finder, program);
  unsigned count = finder_take(&finder, found, max, why);
  assert_int_equal(-1, waitpid(-1, NULL, WNOHANG)); /* nobody is left */
  return count;
}

static void cards_are_told(void **state) {
  (void)state;
  assert_int_equal(2, find(CARD(0, "0000:03:00.0") CARD(1, "") LAST, MOST));
  assert_string_equal("", why);
  assert_string_equal("vulkan:0", found[0].id);
  assert_string_equal(UUID(0), found[0].uuid);
  assert_string_equal("0000:03:00.0", found[0].pci);
  assert_string_equal("", found[1].pci);
  assert_true(found[0].found && found[1].found);
  assert_int_equal(1, find(CARD(0, "") CARD(1, "") LAST, 1));
}

static void a_card_with_two_drivers_is_one(void **state) {
  (void)state;
  assert_int_equal(1, find(CARD(0, "0000:0a:00.0") CARD(1, "0000:0A:00.0") LAST, MOST));
  assert_int_equal(1, find(CARD(0, "") CARD(0, "") LAST, MOST));
}

static void what_is_no_such_card_is_not_taken(void **state) {
  (void)state;
  static const char *const words[] = {
      "echo nonsense >&3\n",
      "echo '[1]' >&3\n",
      "echo '{\"device\":7}' >&3\n",
      "echo '{\"device\":\"vulkan:0\"}' >&3\n", /* which one is that? */
      "echo '{\"device\":\"host:0\"}' >&3\n",
      "echo '{\"device\":\"fake:0=8GiB\"}' >&3\n",
      "echo '{\"device\":\"cuda:0\",\"pci\":\"0000:03:00.0\"}' >&3\n",
      "echo '{\"device\":\"vulkan:0,uuid=../../x\"}' >&3\n",
      "echo nobody hears this\n",
  };
  char script[512];
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    snprintf(script, sizeof script, "%s" CARD(1, "") LAST, words[i]);
    assert_int_equal(1, find(script, MOST));
    assert_string_equal("vulkan:1", found[0].id);
    assert_string_equal("", why);
  }
}

static void what_was_told_before_the_end_counts(void **state) {
  (void)state;
  assert_int_equal(1, find(CARD(0, "") "kill -SEGV $$\n", MOST));
  assert_non_null(strstr(why, "died"));
  assert_int_equal(0, find("exit 0\n", MOST));
  assert_non_null(strstr(why, "died"));
}

static void silence_is_not_waited_for(void **state) {
  (void)state;
  uint64_t before = clock_now();
  assert_int_equal(1, find(CARD(0, "") "exec sleep 1000\n", MOST));
  assert_string_equal("cards may be missing: Vulkan's drivers did not answer within 2 s; "
                      "the next start asks again",
                      why);
  assert_true(clock_now() - before < 60 * CLOCK_SECOND); /* of a thousand */
}

static void words_without_an_end_are_not_listened_to(void **state) {
  (void)state;
  assert_int_equal(0, find("while echo '{}' >&3; do :; done\n", MOST));
  assert_true(strstr(why, "no end") || strstr(why, "2 s"));
}

static void without_the_program_nothing_is_asked(void **state) {
  (void)state;
  struct finder finder;
  finder_start(&finder, "/nowhere/memkeep-worker");
  assert_int_equal(0, finder_take(&finder, found, MOST, why));
  assert_string_equal("", why);
  struct finder none = {.end = {SHARE_NONE, 0}};
  assert_int_equal(0, finder_take(&none, found, MOST, why));
}

static int clean(void **state) {
  (void)state;
  (void)unlink(program);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(cards_are_told),
      cmocka_unit_test(a_card_with_two_drivers_is_one),
      cmocka_unit_test(what_is_no_such_card_is_not_taken),
      cmocka_unit_test(what_was_told_before_the_end_counts),
      cmocka_unit_test(silence_is_not_waited_for),
      cmocka_unit_test(words_without_an_end_are_not_listened_to),
      cmocka_unit_test(without_the_program_nothing_is_asked),
  };
  return cmocka_run_group_tests(tests, NULL, clean);
}
