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
      routing->cards[routing->count++] = devices[i].id;
}

/* NULL: the segment is on no card. */
static const char *card_of(const struct routing *routing, const struct mover_task *task,
                           uint32_t segment) {
  for (unsigned i = 0; i < routing->count; i++)
    if (!strcmp(routing->cards[i], task->segments[segment].device_id))
      return routing->cards[i];
  return NULL;
}

/* What a fill writes and a load reads comes from no segment. */
static bool leaves_segments(const struct mover_task *task) {
  return task->action != MOVER_FILL && task->action != MOVER_LOAD;
}

const char *routing_of(const struct routing *routing, const struct mover_task *task) {
  const char *card = NULL;
  for (uint32_t i = 0; !card && leaves_segments(task) && i < task->move_count; i++)
    card = card_of(routing, task, task->moves[i].from);
  for (uint32_t i = 0; !card && i < task->move_count; i++)
    card = card_of(routing, task, task->moves[i].to);
  return card ? card : WORKERS_OWN;
}
