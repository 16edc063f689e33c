/*
 * stalls: two triggers, for some tasks that wait and for all of them.
 */
#include "daemon/stalls.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/os_psi.h"

struct stalls {
  struct service *service;
  struct os_psi *some, *full;
};

static void some_wait(void *arg) { service_stalled(((const struct stalls *)arg)->service, false); }

static void all_wait(void *arg) { service_stalled(((const struct stalls *)arg)->service, true); }

struct stalls *stalls_watch(struct loop *loop, struct service *service) {
  struct stalls *stalls = calloc(1, sizeof *stalls);
  if (!stalls)
    return NULL;
  stalls->service = service;
  const struct os_psi_params some = {OS_PSI_MEMORY, OS_PSI_SOME, some_wait, stalls},
                             full = {OS_PSI_MEMORY, OS_PSI_FULL, all_wait, stalls};
  if (!os_psi_watch(loop, &some, &stalls->some) && !os_psi_watch(loop, &full, &stalls->full))
    return stalls;
  log_info("daemon", "the kernel does not tell of stalls: pressure is judged by use alone");
  stalls_free(stalls);
  return NULL;
}

void stalls_free(struct stalls *stalls) {
  if (!stalls)
    return;
  os_psi_free(stalls->some);
  os_psi_free(stalls->full);
  free(stalls);
}
