/*
 * os_child: a child that speaks JSON lines over its stdin and stdout and gets descriptors on fd 3.
 * Its stderr is ours. Loop thread only.
 */
#ifndef BASE_OS_CHILD_H
#define BASE_OS_CHILD_H

#include <stddef.h>
#include <stdint.h>

#include "base/line.h"
#include "base/loop.h"
#include "base/share.h"

#define OS_CHILD_ENVIRONMENT 14 /* most entries that are added for a child */

struct os_child;

struct os_child_params {
  const char *const *argv;        /* NULL-terminated */
  const char *const *environment; /* added to ours, may be NULL; MEMKEEP_FD=3 is added here */
  size_t max_line, max_queue;
  /* May free the child, and returns false then. */
  line_fn *on_line;
  /* Once, after the process ended and its last lines were told: "exit 0", "signal 9" and what
   * for, if that was here; "unknown" when the system did not keep how. May free the child. */
  void (*on_end)(void *arg, const char *how);
  void *arg;
};

/* NOT_FOUND: no such program. */
enum status os_child_start(struct loop *loop, const struct os_child_params *params,
                           struct os_child **out);
/* Reaps nothing: free it after on_end, or to forget a process that will not die. */
void os_child_free(struct os_child *child);
/* 0 once it has ended. */
int32_t os_child_pid(const struct os_child *child);
/* One line. RATE_LIMITED: too much waits already. INTERNAL_ERROR: its end of the pipe is closed. */
enum status os_child_send(struct os_child *child, const char *text, size_t n);
/* One descriptor with its text (packet_send). RATE_LIMITED: it has not read the earlier ones yet;
 * try again later. */
enum status os_child_share(struct os_child *child, const char *text, size_t n,
                           const struct share *share);
/* End of stdin: the polite request to exit. Lines that still wait are dropped. */
void os_child_close(struct os_child *child);
/* Nothing happens once it has ended. */
void os_child_signal(struct os_child *child, int signal_number);

#endif
