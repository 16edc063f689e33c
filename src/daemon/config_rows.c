/*
 * config_rows: a new row is opened, its settings are put into the last one there is, then it is
 * closed.
 */
#include "daemon/config_rows.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/id.h"
#include "base/units.h"
#include "daemon/config_table.h"

#define ROWS_TOKENS "tokens"
#define ROWS_LIMITS "limits"
#define ONE_SECRET "a token has one secret: its sha256, a secret_file or a secret"

static enum status bad(struct problem *problem, const char *reason) {
  return problem_set(problem, STATUS_INVALID_ARGUMENT, "%s", reason);
}

/* ---- tokens ---- */

static struct http_token *last_token(struct config *config) {
  return &config->tokens[config->token_count - 1];
}

enum status config_rows_token_name(const struct config_setting *setting, struct config *config,
                                   const char *text, struct problem *problem) {
  (void)setting;
  if (!id_is_token(text))
    return bad(problem, "a token's name is made of letters, digits, '.', '_' and '-'");
  for (uint32_t i = 0; i + 1 < config->token_count; i++)
    if (!strcmp(config->tokens[i].name, text))
      return problem_set(problem, STATUS_INVALID_ARGUMENT, "token %s is there twice", text);
  return config_table_put(last_token(config)->name, sizeof last_token(config)->name, text, problem);
}

static bool has_secret(const struct http_token *token) {
  return token->secret[0] || token->sha256[0];
}

enum status config_rows_secret(const struct config_setting *setting, struct config *config,
                               const char *text, struct problem *problem) {
  (void)setting;
  struct http_token *token = last_token(config);
  if (has_secret(token))
    return bad(problem, ONE_SECRET);
  for (const char *c = text; *c; c++)
    if (*c <= ' ' || *c > '~')
      return bad(problem, "a secret is made of visible ASCII without blanks");
  return config_table_put(token->secret, sizeof token->secret, text, problem);
}

/* The first line of the file. */
enum status config_rows_secret_file(const struct config_setting *setting, struct config *config,
                                    const char *text, struct problem *problem) {
  char secret[sizeof last_token(config)->secret + 1] = "";
  int fd = open(text, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  ssize_t n = fd < 0 ? -1 : read(fd, secret, sizeof secret - 1);
  if (fd >= 0)
    close(fd);
  if (n < 0)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%.200s cannot be read", text);
  secret[strcspn(secret, "\r\n")] = '\0';
  enum status status = config_rows_secret(setting, config, secret, problem);
  explicit_bzero(secret, sizeof secret);
  return status;
}

enum status config_rows_digest(const struct config_setting *setting, struct config *config,
                               const char *text, struct problem *problem) {
  (void)setting;
  struct http_token *token = last_token(config);
  if (has_secret(token))
    return bad(problem, ONE_SECRET);
  if (strlen(text) != sizeof token->sha256 - 1 || text[strspn(text, "0123456789abcdefABCDEF")])
    return bad(problem, "must be 64 hexadecimal digits, as sha256sum prints them");
  return config_table_put(token->sha256, sizeof token->sha256, text, problem);
}

enum status config_rows_role(const struct config_setting *setting, struct config *config,
                             const char *text, struct problem *problem) {
  (void)setting;
  static const char *const words[] = {[CALLER_NONE] = "", [CALLER_READ] = "read", "write", "admin"};
  for (int role = CALLER_READ; role <= CALLER_ADMIN; role++)
    if (!strcmp(words[role], text))
      last_token(config)->role = (enum caller_role)role;
  return last_token(config)->role ? STATUS_OK : bad(problem, "must be read, write or admin");
}

/* ---- limits ---- */

static struct config_limit *last_limit(struct config *config) {
  return &config->limits[config->limit_count - 1];
}

enum status config_rows_limit_device(const struct config_setting *setting, struct config *config,
                                     const char *text, struct problem *problem) {
  (void)setting;
  for (uint32_t i = 0; i + 1 < config->limit_count; i++)
    if (!strcmp(config->limits[i].device, text))
      return problem_set(problem, STATUS_INVALID_ARGUMENT, "%.40s is there twice", text);
  return config_table_put(last_limit(config)->device, SPEC_ID, text, problem);
}

static enum status set_size(const char *text, bool *said, uint64_t *bytes,
                            struct problem *problem) {
  if (!units_parse(text, bytes))
    return bad(problem, "is no size; write it like \"8GiB\" or \"512M\"");
  *said = true;
  return STATUS_OK;
}

enum status config_rows_limit_max(const struct config_setting *setting, struct config *config,
                                  const char *text, struct problem *problem) {
  (void)setting;
  struct config_limit *limit = last_limit(config);
  return set_size(text, &limit->has_max, &limit->max_bytes, problem);
}

enum status config_rows_limit_reserved(const struct config_setting *setting, struct config *config,
                                       const char *text, struct problem *problem) {
  (void)setting;
  struct config_limit *limit = last_limit(config);
  return set_size(text, &limit->has_reserved, &limit->reserved_bytes, problem);
}

/* ---- both ---- */

enum status config_rows_open(struct config *config, const char *list, struct problem *problem) {
  bool tokens = !strcmp(list, ROWS_TOKENS);
  if (!config_rows_known(list))
    return problem_set(problem, STATUS_UNKNOWN_FIELD, "it is no list of groups");
  if (tokens ? config->token_count == HTTP_TOKENS : config->limit_count == VIEW_DEVICES)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "more than %d %s",
                       tokens ? HTTP_TOKENS : VIEW_DEVICES, list);
  if (tokens)
    config->tokens[config->token_count++] = (struct http_token){.role = CALLER_NONE};
  else
    config->limits[config->limit_count++] = (struct config_limit){.has_max = false};
  return STATUS_OK;
}

enum status config_rows_close(struct config *config, const char *list, struct problem *problem) {
  if (!strcmp(list, ROWS_TOKENS)) {
    const struct http_token *token = last_token(config);
    return token->name[0] && has_secret(token) && token->role
               ? STATUS_OK
               : bad(problem, "a token has a name, a sha256, secret_file or secret, and a role");
  }
  const struct config_limit *limit = last_limit(config);
  return limit->device[0] && (limit->has_max || limit->has_reserved)
             ? STATUS_OK
             : bad(problem, "a limit has a device, and max or reserved");
}

bool config_rows_known(const char *name) {
  return !strcmp(name, ROWS_TOKENS) || !strcmp(name, ROWS_LIMITS);
}
