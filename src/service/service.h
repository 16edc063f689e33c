/*
 * service: what the operations mean. One struct service, made in main and passed down; every
 * operation is a typed function in this room's headers: alloc.h, work.h, report.h, usage.h,
 * limits.h, job.h, events.h. No JSON, no HTTP.
 *
 * Threads: any thread may call any operation. One state lock, held for microseconds, no system call
 * inside.
 */
#ifndef SERVICE_SERVICE_H
#define SERVICE_SERVICE_H

#include "base/loop.h"
#include "base/problem.h"
#include "device/spec.h"
#include "memory/pressure.h"
#include "service/mover.h"

struct service;
struct events;
struct history;
struct keeper_table;
struct inspector_table;
struct keeper_state;
struct restore_found;

/* Hundredths of a percent of a device's use at which models make room, and down to which; trigger
 * 0: never. Whose turn it is, then and when a load needs room. */
struct service_relief {
  uint32_t trigger, target;
  uint32_t strategy; /* of policy_preset_at */
  bool pinned_too;   /* when pressure is critical and nothing else is left */
};

struct service_params {
  struct spec *devices; /* cards that are known by their UUID get the ids that they had */
  unsigned device_count;
  struct loop *loop; /* for pidfds and timers; running or not yet */
  struct pressure_thresholds thresholds;
  uint64_t cache_ttl_ns;         /* how old slow facts may get; default 2 min */
  uint32_t max_allocations;      /* all together; default 4 Mi */
  struct restore_found *found;   /* what the vault held; NULL: a new ledger */
  const char *state_dir;         /* of the history; NULL or "": none is kept */
  const char *unseen;            /* why cards may be missing in `devices`; NULL or "": none is */
  const char *unserved;          /* which cards no driver offers; NULL or "": none */
  const char *const *model_dirs; /* folders that models may be read from, NULL-terminated */
};

/* Opens the devices, makes the ledger. A device that cannot be opened is a problem that names it,
 * or, where nobody has named it, left out. */
enum status service_create(const struct service_params *params, struct service **out,
                           struct problem *problem);
/* Before any operation: where bytes are moved. The table and ctx outlive the service. */
void service_set_mover(struct service *service, const struct mover_table *table, void *ctx);
/* Any time. The defaults are 80 % and 70 %, fifo. */
void service_set_relief(struct service *service, const struct service_relief *relief);
/* Any time; off at first. On after off begins anew where a kind had switched itself off. */
struct service_predict {
  bool on;     /* models make room, and come into RAM, before anybody asks */
  uint64_t ns; /* how far ahead high use is looked for */
};
void service_set_predict(struct service *service, const struct service_predict *params);
/* Before any operation: who reads the headers of model files. Without one no model can be loaded.
 */
void service_set_inspector(struct service *service, const struct inspector_table *table, void *ctx);
/* Before any operation: who holds descriptors over our death. Without one nothing outlives us. */
void service_set_keeper(struct service *service, const struct keeper_table *table, void *ctx);
/* `durable` false, with the reason, while something would not outlive us. */
void service_keeper_state(struct service *service, struct keeper_state *out);
/* Starts sampling. From here on operations may be called. */
enum status service_start(struct service *service);
/* Cancels running jobs and gives back empty segments, and what ends with a clean stop: memory that
 * was asked for over HTTP without a word about its life, and that nobody has attached. With
 * release_all, or without a keeper, everything. Call it from the loop's thread before the loop
 * stops; `done` runs on the loop. */
struct service_stop_params {
  bool release_all;
  void (*done)(void *arg);
  void *arg;
};
void service_stop(struct service *service, const struct service_stop_params *params);
void service_free(struct service *service);

/* The kernel says that some tasks of this host, or all, stalled for want of memory: host devices
 * are looked at, and their level is raised for a while. Any thread. */
void service_stalled(struct service *service, bool all);

struct events *service_events(struct service *service);
/* NULL: none is kept. */
struct history *service_history(struct service *service);
/* The decision thread, for the doors' timers. */
struct queue *service_decision(struct service *service);
/* What a request to stop the daemon calls, on any thread: it only posts. Set it before the doors
 * open. */
void service_on_shutdown(struct service *service, void (*fn)(void *arg, bool release_all),
                         void *arg);
/* CONFLICT: nobody listens. */
enum status service_shutdown(struct service *service, bool release_all);
uint64_t service_started_at(const struct service *service); /* CLOCK_REALTIME */
/* Workers, for GET /workers and for restarts. */
uint32_t service_workers(struct service *service, struct view_worker *out, uint32_t max);
uint32_t service_worker_models(struct service *service, struct view_worker_model *out,
                               uint32_t max);
enum status service_restart_worker(struct service *service, const char *worker,
                                   struct problem *problem);

#endif
