/*
 * layers: a ring of minutes. A row that is older than the ring is found by its minute's number and
 * begun anew by whoever comes first.
 */
#include "service/layers.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/units.h"
#include "service/state.h"

#define LAYERS_MINUTE (60 * CLOCK_SECOND)

struct slot {
  uint64_t number; /* of clock_now() */
  struct layers_row rows[MOVER_ACTIONS];
};

struct layers {
  struct lock lock;
  struct slot minutes[LAYERS_MINUTES];
};

enum status layers_create(struct service *s) {
  s->layers = calloc(1, sizeof *s->layers);
  if (!s->layers)
    return STATUS_INTERNAL_ERROR;
  lock_init(&s->layers->lock, LOCK_RANK_LEAF, "layers");
  return STATUS_OK;
}

void layers_free(struct service *s) {
  if (!s->layers)
    return;
  lock_done(&s->layers->lock);
  free(s->layers);
}

void layers_submit(struct service *s, struct mover_task *task, uint64_t began_ns) {
  task->layers = s->layers;
  task->began_ns = began_ns ? began_ns : clock_now();
  s->mover->submit(s->mover_ctx, task);
}

static void add(struct layers_row *sum, const struct layers_row *row) {
  sum->count += row->count;
  sum->decision_ns += row->decision_ns;
  sum->told += row->told;
  sum->wire_ns += row->wire_ns;
  sum->split += row->split;
  sum->worker_ns += row->worker_ns;
  sum->device_ns += row->device_ns;
}

/* What one task took. */
static struct layers_row row_of(const struct mover_task *task, uint64_t heard_ns) {
  struct layers_row row = {.count = 1, .decision_ns = units_minus(task->sent_ns, task->began_ns)};
  uint64_t away = units_minus(heard_ns, task->sent_ns), elapsed, device;
  if (!units_mul(task->elapsed_us, 1000, &elapsed) || elapsed > away)
    return row;
  row.told = 1;
  row.wire_ns = away - elapsed;
  if (!units_mul(task->device_us, 1000, &device) || device > elapsed)
    return row;
  row.split = 1;
  row.worker_ns = elapsed - device;
  row.device_ns = device;
  return row;
}

void layers_answered(const struct mover_task *task, uint64_t heard_ns) {
  if (!task->layers)
    return;
  struct layers_row row = row_of(task, heard_ns);
  uint64_t number = heard_ns / LAYERS_MINUTE;
  struct slot *slot = &task->layers->minutes[number % LAYERS_MINUTES];
  LOCK_SCOPE(&task->layers->lock);
  if (slot->number != number)
    *slot = (struct slot){.number = number};
  add(&slot->rows[task->action], &row);
}

void layers_read(struct service *s, uint64_t window_ns, struct layers_row out[MOVER_ACTIONS]) {
  uint64_t now = clock_now(), first = units_minus(now, window_ns) / LAYERS_MINUTE;
  uint64_t oldest = units_minus(now / LAYERS_MINUTE, LAYERS_MINUTES - 1);
  for (int action = 0; action < MOVER_ACTIONS; action++)
    out[action] = (struct layers_row){0};
  LOCK_SCOPE(&s->layers->lock);
  for (int i = 0; i < LAYERS_MINUTES; i++) {
    const struct slot *slot = &s->layers->minutes[i];
    if (slot->number >= first && slot->number >= oldest)
      for (int action = 0; action < MOVER_ACTIONS; action++)
        add(&out[action], &slot->rows[action]);
  }
}
