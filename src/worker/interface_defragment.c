/*
 * interface_defragment: a device that can do all moves at once does so; else they go one by one.
 */
#include "worker/interface_defragment.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/moves.h"
#include "base/os_bytes.h"
#include "worker/interface_place.h"
#include "worker/manager.h"
#include "worker/mover.h"

struct sweep {
  struct interface_call *call;
  struct device_move *moves; /* those that can be tried */
  uint32_t *indices;         /* of each in the request */
  uint32_t count, asked;
  uint64_t *segments; /* in use */
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

/* A list of moves, and where the segments begin that its rows name by number. */
struct list {
  struct moves_row *rows;
  struct device_place *segments;
  uint32_t count, segment_count;
};

static struct device_place place_in(const struct list *list, uint32_t number, uint64_t offset) {
  struct device_segment *segment =
      number < list->segment_count ? list->segments[number].segment : NULL;
  return (struct device_place){segment, offset};
}

static void take_row(struct sweep *sweep, const struct list *list, const struct moves_row *row) {
  const struct device_move move = {.from = place_in(list, row->from, row->from_offset),
                                   .to = place_in(list, row->to, row->to_offset),
                                   .size = row->size};
  sweep->call->bytes_total += move.size;
  if (interface_place_holds(&move.from, move.size) && interface_place_holds(&move.to, move.size)) {
    sweep->indices[sweep->count] = sweep->asked;
    sweep->moves[sweep->count++] = move;
  }
  sweep->asked++;
}

static enum status read_rows(struct sweep *sweep, struct reader_value moves, struct list *list) {
  struct share file;
  uint64_t id = reader_uint(reader_get(moves, "file_id"), UINT64_MAX);
  enum status status = manager_take_file(interface_manager(sweep->call), id, &file);
  if (status)
    return status;
  status = os_bytes_read(&file, 0, list->rows, list->count * sizeof *list->rows);
  share_close(&file);
  return status;
}

static enum status take_list(struct sweep *sweep, struct reader_value moves, struct list *list) {
  struct reader_value names = reader_get(moves, "segments");
  sweep->moves = calloc(list->count + 1, sizeof *sweep->moves);
  sweep->indices = calloc(list->count + 1, sizeof *sweep->indices);
  sweep->segments = calloc(list->segment_count + 1, sizeof *sweep->segments);
  list->rows = calloc(list->count + 1, sizeof *list->rows);
  list->segments = calloc(list->segment_count + 1, sizeof *list->segments);
  if (!sweep->moves || !sweep->indices || !sweep->segments || !list->rows || !list->segments)
    return STATUS_INTERNAL_ERROR;
  enum status status = read_rows(sweep, moves, list);
  for (uint32_t i = 0; !status && i < list->segment_count; i++)
    list->segments[i].segment = use(sweep, reader_at(names, i));
  for (uint32_t i = 0; !status && i < list->count; i++)
    take_row(sweep, list, &list->rows[i]);
  return status;
}

static enum status take(struct sweep *sweep) {
  struct reader_value moves = reader_at(reader_get(sweep->call->data, "moves"), 0);
  uint64_t count = reader_uint(reader_get(moves, "count"), 0);
  struct list list = {.count = (uint32_t)count,
                      .segment_count = (uint32_t)reader_count(reader_get(moves, "segments"))};
  if (count > MOVES_MOST)
    return STATUS_INVALID_ARGUMENT;
  sweep->call->bytes_total = 0;
  enum status status = take_list(sweep, moves, &list);
  free(list.rows);
  free(list.segments);
  return status;
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
  enum status status = take(&sweep);
  if (status == STATUS_INTERNAL_ERROR)
    problem_set(&call->problem, status, "the worker is out of memory");
  else if (status)
    problem_set(&call->problem, STATUS_INVALID_ARGUMENT, "the list of moves did not arrive");
  else if (!call->problem.status && !atomic_load(&call->cancel))
    move(&sweep);
  write_moved(&sweep, w);
  give(&sweep);
}
