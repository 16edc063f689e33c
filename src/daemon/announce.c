/*
 * announce: a worker reads its descriptors on a thread of its own, but the kernel lets only few be
 * on their way; so a task with many of them leaves in several attempts. What has left is not sent
 * again, unless that was to another process.
 */
#include "daemon/announce.h"

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
  if (carrier->share(ctx, text.data, text.size, segment->share))
    return true;
  segment_set_remove(&announce->segments, segment->id);
  return false;
}

static void number_files(struct announce *announce, struct mover_task *task) {
  if (task->files_talk == announce->process)
    return;
  task->files_talk = announce->process;
  task->files_first = announce->files;
  task->files_sent = 0;
  announce->files += task->file_count;
}

static bool send_file(const struct talk_carrier *carrier, void *ctx,
                      const struct mover_task *task) {
  const struct mover_file *file = &task->files[task->files_sent];
  struct buf text BUF_CLEANUP;
  buf_init(&text, ANNOUNCE_TEXT);
  wire_file(&text, task->files_first + task->files_sent, file->size);
  return !text.failed && carrier->share(ctx, text.data, text.size, file->share);
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
  for (; task->files_sent < task->file_count; task->files_sent++)
    if (!send_file(carrier, ctx, task))
      return false;
  return true;
}
