/*
 * os_runtime: where a user's daemon keeps its socket, lock and facts unless told otherwise. The
 * daemon and its clients find each other by asking here.
 */
#ifndef BASE_OS_RUNTIME_H
#define BASE_OS_RUNTIME_H

#include <stddef.h>

#include "base/status.h"

#define OS_RUNTIME_SOCKET_MAX 107 /* longest path of a Unix socket, without its NUL */

/* /run/memkeep for root, else $XDG_RUNTIME_DIR/memkeep, else /tmp/memkeep-UID. Makes nothing.
 * INVALID_ARGUMENT: longer than size - 1. */
enum status os_runtime_dir(char *out, size_t size);

#endif
