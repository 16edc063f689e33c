/*
 * defragment_plan: the planner is the thread's from when there is one. What it has made others know
 * by `made`, which it renews after each victim.
 */
#include "service/defragment_plan.h"

#include <stdlib.h>

#include "base/queue.h"

#define PLAN_FIRST 64 /* moves, before there is a thread */

struct defragment_plan {
  struct task task; /* first: the thread's only one */
  struct queue *thread;
  struct defrag_planner *planner;
  struct lock lock; /* of the next three */
  pthread_cond_t grown;
  struct defrag_plan made;
  bool all, closing;
  struct defrag_plan told; /* to who waited */
};

/* Plans until there are so many. False: there are no more, or nobody wants them. */
static bool go_on(struct defragment_plan *plan, uint32_t moves) {
  const struct defrag_plan *made = defrag_planner_go_on(plan->planner, moves);
  LOCK_SCOPE(&plan->lock);
  plan->made = *made;
  plan->all = made->move_count < moves;
  pthread_cond_signal(&plan->grown);
  return !plan->all && !plan->closing;
}

static void go_on_to_the_end(struct task *task) {
  struct defragment_plan *plan = (struct defragment_plan *)task;
  while (go_on(plan, plan->made.move_count + 1)) /* which only we renew */
    ;
}

enum status defragment_plan_open(struct snapshot *snapshot, enum defrag_strategy strategy,
                                 struct defragment_plan **out) {
  struct defragment_plan *plan = calloc(1, sizeof *plan);
  if (!plan)
    return STATUS_INTERNAL_ERROR;
  plan->task.run = go_on_to_the_end;
  lock_init(&plan->lock, LOCK_RANK_LEAF, "plan");
  lock_cond_init(&plan->grown);
  enum status status = snapshot_plan(snapshot, strategy, &plan->planner);
  if (!status && go_on(plan, PLAN_FIRST))
    status = queue_create("planner", &plan->thread);
  if (status) {
    defragment_plan_close(plan);
    return status;
  }
  if (plan->thread)
    queue_post(plan->thread, &plan->task);
  *out = plan;
  return STATUS_OK;
}

void defragment_plan_close(struct defragment_plan *plan) {
  if (!plan)
    return;
  lock_take(&plan->lock);
  plan->closing = true;
  lock_give(&plan->lock);
  queue_free(plan->thread);
  defrag_planner_free(plan->planner);
  pthread_cond_destroy(&plan->grown);
  lock_done(&plan->lock);
  free(plan);
}

const struct defrag_plan *defragment_plan_wait(struct defragment_plan *plan, uint32_t moves) {
  LOCK_SCOPE(&plan->lock);
  while (plan->made.move_count < moves && !plan->all)
    pthread_cond_wait(&plan->grown, &plan->lock.mutex);
  plan->told = plan->made;
  return &plan->told;
}
