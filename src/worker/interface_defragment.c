/*
 * interface_defragment: a device that can do all moves at once does so; else they go one by one.
 */
#include "worker/interface_defragment.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/id.h"
#include "worker/interface_place.h"
#include "worker/manager.h"
#include "worker/mover.h"

#define NUMBERS 3 /* of a move: from, to, size */

struct sweep {
  struct interface_call *call;
  struct device_move *moves; /* those that can be tried */
  uint32_t *indices;         /* of each in the request */
  uint32_t count, asked;
  uint64_t *segments; /* in use, some twice */
  uint32_t segment_count;
  uint64_t done; /* bytes of the moves before */
};

/* ---- places ---- */

/* NULL: it cannot be had, which is a reason to give up only where the device is lost. */
static struct device_segment *use(struct sweep *sweep, struct reader_value name) {
  struct interface_call *call = sweep->call;
  uint64_t id = id_parse(ID_SEGMENT, reader_text(name, ""));
  struct device_segment *segment = NULL;
  if (id && !manager_use(interface_manager(call), id, &segment, &call->problem))
    sweep->segments[sweep->segment_count++] = id;
  if (call->problem.status != STATUS_DEVICE_UNAVAILABLE)
    call->problem.status = STATUS_OK;
  return segment;
}

/* What is no number ends the list. */
static bool next_number(const char **list, uint64_t *number) {
  if (**list < '0' || **list > '9')
    return false;
  char *end;
  *number = strtoull(*list, &end, 10); /* too large a one lies in no segment */
  *list = end + (*end == ',');
  return true;
}

static void take_range(struct sweep *sweep, const struct device_move *move) {
  sweep->call->bytes_total += move->size;
  if (interface_place_holds(&move->from, move->size) &&
      interface_place_holds(&move->to, move->size)) {
    sweep->indices[sweep->count] = sweep->asked;
    sweep->moves[sweep->count++] = *move;
  }
  sweep->asked++;
}

static const char *ranges_of(struct reader_value pair) {
  return reader_text(reader_get(pair, "ranges"), "");
}

static void take_pair(struct sweep *sweep, struct reader_value pair) {
  const char *list = ranges_of(pair);
  struct device_move move = {.from = {use(sweep, reader_get(pair, "source")), 0},
                             .to = {use(sweep, reader_get(pair, "target")), 0}};
  while (next_number(&list, &move.from.offset) && next_number(&list, &move.to.offset) &&
         next_number(&list, &move.size))
    take_range(sweep, &move);
}

/* No fewer than there are. */
static size_t count_ranges(struct reader_value pair) {
  size_t numbers = 1;
  for (const char *list = ranges_of(pair); *list; list++)
    numbers += *list == ',';
  return numbers / NUMBERS;
}

static bool take(struct sweep *sweep) {
  struct reader_value pairs = reader_get(sweep->call->data, "moves");
  size_t count = 0;
  for (size_t i = 0; i < reader_count(pairs); i++)
    count += count_ranges(reader_at(pairs, i));
  sweep->moves = calloc(count + 1, sizeof *sweep->moves);
  sweep->indices = calloc(count + 1, sizeof *sweep->indices);
  sweep->segments = calloc(2 * reader_count(pairs) + 1, sizeof *sweep->segments);
  if (!sweep->moves || !sweep->indices || !sweep->segments)
    return false;
  sweep->call->bytes_total = 0;
  for (size_t i = 0; i < reader_count(pairs); i++)
    take_pair(sweep, reader_at(pairs, i));
  return true;
}

static void give(struct sweep *sweep) {
  for (uint32_t i = 0; i < sweep->segment_count; i++)
    manager_done(interface_manager(sweep->call), sweep->segments[i]);
  free(sweep->moves);
  free(sweep->indices);
  free(sweep->segments);
}

/* ---- bytes ---- */

static enum status move_all(struct sweep *sweep) {
  uint64_t start = clock_now();
  enum status status = device_copy_all(sweep->moves, sweep->count);
  sweep->call->device_us += (clock_now() - start) / 1000;
  return status;
}

static void sweep_progress(void *arg, uint64_t bytes_done) {
  const struct sweep *sweep = arg;
  interface_progress(sweep->call, sweep->done + bytes_done);
}

static enum status move_one(struct sweep *sweep, struct device_move *move) {
  struct mover_work work = {.from = move->from,
                            .to = move->to,
                            .size = move->size,
                            .verify = true,
                            .cancel = &sweep->call->cancel,
                            .progress = sweep_progress,
                            .arg = sweep};
  enum status status = mover_copy(&work);
  move->same = !status && work.verified;
  sweep->call->device_us += work.device_us;
  return status;
}

/* As far as the device lives; what else fails is left out. */
static enum status move_each(struct sweep *sweep) {
  enum status status = STATUS_OK;
  for (uint32_t i = 0; i < sweep->count && status != STATUS_DEVICE_UNAVAILABLE &&
                       !atomic_load(&sweep->call->cancel);
       i++) {
    struct device_move *move = &sweep->moves[i];
    status = move_one(sweep, move);
    sweep->done += move->same ? move->size : 0;
    interface_progress(sweep->call, sweep->done);
  }
  return status;
}

/* The requests' indices of those that were moved, or of those that were not. */
static void write_indices(const struct sweep *sweep, struct writer *w, bool moved) {
  uint32_t next = 0;
  writer_array(w, moved ? "moved" : "failed");
  for (uint32_t asked = 0; asked < sweep->asked; asked++) {
    bool tried = next < sweep->count && sweep->indices[next] == asked;
    bool same = tried && sweep->moves[next].same;
    next += tried;
    if (same == moved)
      writer_uint(w, NULL, asked);
  }
  writer_end(w);
}

static void write_moved(const struct sweep *sweep, struct writer *w) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < sweep->count; i++)
    bytes += sweep->moves[i].same ? sweep->moves[i].size : 0;
  write_indices(sweep, w, !reader_bool(reader_get(sweep->call->data, "brief"), false));
  writer_uint(w, "bytes", bytes);
}

static void move(struct sweep *sweep) {
  enum status status = move_all(sweep);
  if (status && status != STATUS_DEVICE_UNAVAILABLE)
    status = move_each(sweep);
  if (status == STATUS_DEVICE_UNAVAILABLE)
    problem_set(&sweep->call->problem, status, "%s", status_text(status));
}

void interface_defragment_run(struct interface_call *call, struct writer *w) {
  struct sweep sweep = {.call = call};
  if (!take(&sweep))
    problem_set(&call->problem, STATUS_INTERNAL_ERROR, "the worker is out of memory");
  else if (!call->problem.status && !atomic_load(&call->cancel))
    move(&sweep);
  write_moved(&sweep, w);
  give(&sweep);
}
