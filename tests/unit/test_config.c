/* config: four places, one table; a wrong value anywhere is refused, and says where it stands. */
#include "daemon/config.h"
#include "model/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DIGEST_END "834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0"
#define DIGEST "9" DIGEST_END

#include "base/clock.h"
#include "base/units.h"

#define WORDS 16

static char path[] = "/tmp/test_config-XXXXXX";
static struct config_refusal refusal;

static int make_file(void **state) {
  (void)state;
  int fd = mkstemp(path);
  return fd < 0 || close(fd);
}

static int remove_file(void **state) {
  (void)state;
  return unlink(path);
}

/* With this text in the file and these words (NULL-terminated) on the command line. */
static struct config *load(const char *text, const char *const *words) {
  char *argv[WORDS + 1] = {(char *)(uintptr_t) "memkeepd", (char *)(uintptr_t) "--config", path};
  int argc = 3;
  struct config *config;
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
  for (; words && *words && argc < WORDS; words++)
    argv[argc++] = (char *)(uintptr_t)*words;
  if (config_load(argc, argv, &config, &refusal))
    assert_null(config);
  return config;
}

#define FLAGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void assert_refused(const char *text, const char *const *words, const char *where,
                           const char *reason) {
  char expected[128];
  assert_null(load(text, words));
  assert_int_equal(refusal.problem.status, STATUS_INVALID_ARGUMENT);
  snprintf(expected, sizeof expected, where[0] == ':' ? "%s%s" : "%.0s%s", path, where);
  assert_string_equal(refusal.where, expected);
  if (!strstr(refusal.problem.text, reason))
    fail_msg("\"%s\" does not say \"%s\"", refusal.problem.text, reason);
}

static void nothing_need_be_said(void **state) {
  (void)state;
  struct config *config = load("", NULL);
  assert_non_null(config);
  assert_string_equal(config->address, "127.0.0.1");
  assert_int_equal(config->port, 7171);
  assert_int_equal(config->socket_mode, 0600);
  assert_int_equal(config->thresholds.high, 9000);
  assert_int_equal(config->cache_ttl_ns, 120 * CLOCK_SECOND);
  assert_int_equal(config->mover_idle_ns, 30 * CLOCK_SECOND);
  assert_false(config->predict);
  assert_int_equal(config->predict_ns, 60 * CLOCK_SECOND);
  assert_int_equal(config->device_count + config->worker_count + config->token_count, 0);
  assert_false(config->no_gpu || config->no_worker || config->check || config->thresholds_said);
  assert_non_null(strstr(config->socket, "/memkeep.sock"));
  config_free(config);
}

static void everything_can_be_said_in_the_file(void **state) {
  (void)state;
  struct config *config =
      load("listen = \"0.0.0.0:80\";\n"
           "socket = { path = \"/tmp/x.sock\"; mode = \"0660\"; group = \"0\"; };\n"
           "state_dir = \"/s\"; runtime_dir = \"/r\";\n"
           "devices = [\"host:0=2GiB\", \"fake:0=1GiB,rate=1GiB/s\"];\n"
           "no_gpu = true; no_worker = true; log_level = \"debug\";\n"
           "workers = [\"a=one two\", \"b=three\"];\n"
           "tokens = ( { name = \"ci\"; secret = \"abc\"; role = \"write\"; },\n"
           "           { name = \"me\"; secret = \"def\"; role = \"admin\"; } );\n"
           "hosts = [\"keeper.local\"];\n"
           "rate_limit = 50;\n"
           "tls = { certificate = \"/c.pem\"; key = \"/k.pem\"; };\n"
           "thresholds = { moderate = 50; high = \"60.5\"; critical = 70.25; };\n"
           "policy = \"cost\"; relief = { trigger = 85; target = \"60\"; };\n"
           "limits = ( { device = \"host:0\"; max = \"1GiB\"; reserved = 4096; } );\n"
           "model_dirs = [\"/models\"]; cache_ttl = \"5m\"; mover_idle = \"1m\";\n"
           "predict = \"on\"; predictSeconds = 90;\n",
           NULL);
  assert_non_null(config);
  assert_string_equal(config->address, "0.0.0.0");
  assert_string_equal(config->socket, "/tmp/x.sock");
  assert_int_equal(config->socket_mode, 0660);
  assert_true(config->socket_group == 0 && config->no_gpu && config->no_worker);
  assert_int_equal(config->device_count, 2);
  assert_int_equal(config->devices[1].rate_bytes, GIB);
  assert_string_equal(config->workers[0].command, "one two");
  assert_string_equal(config->tokens[1].secret, "def");
  assert_int_equal(config->tokens[0].role, CALLER_WRITE);
  assert_string_equal(config->hosts[0], "keeper.local");
  assert_string_equal(config->key, "/k.pem");
  assert_int_equal(config->rate_limit, 50);
  assert_int_equal(config->thresholds.high, 6050);
  assert_int_equal(config->thresholds.critical, 7025);
  assert_int_equal(config->policy, POLICY_COST);
  assert_int_equal(config->relief_trigger, 8500);
  assert_int_equal(config->relief_target, 6000);
  assert_true(config->limits[0].max_bytes == GIB && config->limits[0].reserved_bytes == 4096);
  assert_string_equal(config->model_dirs[0], "/models");
  assert_int_equal(config->cache_ttl_ns, 300 * CLOCK_SECOND);
  assert_int_equal(config->mover_idle_ns, 60 * CLOCK_SECOND);
  assert_true(config->predict);
  assert_int_equal(config->predict_ns, 90 * CLOCK_SECOND);
  config_free(config);
}

static void a_flag_beats_the_environment_which_beats_the_file(void **state) {
  (void)state;
  const char *text = "listen = \"127.0.0.1:1\"; devices = [\"host:0=1GiB\", \"host:1=1GiB\"];\n"
                     "no_gpu = true;\n";
  setenv("MEMKEEP_LISTEN", "127.0.0.1:2", 1);
  setenv("MEMKEEP_DEVICE", " fake:0=1GiB; fake:1=1GiB ;fake:2=1GiB;", 1);
  struct config *config = load(text, NULL);
  assert_non_null(config);
  assert_int_equal(config->port, 2);
  assert_int_equal(config->device_count, 3);
  config_free(config);
  config = load(text, FLAGS("--listen=[::1]:3", "--device", "host:5=1GiB", "--no-gpu=false"));
  assert_non_null(config);
  assert_string_equal(config->address, "::1");
  assert_int_equal(config->port, 3);
  assert_int_equal(config->device_count, 1);
  assert_false(config->no_gpu);
  config_free(config);
  unsetenv("MEMKEEP_LISTEN");
  unsetenv("MEMKEEP_DEVICE");
}

static void the_environment_is_named_when_it_is_wrong(void **state) {
  (void)state;
  setenv("MEMKEEP_CACHE_TTL", "soon", 1);
  assert_refused("", NULL, "MEMKEEP_CACHE_TTL", "soon");
  unsetenv("MEMKEEP_CACHE_TTL");
}

static void what_a_higher_layer_hides_must_be_right_too(void **state) {
  (void)state;
  assert_refused("\nlisten = \"nowhere\";\n", FLAGS("--listen", "127.0.0.1:0"), ":2", "nowhere");
}

static void help_and_version_look_at_nothing_else(void **state) {
  (void)state;
  struct config *config = load("= broken", FLAGS("--version"));
  assert_true(config && config->version);
  config_free(config);
  config = load("= broken", FLAGS("--listen", "nowhere", "--help"));
  assert_true(config && config->help);
  config_free(config);
}

static void lines_of_the_file_are_named(void **state) {
  (void)state;
  static const struct {
    const char *text, *where, *reason;
  } cases[] = {
      {"\n\nno_such_key = 5;\n", ":3", "no_such_key"},
      {"listen = 5;\n", ":1", "string"},
      {"listen = [\"127.0.0.1:0\"];\n", ":1", "list"},
      {"listen = { x = 1; };\n", ":1", "group"},
      {"\n= broken", ":2", "syntax"},
      {"no_gpu = \"yes\";\n", ":1", "true or false"},
      {"no_gpu = 1;\n", ":1", "true or false"},
      {"cache_ttl = true;\n", ":1", "number"},
      {"\ncheck_config = true;\n", ":2", "check_config"},
      {"devices = [\"host:0=1GiB\",\n\"host:0=2GiB\"];\n", ":2", "twice"},
      {"devices = ( { a = 1; } );\n", ":1", "groups"},
      {"foo = { };\n", ":1", "foo"},
      {"foo = ( );\n", ":1", "foo"},
      {"tokens = { name = \"a\"; };\n", ":1", "group"},
      {"tokens = ( \"a\" );\n", ":1", "group"},
      {"tokens = ( { name = \"a\"; secret = \"b\"; } );\n", ":1", "role"},
      {"tokens = ( { name = \"a\"; role = \"read\"; } );\n", ":1", "secret"},
      {"tokens = ( { name = \"a\"; secret = \"b c\"; role = \"read\"; } );\n", ":1", "blanks"},
      {"tokens = ( { name = \"a\"; secret = \"b\"; secret_file = \"/x\"; } );\n", ":1", "read"},
      {"tokens = ( { name = \"a\"; sha256 = \"" DIGEST "\"; secret = \"b\"; } );\n", ":1", "one"},
      {"tokens = ( { name = \"a\"; secret = \"b\"; sha256 = \"" DIGEST "\"; } );\n", ":1", "one"},
      {"tokens = ( { name = \"a\"; sha256 = \"" DIGEST "0\"; } );\n", ":1", "64"},
      {"tokens = ( { name = \"a\"; sha256 = \"abc\"; } );\n", ":1", "64"},
      {"tokens = ( { name = \"a\"; sha256 = \"x" DIGEST_END "\"; } );\n", ":1", "64"},
      {"tokens = (\n{ name = \"a\"; secret = \"b\"; role = \"root\"; } );\n", ":2", "admin"},
      {"tokens = ( { name = \"a\"; secret = \"b\"; role = \"read\"; },\n"
       "{ name = \"a\"; secret = \"c\"; role = \"read\"; } );\n",
       ":2", "twice"},
      {"tokens = ( { name = \"a\"; colour = \"red\"; } );\n", ":1", "colour"},
      {"limits = ( { max = \"1GiB\"; } );\n", ":1", "device"},
      {"limits = ( { device = \"host:0\"; max = \"lots\"; } );\n", ":1", "size"},
      {"\nthresholds = { moderate = 95; };\n", ":2", "rise"},
      {"thresholds = { moderate = 0; };\n", ":1", "percentage"},
      {"relief = {\n trigger = 50; };\n", ":2", "below"},
      {"policy = \"random\";\n", ":1", "fifo"},
      {"rate_limit = -1;\n", ":1", "number"},
      {"rate_limit = \"10/s\";\n", ":1", "number"},
      {"rate_limit = 10000001;\n", ":1", "10000000"},
      {"tls = { key = \"/k\"; };\n", ":1", "both"},
      {"socket = { mode = \"0999\"; };\n", ":1", "octal"},
      {"socket = { group = \"no such group\"; };\n", ":1", "group"},
      {"model_dirs = [\"models\"];\n", ":1", "absolute"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_refused(cases[i].text, NULL, cases[i].where, cases[i].reason);
}

static void flags_are_named(void **state) {
  (void)state;
  assert_refused("", FLAGS("--no-such-flag"), "--no-such-flag", "flag");
  assert_refused("", FLAGS("--listen"), "--listen", "value");
  assert_refused("", FLAGS("extra"), "extra", "flag");
  assert_refused("", FLAGS("--log-level", "loud"), "--log-level", "loud");
  assert_refused("", FLAGS("--worker", "nameless"), "--worker", "nameless");
  assert_refused("", FLAGS("--worker", "a= "), "--worker", "command");
  assert_refused("", FLAGS("--worker", WORKERS_OWN "=x"), "--worker", "our own");
  assert_refused("", FLAGS("--worker", "a=x", "--worker", "a=y"), "--worker", "twice");
  assert_refused("", FLAGS("--device", "moon:0=1GiB"), "--device", "moon");
  assert_refused("", FLAGS("--device", "host:0", "--device", "host:1=1GiB"), "--device", "size");
}

static void addresses_that_are_none(void **state) {
  (void)state;
  static const char *const bad[] = {
      "nowhere", "127.0.0.1",  "127.0.0.1:x",   "127.0.0.1:70000", "300.1.1.1:0", ":",
      ":80",     "127.0.0.1:", "127.0.0.1:-1",  "[::1]",           "::1:80",      "[127.0.0.1]:80",
      "[]:80",   "",           "example.com:80"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_refused("", FLAGS("--listen", bad[i]), "--listen", "");
}

static void beyond_loopback_only_with_tokens(void **state) {
  (void)state;
  const char *token = "tokens = ( { name = \"a\"; secret = \"b\"; role = \"read\"; } );";
  assert_refused("", FLAGS("--listen", "0.0.0.0:0"), "--listen", "token");
  assert_refused("\nlisten = \"[::]:0\";", NULL, ":2", "token");
  config_free(load(token, FLAGS("--listen", "0.0.0.0:0")));
  assert_int_equal(refusal.problem.status, STATUS_OK);
  config_free(load("", FLAGS("--listen", "127.9.9.9:0")));
  assert_int_equal(refusal.problem.status, STATUS_OK);
}

static void a_socket_path_must_fit_its_address(void **state) {
  (void)state;
  char path_108[109], path_107[108];
  memset(path_108, 'x', 108);
  path_108[108] = '\0';
  memcpy(path_107, path_108, 107);
  path_107[107] = '\0';
  config_free(load("", FLAGS("--socket", path_107)));
  assert_int_equal(refusal.problem.status, STATUS_OK);
  assert_refused("", FLAGS("--socket", path_108), "--socket", "107");
}

static void a_secret_may_lie_in_a_file(void **state) {
  (void)state;
  char secret[] = "/tmp/test_config-secret-XXXXXX", text[256];
  int fd = mkstemp(secret);
  assert_int_equal(write(fd, "s3cret\nmore\n", 12), 12);
  close(fd);
  snprintf(text, sizeof text,
           "tokens = ( { name = \"a\"; secret_file = \"%s\"; role = \"read\"; } );", secret);
  struct config *config = load(text, NULL);
  unlink(secret);
  assert_non_null(config);
  assert_string_equal(config->tokens[0].secret, "s3cret");
  config_free(config);
}

static void a_digest_stands_for_a_secret(void **state) {
  (void)state;
  struct config *config =
      load("tokens = ( { name = \"a\"; sha256 = \"" DIGEST "\"; role = \"read\"; } );", NULL);
  assert_non_null(config);
  assert_string_equal(config->tokens[0].sha256, DIGEST);
  assert_string_equal(config->tokens[0].secret, "");
  config_free(config);
}

static void a_secret_is_not_repeated_in_a_refusal(void **state) {
  (void)state;
  assert_null(load("tokens = ( { name = \"a\"; secret = \"very secret\"; } );", NULL));
  assert_null(strstr(refusal.problem.text, "very"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_need_be_said),
      cmocka_unit_test(everything_can_be_said_in_the_file),
      cmocka_unit_test(a_flag_beats_the_environment_which_beats_the_file),
      cmocka_unit_test(the_environment_is_named_when_it_is_wrong),
      cmocka_unit_test(what_a_higher_layer_hides_must_be_right_too),
      cmocka_unit_test(help_and_version_look_at_nothing_else),
      cmocka_unit_test(lines_of_the_file_are_named),
      cmocka_unit_test(flags_are_named),
      cmocka_unit_test(addresses_that_are_none),
      cmocka_unit_test(beyond_loopback_only_with_tokens),
      cmocka_unit_test(a_socket_path_must_fit_its_address),
      cmocka_unit_test(a_secret_may_lie_in_a_file),
      cmocka_unit_test(a_digest_stands_for_a_secret),
      cmocka_unit_test(a_secret_is_not_repeated_in_a_refusal),
  };
  return cmocka_run_group_tests(tests, make_file, remove_file);
}
