/*
 * requests: a list, for there are few; and how long each may be silent.
 */
#include "daemon/requests.h"

#include <stdlib.h>

#include "base/clock.h"
#include "daemon/wire.h"

#define REQUESTS_STEP_NS (2 * CLOCK_SECOND) /* contract 5: each step is given this long */

struct request *requests_add(struct requests *requests, enum requests_kind kind) {
  if (requests->count >= REQUESTS_MAX && kind != REQUESTS_DROP)
    return NULL;
  struct request *request = calloc(1, sizeof *request);
  if (!request)
    return NULL;
  request->number = ++requests->last;
  request->heard_ns = clock_now();
  request->kind = kind;
  request->next = requests->first;
  requests->first = request;
  requests->count++;
  requests->tasks += kind == REQUESTS_TASK;
  return request;
}

void requests_remove(struct requests *requests, struct request *request) {
  struct request **link = &requests->first;
  while (*link != request)
    link = &(*link)->next;
  *link = request->next;
  requests->count--;
  requests->tasks -= request->kind == REQUESTS_TASK;
  free(request);
}

struct request *requests_find(const struct requests *requests, uint64_t number) {
  struct request *request = requests->first;
  while (request && request->number != number)
    request = request->next;
  return request;
}

unsigned requests_step(const struct request *request, uint64_t now) {
  uint64_t patience =
      CLOCK_MS * (request->kind == REQUESTS_QUICK ? WIRE_QUICK_MS : WIRE_DEADLINE_MS);
  uint64_t silent = now > request->heard_ns ? now - request->heard_ns : 0;
  if (silent < patience)
    return 0;
  uint64_t step = 1 + (silent - patience) / REQUESTS_STEP_NS;
  return step > 4 ? 4 : (unsigned)step;
}
