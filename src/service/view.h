/*
 * view: what the service tells about its things, copied out under the lock so that a door can
 * encode it without. Bytes and nanoseconds; percentages in hundredths; times are CLOCK_REALTIME ns,
 * 0 = none. `known` flags stand for null.
 */
#ifndef SERVICE_VIEW_H
#define SERVICE_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "device/device.h"
#include "memory/placement.h"
#include "memory/pressure.h"

#define VIEW_LABEL 257
#define VIEW_DEVICES PLACEMENT_MAX
#define VIEW_PROCESSES 16
#define VIEW_WORKERS 64
#define VIEW_CLEARED 32 /* workers with memory of their own, which movers of cards have not */

enum view_purpose {
  VIEW_MODEL_WEIGHTS,
  VIEW_KV_CACHE,
  VIEW_ACTIVATIONS,
  VIEW_TENSORS,
  VIEW_BUFFERS,
  VIEW_STAGING,
  VIEW_CACHE,
  VIEW_TEMPORARY,
  VIEW_SYSTEM,
  VIEW_PURPOSES
};
enum view_priority {
  VIEW_PRIORITY_LOW,
  VIEW_PRIORITY_NORMAL,
  VIEW_PRIORITY_HIGH,
  VIEW_PRIORITY_CRITICAL
};
enum view_share { VIEW_SHARE_NONE, VIEW_SHARE_READ, VIEW_SHARE_WRITE };
enum view_owner_kind { VIEW_OWNER_API, VIEW_OWNER_PROCESS, VIEW_OWNER_WORKER, VIEW_OWNER_MODEL };
enum view_alloc_status { VIEW_ACTIVE, VIEW_BUSY, VIEW_MOVING, VIEW_ORPHANED, VIEW_LOST };
enum view_health { VIEW_HEALTHY, VIEW_WARNING, VIEW_CRITICAL, VIEW_ERROR };
/* The words of these enums in order, NULL-terminated (contract 2). */
extern const char *const view_purposes[];
extern const char *const view_priorities[];
extern const char *const view_shares[];
extern const char *const view_owner_kinds[];
extern const char *const view_alloc_statuses[];
extern const char *const view_healths[];

struct view_owner {
  enum view_owner_kind kind;
  uint64_t id;
  int32_t pid; /* 0: null */
  char name[40];
};

struct view_alloc {
  uint64_t id, size_bytes, alignment_bytes, segment_id, offset_bytes;
  const char *device_id; /* the service's, lives as long as it */
  bool dedicated;
  enum view_purpose purpose;
  enum view_priority priority;
  enum view_share share;
  enum view_alloc_status status;
  struct view_owner owner;
  char domain[40];
  bool persistent, pinned;
  uint32_t attachments;
  uint64_t model_id; /* whose weights it is part of, 0: none */
  uint64_t created_at, last_accessed_at, access_count, expires_at;
  char label[VIEW_LABEL];
};

struct view_pressure {
  enum pressure_level level;
  uint32_t percent;
  uint64_t since;
};

struct view_process {
  struct device_process process;
  bool managed; /* a worker or a client that holds memory of ours */
};

/* The figures of one device, or of the host (then the ids are empty). Used, external and
 * overhead may be DEVICE_BYTES_UNKNOWN, of a device; then its utilization is 0. */
struct view_figures {
  uint64_t total_bytes, used_bytes, available_bytes, allocated_bytes, committed_bytes, cached_bytes,
      external_bytes, reserved_bytes, resident_bytes, overhead_bytes, lingering_bytes,
      largest_free_bytes;
  uint32_t utilization, fragmentation;
  uint32_t active_allocations, segments;
};

struct view_device {
  const struct device_info *info;
  struct view_figures figures;
  enum view_health health;
  struct view_pressure pressure;
  uint64_t limit_max_bytes, limit_reserved_bytes;
  struct view_process processes[VIEW_PROCESSES];
  uint32_t process_count;
  uint64_t updated_at;
};

struct view_host {
  struct view_figures figures;
  struct view_pressure pressure;
  uint32_t device_count, workers, workers_healthy;
  bool synchronized;
  uint64_t last_sync;
  uint32_t conflicts;
  uint64_t updated_at, cache_age_ns; /* age of the slow facts */
  struct view_device devices[VIEW_DEVICES];
};

enum view_worker_state {
  VIEW_WORKER_STARTING,
  VIEW_WORKER_READY,
  VIEW_WORKER_BUSY,
  VIEW_WORKER_FAILED,
  VIEW_WORKER_STOPPED
};
extern const char *const view_worker_states[];
/* Whether nothing is wrong with one in that state: it works, or is stopped until it is needed. */
bool view_worker_is_well(enum view_worker_state state);

struct view_worker {
  char id[40]; /* "host" for the mover of host memory, the device's id for a card's, the --worker
                  NAME, or what a client calls itself */
  int32_t pid; /* 0: null */
  enum view_worker_state state;
  char command[256];      /* "": it was not started here */
  char capabilities[512]; /* comma separated */
  char transport[8];      /* "stdio" "socket" */
  uint32_t restarts;
  bool reports;       /* it is ready, and can be asked how it is */
  bool synchronized;  /* it answered for its newest generation, or cannot be asked */
  bool figures_known; /* bytes are at most 2 s old */
  bool lists;         /* it names its models */
  uint64_t last_contact;
  uint64_t asked_at;   /* when it was asked last how it is */
  uint64_t generation; /* of its state, as it counts */
  uint64_t status_ns;  /* clock_now() of its answer, 0: it does not hold any more */
  uint64_t memory_bytes, reclaimable_bytes;
  bool memory_unknown, reclaimable_unknown; /* it does not know either; 0 above then */
};

#define VIEW_WORKER_MODELS 256 /* of all workers together */
/* A model that a worker says it has. */
struct view_worker_model {
  char worker[40], model[80]; /* model: id or name, as the worker says it */
  uint64_t bytes;
  bool bytes_known;
};

#define VIEW_OPPORTUNITIES 64 /* of all workers together */
/* What a worker says it could do to free memory of its own, in its own words. */
struct view_opportunity {
  char worker[40], kind[32], device[SPEC_ID], model[80], why[160]; /* model "": of none */
  uint64_t bytes;
};

#endif
