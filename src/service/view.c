/*
 * view: the words of the enums that users see, in the order of the enums (contract 2), and what one
 * of them means.
 */
#include "service/view.h"

const char *const view_purposes[] = {"model_weights", "kv_cache", "activations", "tensors",
                                     "buffers",       "staging",  "cache",       "temporary",
                                     "system",        NULL};
const char *const view_priorities[] = {"low", "normal", "high", "critical", NULL};
const char *const view_shares[] = {"none", "read", "write", NULL};
const char *const view_owner_kinds[] = {"api", "process", "worker", "model", NULL};
const char *const view_alloc_statuses[] = {"active", "busy", "moving", "orphaned", "lost", NULL};
const char *const view_healths[] = {"healthy", "warning", "critical", "error", NULL};
const char *const view_worker_states[] = {"starting", "ready", "busy", "failed", "stopped", NULL};

bool view_worker_is_well(enum view_worker_state state) {
  return state == VIEW_WORKER_READY || state == VIEW_WORKER_BUSY || state == VIEW_WORKER_STOPPED;
}
