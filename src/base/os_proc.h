/*
 * os_proc: what the kernel says about memory and processes, read from /proc at each call and never
 * kept. Any thread. A call costs three system calls, os_proc_top three for each process there is:
 * not under a lock.
 *
 * NOT_FOUND: no such process, or a kernel that does not tell. INTERNAL_ERROR: /proc cannot be read.
 */
#ifndef BASE_OS_PROC_H
#define BASE_OS_PROC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"

#define OS_PROC_NAME 64 /* with the NUL; programs have 15 bytes at most, kernel threads more */
#define OS_PROC_TOP 64  /* longest list of os_proc_top */

struct os_proc_memory {
  uint64_t total_bytes;
  uint64_t available_bytes; /* what can be had without swapping, says the kernel */
};

/* Share of the last 10 s in which some, or all, tasks waited for memory, in hundredths of a
 * percent. */
struct os_proc_pressure {
  uint32_t some_avg10, full_avg10;
};

struct os_proc_process {
  pid_t pid;
  uint64_t resident_bytes; /* shared pages count for each who has them */
  char name[OS_PROC_NAME];
};

enum status os_proc_memory(struct os_proc_memory *out);
/* NOT_FOUND: the kernel has no pressure figures. */
enum status os_proc_pressure(struct os_proc_pressure *out);
enum status os_proc_resident(pid_t pid, uint64_t *bytes);
/* The short name (comm), cut to size - 1 bytes; any byte but NUL may be in it. */
enum status os_proc_name(pid_t pid, char *name, size_t size);
/* The `max` (at most OS_PROC_TOP) processes with the most resident memory, largest first. */
enum status os_proc_top(struct os_proc_process *out, uint32_t max, uint32_t *count);

#endif
