/*
 * memkeepd: the keeper of a host's accelerator memory. Reads what it was told, takes the runtime
 * directory for itself, and serves; see wiring.c for what that is.
 *
 * Exit codes: 0 ended as asked, 1 failed, 2 the flags or the configuration are wrong.
 */

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/os_notify.h"
#include "base/reserve.h"
#include "base/spawn.h"
#include "base/version.h"
#include "daemon/config.h"
#include "daemon/runtime.h"
#include "daemon/wiring.h"

enum { EXIT_FAILED = 1, EXIT_CONFIG = 2 };

struct words {
  int argc;
  char **argv;
  struct share socket; /* passed by systemd */
};

static struct config *load(void *arg) {
  const struct words *words = arg;
  struct config_refusal refusal;
  struct config *config;
  if (!config_load(words->argc, words->argv, &config, &refusal))
    return config;
  log_error("daemon", "%s%s%s", refusal.where, refusal.where[0] ? ": " : "", refusal.problem.text);
  explicit_bzero(&refusal, sizeof refusal);
  return NULL;
}

static int exit_code(const struct problem *problem) {
  log_error("daemon", "%s", problem->text);
  switch (problem->status) {
  case STATUS_INVALID_ARGUMENT:
  case STATUS_DEVICE_NOT_FOUND:
  case STATUS_FORBIDDEN:
    return EXIT_CONFIG;
  default:
    return EXIT_FAILED;
  }
}

/* Whether the socket lies in the runtime directory. */
static bool holds_socket(const struct config *config) {
  size_t n = strlen(config->runtime_dir);
  const char *rest = config->socket + n;
  return !strncmp(config->socket, config->runtime_dir, n) && *rest == '/' && !strchr(rest + 1, '/');
}

static int serve(const struct config *config, struct words *words) {
  struct problem problem = {.status = STATUS_OK};
  struct runtime runtime;
  struct wiring *wiring;
  if (runtime_take(config->runtime_dir, &runtime, &problem))
    return exit_code(&problem);
  if (holds_socket(config) &&
      runtime_admit(&runtime, config->socket_group, config->socket_mode, &problem)) {
    runtime_give(&runtime);
    return exit_code(&problem);
  }
  struct wiring_params params = {
      .config = config, .runtime = &runtime, .socket = words->socket, .reload = load, .arg = words};
  int code = 0;
  if (wiring_create(&params, &wiring, &problem)) {
    code = exit_code(&problem);
  } else {
    wiring_run(wiring);
    wiring_free(wiring);
  }
  runtime_give(&runtime);
  return code;
}

static int obey(const struct config *config, struct words *words) {
  if (config->help)
    config_help(stdout);
  else if (config->version)
    puts("memkeepd " VERSION_TEXT);
  else if (config->check)
    printf("%s: ok\n", config->file[0] ? config->file : "no configuration file");
  else
    return serve(config, words);
  return 0;
}

int main(int argc, char **argv) {
  struct words words = {argc, argv, os_notify_socket()};
  signal(SIGPIPE, SIG_IGN);
  reserve_install();
  spawn_raise_fd_limit();
  struct config *config = load(&words);
  if (!config)
    return EXIT_CONFIG;
  log_set_level(config->log_level);
  int code = obey(config, &words);
  config_free(config);
  return code;
}
