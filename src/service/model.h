/*
 * model: weights that are kept where they are worth most. A model is loaded from its files, lives
 * as allocations that it owns itself (one for each file, the file's bytes verbatim), can be parked
 * in host memory, unloaded to its files, and attached by any number of processes, read-only.
 *
 *   loading -> ready -> parked -> ready ...        residency: device, ram, disk
 *          \-> failed   \-> unloading -> unloaded -> loading ...
 *
 * On a device of host memory ready means residency ram. Everything here may be called on any
 * thread; what takes time is a job.
 */
#ifndef SERVICE_MODEL_H
#define SERVICE_MODEL_H

#include "base/share.h"
#include "model/card.h"
#include "model/estimate.h"
#include "service/job.h"

#define MODEL_NAME 256  /* with the NUL; bytes */
#define MODEL_PATH 4096 /* with the NUL: PATH_MAX */
#define MODEL_MAX 10000 /* models that are listed, whatever their state */
#define MODEL_VICTIMS 64

enum model_state {
  MODEL_LOADING,
  MODEL_READY,
  MODEL_PARKED,
  MODEL_UNLOADING,
  MODEL_UNLOADED,
  MODEL_FAILED
};
enum model_residency { MODEL_ON_DEVICE, MODEL_IN_RAM, MODEL_ON_DISK };
extern const char *const model_states[];      /* contract 4, NULL-terminated */
extern const char *const model_residencies[]; /* "device" "ram" "disk" */

struct model_view {
  uint64_t id; /* m-… */
  char name[MODEL_NAME], path[MODEL_PATH];
  enum model_state state;
  enum model_residency residency;
  uint32_t format;          /* enum card_format; CARD_FORMATS: not known yet */
  uint64_t fingerprint;     /* XXH3-64 of the bytes of its files in order; 0: not known yet */
  const char *device_id;    /* where it is, or was last; NULL: nowhere yet */
  char worker[40];          /* who loaded it; "" nobody yet */
  uint64_t size_bytes;      /* of its files */
  struct estimate estimate; /* on its device; total 0: never loaded there */
  uint32_t tensors, files;
  uint64_t load_time_ns, load_bytes_per_second; /* of the last load from its files; 0: none yet */
  enum view_priority priority;
  bool pinned, busy, ram_copy;
  uint64_t keep_alive_seconds; /* 0: none */
  uint64_t last_used_at, use_count, loaded_at, created_at;
  uint32_t progress;    /* hundredths, while loading */
  struct problem error; /* of the last load that failed */
};

struct model_victim {
  uint64_t id;
  char name[MODEL_NAME];
  uint64_t bytes;
  int to; /* enum model_residency: where it is afterwards; on a device: its copy in RAM goes */
};

struct model_file { /* opened by a client of the socket */
  char name[256];
  struct share share; /* borrowed: copied if it is needed for longer */
};
struct model_load {
  char path[MODEL_PATH]; /* "" with files */
  char name[MODEL_NAME]; /* "": the file's or directory's */
  char device[80], worker[40];
  int priority;
  int keep_ram_copy; /* -1: when there is room, 0, 1 */
  bool pinned, evict, verify, dry_run;
  bool ahead; /* the daemon's own guess: into host memory alone, and no use of the model */
  uint64_t keep_alive_seconds;
  struct { /* nobody said it: a model that is listed already keeps what it has */
    bool priority, pinned, keep_alive;
  } keeps;
  const struct model_file *files;
  uint32_t file_count;
};
#define MODEL_LOAD_DEFAULT                                                                         \
  ((struct model_load){                                                                            \
      .priority = VIEW_PRIORITY_NORMAL, .keep_ram_copy = -1, .evict = true, .verify = true})

struct model_started {
  struct job *job;         /* the caller's reference; NULL: nothing had to be done */
  struct model_view model; /* as it is now */
  bool refused; /* the name is another file's: the job (unlisted) fails, and says so unless the path
                   is wrong as well; there is no model */
};
/* The result of a load or an unload is in the job's view: struct job_model, whose `model` is there
 * from the start, so that a 202 can name it; with dry_run (the job is unlisted) struct job_trial.
 * Resident under this name already: OK without a job. The job fails with MODEL_NOT_FOUND, FORBIDDEN
 * (outside of model_dirs), MODEL_FORMAT_INVALID, a 507 whose problem names what could go, … */
enum status model_load_start(struct service *service, const struct caller *caller,
                             const struct model_load *params, struct model_started *out,
                             struct problem *problem);

struct model_unload {
  char model[MODEL_NAME]; /* id or name */
  bool to_ram;            /* park */
  bool force;             /* also pinned, or attached */
};
/* MODEL_NOT_FOUND, MODEL_BUSY (attached, or pinned, without force; loading), CONFLICT (cannot be
 * parked). */
enum status model_unload_start(struct service *service, const struct caller *caller,
                               const struct model_unload *params, struct model_started *out,
                               struct problem *problem);

struct model_patch {
  char model[MODEL_NAME];
  bool has_pinned, has_priority, has_keep_alive, has_name; /* which of these were said */
  bool pinned;
  int priority;
  uint64_t keep_alive_seconds;
  char name[MODEL_NAME];
};
enum status model_change(struct service *service, const struct caller *caller,
                         const struct model_patch *patch, struct model_view *out,
                         struct problem *problem);

enum status model_look(struct service *service, const char *id_or_name, struct model_view *out,
                       struct problem *problem);
struct model_page {
  struct model_view *models; /* malloced, `count` of them: free() */
  uint32_t count;
  uint64_t next; /* cursor for more, 0: no more */
};
/* By rising id after `cursor`; at most `limit`. INTERNAL_ERROR: no memory. */
enum status model_list(struct service *service, uint64_t cursor, uint32_t limit,
                       struct model_page *out);

struct model_optimize {
  char device[80];         /* "": all */
  char worker[40];         /* "": models go; else this worker gives what is its own */
  uint64_t target_percent; /* hundredths are not taken: 0 … 100 */
  uint64_t min_bytes;
  int strategy;        /* index of policy_preset_at; the first are those of enum policy_strategy */
  uint64_t max_models; /* UINT64_MAX: any */
  uint64_t max_time_ms;
  const char *const *exclude; /* ids or names */
  uint32_t exclude_count;
  bool force, dry_run;
  bool workers_too; /* for what models do not give, those are asked that have memory of their own */
  bool keeps_all;   /* nobody is dropped: only parked, where there is room for that */
  bool pinned_too;  /* after all others; for the daemon's own relief, as are the next two */
  bool young_wait;  /* one that was just loaded stays as long as that took, under any strategy; else
                       a strategy by its name takes it, and the presets say for themselves */
  uint64_t min_idle_ns; /* nobody goes who was used within it, whatever the strategy says */
};
struct model_plan {
  struct model_victim victims[MODEL_VICTIMS];
  uint32_t count;
  uint64_t bytes;
  uint32_t impact; /* hundredths of a percent */
  bool impact_unknown;
  bool covered;
  bool triggered;
  char reason[120]; /* why not */
};
struct model_optimized {
  struct job *job;        /* the caller's reference; NULL: nothing had to be done, or dry_run */
  struct model_plan plan; /* what will go, or would */
};
enum status model_optimize_start(struct service *service, const struct caller *caller,
                                 const struct model_optimize *params, struct model_optimized *out,
                                 struct problem *problem);

/* For the host's status: how many are resident and where their bytes are. */
struct model_totals {
  uint32_t loaded, parked;
  uint64_t device_bytes, ram_bytes;
};
void model_count(struct service *service, struct model_totals *out);

/* For GET models/status, beside what model_count and the report of the host say. */
struct model_status {
  uint64_t reclaimable_bytes; /* of resident ones that are neither attached nor pinned nor moving */
  enum job_kind last_kind;    /* of the load, unload or optimize that ended last; last_at 0: none */
  enum job_state last_state;
  uint64_t last_model, last_at; /* model 0: of an optimisation; at: CLOCK_REALTIME ns */
};
void model_status(struct service *service, struct model_status *out);

/* Attach: all files' segments and the tensor table, read-only. */
struct model_piece {
  uint64_t allocation, segment, offset_bytes, size_bytes;
  char name[256]; /* of the file */
  enum share_kind kind;
  struct share share; /* the caller's to close */
};
struct model_attached {
  uint64_t id;
  const char *device_id;
  uint32_t count;
  struct model_piece *pieces; /* malloced: model_attach_free; in the order of the card's files */
  const void *image;          /* card image; stays until model_attach_free, whatever is forced */
  size_t image_bytes;
  struct service *service; /* for model_attach_free: with what is held for the image's sake */
  struct models_weights *held;
};
/* MODEL_NOT_FOUND; MODEL_BUSY: not resident (load it first), or what its files hold is not known
 * any more (load it anew). */
enum status model_attach(struct service *service, const struct caller *caller,
                         const char *id_or_name, struct model_attached *out,
                         struct problem *problem);
/* The same of the copy in host memory, whether the model is ready or parked. MODEL_BUSY also: there
 * is none. */
enum status model_attach_ram(struct service *service, const struct caller *caller,
                             const char *id_or_name, struct model_attached *out,
                             struct problem *problem);
void model_attach_free(struct model_attached *attached);
/* Ends the newest attachment of it that the caller's connection has. MODEL_NOT_FOUND; CONFLICT: he
 * has none. */
struct model_detached {
  uint64_t model;
  uint32_t attachments; /* left of it, by anybody */
};
enum status model_attach_end(struct service *service, const struct caller *caller,
                             const char *id_or_name, struct model_detached *out,
                             struct problem *problem);

#endif
