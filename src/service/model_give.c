/*
 * model_give: what was on a card is over when its driver says so; a process that has it attached,
 * or that the driver names, is told as its holder. Host memory is back when the last descriptor of
 * ours is closed, which is waited for in any case; who maps it still is told as well.
 */
#include "service/model_give.h"

#include <string.h>

#include "base/os_proc.h"
#include "base/units.h"
#include "service/attachment.h"
#include "service/confirm.h"
#include "service/model_record.h"
#include "service/model_table.h"
#include "service/record.h"

static struct model_work *work_of(struct confirm *confirm) {
  return (struct model_work *)((char *)confirm - offsetof(struct model_work, confirm));
}

/* ---- who holds on ---- */

static void hold(struct job_model *gone, int32_t pid) {
  for (uint32_t i = 0; i < gone->holder_count; i++)
    if (gone->holders[i].pid == pid)
      return;
  if (gone->holder_count < JOB_HOLDERS)
    gone->holders[gone->holder_count++].pid = pid;
}

/* Those who have attached what is no more. */
static void find_attachers(struct model_work *work) {
  int32_t pids[JOB_HOLDERS];
  LOCK_SCOPE(&work->service->lock);
  for (uint32_t i = 0; i < work->attached_count; i++) {
    uint32_t count = attachment_pids(work->service, work->attached[i], pids, JOB_HOLDERS);
    for (uint32_t k = 0; k < count; k++)
      hold(&work->gone, pids[k]);
  }
}

/* Those whom the driver names with as much as is missing; workers have nothing of it any more. */
static void find_users(struct model_work *work) {
  struct device_process users[VIEW_PROCESSES];
  struct view_worker workers[VIEW_WORKERS];
  const struct confirm *confirm = &work->confirm;
  struct service *s = work->service;
  uint32_t count = device_processes(s->devices[confirm->device].device, users, VIEW_PROCESSES);
  uint32_t workers_count = service_workers(s, workers, VIEW_WORKERS);
  for (uint32_t i = 0; i < count; i++) {
    bool ours =
        users[i].used_bytes == DEVICE_BYTES_UNKNOWN || users[i].used_bytes < confirm->bytes / 4;
    for (uint32_t k = 0; k < workers_count; k++)
      ours = ours || workers[k].pid == users[i].pid;
    if (!ours)
      hold(&work->gone, users[i].pid);
  }
}

static void name_holders(struct job_model *gone) {
  for (uint32_t i = 0; i < gone->holder_count; i++)
    if (os_proc_name(gone->holders[i].pid, gone->holders[i].name, sizeof gone->holders[i].name))
      gone->holders[i].name[0] = 0;
}

/* ---- the end ---- */

static void end(struct model_work *work) {
  find_attachers(work);
  if (!work->confirm.confirmed && !work->gone.holder_count)
    find_users(work);
  name_holders(&work->gone);
  work->gone.confirmed = work->confirm.confirmed;
  model_work_end(work);
}

static void waited(struct confirm *confirm) { end(work_of(confirm)); }

static void given(void *arg) {
  struct model_work *work = arg;
  lock_take(&work->service->lock);
  bool last = !--work->going;
  lock_give(&work->service->lock);
  if (!last)
    return;
  if (work->confirm.known && work->card_bytes) {
    confirm_wait(&work->confirm, work->card_bytes, waited);
    return;
  }
  work->confirm.confirmed = true;
  end(work);
}

/* ---- what goes ---- */

/* Under the lock. */
static void give_part(struct model_work *work, uint64_t *at) {
  struct service *s = work->service;
  struct record_end why = {.why = EVENTS_ALLOCATION_FREED,
                           .correlation = job_correlation(work->job),
                           .then = given,
                           .arg = work};
  uint32_t index = idmap_find(&s->alloc_ids, *at);
  uint64_t id = *at;
  *at = 0;
  if (!index)
    return;
  const struct state_alloc *alloc = state_alloc(s, index);
  const struct state_segment *segment = state_segment(s, alloc->segment);
  uint64_t bytes = segment->size;
  bool watched = work->confirm.known && segment->device == work->confirm.device;
  if (alloc->attachments && work->attached_count < JOB_HOLDERS)
    work->attached[work->attached_count++] = id;
  if (!record_drop(s, index, &why))
    return;
  work->going++;
  work->gone.freed_bytes += bytes;
  work->card_bytes += watched ? bytes : 0;
}

static void give_copy(struct model_work *work, unsigned copy) {
  struct models_weights *weights = work->weights;
  weights->has[copy] = false;
  for (uint32_t i = 0; i < weights->part_count; i++)
    give_part(work, &weights->parts[i].at[copy]);
}

static void give_all(struct model_work *work) {
  struct service *s = work->service;
  lock_take(&s->lock);
  work->going = 1;
  for (unsigned copy = 0; copy < MODELS_COPIES; copy++)
    if (work->gives[copy])
      give_copy(work, copy);
  for (uint32_t i = 0; work->former && i < work->weights->part_count; i++)
    give_part(work, &work->former[i]);
  if (!work->weights->has[MODELS_RAM] && !work->weights->has[MODELS_CARD])
    model_table_drop(s, work->weights);
  model_record_write(s, idmap_find(&s->models->ids, work->model));
  lock_give(&s->lock);
  given(work);
}

static void measured(struct confirm *confirm) { give_all(work_of(confirm)); }

void model_give(struct model_work *work) {
  struct service *s = work->service;
  lock_take(&s->lock);
  uint32_t home = work->weights->home;
  bool card = work->gives[MODELS_CARD] && !s->devices[home].info->host_memory;
  lock_give(&s->lock);
  if (card)
    confirm_begin(&work->confirm, s, home, measured);
  else
    give_all(work);
}
