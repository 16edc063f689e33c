/*
 * os_folder: folders of our own. Any thread that may wait for a disk.
 */
#ifndef BASE_OS_FOLDER_H
#define BASE_OS_FOLDER_H

#include <stddef.h>

#include "base/status.h"

/* Makes the folder and what is missing above it, for us alone. FORBIDDEN, CONFLICT (something else
 * is there), INTERNAL_ERROR: it is not there afterwards. */
enum status os_folder_make(const char *path);
/* Where a user's daemon keeps what outlives a restart: /var/lib/memkeep for root, else
 * $XDG_STATE_HOME/memkeep, else ~/.local/state/memkeep. Makes nothing. INVALID_ARGUMENT: there is
 * no such place, or it is longer than size - 1. */
enum status os_folder_state(char *out, size_t size);

#endif
