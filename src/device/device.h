/*
 * device: devices for callers. The owner half for the daemon (asynchronous: a call is started, its
 * `done` runs later), the mover half for workers (synchronous, any thread).
 */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/queue.h"
#include "base/share.h"
#include "base/status.h"
#include "device/spec.h"

enum device_type { DEVICE_CPU, DEVICE_GPU };                    /* "cpu" "gpu" */
enum device_memory { DEVICE_RAM, DEVICE_VRAM, DEVICE_UNIFIED }; /* "RAM" "VRAM" "UNIFIED" */

/* Slow facts; they change only when the machine does. */
struct device_info {
  char id[SPEC_ID];
  char backend[16];
  char name[96];
  char uuid[64];        /* "" unknown */
  char driver_uuid[40]; /* memory can be shared only where it is the same; "" where that is no
                           matter */
  char pci[16];         /* "" none */
  char driver[64];
  enum device_type type;
  enum device_memory memory;
  enum share_kind share;
  uint64_t total_bytes;
  uint64_t limit_bytes; /* how much may be committed by default: SIZE; half of the RAM for a host
                           without a size */
  uint64_t kept_bytes;  /* of the total, what the driver keeps for itself: neither used nor free */
  uint64_t granularity; /* of segments: page size or 2 MiB */
  bool costly;      /* to make, map and give back a segment takes a millisecond: few large ones */
  bool whole_host;  /* host without a size: used is the machine's, not the pool's */
  bool host_memory; /* its segments are pages of this machine's RAM: a CPU can map them */
  bool fresh_is_zero;
  uint64_t rate_bytes; /* fake: what it is set to; 0: not known before it is measured */
};

#define DEVICE_BYTES_UNKNOWN UINT64_MAX

/* Live figures of the driver. */
struct device_budget {
  uint64_t free_bytes; /* host: MemAvailable. Cards: the driver's free, or DEVICE_BYTES_UNKNOWN */
  uint64_t used_bytes; /* host: MemTotal - MemAvailable. Cards: the driver's used, or the
                           same; more than the total where the driver wants memory back */
  uint64_t sampled_ns; /* clock_now() of the reading; filled in by device.c */
};

struct device_process {
  uint64_t used_bytes; /* or DEVICE_BYTES_UNKNOWN */
  int32_t pid;
  char name[32];
  bool dead;
};

/* ---- owner half ---- */

struct device;

enum device_action {
  DEVICE_CREATE,   /* size -> share */
  DEVICE_RELEASE,  /* share (taken), size, exported */
  DEVICE_COMMIT,   /* share (borrowed), offset, size: pages now */
  DEVICE_RESIDENT, /* share (borrowed) -> bytes */
  DEVICE_BUDGET,   /* -> budget */
};

/* One call. Embedded by the caller, untouched by him between device_start and done. */
struct device_call {
  enum device_action action;
  uint64_t offset, size;
  struct share share;
  bool exported;
  bool open;                   /* CREATE: the caller seals it for good himself, when it is filled */
  uint64_t file_bytes;         /* CREATE: where memory that can be read as a file ends, within the
                                  last page of size; 0: at size */
  enum status status;          /* result */
  uint64_t bytes;              /* result of RESIDENT */
  struct device_budget budget; /* result of BUDGET */
  void (*done)(struct device_call *call); /* on the owner's or the reaper's thread, no lock held */
  struct device *device;                  /* device.c's, from here on */
  struct task task;
};

/* DEVICE_NOT_FOUND: no such backend or the driver is absent. The reaper queue is shared by all
 * devices and outlives them. */
enum status device_open(const struct spec *spec, struct queue *reaper, struct device **out);
/* No call may be under way. */
void device_close(struct device *device);
const struct device_info *device_info(const struct device *device);
/* CREATE, RESIDENT and BUDGET run on the owner thread; RELEASE and COMMIT on the reaper's, in
 * pieces of 256 MiB. */
void device_start(struct device *device, struct device_call *call);
/* The same on the caller's thread, at start-up and in tests only. */
enum status device_run(struct device *device, struct device_call *call);
/* clock_now() since when the owner thread has been inside one driver call; 0: it is not. Any
 * thread. */
uint64_t device_busy_since(const struct device *device);
/* Processes that use the device, largest first, as the driver knows them. Owner thread or start-up
 * only. */
uint32_t device_processes(struct device *device, struct device_process *out, uint32_t max);

/* ---- mover half ---- */

struct device_mover;
struct device_segment;

struct device_range {
  void *segment; /* the backend's; device.c translates */
  uint64_t offset, size;
};
struct device_pair {
  struct device_range from, to; /* of one size */
  bool same;                    /* result */
};
struct device_place {
  struct device_segment *segment;
  uint64_t offset;
};

/* PEER: straight from one device's memory to another's; PINNED: a device reads host memory by
 * itself; STAGED: by way of this process. */
enum device_path { DEVICE_PATH_SAME, DEVICE_PATH_PEER, DEVICE_PATH_PINNED, DEVICE_PATH_STAGED };
/* "same-device" "peer" "pinned" "staged" */
const char *device_path_name(enum device_path path);

/* Whether a mover makes a context on the device: memory there that goes back with its process.
 * False also where there is no such backend. */
bool device_makes_context(const struct spec *spec);
enum status device_mover_open(const struct spec *spec, struct device_mover **out);
/* All its segments must have been dropped. */
void device_mover_close(struct device_mover *mover);
/* Takes hold of what the share names; the share stays the caller's and may be closed afterwards. */
enum status device_import(struct device_mover *mover, const struct share *share, uint64_t size,
                          struct device_segment **out);
void device_drop(struct device_segment *segment);
uint64_t device_segment_size(const struct device_segment *segment);
enum device_path device_path(struct device_segment *from, const struct device_segment *to);
/* Lets the device of `to` read `from` by itself from now on, where that is host memory sealed
 * against writing and the device can. Cheap after the first time; without effect where it cannot
 * be. */
void device_reach(struct device_segment *from, const struct device_segment *to);
/* It is pages of this machine's RAM. */
bool device_is_host(const struct device_segment *segment);
bool device_overlap(struct device_place a, struct device_place b, uint64_t size);
/* Whether one of the devices copies between the two by itself, without staging. */
bool device_copies(struct device_segment *from, const struct device_segment *to);
/* Bytes that a device takes from, or brings to, pieces of memory of its own, which its copy engine
 * reaches: each of them is filled, or emptied, while others are on the link. In order, each of the
 * bytes once, on the calling thread. `each` must not use that device; what it returns but OK ends
 * the copy with that. */
struct device_flow {
  enum status (*each)(void *arg, void *bytes, uint64_t offset, uint64_t size);
  void *arg;
};
/* Whether one end is host memory and the other's device does so. */
bool device_flows(const struct device_segment *from, const struct device_segment *to);
/* Host memory is what `each` reads from, or writes to. */
enum status device_feed(struct device_place to, uint64_t size, const struct device_flow *flow);
enum status device_drain(struct device_place from, uint64_t size, const struct device_flow *flow);
/* Ranges were checked by the caller to lie in their segments. Copies between overlapping ranges of
 * one segment are refused (INVALID_ARGUMENT). `staging` has at least size bytes; it may be NULL
 * where the device copies by itself. */
struct device_copy {
  struct device_place from, to;
  uint64_t size;
  void *staging;
};
enum status device_copy(const struct device_copy *copy);
/* Copies many ranges inside one device, of which none overlaps another, and compares each with its
 * source there. INVALID_ARGUMENT: the device cannot, or it is more than one. On other failures any
 * of them may have been copied, and none counts. */
struct device_move {
  struct device_place from, to;
  uint64_t size;
  bool same; /* result: both ends read the same afterwards */
};
enum status device_copy_all(struct device_move *moves, uint32_t count);
/* Whether its device can sum up by itself, which device_sum then does: XXH3-64 of each chunk of so
 * many bytes, at least 4 KiB, of which the last may be shorter. DEVICE_NOT_FOUND: this one cannot
 * after all. */
bool device_sums(const struct device_segment *segment);
enum status device_sum(struct device_place at, uint64_t size, uint64_t chunk, uint64_t *sums);
/* Staging for copies with that segment, where its device can in memory that its copy engine reaches
 * by itself. It may be far from aligned, and is for no direct I/O. NULL: no memory. */
void *device_stage(const struct device_segment *segment, uint64_t size);
/* Of the same segment. NULL is fine. */
void device_unstage(const struct device_segment *segment, void *bytes);
enum status device_read(struct device_place from, uint64_t size, void *to);
/* The bytes where they are, until the segment is dropped; NULL: they must be read. */
const void *device_peek(struct device_place from, uint64_t size);
/* Where several threads are about to write host memory, each calls this for its range: the pages
 * are made side by side. Without effect on other memory. */
void device_bring(struct device_place to, uint64_t size);
enum status device_write(struct device_place to, uint64_t size, const void *from);
enum status device_fill(struct device_place to, uint64_t size, uint8_t value);

#endif
