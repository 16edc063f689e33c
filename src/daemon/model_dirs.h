/*
 * model_dirs: the folders that models may be loaded from by path, as they really are: those that
 * were configured, else the home of the daemon's user and the working directory, unless that is /.
 */
#ifndef DAEMON_MODEL_DIRS_H
#define DAEMON_MODEL_DIRS_H

#include "daemon/config.h"

struct model_dirs {
  char *paths[CONFIG_MODEL_DIRS + 1]; /* NULL-terminated */
  uint32_t count;
};

/* Looks at the file system. One that is not there is kept as it was written, for it may be mounted
 * later, and said in the log. INTERNAL_ERROR: no memory. */
enum status model_dirs_init(struct model_dirs *dirs, const struct config *config);
/* Zeroed is fine. */
void model_dirs_done(struct model_dirs *dirs);

#endif
