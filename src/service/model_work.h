/*
 * model_work: one load, unload, park or transfer under way: places, bytes, records, and back.
 * Private to this room. Plan-copy-commit as everywhere: until the commit nothing of the new copies
 * is visible, and a work that fails gives back all it took before its job reads failed.
 *
 *   begin -> (open, inspect: model_open) -> make: places -> fill -> seal -> commit -> give -> end
 */
#ifndef SERVICE_MODEL_WORK_H
#define SERVICE_MODEL_WORK_H

#include "service/confirm.h"
#include "service/inspector.h"
#include "service/job_work.h"
#include "service/models.h"
#include "service/space.h"

#define MODEL_WORK_RECORDED UINT32_MAX /* node of a place that its allocation has now */
#define MODEL_WORK_ALIGNMENT 4096 /* of a file's bytes in its segment: pages, for direct reads */

struct model_work {
  struct space_waiter waiter; /* first: the space hands it back */
  struct mover_task task;
  struct mover_drop drop;
  struct inspector_task inspect;
  struct task hop;
  struct job_waiter victim_ended;
  struct service *service;
  struct job *job;
  struct problem problem;
  struct caller caller;
  uint64_t model; /* its id */
  struct models_weights *weights;

  /* load: model_open.c and model_load.c */
  struct model_load params; /* without its files */
  struct os_path_found *opened;
  uint32_t opened_count;
  uint32_t shards_asked; /* how often an inspector asked for more files */
  bool fresh;            /* the model was not listed before */
  bool optional;         /* the copy in RAM: the load goes on without it */
  void *image;
  size_t image_bytes;
  struct card card;

  /* model_room.c */
  struct job *victim; /* whose end is waited for */
  uint32_t rounds;
  bool evicts;              /* that is a victim's, and no worker's */
  bool asked;               /* workers were: nobody is asked twice for one load */
  struct job_broken broken; /* who of them did not keep his word */
  bool waited; /* for room, or for others who work on its weights: effects.h was told */

  /* a transfer: model_move.c */
  bool transfers;
  bool moving; /* `weights` change their home; else they are new: a copy of origin */
  struct models_weights *origin; /* copy: whose bytes; NULL: those of `weights` */
  uint32_t source, target;       /* devices */
  enum models_copy from;         /* which of their copies is shipped */
  uint64_t *former;              /* move: allocations that the new copy stands in for; NULL: none */
  bool moves_table;              /* the card goes along, into other host memory */

  /* copies that come, and copies that go afterwards */
  bool takes[MODELS_COPIES], gives[MODELS_COPIES];
  bool drains; /* only the copy in RAM goes: nothing that anybody is told of */
  uint32_t devices[MODELS_COPIES];
  struct space *places[MODELS_COPIES]; /* of the parts; segment 0: not taken */
  struct space table;                  /* of the card; segment 0: not taken */
  uint32_t copy, part;                 /* what is being placed, shipped or sealed */
  struct mover_segment *segments;
  struct mover_move *moves;
  struct mover_file *files;
  uint64_t *sums; /* fingerprints of the parts as they left host memory */
  uint64_t shipped, started_ns, read_ns;
  uint64_t external_before; /* of the home, for model_estimate.c */
  uint32_t going;           /* segments on their way back, and one for the loop over them */

  /* what goes: model_give.c */
  struct confirm confirm;         /* of the card */
  uint64_t card_bytes;            /* that its driver is to have back */
  uint64_t attached[JOB_HOLDERS]; /* allocations that went while somebody had them attached */
  uint32_t attached_count;
  struct job_model gone; /* the result */
};

struct model_work_params {
  enum job_kind kind;
  const struct caller *caller;
  uint32_t index;               /* of the model */
  bool listed;                  /* its job */
  const struct models_key *key; /* NULL: none */
  struct job *job;              /* that there is for it; NULL: it gets one */
};
/* Under the lock: marks the model and its weights as worked on. NULL: no memory, or too many jobs.
 */
struct model_work *model_work_begin(struct service *s, const struct model_work_params *params);
/* The same of a job that is there, for these weights and not for their names. */
struct model_work *model_work_adopt(struct service *s, struct job *job, const struct caller *caller,
                                    struct models_weights *weights);
struct job *model_work_job(const struct model_work *work);
/* A job's result names the model that it is about. */
void model_work_tell(struct job *job, uint64_t model);
/* The rest without the lock; each goes on by itself to the end of the work. */
/* Makes the copies that `takes` names, from the opened files, else from the copy there is; then
 * gives what `gives` names. */
void model_work_make(struct model_work *work);
/* With the problem in the work: gives back what was taken, and ends. */
void model_work_fail(struct model_work *work);
void model_work_end(struct model_work *work);
/* A load of which one copy is recorded goes on to the other. */
void model_work_again(struct model_work *work);
/* Runs `step` on the decision thread. */
void model_work_hop(struct model_work *work, void (*step)(struct task *task));
static inline struct model_work *model_work_of_hop(struct task *task) {
  return (struct model_work *)((char *)task - offsetof(struct model_work, hop));
}

#endif
