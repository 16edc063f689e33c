/*
 * mover: what the service wants from workers, without knowing how it is said on the wire.
 * daemon/workers.c implements the table over JSON lines; tests implement it over plain memory.
 */
#ifndef SERVICE_MOVER_H
#define SERVICE_MOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/problem.h"
#include "base/share.h"
#include "device/device.h"
#include "service/view.h"

enum mover_action {
  MOVER_TRANSFER,   /* one move, with progress */
  MOVER_COPY,       /* one move */
  MOVER_FILL,       /* one move: target only, with `value` */
  MOVER_DEFRAGMENT, /* all moves; a move that failed has ok = false */
  MOVER_CLEAR,      /* every worker: drop what is its own, as `value` says; cleared per worker.
                       Movers of cards have nothing of their own and are not asked */
  MOVER_OPTIMIZE,   /* `worker`: free want.bytes of its own; bytes: what it says it freed */
  MOVER_LOOK,       /* every worker: how it is, where that was not said just now; list knows then */
  MOVER_LOAD,       /* move i: all of file `from` to a segment, with progress over all of them */
};
#define MOVER_ACTIONS (MOVER_LOAD + 1)

enum mover_clear { MOVER_CLEAR_CACHE, MOVER_CLEAR_IDLE, MOVER_CLEAR_ALL };

/* A segment that a task touches. Borrowed until `done`: the service keeps it alive. */
struct mover_segment {
  uint64_t id, size;
  const char *device_id;
  const struct share *share;
};
/* A file of a model, opened for reading. Borrowed until `done`. */
struct mover_file {
  uint64_t size;
  const struct share *share;
};
struct mover_move {
  uint32_t from, to; /* indices into the task's segments */
  uint64_t from_offset, to_offset, size;
  bool ok;
};

/* What a worker is asked to free. */
struct mover_want {
  uint64_t bytes, deadline_ms, max_models; /* UINT64_MAX: any */
  uint32_t strategy;                       /* of policy_preset_at */
  bool force;
  uint32_t exclude_count;
  const uint64_t *exclude; /* models that stay */
};

/* Embedded by the caller, untouched by him from submit to done. */
struct mover_task {
  enum mover_action action;
  uint64_t subject; /* the job's id; 0: none, cannot be cancelled */
  struct mover_segment *segments;
  struct mover_move *moves;
  const struct mover_file *files; /* MOVER_LOAD */
  uint32_t segment_count, move_count, file_count;
  struct mover_want want; /* MOVER_OPTIMIZE */
  uint64_t model;         /* MOVER_LOAD: its id, for the worker's logs */
  const char *device_id; /* MOVER_CLEAR, MOVER_OPTIMIZE: there only; NULL: everywhere. Lives as long
                            as the service */
  bool verify;
  bool sums;     /* MOVER_TRANSFER: fingerprint instead of verify; no byte crosses a link for it */
  uint8_t value; /* MOVER_FILL: the byte. MOVER_CLEAR: enum mover_clear. MOVER_OPTIMIZE: enum
                    pressure_level */
  char worker[40]; /* "": whoever can; afterwards who did it, if anybody */
  char correlation[65];

  /* results */
  struct problem problem;
  uint64_t bytes, checksum;       /* MOVER_LOAD: XXH3-64 over the files' XXH3-64 in order */
  uint64_t elapsed_us, device_us; /* the worker's word on its own time, and on the device's in it;
                                     UINT64_MAX: it said nothing */
  enum device_path path;
  uint64_t fingerprint; /* of `sums`: of the bytes, as a load sums up a file's */
  bool checksum_known, fingerprint_known, verified, path_known;
  struct {
    char id[40];
    uint64_t bytes;
  } cleared[VIEW_CLEARED];
  uint32_t cleared_count;

  void (*progress)(struct mover_task *task,
                   uint64_t bytes_done); /* may be NULL; loop thread, no lock held */
  void (*done)(struct mover_task *task); /* exactly once; loop thread, no lock held */

  /* service/layers' */
  struct layers *layers;
  uint64_t began_ns;

  /* the implementation's */
  struct task task;
  struct mover_task *next;
  uint64_t request;
  uint64_t sent_ns;                 /* clock_now() when its line left */
  uint64_t files_talk, files_first; /* to which worker process the files go, and under which ids */
  uint32_t files_sent;
  bool cancelled;
};

struct mover_drop {
  uint64_t segment;
  void (*done)(
      struct mover_drop *drop); /* every worker unmapped and closed it, or is dead; loop thread */
  struct task task;
  struct mover_drop *next;
  unsigned waiting;
};

/* What the daemon and its workers judge pressure by: one set for all of them. */
struct mover_numbers {
  struct pressure_thresholds levels;
  uint32_t relief_trigger, relief_target; /* hundredths of a percent; trigger 0: never */
  uint32_t strategy;                      /* of policy_preset_at */
};

/* All may be called from any thread, also under the state lock: they only post. */
struct mover_table {
  void (*submit)(void *ctx, struct mover_task *task);
  void (*cancel)(void *ctx, uint64_t subject); /* the tasks of that subject: done still comes,
                                                  CANCELLED unless it was too late */
  void (*drop)(void *ctx, struct mover_drop *drop);
  /* A slab of a card's was made: the card's worker may map it while nobody waits for that. The
   * share is borrowed until a drop of it is done. May be NULL. */
  void (*offer)(void *ctx, const struct mover_segment *segment);
  void (*numbers)(void *ctx, const struct mover_numbers *numbers); /* they are these now */
  uint32_t (*list)(void *ctx, struct view_worker *out, uint32_t max);
  /* The models that workers name as theirs. May be NULL. */
  uint32_t (*models)(void *ctx, struct view_worker_model *out, uint32_t max);
  /* What workers that can be asked to free memory say they could free. May be NULL. */
  uint32_t (*opportunities)(void *ctx, struct view_opportunity *out, uint32_t max);
  /* OK: it is being restarted. WORKER_NOT_FOUND. CONFLICT: it is not ours to start. */
  enum status (*restart)(void *ctx, const char *worker);
};

#endif
