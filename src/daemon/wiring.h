/*
 * wiring: the daemon put together: the service, its workers, its doors, on one loop. Main thread.
 */
#ifndef DAEMON_WIRING_H
#define DAEMON_WIRING_H

#include "daemon/config.h"
#include "daemon/runtime.h"

struct wiring;

/* Reads the configuration anew, for SIGHUP; NULL: it was wrong, and that has been said. The caller
 * of the function frees it. */
typedef struct config *wiring_reload_fn(void *arg);

struct wiring_params {
  const struct config *config; /* borrowed */
  struct runtime *runtime;     /* borrowed; taken */
  struct share socket;         /* SHARE_NONE, or what listens for the Unix door already; taken */
  wiring_reload_fn *reload;
  void *arg;
};

/* Everything, bound and started: when it returns OK, both doors answer and memkeepd.json says so.
 * INVALID_ARGUMENT, DEVICE_NOT_FOUND: the configuration asks for what cannot be. */
enum status wiring_create(const struct wiring_params *params, struct wiring **out,
                          struct problem *problem);
/* Serves until SIGTERM, SIGINT or a request to shut down; has ended everything when it returns. */
void wiring_run(struct wiring *wiring);
/* NULL is fine. */
void wiring_free(struct wiring *wiring);

#endif
