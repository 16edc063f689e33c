/*
 * fence: a stream has passed a moment when the event that was recorded after it is over. The driver
 * is a stand-in of a few functions: each stream has done as many of its events as the test says.
 */
#include "torch/fence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define STREAMS 4

struct stand_in { /* of a stream; an event is a number in its stream */
  int recorded, done;
};

struct event {
  struct stand_in *stream;
  int number;
};

static struct stand_in streams[STREAMS];
static struct event events[256];
static int event_count;
static bool fails;

static int make(driver_event *event, unsigned flags) {
  (void)flags;
  *event = &events[event_count++];
  return DRIVER_OK;
}

static int record(driver_event event, driver_stream stream) {
  if (fails)
    return 400; /* CUDA_ERROR_INVALID_HANDLE */
  *(struct event *)event = (struct event){stream, ++((struct stand_in *)stream)->recorded};
  return DRIVER_OK;
}

static int query(driver_event arg) {
  const struct event *event = arg;
  return event->stream->done >= event->number ? DRIVER_OK : DRIVER_NOT_READY;
}

static const struct driver driver = {
    .event_create = make, .event_record = record, .event_query = query};
static struct fence fence;

static int set_up(void **state) {
  (void)state;
  fence = (struct fence){.driver = &driver};
  fails = false;
  event_count = 0;
  for (unsigned i = 0; i < STREAMS; i++) {
    streams[i] = (struct stand_in){0, 0};
    assert_int_equal(i, fence_number(&fence, &streams[i]));
  }
  return 0;
}

static void test_a_stream_keeps_its_number(void **state) {
  (void)state;
  assert_int_equal(2, fence_number(&fence, &streams[2]));
  for (uintptr_t i = STREAMS; i < ARENA_STREAMS; i++)
    assert_int_equal(i, fence_number(&fence, (driver_stream)(i << 8)));
  assert_int_equal(ARENA_STREAMS, fence_number(&fence, (driver_stream)UINTPTR_MAX));
}

static void test_one_stream_records_nothing(void **state) {
  (void)state;
  fence.count = 1;
  assert_int_equal(1, fence_mark(&fence, 0, 0));
  assert_int_equal(0, streams[0].recorded);
  fence.count = 2; /* the next moment tells of the one before */
  uint64_t mark = fence_mark(&fence, 0, 0);
  assert_false(fence_passed(&fence, 0, 1));
  streams[0].done = 1;
  assert_true(fence_passed(&fence, 0, 1));
  assert_true(fence_passed(&fence, 0, mark));
}

static void test_each_passes_by_itself(void **state) {
  (void)state;
  uint64_t first = fence_mark(&fence, 0, 0), second = fence_mark(&fence, 1, 0);
  streams[1].done = 1;
  assert_false(fence_passed(&fence, 0, first));
  assert_true(fence_passed(&fence, 1, second));
  streams[0].done = 1;
  assert_true(fence_passed(&fence, 0, first));
}

static void test_all_that_use_it_are_told(void **state) {
  (void)state;
  uint64_t mark = fence_mark(&fence, 0, 1 << 2 | 1 << 3);
  streams[0].done = streams[2].done = 1;
  assert_true(fence_passed(&fence, 0, mark) && fence_passed(&fence, 2, mark));
  assert_false(fence_passed(&fence, 3, mark));
  assert_int_equal(0, streams[1].recorded);
}

static void test_more_moments_than_events(void **state) {
  (void)state;
  uint64_t first = fence_mark(&fence, 0, 0), last = 0;
  for (unsigned i = 0; i < 5 * FENCE_EVENTS; i++)
    last = fence_mark(&fence, 0, 0);
  assert_int_equal(FENCE_EVENTS, event_count);
  streams[0].done = 1; /* the oldest events stay where they are */
  assert_true(fence_passed(&fence, 0, first));
  assert_false(fence_passed(&fence, 0, last));
  streams[0].done = streams[0].recorded;
  assert_true(fence_passed(&fence, 0, last));
}

static void test_a_stream_that_is_gone_waits_for_the_device(void **state) {
  (void)state;
  fails = true;
  uint64_t mark = fence_mark(&fence, 0, 0);
  assert_false(fence_passed(&fence, 0, mark));
  fence_settle(&fence, fence.now);
  assert_true(fence_passed(&fence, 0, mark));
  fails = false;
  assert_false(fence_passed(&fence, 0, fence_mark(&fence, 0, 0)));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(test_##name, set_up)
  const struct CMUnitTest tests[] = {
      TEST(a_stream_keeps_its_number), TEST(one_stream_records_nothing),
      TEST(each_passes_by_itself),     TEST(all_that_use_it_are_told),
      TEST(more_moments_than_events),  TEST(a_stream_that_is_gone_waits_for_the_device),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
