/*
 * alloc_look: one allocation with what happened to it: its events are chained, newest first.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "service/alloc.h"
#include "service/state.h"

static void tell(const struct service *s, const struct events_record *event,
                 struct alloc_history *out) {
  const char *word = strchr(events_word((enum events_type)event->type), '.');
  char size[32];
  units_format(event->bytes, size, sizeof size);
  out->time = event->time;
  out->event = word ? word + 1 : "";
  const char *device = event->device ? s->devices[event->device - 1].info->id : "";
  int n =
      snprintf(out->detail, sizeof out->detail, "%s%s%s", size, device[0] ? " on " : "", device);
  bool attaches =
      event->type == EVENTS_ALLOCATION_ATTACHED || event->type == EVENTS_ALLOCATION_DETACHED;
  if (attaches && event->other && n > 0 && (size_t)n < sizeof out->detail)
    snprintf(out->detail + n, sizeof out->detail - (size_t)n, ", process %" PRIu64, event->other);
}

static void history(const struct service *s, uint64_t id, struct alloc_looked *out) {
  struct events_record chain[ALLOC_HISTORY];
  uint32_t count = 0;
  while (id && count < ALLOC_HISTORY && events_at(s->events, id, &chain[count]))
    id = chain[count++].before;
  out->history_count = count;
  /* Of one that an earlier daemon made its ring is gone. */
  bool whole = count && chain[count - 1].type == EVENTS_ALLOCATION_CREATED;
  out->history_truncated = id != 0 || !whole;
  for (uint32_t i = 0; i < count; i++)
    tell(s, &chain[count - 1 - i], &out->history[i]);
}

enum status alloc_look(struct service *s, uint64_t id, struct alloc_looked *out,
                       struct problem *problem) {
  LOCK_SCOPE(&s->lock);
  uint32_t index;
  enum status status = state_find_alloc(s, NULL, id, &index, problem);
  if (status)
    return status;
  state_view_alloc(s, index, &out->allocation);
  history(s, state_alloc(s, index)->last_event, out);
  return STATUS_OK;
}
