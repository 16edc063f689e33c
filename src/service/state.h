/*
 * state: what the service knows, and the small steps on it. Private to this room; everything here
 * is under the state lock unless a comment says otherwise.
 *
 * Segments, allocations and owners are pool records addressed by 32-bit indices, so that a live
 * allocation costs one ledger record (128 bytes), one span node (32), one struct state_alloc and
 * one idmap entry.
 */
#ifndef SERVICE_STATE_H
#define SERVICE_STATE_H

#include <stdatomic.h>

#include "base/idmap.h"
#include "base/lock.h"
#include "base/pool.h"
#include "base/queue.h"
#include "device/device.h"
#include "history/history.h"
#include "ledger/ledger.h"
#include "memory/forecast.h"
#include "memory/pressure.h"
#include "memory/span.h"
#include "service/caller.h"
#include "service/events.h"
#include "service/keeper.h"
#include "service/mover.h"
#include "service/service.h"
#include "service/view.h"

#define STATE_DOMAINS 1024 /* a domain is a uid or a token: more is an attack */
#define STATE_SEGMENTS 16384
#define STATE_SAMPLES                                                                              \
  3600 /* one a second for the longest window before there is a history on disk */
#define STATE_SIZES 16
#define STATE_LIFETIMES 10
#define STATE_OWNER_BUCKETS 16384
#define STATE_HUNDRED_YEARS (UINT64_C(100) * 366 * 86400 * 1000000000)

enum {
  STATE_PERSISTENT = 1,
  STATE_PINNED = 2,
  STATE_SHARE_READ = 4,
  STATE_SHARE_WRITE = 8,
  STATE_HIDDEN = 32, /* our own: in no list and no figure of allocations */
  STATE_MODEL = 16,  /* a model's bytes: it alone moves and frees them */
};

struct state_alloc {
  uint64_t id;
  uint64_t last_event; /* id of the newest event about it */
  char *label;         /* malloced; NULL: none */
  uint32_t slot;       /* in the ledger */
  uint32_t node;       /* span node; 0 in a segment of its own */
  uint32_t segment, owner;
  uint32_t key_next;  /* chain of the idempotency table */
  uint32_t text_slot; /* first ledger record of the label, 0: none */
  uint32_t lease;     /* its place among the expiries, 0: it has none */
  uint16_t attachments;
  uint16_t writers;     /* how many of them are writable */
  uint16_t writers_met; /* all there ever were, modulo 2^16 */
  uint16_t busy : 15;   /* copies, fills and transfers that touch it now */
  uint16_t moving : 1;
};

struct state_segment {
  uint64_t id, size, resident, allocated;
  struct share share;
  struct span *span; /* slabs; NULL: dedicated */
  uint32_t alloc;    /* dedicated: the allocation */
  uint32_t slot, device, owner, domain;
  uint32_t blocks;                   /* places taken, also for what is still being made */
  uint32_t counted;                  /* its allocations in the figures of its device: */
  uint64_t counted_bytes;            /* their sizes */
  uint32_t pinned;                   /* how many of them */
  uint32_t held;                     /* its attachments: attachment.c; 0: none */
  uint64_t kept;                     /* the keeper's epoch at which it was put */
  uint32_t next, previous;           /* of the device, by rising id */
  uint32_t slab_next, slab_previous; /* of the owner's slabs on the device */
  struct segment_leaving *leaving;   /* what its release will need, so that releasing cannot fail */
  bool sent;                         /* a worker may have it mapped */
  bool exported;                     /* an fd of it left our own processes */
  bool fresh;  /* a slab in which no block was ever freed: its free ranges are as the device made
                  them */
  bool closed; /* a defragmentation empties it: nothing new goes in */
};

struct state_owner {
  uint64_t id, pid_start, bytes;
  enum view_owner_kind kind;
  int32_t pid;
  bool dead; /* the process is gone */
  uint32_t domain, slot, allocations;
  uint32_t text_slot; /* of the name of a token's domain, 0: none */
  uint32_t growing;   /* segments being made for it */
  uint32_t held; /* work under way that will make an allocation of it, or goes through its own */
  uint32_t next; /* chain of the table of owners */
  struct lease_watching *watching; /* of its process */
  uint32_t holders;                /* of attachments, its connections: attachment.c */
  char name[40];
  uint32_t slabs[VIEW_DEVICES];
  uint32_t empty[VIEW_DEVICES]; /* how many of them are */
  uint64_t committed[VIEW_DEVICES];
};

/* A token that has a quota and did not ask for anything yet: it is known by its name. */
#define STATE_DOMAIN_UNKNOWN UINT32_MAX

struct state_domain {
  uint32_t number; /* caller.domain */
  char name[40];
  uint64_t bytes, allocations;
  uint64_t max_bytes, max_allocations; /* UINT64_MAX: no quota */
  uint64_t record;                     /* id of its record in the ledger, 0: none */
  uint32_t record_slot;
};

struct state_sample {
  uint64_t time, used, allocated, committed, largest_free;
  enum pressure_level level;
};

/* Counters of one second, so that any window up to an hour can be summed. */
struct state_second {
  uint32_t made, freed;
  uint64_t made_bytes;
};

struct state_device {
  struct device *device;
  const struct device_info *info;
  struct spec spec;
  uint64_t allocated, committed, cached;
  uint64_t pending;   /* promised to segments that are being created */
  uint64_t made;      /* bytes of segments that ever entered the books: only rises */
  uint64_t releasing; /* of segments on their way back to the driver: in no other figure */
  uint32_t leaving;   /* how many of them there are: lost ones have no bytes */
  uint64_t lingering; /* of segments that are back, but that clients still have attached */
  uint64_t limit, reserved;
  uint64_t resident, resident_cached;
  uint32_t allocations, segments, first, last;
  struct device_budget budget;
  uint64_t budget_real; /* CLOCK_REALTIME of the budget */
  uint64_t external;    /* cards: what the driver's figure held beyond ours when it was read; 0
                           where there is none (`silent`) */
  uint64_t error_at;    /* clock_now() of the last device error, 0: none */
  uint64_t record;      /* id of its record in the ledger */
  uint32_t record_slot;
  bool gone;      /* the ledger names it, the configuration does not: nothing new goes in */
  bool answering; /* the driver's last call ended in time */
  bool silent;    /* its driver does not say what is used */
  bool lost;      /* a card that fell off: what lies there is out of reach until it is back */
  bool asked;     /* a budget call is under way */
  struct view_pressure pressure;
  struct pressure_strain strain; /* strain.c */
  uint64_t purpose_bytes[VIEW_PURPOSES], purpose_count[VIEW_PURPOSES];
  struct state_sample *samples; /* ring of STATE_SAMPLES */
  struct state_second *seconds; /* the same slots */
  uint64_t sample_count;
  struct forecast forecast; /* usage_forecast's, when there were so many samples: */
  uint64_t foretold_at;
  uint64_t step_at; /* of the samples, the first after use fell because room was made ahead of time:
                       what was before says nothing of where it goes from there */
  struct {
    uint64_t count, bytes;
  } sizes[STATE_SIZES];
  uint64_t lifetimes[STATE_LIFETIMES];
  struct device_process processes[VIEW_PROCESSES];
  uint32_t process_count;
  double rates[VIEW_DEVICES]; /* best measured bytes/s to each device; 0: none yet */
};

struct service {
  struct lock lock; /* the state lock */
  struct lock jobs_lock;
  struct loop *loop;
  struct queue *decision, *reaper;
  struct ledger *ledger;
  struct events *events;
  struct history *history; /* NULL: none is kept */
  atomic_uint questions;   /* that it has not answered */
  atomic_uint looks;       /* at paths that are not loaded: model_taken.c */
  const struct keeper_table *keeper;
  void *keeper_ctx;
  struct lock entering; /* from a new segment's id to its record, so that ids enter in order */
  const struct mover_table *mover;
  void *mover_ctx;
  struct state_device devices[VIEW_DEVICES];
  uint32_t device_count;
  struct pool allocs, segments, owners, nodes;
  struct idmap alloc_ids, segment_ids, owner_ids;
  struct state_domain domains[STATE_DOMAINS];
  uint32_t domain_count, max_segments;
  uint32_t owner_buckets[STATE_OWNER_BUCKETS]; /* owners by domain and process */
  struct pressure_thresholds thresholds;
  struct view_pressure pressure;
  struct pressure_stalls stalls; /* of the host: sampler.c */
  uint64_t cache_ttl_ns, slow_facts_at, started_at;
  char unseen[160];                                 /* why cards may be missing; "": none is */
  char unserved[160];                               /* which cards no driver offers; "": none */
  void (*on_shutdown)(void *arg, bool release_all); /* set before the doors open */
  void *shutdown_arg;
  struct attachment_table *attach;
  struct lease *lease;        /* expiries and processes: lease.c */
  struct keys *keys;          /* idempotency: keys.c */
  struct waiting *waiting;    /* allocations that wait for memory: waiting.c */
  struct effects *effects;    /* transfers and what they do to models: effects.c */
  struct job_table *jobs;     /* job.c */
  struct space_grow *growing; /* segments being made: space.c */
  uint32_t growing_count;
  uint32_t making;         /* allocations whose answer comes later: making.c */
  uint32_t optimizing;     /* optimisations, and questions to workers, that are under way */
  struct sampler *sampler; /* sampler.c */
  struct leaks *leaks;     /* leaks.c */
  struct layers *layers;   /* layers.c */
  struct models *models;   /* models.c */
  struct worker_relief *worker_relief;
  struct predict *predict; /* predict.c */
  bool ledger_growing, stopping;
};

static inline struct state_alloc *state_alloc(const struct service *s, uint32_t i) {
  return pool_at(&s->allocs, i);
}
static inline struct state_segment *state_segment(const struct service *s, uint32_t i) {
  return pool_at(&s->segments, i);
}
static inline struct state_owner *state_owner(const struct service *s, uint32_t i) {
  return pool_at(&s->owners, i);
}
static inline const struct ledger_allocation *state_record(const struct service *s,
                                                           const struct state_alloc *alloc) {
  return &ledger_at(s->ledger, alloc->slot)->u.allocation;
}

/* Device index by id, UUID or PCI address; DEVICE_NOT_FOUND with what exists. Needs no lock. */
enum status state_find_device(const struct service *s, const char *name, uint32_t *index,
                              struct problem *problem);
/* The allocation, or ALLOCATION_NOT_FOUND, or FORBIDDEN when `caller` may not change it. */
enum status state_find_alloc(struct service *s, const struct caller *caller, uint64_t id,
                             uint32_t *index, struct problem *problem);
/* Domain index, made when new; UINT32_MAX when there are too many. */
uint32_t state_domain_of(struct service *s, const struct caller *caller);

/* An owner record for the caller (pid 0), for a process, or for the weights of a model (pid 0,
 * their number as the start); made when new, 0 when there is no room. lease_owner also watches the
 * process. */
uint32_t state_owner_of(struct service *s, const struct caller *caller, int32_t pid,
                        uint64_t pid_start);
/* The owner of a record that an earlier daemon left; `domain_name` for a domain that is not a
 * uid's. 0: no room. */
uint32_t state_owner_adopt(struct service *s, uint32_t slot, const char *domain_name);
/* Its record and its entries in the tables go; nothing of it may be left. */
void state_owner_forget(struct service *s, uint32_t index);
/* Whether it has that id or that name. */
bool state_owner_is(const struct state_owner *owner, const char *id_or_name);
/* What the driver says now. */
void state_take_budget(struct state_device *device, const struct device_budget *budget);
/* Figures (contract 2, the table by backend). Where the driver does not say what is used, that is
 * what we know of: our own. */
uint64_t state_used(const struct service *s, const struct state_device *device);
uint64_t state_available(const struct service *s, const struct state_device *device);
/* What all host devices together may still promise. */
uint64_t state_host_room(const struct service *s, const struct state_device *device);
/* What an owner's allocations take of a device, and how many they are: summed up over owners, the
 * device's figures. */
uint64_t state_owner_bytes(const struct service *s, const struct state_owner *owner,
                           uint32_t device, uint64_t *count);
/* Most bytes that one request could get now. */
uint64_t state_largest(const struct service *s, const struct state_device *device);
uint32_t state_fragmentation(uint64_t allocated, uint64_t committed);
void state_space_problem(const struct service *s, const struct state_device *device,
                         uint64_t requested, struct problem_space *out);
/* Brings the device's and the host's pressure levels up to date; events on change. */
void state_pressure(struct service *s);
uint32_t state_percent(const struct service *s, const struct state_device *device);
/* Bytes that would have to go for the device's use to be at this target (hundredths of a percent).
 */
uint64_t state_excess(const struct service *s, const struct state_device *device, uint32_t target);
/* Of one device, or of all: UINT32_MAX; the second in hundredths of a percent. */
uint64_t state_used_on(const struct service *s, uint32_t device);
uint32_t state_utilization_on(const struct service *s, uint32_t device);
/* Only rises: by so much the figure of what is used was raised by ourselves. Nothing of the whole
 * host's memory, which is used when it is touched. */
uint64_t state_made_on(const struct service *s, uint32_t device);
/* Bytes by which its use is below that. */
uint64_t state_left(const struct service *s, const struct state_device *device, uint32_t target);
/* Workers hear by which numbers pressure is judged, and the limits. */
void state_tell_numbers(struct service *s);

/* Its descriptor is gone, or its card (for now). */
bool state_is_lost(const struct service *s, const struct state_alloc *alloc);
enum view_alloc_status state_status(const struct service *s, const struct state_alloc *alloc);
void state_view_alloc(const struct service *s, uint32_t index, struct view_alloc *out);
/* One event about an allocation, chained to its earlier ones. correlation: may be NULL. */
void state_alloc_event(struct service *s, uint32_t index, enum events_type type,
                       const char *correlation);
/* The same of some, at most STATE_EVENTS. */
#define STATE_EVENTS 64
void state_alloc_events(struct service *s, const uint32_t *indices, uint32_t count,
                        enum events_type type, const char *correlation);
/* Keeps free slots in the ledger ahead of need. */
void state_ledger_ahead(struct service *s);

/* A user's number of seconds (or whatever a unit is) as nanoseconds, a hundred years at most, so
 * that a sum with a clock never wraps. Needs no lock. */
static inline uint64_t state_ns(uint64_t count, uint64_t unit_ns) {
  return count > STATE_HUNDRED_YEARS / unit_ns ? STATE_HUNDRED_YEARS : count * unit_ns;
}

#endif
