/*
 * config_table: the rows, and a function per kind of value. A value is always text here: where it
 * came from, config.c knows.
 */
#include "daemon/config_table.h"

#include <ctype.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/id.h"
#include "base/rate.h"
#include "base/units.h"
#include "daemon/config_listen.h"
#include "daemon/config_rows.h"
#include "device/probe.h"
#include "model/policy_preset.h"

#define ID_MAX 4294967294.0 /* the largest gid; one more means "none" */

typedef enum status setter(const struct config_setting *setting, struct config *config,
                           const char *text, struct problem *problem);

static enum status bad(struct problem *problem, const char *reason) {
  return problem_set(problem, STATUS_INVALID_ARGUMENT, "%s", reason);
}

static void *member(const struct config_setting *setting, struct config *config) {
  return (char *)config + setting->offset;
}

enum status config_table_put(char *out, size_t size, const char *text, struct problem *problem) {
  if (!text[0])
    return bad(problem, "must not be empty");
  if (strlen(text) >= size)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "longer than %zu bytes", size - 1);
  memcpy(out, text, strlen(text) + 1);
  return STATUS_OK;
}

/* ---- plain kinds ---- */

static setter set_text, set_switch, set_duration, set_percent;

static enum status set_text(const struct config_setting *setting, struct config *config,
                            const char *text, struct problem *problem) {
  return config_table_put(member(setting, config), setting->size, text, problem);
}

static enum status set_switch(const struct config_setting *setting, struct config *config,
                              const char *text, struct problem *problem) {
  static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (strcasecmp(text, words[i]) != 0)
      continue;
    *(bool *)member(setting, config) = i % 2;
    return STATUS_OK;
  }
  return bad(problem, "must be true or false");
}

static enum status set_duration(const struct config_setting *setting, struct config *config,
                                const char *text, struct problem *problem) {
  if (!units_parse_duration(text, member(setting, config)))
    return bad(problem, "is no time; write it like \"90s\", \"2m\" or \"1h\"");
  return STATUS_OK;
}

static enum status set_percent(const struct config_setting *setting, struct config *config,
                               const char *text, struct problem *problem) {
  char *end;
  double percent = strtod(text, &end);
  if (end == text || *end || !(percent > 0 && percent <= 100))
    return bad(problem, "must be a percentage above 0, at most 100");
  *(uint32_t *)member(setting, config) = (uint32_t)(percent * 100 + 0.5);
  return STATUS_OK;
}

/* ---- one setting each ---- */

static enum status set_rate(const struct config_setting *setting, struct config *config,
                            const char *text, struct problem *problem) {
  char *end;
  unsigned long rate = strtoul(text, &end, 10);
  if (!isdigit((unsigned char)text[0]) || *end || rate > RATE_MAX)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "must be a number from 0 to %d", RATE_MAX);
  *(uint32_t *)member(setting, config) = (uint32_t)rate;
  return STATUS_OK;
}

static enum status set_listen(const struct config_setting *setting, struct config *config,
                              const char *text, struct problem *problem) {
  (void)setting;
  struct config_listen listen;
  enum status status = config_listen_parse(text, &listen, problem);
  if (status)
    return status;
  memcpy(config->address, listen.address, sizeof config->address);
  config->port = listen.port;
  return STATUS_OK;
}

static enum status set_mode(const struct config_setting *setting, struct config *config,
                            const char *text, struct problem *problem) {
  char *end;
  unsigned long mode = strtoul(text, &end, 8);
  if (!isdigit((unsigned char)text[0]) || *end || mode > 0777)
    return bad(problem, "must be an octal mode, as in \"0660\"");
  *(uint32_t *)member(setting, config) = (uint32_t)mode;
  return STATUS_OK;
}

static enum status set_group(const struct config_setting *setting, struct config *config,
                             const char *text, struct problem *problem) {
  char *end;
  double number = strtod(text, &end);
  const struct group *group = getgrnam(text);
  bool numeric = isdigit((unsigned char)text[0]) && !*end && number <= ID_MAX;
  if (!group && !numeric)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "there is no group %.64s", text);
  *(int64_t *)member(setting, config) = group ? (int64_t)group->gr_gid : (int64_t)number;
  return STATUS_OK;
}

static enum status set_level(const struct config_setting *setting, struct config *config,
                             const char *text, struct problem *problem) {
  if (!log_parse_level(text, member(setting, config)))
    return bad(problem, "must be error, warning, info or debug");
  return STATUS_OK;
}

static enum status set_policy(const struct config_setting *setting, struct config *config,
                              const char *text, struct problem *problem) {
  uint32_t i = 0;
  while (policy_preset_at(i) && strcmp(policy_preset_at(i)->name, text) != 0)
    i++;
  if (!policy_preset_at(i))
    return bad(problem,
               "must be fifo, lru, lfu, cost, priority, conservative, balanced, aggressive "
               "or smart");
  *(uint32_t *)member(setting, config) = i;
  return STATUS_OK;
}

static enum status set_last_resort(const struct config_setting *setting, struct config *config,
                                   const char *text, struct problem *problem) {
  if (strcmp(text, "none") != 0 && strcmp(text, "pinned") != 0)
    return bad(problem, "must be none or pinned");
  *(bool *)member(setting, config) = !strcmp(text, "pinned");
  return STATUS_OK;
}

/* ---- lists ---- */

static enum status add_device(const struct config_setting *setting, struct config *config,
                              const char *text, struct problem *problem) {
  (void)setting;
  struct spec spec;
  if (spec_parse(text, &spec, problem))
    return problem->status;
  if (!probe_backend(spec.backend))
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "there is no kind of device %s",
                       spec.backend);
  for (uint32_t i = 0; i < config->device_count; i++)
    if (!strcmp(config->devices[i].id, spec.id))
      return problem_set(problem, STATUS_INVALID_ARGUMENT, "%s is named twice", spec.id);
  if (config->device_count == VIEW_DEVICES)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "more than %d devices", VIEW_DEVICES);
  config->devices[config->device_count++] = spec;
  return STATUS_OK;
}

static enum status add_worker(const struct config_setting *setting, struct config *config,
                              const char *text, struct problem *problem) {
  (void)setting;
  struct workers_command command = {.name = ""};
  const char *equals = strchr(text, '=');
  size_t length = equals ? (size_t)(equals - text) : 0;
  if (!length || length >= sizeof command.name)
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "must be NAME=COMMAND, the name at most %zu bytes", sizeof command.name - 1);
  memcpy(command.name, text, length);
  if (!id_is_token(command.name))
    return bad(problem, "a worker's name is made of letters, digits, '.', '_' and '-'");
  if (!strcmp(command.name, WORKERS_OWN))
    return bad(problem, "\"" WORKERS_OWN "\" is our own worker's name");
  for (uint32_t i = 0; i < config->worker_count; i++)
    if (!strcmp(config->workers[i].name, command.name))
      return problem_set(problem, STATUS_INVALID_ARGUMENT, "worker %s is named twice",
                         command.name);
  if (config->worker_count == WORKERS_MAX - 1)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "more than %d workers", WORKERS_MAX - 1);
  if (!equals[1 + strspn(equals + 1, " \t")])
    return bad(problem, "the command is missing");
  if (config_table_put(command.command, sizeof command.command, equals + 1, problem))
    return problem->status;
  config->workers[config->worker_count++] = command;
  return STATUS_OK;
}

static enum status add_host(const struct config_setting *setting, struct config *config,
                            const char *text, struct problem *problem) {
  (void)setting;
  if (config->host_count == CONFIG_HOSTS)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "more than %d hosts", CONFIG_HOSTS);
  enum status status =
      config_table_put(config->hosts[config->host_count], CONFIG_HOST, text, problem);
  config->host_count += !status;
  return status;
}

static enum status add_model_dir(const struct config_setting *setting, struct config *config,
                                 const char *text, struct problem *problem) {
  (void)setting;
  if (config->model_dir_count == CONFIG_MODEL_DIRS)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "more than %d folders", CONFIG_MODEL_DIRS);
  if (text[0] != '/')
    return bad(problem, "must be an absolute path");
  enum status status =
      config_table_put(config->model_dirs[config->model_dir_count], CONFIG_PATH, text, problem);
  config->model_dir_count += !status;
  return status;
}

/* ---- the table ---- */

#define AT(name) .offset = offsetof(struct config, name)
#define TEXT(name) .set = set_text, AT(name), .size = sizeof(((const struct config *)NULL)->name)
#define LIST(fn, counter) .set = (fn), .count = offsetof(struct config, counter)

static const struct config_setting rows[] = {
    {"config", CONFIG_TEXT, CONFIG_FLAG | CONFIG_ENVIRONMENT, "FILE",
     "the configuration file; else $XDG_CONFIG_HOME/memkeep/memkeep.conf, else "
     "/etc/memkeep/memkeep.conf",
     TEXT(file)},
    {"listen", CONFIG_TEXT, CONFIG_EVERYWHERE, "HOST:PORT",
     "where HTTP is served; port 0: any free one (127.0.0.1:7171)", .set = set_listen},
    {"socket", CONFIG_TEXT, CONFIG_EVERYWHERE, "PATH", "the Unix socket (RUNTIME/memkeep.sock)",
     TEXT(socket)},
    {"socket.path", CONFIG_TEXT, CONFIG_FILE, "PATH", "the same", TEXT(socket)},
    {"socket.mode", CONFIG_TEXT, CONFIG_EVERYWHERE, "MODE", "who may connect to it (0600)",
     .set = set_mode, AT(socket_mode)},
    {"socket.group", CONFIG_TEXT, CONFIG_EVERYWHERE, "GROUP", "whom it belongs to beside the user",
     .set = set_group, AT(socket_group)},
    {"state_dir", CONFIG_TEXT, CONFIG_EVERYWHERE, "DIR",
     "where the history is kept (/var/lib/memkeep, or $XDG_STATE_HOME/memkeep)", TEXT(state_dir)},
    {"runtime_dir", CONFIG_TEXT, CONFIG_EVERYWHERE, "DIR",
     "lock, socket and memkeepd.json ($XDG_RUNTIME_DIR/memkeep, /run/memkeep for root)",
     TEXT(runtime_dir)},
    {"device", CONFIG_LIST, CONFIG_EVERYWHERE, "ID=SIZE[,KEY=VALUE...]",
     "a device, as in host:0=2GiB or fake:0=8GiB,rate=20GiB/s; repeatable (host:0, half of the "
     "RAM)",
     LIST(add_device, device_count)},
    {"no_gpu", CONFIG_SWITCH, CONFIG_EVERYWHERE, NULL, "look for no cards", .set = set_switch,
     AT(no_gpu)},
    {"no_vulkan", CONFIG_SWITCH, CONFIG_EVERYWHERE, NULL, "... for none by Vulkan",
     .set = set_switch, AT(no_vulkan)},
    {"worker", CONFIG_LIST, CONFIG_EVERYWHERE, "NAME=COMMAND",
     "one more worker process; no shell; repeatable", LIST(add_worker, worker_count)},
    {"no_worker", CONFIG_SWITCH, CONFIG_EVERYWHERE, NULL,
     "start no worker of our own: nothing can be copied", .set = set_switch, AT(no_worker)},
    {"no_vault", CONFIG_SWITCH, CONFIG_EVERYWHERE, NULL,
     "start no vault: one that runs by itself is found", .set = set_switch, AT(no_vault)},
    {"mover_idle", CONFIG_NUMBER, CONFIG_EVERYWHERE, "TIME",
     "how long a card's worker, and its context there, outlives its last task (30s)",
     .set = set_duration, AT(mover_idle_ns)},
    {"log_level", CONFIG_TEXT, CONFIG_EVERYWHERE, "LEVEL", "error, warning, info or debug (info)",
     .set = set_level, AT(log_level)},
    {"host", CONFIG_LIST, CONFIG_EVERYWHERE, "NAME",
     "a name that the Host header may have beside the loopback's; repeatable",
     LIST(add_host, host_count)},
    {"rate_limit", CONFIG_NUMBER, CONFIG_EVERYWHERE, "N",
     "requests a second that one caller may send, over HTTP and, but for root and the daemon's "
     "user, over the socket; 0: as many as come (0)",
     .set = set_rate, AT(rate_limit)},
    {"tls.certificate", CONFIG_TEXT, CONFIG_EVERYWHERE, "FILE", "PEM; HTTP becomes HTTPS",
     TEXT(certificate)},
    {"tls.key", CONFIG_TEXT, CONFIG_EVERYWHERE, "FILE", "its private key, PEM", TEXT(key)},
    {"thresholds.moderate", CONFIG_NUMBER, CONFIG_EVERYWHERE, "PERCENT",
     "use at which pressure is moderate (75)", .set = set_percent, AT(thresholds.moderate)},
    {"thresholds.high", CONFIG_NUMBER, CONFIG_EVERYWHERE, "PERCENT", "... high (90)",
     .set = set_percent, AT(thresholds.high)},
    {"thresholds.critical", CONFIG_NUMBER, CONFIG_EVERYWHERE, "PERCENT", "... critical (95)",
     .set = set_percent, AT(thresholds.critical)},
    {"model_dir", CONFIG_LIST, CONFIG_EVERYWHERE, "DIR",
     "below which models may be loaded by path; repeatable (home and working directory)",
     LIST(add_model_dir, model_dir_count)},
    {"policy", CONFIG_TEXT, CONFIG_EVERYWHERE, "WORD",
     "which models make room: fifo, lru, lfu, cost, priority, or a preset (fifo)",
     .set = set_policy, AT(policy)},
    {"relief.trigger", CONFIG_NUMBER, CONFIG_EVERYWHERE, "PERCENT",
     "use at which models make room by themselves (80)", .set = set_percent, AT(relief_trigger)},
    {"relief.target", CONFIG_NUMBER, CONFIG_EVERYWHERE, "PERCENT", "... down to which (70)",
     .set = set_percent, AT(relief_target)},
    {"last_resort", CONFIG_TEXT, CONFIG_EVERYWHERE, "WORD",
     "what may go when pressure is critical and nothing else is left: none, or pinned models too "
     "(none)",
     .set = set_last_resort, AT(last_resort)},
    {"predict", CONFIG_TEXT, CONFIG_EVERYWHERE, "on|off",
     "models are parked, and brought into RAM, before that is asked for (off)", .set = set_switch,
     AT(predict)},
    {"predict_seconds", CONFIG_NUMBER, CONFIG_EVERYWHERE, "TIME",
     "... when use is foretold to be high within so long (60s)", .set = set_duration,
     AT(predict_ns)},
    {"cache_ttl", CONFIG_NUMBER, CONFIG_EVERYWHERE, "TIME",
     "how long names and totals of devices are kept (2m)", .set = set_duration, AT(cache_ttl_ns)},
    {"tokens.name", CONFIG_TEXT, CONFIG_FILE, NULL, "tokens = ( { … } ); whose it is",
     .set = config_rows_token_name},
    {"tokens.sha256", CONFIG_TEXT, CONFIG_FILE, NULL,
     "SHA-256 of what the Bearer header says: printf %s SECRET | sha256sum",
     .set = config_rows_digest},
    {"tokens.secret", CONFIG_TEXT, CONFIG_FILE, NULL, "the same, open to all who read this file",
     .set = config_rows_secret},
    {"tokens.secret_file", CONFIG_TEXT, CONFIG_FILE, NULL,
     "a file with the secret in its first line", .set = config_rows_secret_file},
    {"tokens.role", CONFIG_TEXT, CONFIG_FILE, NULL, "read, write or admin",
     .set = config_rows_role},
    {"limits.device", CONFIG_TEXT, CONFIG_FILE, NULL, "limits = ( { … } ); whose they are",
     .set = config_rows_limit_device},
    {"limits.max", CONFIG_NUMBER, CONFIG_FILE, NULL, "how much of it may be committed",
     .set = config_rows_limit_max},
    {"limits.reserved", CONFIG_NUMBER, CONFIG_FILE, NULL, "how much of that is never given out",
     .set = config_rows_limit_reserved},
    {"check_config", CONFIG_SWITCH, CONFIG_FLAG, NULL, "say whether all of this is right, and end",
     .set = set_switch, AT(check)},
    {"help", CONFIG_SWITCH, CONFIG_FLAG, NULL, "this", .set = set_switch, AT(help)},
    {"version", CONFIG_SWITCH, CONFIG_FLAG, NULL, "which one", .set = set_switch, AT(version)},
};
#define ROWS (sizeof rows / sizeof *rows)
_Static_assert(ROWS <= CONFIG_TABLE_MAX, "CONFIG_TABLE_MAX is too small");

const struct config_setting *config_table_rows(size_t *count) {
  *count = ROWS;
  return rows;
}

/* Also lastResort for last_resort, as the API would spell it. */
static bool is_named(const char *name, const char *said) {
  for (; *name && *said; name++, said++) {
    bool hump = *name == '_' && isupper((unsigned char)*said);
    name += hump;
    if (*name != (hump ? tolower((unsigned char)*said) : *said))
      return false;
  }
  return !*name && !*said;
}

const struct config_setting *config_table_find(const char *name) {
  for (size_t i = 0; i < ROWS; i++)
    if (is_named(rows[i].name, name))
      return &rows[i];
  return NULL;
}

bool config_table_is_group(const char *name) {
  size_t n = strlen(name);
  for (size_t i = 0; i < ROWS; i++)
    if (!strncmp(rows[i].name, name, n) && rows[i].name[n] == '.')
      return true;
  return false;
}
