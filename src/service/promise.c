/*
 * promise: the ratio of both sums, never above 1: who gives more than he says is taken at his word.
 */
#include "service/promise.h"

#include <stdio.h>
#include <string.h>

#include "base/units.h"

static struct promise *row_of(struct promise_book *book, const char *worker) {
  for (uint32_t i = 0; i < VIEW_WORKERS; i++)
    if (!strcmp(book->rows[i].worker, worker))
      return &book->rows[i];
  struct promise *row = &book->rows[book->next++ % VIEW_WORKERS];
  *row = (struct promise){.promised_bytes = 0};
  snprintf(row->worker, sizeof row->worker, "%s", worker);
  return row;
}

bool promise_note(struct promise_book *book, const char *worker, uint64_t promised_bytes,
                  uint64_t freed_bytes) {
  if (!worker[0] || !promised_bytes)
    return false;
  struct promise *row = row_of(book, worker);
  uint64_t freed = freed_bytes < promised_bytes ? freed_bytes : promised_bytes;
  row->promised_bytes = row->promised_bytes / 2 + promised_bytes;
  row->freed_bytes = row->freed_bytes / 2 + freed;
  row->broken = freed < promised_bytes - promised_bytes / 4;
  return row->broken;
}

struct promise promise_of(const struct promise_book *book, const char *worker) {
  struct promise none = {.promised_bytes = 0};
  for (uint32_t i = 0; i < VIEW_WORKERS; i++)
    if (!strcmp(book->rows[i].worker, worker))
      return book->rows[i];
  snprintf(none.worker, sizeof none.worker, "%s", worker);
  return none;
}

uint64_t promise_scale(const struct promise *promise, uint64_t bytes) {
  if (!promise->promised_bytes)
    return bytes;
  return (uint64_t)((unsigned __int128)bytes * promise->freed_bytes / promise->promised_bytes);
}

void promise_blame(const struct job_broken *broken, struct problem *problem) {
  size_t n = strlen(problem->text);
  char gave[32], promised[32];
  if (!broken->worker[0] || problem->status != STATUS_INSUFFICIENT_MEMORY)
    return;
  units_format(broken->freed_bytes, gave, sizeof gave);
  units_format(broken->promised_bytes, promised, sizeof promised);
  snprintf(problem->text + n, sizeof problem->text - n, "; worker %s gave %s of the %s asked of it",
           broken->worker, gave, promised);
}
