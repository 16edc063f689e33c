/*
 * os_sandbox: a process that is about to read what an enemy wrote gives up all that it does not
 * need. Its thread, the only one, can compute, take memory, read at places of the files that it has
 * open, and write to two of them. Whatever else it asks of the kernel ends it (SIGSYS); so does
 * more processor time than it said (SIGXCPU). More memory than it said it does not get.
 */
#ifndef BASE_OS_SANDBOX_H
#define BASE_OS_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/share.h"
#include "base/status.h"

struct os_sandbox_params {
  uint64_t memory_bytes;           /* of address space, with what it has already */
  unsigned cpu_seconds;            /* with those that it had already */
  uint64_t file_bytes;             /* the largest offset that it writes to */
  const struct share *file, *pipe; /* what it writes with os_bytes_write, and os_bytes_say */
};

/* There is no way back. INTERNAL_ERROR: this kernel cannot; then nothing of an enemy's must be
 * read. */
enum status os_sandbox_enter(const struct os_sandbox_params *params);
/* False: in this build entering changes nothing, for a sanitizer's runtime needs more than is left.
 */
bool os_sandbox_is_strict(void);

#endif
