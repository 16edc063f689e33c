/*
 * model_dirs: paths are compared by where they really lead (base/os_path), so symbolic links in the
 * folders' own names are followed here, once.
 */
#include "daemon/model_dirs.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool has(const struct model_dirs *dirs, const char *path) {
  for (uint32_t i = 0; i < dirs->count; i++)
    if (!strcmp(dirs->paths[i], path))
      return true;
  return false;
}

static enum status add(struct model_dirs *dirs, const char *path) {
  char *real = realpath(path, NULL);
  if (!real && errno != ENOMEM) {
    log_warning("daemon", "model_dir %s: %s", path, strerrordesc_np(errno));
    real = strdup(path);
  }
  if (!real)
    return STATUS_INTERNAL_ERROR;
  if (has(dirs, real))
    free(real);
  else
    dirs->paths[dirs->count++] = real;
  return STATUS_OK;
}

/* Nobody said so: what is everything, or is not there, is not meant. */
static enum status add_default(struct model_dirs *dirs, const char *path) {
  char *real = path && path[0] == '/' ? realpath(path, NULL) : NULL;
  bool meant = real && strcmp(real, "/") != 0;
  enum status status = meant ? add(dirs, real) : STATUS_OK;
  free(real);
  return status;
}

static const char *home(void) {
  const char *path = getenv("HOME");
  if (path && path[0] == '/')
    return path;
  const struct passwd *user = getpwuid(geteuid());
  return user ? user->pw_dir : NULL;
}

static enum status add_defaults(struct model_dirs *dirs) {
  char *here = getcwd(NULL, 0);
  enum status status = add_default(dirs, home());
  if (!status)
    status = add_default(dirs, here);
  free(here);
  return status;
}

enum status model_dirs_init(struct model_dirs *dirs, const struct config *config) {
  *dirs = (struct model_dirs){.count = 0};
  enum status status = config->model_dir_count ? STATUS_OK : add_defaults(dirs);
  for (uint32_t i = 0; !status && i < config->model_dir_count; i++)
    status = add(dirs, config->model_dirs[i]);
  if (status)
    model_dirs_done(dirs);
  return status;
}

void model_dirs_done(struct model_dirs *dirs) {
  for (uint32_t i = 0; i < dirs->count; i++)
    free(dirs->paths[i]);
  *dirs = (struct model_dirs){.count = 0};
}
