/* wire: what is said to a worker is what contract 5 says, and what it answers is believed only as
 * far as it fits. */
#include "daemon/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/id.h"

static const struct share memfd = {SHARE_MEMFD, 7};
static struct mover_segment segments[2] = {
    {.id = 0x1f0c000000000001, .size = 8192, .device_id = "host:0", .share = &memfd},
    {.id = 0x1f0c000000000002, .size = 4096, .device_id = "fake:0", .share = &memfd}};

static struct mover_task task_of(enum mover_action action, struct mover_move *moves,
                                 uint32_t count) {
  return (struct mover_task){.action = action,
                             .subject = 0x1f0c000000000009,
                             .segments = segments,
                             .segment_count = 2,
                             .moves = moves,
                             .move_count = count,
                             .verify = true,
                             .value = 171};
}

static struct mover_move one = {.from = 0, .to = 1, .from_offset = 16, .to_offset = 32, .size = 64};

#define assert_line(expected, call)                                                                \
  do {                                                                                             \
    struct buf out BUF_CLEANUP;                                                                    \
    buf_init(&out, WIRE_LINE);                                                                     \
    call;                                                                                          \
    assert_string_equal(buf_text(&out), expected);                                                 \
  } while (0)

static void a_transfer_names_its_ends_by_segment(void **state) {
  (void)state;
  struct mover_task task = task_of(MOVER_TRANSFER, &one, 1);
  assert_line("{\"request_id\":\"r-17\",\"action\":\"memory.transfer\",\"data\":{"
              "\"transfer_id\":\"t-1f0c000000000009\","
              "\"source\":{\"segment_id\":\"s-1f0c000000000001\",\"offset_bytes\":16},"
              "\"target\":{\"segment_id\":\"s-1f0c000000000002\",\"offset_bytes\":32},"
              "\"size_bytes\":64,\"verify\":true},\"deadline_ms\":30000}",
              wire_task(&out, 17, &task));
}

static void a_transfer_may_ask_for_the_fingerprint(void **state) {
  (void)state;
  struct mover_task task = task_of(MOVER_TRANSFER, &one, 1);
  task.verify = false;
  task.sums = true;
  struct buf out BUF_CLEANUP;
  buf_init(&out, WIRE_LINE);
  wire_task(&out, 17, &task);
  assert_non_null(
      strstr(buf_text(&out), "\"size_bytes\":64,\"verify\":false,\"fingerprint\":true}"));
}

static void a_copy_is_no_transfer(void **state) {
  (void)state;
  struct mover_task task = task_of(MOVER_COPY, &one, 1);
  struct buf out BUF_CLEANUP;
  buf_init(&out, WIRE_LINE);
  wire_task(&out, 1, &task);
  assert_non_null(strstr(buf_text(&out), "\"action\":\"memory.copy\",\"data\":{\"source\""));
  assert_null(strstr(buf_text(&out), "transfer_id"));
}

static void a_fill_has_a_target_and_a_value(void **state) {
  (void)state;
  struct mover_move move = {.to = 0, .to_offset = 4096, .size = 100};
  struct mover_task task = task_of(MOVER_FILL, &move, 1);
  assert_line("{\"request_id\":\"r-2\",\"action\":\"memory.fill\",\"data\":{"
              "\"target\":{\"segment_id\":\"s-1f0c000000000001\",\"offset_bytes\":4096},"
              "\"size_bytes\":100,\"value\":171,\"verify\":true},\"deadline_ms\":30000}",
              wire_task(&out, 2, &task));
}

static void a_load_names_its_files_and_where_each_goes(void **state) {
  (void)state;
  struct mover_move moves[2] = {{.from = 1, .to = 0, .to_offset = 4096, .size = 100},
                                {.from = 0, .to = 1, .size = 7}};
  struct mover_task task = task_of(MOVER_LOAD, moves, 2);
  task.model = 0x1f0c00000000000a;
  task.file_count = 2;
  task.files_first = 30;
  assert_line("{\"request_id\":\"r-4\",\"action\":\"memory.load_model\",\"data\":{"
              "\"model_id\":\"m-1f0c00000000000a\",\"file_ids\":[30,31],\"targets\":["
              "{\"file_id\":31,\"segment_id\":\"s-1f0c000000000001\",\"offset_bytes\":4096,"
              "\"size_bytes\":100},"
              "{\"file_id\":30,\"segment_id\":\"s-1f0c000000000002\",\"offset_bytes\":0,"
              "\"size_bytes\":7}],\"verify\":true},\"deadline_ms\":30000}",
              wire_task(&out, 4, &task));
}

static void a_defragmentation_names_the_list_of_its_moves(void **state) {
  (void)state;
  struct mover_move moves[3] = {
      {.from = 0, .to = 0, .from_offset = 64, .size = 8},
      {.from = 1, .to = 0, .to_offset = 8, .size = 4},
      {.from = 1, .to = 0, .from_offset = 96, .to_offset = 16, .size = 2}};
  struct mover_task task = task_of(MOVER_DEFRAGMENT, moves, 3);
  task.files_first = 12;
  assert_line("{\"request_id\":\"r-3\",\"action\":\"memory.defragment\",\"data\":{"
              "\"device_id\":\"host:0\",\"brief\":true,\"moves\":["
              "{\"segments\":[\"s-1f0c000000000001\",\"s-1f0c000000000002\"],"
              "\"file_id\":12,\"count\":3}]},\"deadline_ms\":30000}",
              wire_task(&out, 3, &task));
}

static void small_requests(void **state) {
  (void)state;
  assert_line("{\"request_id\":\"r-4\",\"action\":\"ping\",\"data\":{},\"deadline_ms\":10000}",
              wire_plain(&out, 4, "ping"));
  assert_line("{\"request_id\":\"r-5\",\"action\":\"cancel\",\"data\":{\"request_id\":\"r-3\"},"
              "\"deadline_ms\":10000}",
              wire_cancel(&out, 5, 3));
  assert_line("{\"request_id\":\"r-6\",\"action\":\"segment.drop\","
              "\"data\":{\"segment_id\":\"s-1f0c000000000001\"},\"deadline_ms\":30000}",
              wire_drop(&out, 6, segments[0].id));
}

static bool limits_of(void *arg, const char *device, struct wire_limits *out) {
  (void)arg;
  *out = (struct wire_limits){4096, 512, {PRESSURE_HIGH, 9150, 0}};
  return !strcmp(device, "host:0");
}

static void thresholds_are_percentages(void **state) {
  (void)state;
  static const struct spec devices[] = {{.id = "host:0", .backend = "host", .size_bytes = 8192}};
  struct wire_initialize what = {.devices = devices,
                                 .count = 1,
                                 .numbers = {{7550, 9000, 9525}, 8000, 7050, 0},
                                 .limits = limits_of};
  assert_line("{\"event\":\"memory.thresholds\",\"data\":{\"moderate\":75.5,\"high\":90,"
              "\"critical\":95.25,\"relief\":{\"trigger\":80,\"target\":70.5},"
              "\"limits\":[{\"device_id\":\"host:0\",\"max_bytes\":4096,\"reserved_bytes\":512,"
              "\"pressure_level\":\"high\",\"pressure_percent\":91.5}]}}",
              wire_thresholds(&out, &what));
}

static void a_worker_begins_with_all_that_it_must_know(void **state) {
  (void)state;
  static const struct spec devices[] = {{.id = "host:0", .backend = "host", .size_bytes = 8192},
                                        {.id = "fake:0", .backend = "fake", .size_bytes = 4096}};
  struct wire_initialize what = {.devices = devices,
                                 .count = 2,
                                 .numbers = {PRESSURE_DEFAULTS, 8000, 7000, 1},
                                 .limits = limits_of};
  struct buf out BUF_CLEANUP;
  buf_init(&out, WIRE_LINE);
  wire_initialize(&out, 7, &what);
  static const char *const parts[] = {
      "\"action\":\"memory.initialize\"",
      "\"devices\":[{\"device_id\":\"host:0\",\"spec\":",
      "\"limits\":[{\"device_id\":\"host:0\",\"max_bytes\":4096,\"reserved_bytes\":512,"
      "\"pressure_level\":\"high\",\"pressure_percent\":91.5}]",
      "\"thresholds\":{\"moderate\":75,\"high\":90,\"critical\":95}",
      "\"relief\":{\"trigger\":80,\"target\":70}",
      "\"policy\":\"lru\"",
      "\"log_level\":\""};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (!strstr(buf_text(&out), parts[i]))
      fail_msg("no %s in %s", parts[i], buf_text(&out));
}

static void a_segment_is_described_beside_its_descriptor(void **state) {
  (void)state;
  assert_line("{\"segment_id\":\"s-1f0c000000000002\",\"device_id\":\"fake:0\","
              "\"size_bytes\":4096,\"handle_type\":\"memfd\"}",
              wire_segment(&out, &segments[1]));
}

static void only_our_own_ids_are_requests(void **state) {
  (void)state;
  assert_int_equal(wire_request("r-17"), 17);
  static const char *const foreign[] = {"",     "r-",   "17",  "r17",  "r--1", "r- 1",
                                        "r-+1", "r-1x", "R-1", "r-x1", "r-0x1"};
  for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
    assert_int_equal(wire_request(foreign[i]), 0);
}

static void take(struct mover_task *task, const char *text) {
  struct reader_doc *doc;
  struct problem problem;
  assert_int_equal(reader_parse(text, strlen(text), &doc, &problem), STATUS_OK);
  wire_result(task, reader_root(doc));
  reader_free(doc);
}

static void a_result_is_taken_over(void **state) {
  (void)state;
  struct mover_task task = task_of(MOVER_TRANSFER, &one, 1);
  take(&task, "{\"bytes\":64,\"checksum\":\"xxh3-64:00ff00ff00ff00ff\",\"verified\":true,"
              "\"fingerprint\":\"xxh3-64:00000000000000fe\",\"path\":\"staged\","
              "\"elapsed_us\":7,\"device_us\":5}");
  assert_int_equal(task.problem.status, STATUS_OK);
  assert_true(task.fingerprint_known && task.fingerprint == 0xfe);
  assert_int_equal(task.bytes, 64);
  assert_true(task.checksum_known && task.checksum == 0x00ff00ff00ff00ff);
  assert_true(task.verified && task.path_known && task.path == DEVICE_PATH_STAGED);
  assert_int_equal(task.elapsed_us, 7);
  assert_int_equal(task.device_us, 5);
}

static void what_is_not_said_is_not_known(void **state) {
  (void)state;
  struct mover_task task = task_of(MOVER_COPY, &one, 1);
  take(&task, "{\"bytes\":64,\"checksum\":null,\"verified\":null,\"path\":\"by air\"}");
  assert_int_equal(task.problem.status, STATUS_OK);
  assert_false(task.checksum_known || task.verified || task.path_known);
  assert_true(task.elapsed_us == UINT64_MAX && task.device_us == UINT64_MAX);
}

static void a_part_is_no_success(void **state) {
  (void)state;
  struct mover_task task = task_of(MOVER_COPY, &one, 1);
  take(&task, "{\"bytes\":63}");
  assert_int_equal(task.problem.status, STATUS_INTERNAL_ERROR);
}

static void only_moves_that_there_are_have_moved(void **state) {
  (void)state;
  struct mover_move moves[3] = {one, one, one};
  struct mover_task task = task_of(MOVER_DEFRAGMENT, moves, 3);
  take(&task, "{\"moved\":[2,0,3,-1,\"1\",9223372036854775807],\"bytes\":128}");
  assert_true(moves[0].ok && moves[2].ok);
  assert_false(moves[1].ok);
}

static void a_brief_answer_names_those_that_failed(void **state) {
  (void)state;
  struct mover_move moves[3] = {one, one, one};
  struct mover_task task = task_of(MOVER_DEFRAGMENT, moves, 3);
  take(&task, "{\"failed\":[1,3],\"bytes\":128}");
  assert_int_equal(task.problem.status, STATUS_OK);
  assert_true(moves[0].ok && !moves[1].ok && moves[2].ok);
  take(&task, "{\"failed\":[],\"bytes\":128}"); /* it cannot have moved all three */
  assert_int_equal(task.problem.status, STATUS_INTERNAL_ERROR);
  assert_false(moves[0].ok || moves[1].ok || moves[2].ok);
}

static void a_load_is_all_of_its_files(void **state) {
  (void)state;
  struct mover_move moves[2] = {{.size = 100}, {.size = 7}};
  struct mover_task task = task_of(MOVER_LOAD, moves, 2);
  take(&task, "{\"loaded\":true,\"size_bytes\":107,\"checksum\":\"xxh3-64:00000000000000ff\","
              "\"verified\":true}");
  assert_int_equal(task.problem.status, STATUS_OK);
  assert_int_equal(task.bytes, 107);
  assert_true(task.checksum_known && task.checksum == 0xff && task.verified);
  take(&task, "{\"loaded\":true,\"size_bytes\":100}");
  assert_int_equal(task.problem.status, STATUS_INTERNAL_ERROR);
}

static void a_clear_says_how_much(void **state) {
  (void)state;
  struct mover_task task = task_of(MOVER_CLEAR, NULL, 0);
  take(&task, "{\"cleared_bytes\":4096}");
  assert_int_equal(task.problem.status, STATUS_OK);
  assert_int_equal(task.bytes, 4096);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_transfer_names_its_ends_by_segment),
      cmocka_unit_test(a_transfer_may_ask_for_the_fingerprint),
      cmocka_unit_test(a_copy_is_no_transfer),
      cmocka_unit_test(a_fill_has_a_target_and_a_value),
      cmocka_unit_test(a_load_names_its_files_and_where_each_goes),
      cmocka_unit_test(a_defragmentation_names_the_list_of_its_moves),
      cmocka_unit_test(small_requests),
      cmocka_unit_test(thresholds_are_percentages),
      cmocka_unit_test(a_worker_begins_with_all_that_it_must_know),
      cmocka_unit_test(a_segment_is_described_beside_its_descriptor),
      cmocka_unit_test(only_our_own_ids_are_requests),
      cmocka_unit_test(a_result_is_taken_over),
      cmocka_unit_test(what_is_not_said_is_not_known),
      cmocka_unit_test(a_part_is_no_success),
      cmocka_unit_test(only_moves_that_there_are_have_moved),
      cmocka_unit_test(a_brief_answer_names_those_that_failed),
      cmocka_unit_test(a_load_is_all_of_its_files),
      cmocka_unit_test(a_clear_says_how_much),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
