/*
 * fence: a ring of events for each stream. One that cannot be recorded (its stream is gone) leaves
 * the stream where it is until somebody has waited for the whole device.
 */
#include "torch/fence.h"

#include "base/units.h"

#define NO_TIMING 2 /* CU_EVENT_DISABLE_TIMING */

uint32_t fence_number(struct fence *fence, driver_stream stream) {
  for (uint32_t i = 0; i < fence->count; i++)
    if (fence->streams[i].stream == stream)
      return i;
  if (fence->count == ARENA_STREAMS)
    return ARENA_STREAMS;
  fence->streams[fence->count].stream = stream;
  return fence->count++;
}

static void record(struct fence *fence, struct fence_stream *stream) {
  uint32_t next = stream->count < FENCE_EVENTS ? stream->count : FENCE_EVENTS - 1;
  uint32_t at = (stream->first + next) % FENCE_EVENTS;
  if (!stream->events[at].event &&
      fence->driver->event_create(&stream->events[at].event, NO_TIMING))
    return;
  if (fence->driver->event_record(stream->events[at].event, stream->stream))
    return;
  stream->events[at].mark = fence->now;
  stream->count = next + 1;
}

uint64_t fence_mark(void *ctx, uint32_t stream, uint64_t others) {
  struct fence *fence = ctx;
  uint64_t all = others | UINT64_C(1) << stream;
  fence->now++;
  if (fence->count > 1)
    for (uint64_t bits = all; bits; bits &= bits - 1)
      record(fence, &fence->streams[__builtin_ctzll(bits)]);
  return fence->now;
}

bool fence_passed(void *ctx, uint32_t number, uint64_t mark) {
  struct fence *fence = ctx;
  struct fence_stream *stream = &fence->streams[number];
  while (stream->passed < mark && stream->count) {
    uint32_t at = stream->first;
    if (fence->driver->event_query(stream->events[at].event))
      return false;
    stream->passed = units_max(stream->passed, stream->events[at].mark);
    stream->first = (at + 1) % FENCE_EVENTS;
    stream->count--;
  }
  return stream->passed >= mark;
}

void fence_settle(struct fence *fence, uint64_t mark) {
  for (uint32_t i = 0; i < fence->count; i++)
    fence->streams[i].passed = units_max(fence->streams[i].passed, mark);
}
