/*
 * fence: how far the streams of a device have come. Every moment at which memory is given back has
 * a number, rising; a stream that is told of it gets an event, and has passed the moment when the
 * event is over. While a device has one stream nothing is recorded, for nobody asks. Not
 * thread-safe; the device's context is the calling thread's unless it is said.
 */
#ifndef TORCH_FENCE_H
#define TORCH_FENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "torch/arena.h"
#include "torch/driver.h"

#define FENCE_EVENTS 8 /* of a stream; when they are all under way the last one moves on */

struct fence_stream {
  driver_stream stream;
  uint64_t passed;
  struct {
    driver_event event;
    uint64_t mark;
  } events[FENCE_EVENTS]; /* a ring */
  uint32_t first, count;
};

struct fence {
  const struct driver *driver;
  uint64_t now;
  uint32_t count;
  struct fence_stream streams[ARENA_STREAMS];
};

/* The stream's number; ARENA_STREAMS: it would be one too many. No context is needed. */
uint32_t fence_number(struct fence *fence, driver_stream stream);
/* Of struct arena_clock; ctx is the fence. */
uint64_t fence_mark(void *ctx, uint32_t stream, uint64_t others);
bool fence_passed(void *ctx, uint32_t stream, uint64_t mark);
/* All streams have done what they were told before the moment `mark`, which was fence->now then. */
void fence_settle(struct fence *fence, uint64_t mark);

#endif
