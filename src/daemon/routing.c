/*
 * routing: the mover of the card that bytes leave also opens a context on the one that they go to,
 * so that no bytes go by way of a third process.
 */
#include "daemon/routing.h"

#include <string.h>

#include "daemon/workers.h"

void routing_init(struct routing *routing, const struct spec *devices, unsigned count) {
  *routing = (struct routing){.count = 0};
  for (unsigned i = 0; i < count && routing->count < VIEW_DEVICES; i++)
    if (device_makes_context(&devices[i]))
      routing->cards[routing->count++] = &devices[i];
}

/* NULL: the segment is on no card. */
static const struct spec *card_of(const struct routing *routing, const struct mover_task *task,
                                  uint32_t segment) {
  for (unsigned i = 0; i < routing->count; i++)
    if (!strcmp(routing->cards[i]->id, task->segments[segment].device_id))
      return routing->cards[i];
  return NULL;
}

/* What a fill writes and a load reads comes from no segment. */
static bool leaves_segments(const struct mover_task *task) {
  return task->action != MOVER_FILL && task->action != MOVER_LOAD;
}

const char *routing_of(const struct routing *routing, const struct mover_task *task) {
  const struct spec *card = NULL;
  for (uint32_t i = 0; !card && leaves_segments(task) && i < task->move_count; i++)
    card = card_of(routing, task, task->moves[i].from);
  for (uint32_t i = 0; !card && i < task->move_count; i++)
    card = card_of(routing, task, task->moves[i].to);
  return card ? card->id : WORKERS_OWN;
}

static bool is_apart(const struct spec *one, const struct spec *other) {
  return one && other && one->environment[0] && other->environment[0] &&
         strcmp(one->environment, other->environment) != 0;
}

bool routing_apart(const struct routing *routing, const struct mover_task *task,
                   const struct spec *found[2]) {
  for (uint32_t i = 0; leaves_segments(task) && i < task->move_count; i++) {
    const struct spec *from = card_of(routing, task, task->moves[i].from);
    const struct spec *to = card_of(routing, task, task->moves[i].to);
    if (is_apart(from, to)) {
      found[0] = from;
      found[1] = to;
      return true;
    }
  }
  return false;
}
