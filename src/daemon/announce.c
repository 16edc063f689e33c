/*
 * announce: a worker reads its descriptors on a thread of its own, but the kernel lets only few be
 * on their way; so a task with many of them leaves in several attempts. What has left is not sent
 * again, unless that was to another process.
 */
#include "daemon/announce.h"

#include <stdlib.h>

#include "base/moves.h"
#include "base/os_bytes.h"
#include "base/os_memfd.h"
#include "daemon/talk.h"
#include "daemon/wire.h"

#define ANNOUNCE_TEXT 512 /* longest text beside a descriptor */

static bool send_segment(struct announce *announce, const struct talk_carrier *carrier, void *ctx,
                         const struct mover_segment *segment) {
  struct buf text BUF_CLEANUP;
  buf_init(&text, ANNOUNCE_TEXT);
  wire_segment(&text, segment);
  if (text.failed || !segment_set_add(&announce->segments, segment->id))
    return false;
  bool sent = carrier->share(ctx, text.data, text.size, segment->share);
  announce->has_had |= sent;
  if (!sent)
    segment_set_remove(&announce->segments, segment->id);
  return sent;
}

void announce_segment(struct announce *announce, const struct talk_carrier *carrier, void *ctx,
                      const struct mover_segment *segment) {
  if (carrier->share && announce->has_had && !segment_set_has(&announce->segments, segment->id))
    (void)send_segment(announce, carrier, ctx, segment);
}

static bool send_file(const struct talk_carrier *carrier, void *ctx, uint64_t id,
                      const struct mover_file *file) {
  struct buf text BUF_CLEANUP;
  buf_init(&text, ANNOUNCE_TEXT);
  wire_file(&text, id, file->size);
  return !text.failed && carrier->share(ctx, text.data, text.size, file->share);
}

/* A defragmentation's only one is the list of its moves. */
static uint32_t files_of(const struct mover_task *task) {
  return task->action == MOVER_DEFRAGMENT ? 1 : task->file_count;
}

static void number_files(struct announce *announce, struct mover_task *task) {
  if (task->files_talk == announce->process)
    return;
  task->files_talk = announce->process;
  task->files_first = announce->files;
  task->files_sent = 0;
  announce->files += files_of(task);
}

static enum status write_moves(const struct mover_task *task, const struct share *list) {
  struct moves_row *rows = calloc(task->move_count + 1, sizeof *rows);
  if (!rows)
    return STATUS_INTERNAL_ERROR;
  for (uint32_t i = 0; i < task->move_count; i++) {
    const struct mover_move *move = &task->moves[i];
    rows[i] =
        (struct moves_row){move->from, move->to, move->from_offset, move->to_offset, move->size};
  }
  enum status status = os_bytes_write(list, 0, rows, task->move_count * sizeof *rows);
  free(rows);
  return status;
}

static bool send_moves(const struct talk_carrier *carrier, void *ctx, struct mover_task *task) {
  struct share list = {SHARE_NONE, 0};
  struct mover_file file = {.size = task->move_count * sizeof(struct moves_row), .share = &list};
  if (os_memfd_create("memkeep-moves", file.size, &list))
    return false;
  bool sent = !write_moves(task, &list) && send_file(carrier, ctx, task->files_first, &file);
  share_close(&list);
  task->files_sent += sent;
  return sent;
}

static bool send_files(const struct talk_carrier *carrier, void *ctx, struct mover_task *task) {
  bool sent = true;
  for (; sent && task->files_sent < task->file_count; task->files_sent += sent)
    sent = send_file(carrier, ctx, task->files_first + task->files_sent,
                     &task->files[task->files_sent]);
  return sent;
}

bool announce_task(struct announce *announce, const struct talk_carrier *carrier, void *ctx,
                   struct mover_task *task) {
  if (!carrier->share)
    return !task->segment_count && !task->file_count;
  for (uint32_t i = 0; i < task->segment_count; i++)
    if (!segment_set_has(&announce->segments, task->segments[i].id) &&
        !send_segment(announce, carrier, ctx, &task->segments[i]))
      return false;
  number_files(announce, task);
  if (task->action == MOVER_DEFRAGMENT)
    return task->files_sent || send_moves(carrier, ctx, task);
  return send_files(carrier, ctx, task);
}
