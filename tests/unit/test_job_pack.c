/* What is kept of a finished job reads as it was, and is as small as what it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/job_pack.h"

/* Packed and read, into memory that held something else. */
static size_t again(const struct job_view *view, struct job_view *out) {
  struct job_pack *pack = job_pack_make(view);
  assert_non_null(pack);
  assert_int_equal(job_pack_state(pack), view->state);
  memset(out, 0xee, sizeof *out);
  job_pack_read(pack, out);
  size_t bytes = job_pack_bytes(pack);
  free(pack);
  return bytes;
}

static void assert_same_head(const struct job_view *a, const struct job_view *b) {
  assert_int_equal(a->id, b->id);
  assert_int_equal(a->kind, b->kind);
  assert_int_equal(a->state, b->state);
  assert_int_equal(a->bytes_done, b->bytes_done);
  assert_int_equal(a->bytes_total, b->bytes_total);
  assert_int_equal(a->bytes_per_second, b->bytes_per_second);
  assert_int_equal(a->created_at, b->created_at);
  assert_int_equal(a->started_at, b->started_at);
  assert_int_equal(a->completed_at, b->completed_at);
  assert_int_equal(a->result_lost, b->result_lost);
}

static void fill_with(void *data, size_t bytes) {
  for (size_t i = 0; i < bytes; i++)
    ((unsigned char *)data)[i] = (unsigned char)(i * 7 + 1);
}

/* A completed one whose result, `bytes` of it, is different everywhere. */
static struct job_view completed(enum job_kind kind, size_t bytes) {
  struct job_view view = {.id = 77,
                          .kind = kind,
                          .state = JOB_COMPLETED,
                          .bytes_done = 5,
                          .bytes_total = 6,
                          .bytes_per_second = 7,
                          .created_at = 8,
                          .started_at = 9,
                          .completed_at = 10,
                          .result_lost = true};
  fill_with(&view.result, bytes);
  return view;
}

static void a_result_without_arrays(void **state) {
  static const enum job_kind kinds[] = {JOB_TRANSFER, JOB_COPY, JOB_FILL};
  static const size_t sizes[] = {sizeof(struct job_transfer), sizeof(struct job_bytes),
                                 sizeof(struct job_bytes)};
  (void)state;
  for (unsigned i = 0; i < 3; i++) {
    struct job_view view = completed(kinds[i], sizes[i]), out;
    assert_true(again(&view, &out) < sizes[i] + 128);
    assert_same_head(&view, &out);
    assert_memory_equal(&view.result, &out.result, sizes[i]);
    assert_int_equal(out.problem.status, STATUS_OK);
    assert_string_equal(out.problem.text, "");
  }
}

struct row {
  enum job_kind kind;
  size_t count, array, each; /* where its number, where the array; an entry's size */
  uint32_t most;
};

#define ROW(kind, type, used, member)                                                              \
  {                                                                                                \
    kind, offsetof(type, used), offsetof(type, member), sizeof(((type *)0)->member[0]),            \
        sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0])                               \
  }

static const struct row rows[] = {
    ROW(JOB_DEFRAGMENT, struct job_defrag, device_count, devices),
    ROW(JOB_LOAD, struct job_model, holder_count, holders),
    ROW(JOB_UNLOAD, struct job_model, holder_count, holders),
    ROW(JOB_OPTIMIZE, struct job_optimize, count, victims),
    ROW(JOB_APPLY, struct job_apply, count, applied),
};

static void the_used_part_of_an_array(void **state) {
  (void)state;
  for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
    const struct row *row = &rows[i];
    for (uint32_t used = 0; used <= row->most; used++) {
      struct job_view view = completed(row->kind, row->array + row->most * row->each), out;
      memcpy((char *)&view.result + row->count, &used, sizeof used);
      size_t length = row->array + used * row->each;
      assert_true(again(&view, &out) < length + 128);
      assert_memory_equal(&view.result, &out.result, length);
    }
  }
}

static void both_arrays_of_a_clear(void **state) {
  struct job_view view = completed(JOB_CLEAR, sizeof(struct job_clear)), out;
  struct job_clear *clear = &view.result.clear;
  (void)state;
  clear->device_count = 2;
  clear->worker_count = VIEW_CLEARED;
  again(&view, &out);
  assert_memory_equal(clear, &out.result.clear, offsetof(struct job_clear, devices[2]));
  assert_memory_equal(clear->workers, out.result.clear.workers, sizeof clear->workers);
  clear->worker_count = 1;
  assert_true(again(&view, &out) < 400);
  assert_memory_equal(clear->workers, out.result.clear.workers, sizeof clear->workers[0]);
}

static void a_problem_is_whole(void **state) {
  struct job_view view = completed(JOB_FILL, sizeof(struct job_bytes)), out;
  struct problem *problem = &view.problem;
  (void)state;
  view.state = JOB_FAILED;
  problem_field(problem, STATUS_INSUFFICIENT_MEMORY, "sizeBytes", "%0255d", 1);
  snprintf(problem->subject, sizeof problem->subject, "host:0");
  snprintf(problem->allowed, sizeof problem->allowed, "%0511d", 1);
  problem->has_space = true;
  problem->space.model_count = 8;
  problem->space.models[7].bytes = 4711;
  again(&view, &out);
  assert_int_equal(out.problem.status, STATUS_INSUFFICIENT_MEMORY);
  assert_string_equal(out.problem.text, problem->text);
  assert_string_equal(out.problem.field, "sizeBytes");
  assert_string_equal(out.problem.subject, "host:0");
  assert_string_equal(out.problem.allowed, problem->allowed);
  assert_true(out.problem.has_space);
  assert_memory_equal(&out.problem.space, &problem->space, sizeof problem->space);
  problem_set(problem, STATUS_WORKER_UNAVAILABLE, "no worker");
  assert_true(again(&view, &out) < 200);
  assert_string_equal(out.problem.text, "no worker");
  assert_string_equal(out.problem.allowed, "");
  assert_false(out.problem.has_space);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_result_without_arrays),
      cmocka_unit_test(the_used_part_of_an_array),
      cmocka_unit_test(both_arrays_of_a_clear),
      cmocka_unit_test(a_problem_is_whole),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
