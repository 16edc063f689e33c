/*
 * reload: what of a configuration can change while the daemon runs: limits, thresholds, tokens, log
 * level.
 */
#ifndef DAEMON_RELOAD_H
#define DAEMON_RELOAD_H

#include "daemon/config.h"

struct service;
struct http;

/* The limits that the configuration names; what it does not name stays. */
enum status reload_limits(const struct config *config, struct service *service,
                          struct problem *problem);
/* All of it. What cannot be is logged, and the old one stays. */
void reload_apply(const struct config *config, struct service *service, struct http *http);

#endif
