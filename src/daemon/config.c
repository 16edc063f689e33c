/*
 * config: layers are applied from the lowest to the highest, so that a wrong value is found
 * wherever it stands, also where a higher layer would hide it. A layer that names a list replaces
 * what lower ones had put into it.
 */
#include "daemon/config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/os_folder.h"
#include "base/os_runtime.h"
#include "daemon/config_file.h"
#include "daemon/config_rows.h"
#include "daemon/config_table.h"
#include "model/policy.h"

#define NAME_SIZE 64
#define SYSTEM_FILE "/etc/memkeep/memkeep.conf"
#define HELP_COLUMN 34

enum layer { LAYER_DEFAULT, LAYER_FILE, LAYER_ENVIRONMENT, LAYER_FLAG };

struct load {
  struct config *config;
  struct config_refusal *refusal;
  enum layer layer;
  /* By row of the table: who set it last. */
  enum layer layers[CONFIG_TABLE_MAX];
  unsigned lines[CONFIG_TABLE_MAX];
};

/* A flag as it was given. */
struct flag {
  const struct config_setting *setting;
  const char *text;
};

static struct problem *at_place(struct config_refusal *refusal, const char *where) {
  snprintf(refusal->where, sizeof refusal->where, "%s", where);
  return &refusal->problem;
}

#define refuse(refusal, where, ...)                                                                \
  problem_set(at_place((refusal), (where)), STATUS_INVALID_ARGUMENT, __VA_ARGS__)

static size_t index_of(const struct config_setting *setting) {
  size_t count;
  return (size_t)(setting - config_table_rows(&count));
}

/* ---- names ---- */

/* "tls.key" as tls-key (a flag) or MEMKEEP_TLS_KEY (a variable). */
static const char *name_as(const struct config_setting *setting, enum layer layer,
                           char out[NAME_SIZE]) {
  bool flag = layer == LAYER_FLAG;
  int n = snprintf(out, NAME_SIZE, "%s%s", flag ? "" : "MEMKEEP_", setting->name);
  for (int i = 0; i < n && i < NAME_SIZE; i++) {
    if (out[i] == '.' || out[i] == '_')
      out[i] = flag ? '-' : '_';
    out[i] = flag ? out[i] : (char)toupper((unsigned char)out[i]);
  }
  return out;
}

/* ---- one value ---- */

static enum status apply(struct load *load, const struct config_setting *setting, const char *text,
                         const char *where) {
  struct config *config = load->config;
  size_t index = index_of(setting);
  if (setting->kind == CONFIG_LIST && load->layers[index] != load->layer)
    *(uint32_t *)((char *)config + setting->count) = 0;
  load->layers[index] = load->layer;
  struct problem problem = {.status = STATUS_OK};
  if (!setting->set(setting, config, text, &problem))
    return STATUS_OK;
  bool secret = strstr(setting->name, "secret");
  return refuse(load->refusal, where, "%s%s%.80s: %s", setting->name, secret ? "" : " = ",
                secret ? "" : text, problem.text);
}

/* ---- the file ---- */

/* Lists may be named in the plural: devices = [ … ]. */
static const struct config_setting *find_key(const char *key) {
  const struct config_setting *setting = config_table_find(key);
  size_t n = strlen(key);
  char singular[NAME_SIZE];
  if (!setting && n > 1 && n < sizeof singular && key[n - 1] == 's') {
    memcpy(singular, key, n - 1);
    singular[n - 1] = '\0';
    setting = config_table_find(singular);
    setting = setting && setting->kind == CONFIG_LIST ? setting : NULL;
  }
  return setting && setting->where & CONFIG_FILE ? setting : NULL;
}

static enum status take_aggregate(struct load *load, const struct config_file_item *item,
                                  const char *where) {
  const struct config_setting *setting = find_key(item->key);
  bool group = config_table_is_group(item->key), rows = config_rows_known(item->key);
  bool fits = item->type == CONFIG_FILE_LIST ? rows || (setting && setting->kind == CONFIG_LIST)
                                             : group && !rows;
  if (fits && !item->in_list)
    return STATUS_OK;
  if (!setting && !group)
    return refuse(load->refusal, where, "%s: no such setting", item->key);
  return refuse(load->refusal, where, "%s cannot be a %s", item->key,
                item->type == CONFIG_FILE_LIST ? "list" : "group");
}

static enum status take_row(struct load *load, const struct config_file_item *item,
                            const char *where) {
  struct problem problem = {.status = STATUS_OK};
  enum status status = item->type == CONFIG_FILE_ROW
                           ? config_rows_open(load->config, item->key, &problem)
                           : config_rows_close(load->config, item->key, &problem);
  return status ? refuse(load->refusal, where, "%s: %s", item->key, problem.text) : STATUS_OK;
}

static enum status take_scalar(struct load *load, const struct config_file_item *item,
                               const char *where) {
  static const char *const wanted[] = {[CONFIG_TEXT] = "a string, in quotes",
                                       [CONFIG_NUMBER] = "a number, or a string with its unit",
                                       [CONFIG_SWITCH] = "true or false",
                                       [CONFIG_LIST] = "a list of strings"};
  const struct config_setting *setting = find_key(item->key);
  if (!setting && config_table_is_group(item->key))
    return refuse(load->refusal, where, "%s must be a %s", item->key,
                  config_rows_known(item->key) ? "list of groups" : "group");
  if (!setting)
    return refuse(load->refusal, where, "%s: no such setting", item->key);
  bool fits = setting->kind == CONFIG_SWITCH   ? item->type == CONFIG_FILE_SWITCH
              : setting->kind == CONFIG_NUMBER ? item->type != CONFIG_FILE_SWITCH
                                               : item->type == CONFIG_FILE_TEXT;
  if (!fits || (item->in_list && setting->kind != CONFIG_LIST))
    return refuse(load->refusal, where, "%s must be %s", item->key, wanted[setting->kind]);
  load->lines[index_of(setting)] = item->line;
  return apply(load, setting, item->text, where);
}

static enum status take_item(void *arg, const struct config_file_item *item) {
  struct load *load = arg;
  char where[sizeof load->refusal->where];
  snprintf(where, sizeof where, "%s:%u", item->file, item->line);
  switch (item->type) {
  case CONFIG_FILE_GROUP:
  case CONFIG_FILE_LIST:
    return take_aggregate(load, item, where);
  case CONFIG_FILE_ROW:
  case CONFIG_FILE_ROW_END:
    return take_row(load, item, where);
  default:
    return take_scalar(load, item, where);
  }
}

/* `must`: it was asked for by name. */
static enum status read_file(struct load *load, const char *path, bool must) {
  struct config_file_error error = {.line = 0};
  char where[sizeof error.file + 16];
  enum status status = config_file_read(path, take_item, load, &error);
  if (status == STATUS_NOT_FOUND && !must)
    return STATUS_NOT_FOUND;
  if (!status)
    snprintf(load->config->file, sizeof load->config->file, "%s", path);
  if (!status || load->refusal->problem.status)
    return status;
  int n = snprintf(where, sizeof where, "%s", error.file);
  if (error.line)
    snprintf(where + n, sizeof where - (size_t)n, ":%u", error.line);
  return refuse(load->refusal, where, "%s", error.reason);
}

static enum status read_default_file(struct load *load) {
  const char *home = getenv("HOME"), *folder = getenv("XDG_CONFIG_HOME");
  char path[CONFIG_PATH] = "";
  if (folder && folder[0] == '/')
    snprintf(path, sizeof path, "%s/memkeep/memkeep.conf", folder);
  else if (home && home[0] == '/')
    snprintf(path, sizeof path, "%s/.config/memkeep/memkeep.conf", home);
  enum status status = path[0] ? read_file(load, path, false) : STATUS_NOT_FOUND;
  if (status == STATUS_NOT_FOUND)
    status = read_file(load, SYSTEM_FILE, false);
  return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* ---- the environment ---- */

static char *trim(char *word) {
  word += strspn(word, " \t\n");
  size_t n = strlen(word);
  while (n && strchr(" \t\n", word[n - 1]))
    word[--n] = '\0';
  return word;
}

static enum status take_variable(struct load *load, const struct config_setting *setting,
                                 const char *name, const char *text) {
  if (setting->kind != CONFIG_LIST)
    return apply(load, setting, text, name);
  char *copy = strdup(text), *rest = copy;
  enum status status = copy ? STATUS_OK : STATUS_INTERNAL_ERROR;
  for (char *word; !status && (word = strsep(&rest, ";"));) {
    word = trim(word);
    if (word[0])
      status = apply(load, setting, word, name);
  }
  free(copy);
  return status;
}

static enum status read_environment(struct load *load) {
  size_t count;
  const struct config_setting *rows = config_table_rows(&count);
  enum status status = STATUS_OK;
  load->layer = LAYER_ENVIRONMENT;
  for (size_t i = 0; i < count && !status; i++) {
    char name[NAME_SIZE];
    const char *text = getenv(name_as(&rows[i], LAYER_ENVIRONMENT, name));
    if (text && text[0] && rows[i].where & CONFIG_ENVIRONMENT)
      status = take_variable(load, &rows[i], name, text);
  }
  return status;
}

/* ---- flags ---- */

static enum status bad_flag(struct config_refusal *refusal, int code, char **argv) {
  const char *word = argv[optind - 1];
  if (code == ':')
    return refuse(refusal, word, "needs a value");
  return refuse(refusal, word, "no such flag, or one that takes no value; see memkeepd --help");
}

/* *flags has room for argc. */
static enum status parse_flags(int argc, char **argv, struct flag *flags, unsigned *count,
                               struct config_refusal *refusal) {
  struct option options[CONFIG_TABLE_MAX] = {{0}};
  char names[CONFIG_TABLE_MAX][NAME_SIZE];
  size_t settings, used = 0;
  const struct config_setting *rows = config_table_rows(&settings);
  for (size_t i = 0; i < settings; i++) {
    if (!(rows[i].where & CONFIG_FLAG))
      continue;
    options[used] = (struct option){.name = name_as(&rows[i], LAYER_FLAG, names[used]),
                                    .has_arg = rows[i].kind == CONFIG_SWITCH ? optional_argument
                                                                             : required_argument,
                                    .val = 256 + (int)i};
    used++;
  }
  *count = 0;
  optind = 0; /* starts getopt anew, also the second time */
  opterr = 0;
  for (int code; (code = getopt_long(argc, argv, ":", options, NULL)) != -1;) {
    if (code < 256)
      return bad_flag(refusal, code, argv);
    flags[(*count)++] = (struct flag){&rows[code - 256], optarg ? optarg : "true"};
  }
  if (optind < argc)
    return refuse(refusal, argv[optind], "is no flag; see memkeepd --help");
  return STATUS_OK;
}

static enum status take_flags(struct load *load, const struct flag *flags, unsigned count) {
  enum status status = STATUS_OK;
  load->layer = LAYER_FLAG;
  for (unsigned i = 0; i < count && !status; i++) {
    char name[NAME_SIZE], where[NAME_SIZE + 2];
    snprintf(where, sizeof where, "--%s", name_as(flags[i].setting, LAYER_FLAG, name));
    status = apply(load, flags[i].setting, flags[i].text, where);
  }
  return status;
}

/* ---- what only the whole shows ---- */

/* Refuses what a setting says together with others, at the place where it was set. */
static enum status refuse_setting(struct load *load, const char *name, const char *reason) {
  const struct config_setting *setting = config_table_find(name);
  size_t index = index_of(setting);
  char text[NAME_SIZE], where[sizeof load->refusal->where];
  switch (load->layers[index]) {
  case LAYER_FILE:
    snprintf(where, sizeof where, "%s:%u", load->config->file, load->lines[index]);
    break;
  case LAYER_ENVIRONMENT:
    snprintf(where, sizeof where, "%s", name_as(setting, LAYER_ENVIRONMENT, text));
    break;
  case LAYER_FLAG:
    snprintf(where, sizeof where, "--%s", name_as(setting, LAYER_FLAG, text));
    break;
  default:
    snprintf(where, sizeof where, "%s", name);
  }
  return refuse(load->refusal, where, "%s", reason);
}

/* Which of these settings somebody set; the first when nobody did. */
static const char *said(const struct load *load, const char *const *names) {
  for (const char *const *name = names; *name; name++)
    if (load->layers[index_of(config_table_find(*name))] != LAYER_DEFAULT)
      return *name;
  return names[0];
}

static bool was_said(const struct load *load, const char *const *names) {
  const char *first = said(load, names);
  return load->layers[index_of(config_table_find(first))] != LAYER_DEFAULT;
}

static bool is_loopback(const char *address) {
  struct in_addr four;
  if (inet_pton(AF_INET, address, &four) == 1)
    return ntohl(four.s_addr) >> 24 == 127;
  return !strcmp(address, "::1");
}

/* A host device without a size is the whole RAM: another beside it would promise the same pages. */
static bool promises_twice(const struct config *config) {
  unsigned hosts = 0, whole = 0;
  for (uint32_t i = 0; i < config->device_count; i++) {
    if (strcmp(config->devices[i].backend, "host") != 0)
      continue;
    hosts++;
    whole += !config->devices[i].size_bytes;
  }
  return whole && hosts > 1;
}

static enum status check(struct load *load) {
  static const char *const thresholds[] = {"thresholds.moderate", "thresholds.high",
                                           "thresholds.critical", NULL};
  static const char *const relief[] = {"relief.target", "relief.trigger", NULL};
  static const char *const sockets[] = {"socket", "socket.path", "runtime_dir", NULL};
  struct config *config = load->config;
  config->thresholds_said = was_said(load, thresholds);
  if (!is_loopback(config->address) && !config->token_count)
    return refuse_setting(load, "listen",
                          "this address is open to others than the loopback: configure tokens "
                          "first, or listen on 127.0.0.1");
  if (!config->certificate[0] != !config->key[0])
    return refuse_setting(load, config->key[0] ? "tls.key" : "tls.certificate",
                          "tls needs both, certificate and key");
  if (!pressure_thresholds_valid(&config->thresholds))
    return refuse_setting(load, said(load, thresholds),
                          "thresholds must rise: moderate < high < critical");
  if (config->relief_target > config->relief_trigger)
    return refuse_setting(load, said(load, relief), "relief must end below where it begins");
  if (promises_twice(config))
    return refuse_setting(load, "device",
                          "a host device without a size cannot stand beside another one: give "
                          "each a size, as in host:0=2GiB");
  if (strlen(config->socket) > OS_RUNTIME_SOCKET_MAX)
    return refuse_setting(load, said(load, sockets),
                          "the path is longer than 107 bytes, which is all that a "
                          "socket's address can hold");
  return STATUS_OK;
}

static enum status complete(struct load *load) {
  struct config *config = load->config;
  if (!config->runtime_dir[0] && os_runtime_dir(config->runtime_dir, sizeof config->runtime_dir))
    return refuse_setting(load, "runtime_dir", "no default could be found, name one");
  if (!config->state_dir[0] && os_folder_state(config->state_dir, sizeof config->state_dir))
    config->state_dir[0] = '\0'; /* then there is no history */
  int n = (int)strlen(config->socket);
  if (!n)
    n = snprintf(config->socket, sizeof config->socket, "%s/memkeep.sock", config->runtime_dir);
  if (n >= (int)sizeof config->socket)
    return refuse_setting(load, "runtime_dir", "the path is too long");
  return check(load);
}

/* ---- all of it ---- */

static void set_defaults(struct config *config) {
  memcpy(config->address, "127.0.0.1", sizeof "127.0.0.1");
  config->port = 7171;
  config->socket_mode = 0600;
  config->socket_group = -1;
  config->log_level = LOG_LEVEL_INFO;
  config->thresholds = PRESSURE_DEFAULTS;
  config->relief_trigger = 8000;
  config->relief_target = 7000;
  config->policy = POLICY_FIFO;
  config->predict_ns = 60 * CLOCK_SECOND;
  config->cache_ttl_ns = 120 * CLOCK_SECOND;
  config->mover_idle_ns = 30 * CLOCK_SECOND;
}

static const char *named_file(const struct flag *flags, unsigned count) {
  const char *path = getenv("MEMKEEP_CONFIG");
  for (unsigned i = 0; i < count; i++)
    if (!strcmp(flags[i].setting->name, "config"))
      path = flags[i].text;
  return path && path[0] ? path : NULL;
}

static enum status read_layers(struct load *load, const struct flag *flags, unsigned count) {
  struct config *config = load->config;
  for (unsigned i = 0; i < count; i++) {
    config->help |= !strcmp(flags[i].setting->name, "help");
    config->version |= !strcmp(flags[i].setting->name, "version");
  }
  if (config->help || config->version)
    return STATUS_OK;
  const char *path = named_file(flags, count);
  load->layer = LAYER_FILE;
  enum status status = path ? read_file(load, path, true) : read_default_file(load);
  if (!status)
    status = read_environment(load);
  if (!status)
    status = take_flags(load, flags, count);
  return status ? status : complete(load);
}

enum status config_load(int argc, char **argv, struct config **out,
                        struct config_refusal *refusal) {
  struct config *config = calloc(1, sizeof *config);
  struct flag *flags = calloc((size_t)argc + 1, sizeof *flags);
  struct load load = {.config = config, .refusal = refusal};
  unsigned count;
  *refusal = (struct config_refusal){.where = ""};
  *out = NULL;
  enum status status = STATUS_INTERNAL_ERROR;
  if (config && flags) {
    set_defaults(config);
    status = parse_flags(argc, argv, flags, &count, refusal);
  }
  if (!status)
    status = read_layers(&load, flags, count);
  free(flags);
  if (!status) {
    *out = config;
    return STATUS_OK;
  }
  config_free(config);
  if (!refusal->problem.status)
    problem_set(&refusal->problem, status, "not enough memory to start");
  return status;
}

void config_free(struct config *config) {
  if (config)
    explicit_bzero(config->tokens, sizeof config->tokens);
  free(config);
}

void config_help(FILE *out) {
  size_t count;
  const struct config_setting *rows = config_table_rows(&count);
  fputs(
      "memkeepd: the keeper of this host's accelerator memory.\n\n"
      "Needs no configuration. A flag beats the environment (--tls-key: MEMKEEP_TLS_KEY; lists\n"
      "parted by ';'), that beats the file (tls = { key = \"…\"; };), that beats the default.\n\n",
      out);
  for (size_t i = 0; i < count; i++) {
    char name[NAME_SIZE], left[2 * NAME_SIZE];
    bool flag = rows[i].where & CONFIG_FLAG;
    snprintf(left, sizeof left, "  %s%s%s%s", flag ? "--" : "",
             flag ? name_as(&rows[i], LAYER_FLAG, name) : rows[i].name,
             flag && rows[i].argument ? " " : "", flag && rows[i].argument ? rows[i].argument : "");
    fprintf(out, "%-*s%s%s\n", HELP_COLUMN, left,
            strlen(left) < HELP_COLUMN ? "" : "\n                                  ", rows[i].doc);
  }
}
