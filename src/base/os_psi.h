/*
 * os_psi: to be told by the kernel when programs stall for want of memory (pressure stall
 * information), in place of asking again and again.
 */
#ifndef BASE_OS_PSI_H
#define BASE_OS_PSI_H

#include "base/loop.h"
#include "base/status.h"

#define OS_PSI_MEMORY "/proc/pressure/memory"

struct os_psi;
enum os_psi_kind { OS_PSI_SOME, OS_PSI_FULL }; /* some of the tasks stalled, or all at a time */

typedef void os_psi_fn(void *arg);

struct os_psi_params {
  const char *path; /* OS_PSI_MEMORY */
  enum os_psi_kind kind;
  os_psi_fn *fn; /* on the loop's thread, at most once in a window of 2 s */
  void *arg;
};
/* Calls fn(arg) for each window in which tasks stalled for a tenth of it (SOME) or all of them for
 * a twentieth (FULL). NOT_FOUND: the kernel has no such figures, or does not let us watch them.
 * Loop thread only. */
enum status os_psi_watch(struct loop *loop, const struct os_psi_params *params,
                         struct os_psi **out);
/* NULL is fine. Loop thread, or when the loop does not run any more. */
void os_psi_free(struct os_psi *psi);

#endif
