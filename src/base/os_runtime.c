/*
 * os_runtime: a folder that goes with the session or the machine, as the XDG base directory
 * specification has it; a relative path there is invalid and passed over, as it says.
 */
#include "base/os_runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum status os_runtime_dir(char *out, size_t size) {
  const char *session = getenv("XDG_RUNTIME_DIR");
  unsigned user = (unsigned)geteuid();
  int n;
  if (user == 0)
    n = snprintf(out, size, "/run/memkeep");
  else if (session && *session == '/')
    n = snprintf(out, size, "%s/memkeep", session);
  else
    n = snprintf(out, size, "/tmp/memkeep-%u", user);
  return n > 0 && (size_t)n < size ? STATUS_OK : STATUS_INVALID_ARGUMENT;
}
