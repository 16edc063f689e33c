/*
 * config_file: opened here, so that the reason of a failure is known; parsed by libconfig; walked
 * in the order of the file.
 */
#include "daemon/config_file.h"

#include <errno.h>
#include <libconfig.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define KEY_SIZE 128
#define NUMBER_SIZE 32
#define MAX_DEPTH 4 /* a list of groups; deeper is nobody's setting */

struct walk {
  const char *path;
  config_file_fn *fn;
  void *arg;
};

static enum status tell(const struct walk *walk, const config_setting_t *setting,
                        struct config_file_item item) {
  item.file = setting->file ? setting->file : walk->path;
  item.line = setting->line;
  return walk->fn(walk->arg, &item);
}

static enum status tell_scalar(const struct walk *walk, const config_setting_t *setting,
                               struct config_file_item item) {
  char number[NUMBER_SIZE];
  item.type = CONFIG_FILE_NUMBER;
  item.text = number;
  switch (config_setting_type(setting)) {
  case CONFIG_TYPE_STRING:
    item.type = CONFIG_FILE_TEXT;
    item.text = config_setting_get_string(setting);
    break;
  case CONFIG_TYPE_BOOL:
    item.type = CONFIG_FILE_SWITCH;
    item.text = config_setting_get_bool(setting) ? "true" : "false";
    break;
  case CONFIG_TYPE_FLOAT:
    snprintf(number, sizeof number, "%.10g", config_setting_get_float(setting));
    break;
  default:
    snprintf(number, sizeof number, "%lld", config_setting_get_int64(setting));
  }
  return tell(walk, setting, item);
}

static enum status visit(const struct walk *walk, const config_setting_t *setting, const char *key,
                         unsigned depth);

/* Members of a group as "key.member", elements of a list under the list's own key. */
static enum status visit_children(const struct walk *walk, const config_setting_t *setting,
                                  const char *key, unsigned depth) {
  enum status status = STATUS_OK;
  for (int i = 0; i < config_setting_length(setting) && !status; i++) {
    const config_setting_t *child = config_setting_get_elem(setting, (unsigned)i);
    char name[KEY_SIZE];
    snprintf(name, sizeof name, "%s%s%s", key, key[0] && child->name ? "." : "",
             child->name ? child->name : "");
    status = visit(walk, child, name, depth);
  }
  return status;
}

static enum status visit(const struct walk *walk, const config_setting_t *setting, const char *key,
                         unsigned depth) {
  bool in_list = !setting->name;
  struct config_file_item item = {.key = key, .in_list = in_list};
  if (!config_setting_is_aggregate(setting))
    return tell_scalar(walk, setting, item);
  bool row = in_list && config_setting_is_group(setting);
  item.type = row                                ? CONFIG_FILE_ROW
              : config_setting_is_group(setting) ? CONFIG_FILE_GROUP
                                                 : CONFIG_FILE_LIST;
  enum status status = tell(walk, setting, item);
  if (!status && depth < MAX_DEPTH)
    status = visit_children(walk, setting, key, depth + 1);
  item.type = CONFIG_FILE_ROW_END;
  return status || !row ? status : tell(walk, setting, item);
}

static enum status refuse(struct config_file_error *error, const char *file, int line,
                          const char *reason) {
  snprintf(error->file, sizeof error->file, "%s", file);
  snprintf(error->reason, sizeof error->reason, "%s", reason);
  error->line = line > 0 ? (unsigned)line : 0;
  return STATUS_INVALID_ARGUMENT;
}

static enum status parse(FILE *stream, const struct walk *walk, struct config_file_error *error) {
  config_t config;
  config_init(&config);
  enum status status;
  if (config_read(&config, stream)) {
    status = visit_children(walk, config_root_setting(&config), "", 0);
  } else {
    const char *file = config_error_file(&config);
    status = refuse(error, file ? file : walk->path, config_error_line(&config),
                    config_error_text(&config));
  }
  config_destroy(&config);
  return status;
}

enum status config_file_read(const char *path, config_file_fn *fn, void *arg,
                             struct config_file_error *error) {
  struct walk walk = {path, fn, arg};
  struct stat info;
  FILE *stream = fopen(path, "re");
  if (!stream) {
    int reason = errno;
    refuse(error, path, 0, strerrordesc_np(reason));
    return reason == ENOENT || reason == ENOTDIR ? STATUS_NOT_FOUND : STATUS_INVALID_ARGUMENT;
  }
  enum status status = fstat(fileno(stream), &info) || S_ISDIR(info.st_mode)
                           ? refuse(error, path, 0, "is no file")
                           : parse(stream, &walk, error);
  fclose(stream);
  return status;
}
