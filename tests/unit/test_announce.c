/* announce: what a task needs is there before its line, each piece once, however many attempts that
 * takes; and another process gets all of it anew. */
#include "daemon/announce.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/moves.h"
#include "base/os_bytes.h"
#include "daemon/talk.h"

#define FILES 25

struct fixture {
  struct announce announce;
  struct mover_segment segments[2];
  struct mover_file files[FILES];
  struct mover_task task;
  unsigned room; /* for so many more */
  unsigned sent;
  struct moves_row rows[2];
  char last[128];
};

static const struct share descriptor = {SHARE_MEMFD, 7};

static bool share(void *ctx, const char *text, size_t n, const struct share *what) {
  struct fixture *fixture = ctx;
  if (!fixture->room)
    return false;
  if (what != &descriptor) /* a list: it is closed behind this */
    assert_int_equal(STATUS_OK, os_bytes_read(what, 0, fixture->rows, sizeof fixture->rows));
  fixture->room--;
  fixture->sent++;
  snprintf(fixture->last, sizeof fixture->last, "%.*s", (int)n, text);
  return true;
}

static const struct talk_carrier carrier = {.share = share}, mute = {.share = NULL};

static void begin(struct fixture *fixture) {
  *fixture = (struct fixture){.announce.process = 5, .room = 100};
  for (unsigned i = 0; i < 2; i++)
    fixture->segments[i] = (struct mover_segment){
        .id = i + 1, .size = 4096, .device_id = "host:0", .share = &descriptor};
  for (unsigned i = 0; i < FILES; i++)
    fixture->files[i] = (struct mover_file){.size = i + 1, .share = &descriptor};
  fixture->task = (struct mover_task){.action = MOVER_LOAD,
                                      .segments = fixture->segments,
                                      .segment_count = 2,
                                      .files = fixture->files,
                                      .file_count = FILES};
}

static bool offer(struct fixture *fixture) {
  return announce_task(&fixture->announce, &carrier, fixture, &fixture->task);
}

static void segments_stay_and_files_are_numbered_on(void **state) {
  (void)state;
  struct fixture fixture;
  begin(&fixture);
  assert_true(offer(&fixture));
  assert_int_equal(fixture.sent, 2 + FILES);
  assert_int_equal(fixture.task.files_first, 0);
  assert_string_equal(fixture.last, "{\"file_id\":24,\"size_bytes\":25}");
  fixture.task.files_talk = 0; /* as a new task */
  assert_true(offer(&fixture));
  assert_int_equal(fixture.sent, 2 + 2 * FILES);
  assert_int_equal(fixture.task.files_first, FILES);
  segment_set_clear(&fixture.announce.segments);
}

static void what_left_is_not_sent_again(void **state) {
  (void)state;
  struct fixture fixture;
  begin(&fixture);
  unsigned attempts = 0;
  do {
    fixture.room = 10;
    attempts++;
  } while (!offer(&fixture));
  assert_int_equal(attempts, 3);
  assert_int_equal(fixture.sent, 2 + FILES);
  segment_set_clear(&fixture.announce.segments);
}

static void another_process_gets_all_of_it(void **state) {
  (void)state;
  struct fixture fixture;
  begin(&fixture);
  fixture.room = 10;
  assert_false(offer(&fixture));
  segment_set_clear(&fixture.announce.segments);
  fixture.announce = (struct announce){.process = 6};
  fixture.room = 100;
  assert_true(offer(&fixture));
  assert_int_equal(fixture.sent, 10 + 2 + FILES);
  segment_set_clear(&fixture.announce.segments);
}

static void what_nobody_asked_for_goes_to_who_has_had_others(void **state) {
  (void)state;
  struct fixture fixture;
  struct mover_segment more = {.id = 9, .size = 4096, .device_id = "cuda:0", .share = &descriptor};
  begin(&fixture);
  announce_segment(&fixture.announce, &carrier, &fixture, &more);
  assert_int_equal(fixture.sent, 0); /* it has none */
  fixture.task.file_count = 0;
  assert_true(offer(&fixture));
  for (unsigned i = 0; i < 2; i++)
    segment_set_remove(&fixture.announce.segments, fixture.segments[i].id);
  for (unsigned i = 0; i < 2; i++)
    announce_segment(&fixture.announce, &carrier, &fixture, &more);
  assert_int_equal(fixture.sent, 2 + 1);
  more.id = 10;
  fixture.room = 0;
  announce_segment(&fixture.announce, &carrier, &fixture, &more);
  assert_false(segment_set_has(&fixture.announce.segments, 10)); /* so a task sends it */
  segment_set_clear(&fixture.announce.segments);
}

static void one_that_takes_none_gets_no_task_with_any(void **state) {
  (void)state;
  struct fixture fixture;
  begin(&fixture);
  assert_false(announce_task(&fixture.announce, &mute, &fixture, &fixture.task));
  fixture.task.segment_count = fixture.task.file_count = 0;
  assert_true(announce_task(&fixture.announce, &mute, &fixture, &fixture.task));
}

static void a_defragmentation_sends_its_moves_once(void **state) {
  (void)state;
  struct fixture fixture;
  struct mover_move moves[] = {{.from = 0, .to = 1, .from_offset = 7, .to_offset = 8, .size = 9},
                               {.from = 1, .to = 0, .from_offset = 4, .to_offset = 5, .size = 6}};
  const struct moves_row rows[] = {{0, 1, 7, 8, 9}, {1, 0, 4, 5, 6}};
  begin(&fixture);
  fixture.task.action = MOVER_DEFRAGMENT;
  fixture.task.files = NULL;
  fixture.task.file_count = 0;
  fixture.task.moves = moves;
  fixture.task.move_count = 2;
  fixture.room = 2;
  assert_false(offer(&fixture));
  fixture.room = 100;
  assert_true(offer(&fixture) && offer(&fixture));
  assert_int_equal(fixture.sent, 2 + 1);
  assert_string_equal(fixture.last, "{\"file_id\":0,\"size_bytes\":64}");
  assert_memory_equal(rows, fixture.rows, sizeof rows);
  assert_int_equal(fixture.announce.files, 1);
  segment_set_clear(&fixture.announce.segments);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(segments_stay_and_files_are_numbered_on),
      cmocka_unit_test(what_left_is_not_sent_again),
      cmocka_unit_test(another_process_gets_all_of_it),
      cmocka_unit_test(what_nobody_asked_for_goes_to_who_has_had_others),
      cmocka_unit_test(one_that_takes_none_gets_no_task_with_any),
      cmocka_unit_test(a_defragmentation_sends_its_moves_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
