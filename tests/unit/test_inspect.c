/* Real processes read real files, good and hostile ones; a card, what is missing, or a reason. */
#include "daemon/inspect.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/os_sandbox.h"
#include "base/units.h"
#include "files_fixture.h"
#include "gguf_fixture.h"
#include "model/card.h"

#define PATIENCE (60 * CLOCK_SECOND)
#define FILES 64
#define TASKS 8
#define ONE(name, begin, end)                                                                      \
  "\"" name "\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" #begin "," #end "]}"

struct fixture {
  char program[512], script[64];
  struct loop *loop;
  struct inspect *inspect;
  struct loop_timer *timer;
  struct share shares[FILES];
  struct inspector_file files[FILES];
  uint32_t count;
  struct inspector_task tasks[TASKS];
  unsigned wanted, ended;
  uint64_t deadline, deadline_ns; /* of the test; of the inspector */
};

static struct fixture *current;

static void on_done(struct inspector_task *task) {
  (void)task;
  if (++current->ended == current->wanted)
    loop_stop(current->loop);
}

static void on_deadline(void *arg) { loop_stop(((struct fixture *)arg)->loop); }

/* The worker is built into bin/, beside the tests' folder. */
static void find_worker(char out[512]) {
  char self[400];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  assert_true(n > 0);
  self[n] = '\0';
  *strrchr(self, '/') = '\0';
  snprintf(out, 512, "%s/../bin/memkeep-worker", self);
}

static void begin(struct fixture *fixture) {
  struct inspect_params params = {fixture->loop, fixture->program, fixture->deadline_ns};
  assert_int_equal(inspect_create(&params, &fixture->inspect), STATUS_OK);
}

static int setup(void **state) {
  struct fixture *fixture = calloc(1, sizeof *fixture);
  log_set_level(LOG_LEVEL_ERROR);
  signal(SIGPIPE, SIG_IGN);
  find_worker(fixture->program);
  assert_int_equal(loop_create(&fixture->loop), STATUS_OK);
  assert_int_equal(loop_timer(fixture->loop, on_deadline, fixture, &fixture->timer), STATUS_OK);
  begin(fixture);
  *state = current = fixture;
  return 0;
}

static void forget_files(struct fixture *fixture) {
  for (uint32_t i = 0; i < fixture->count; i++)
    share_close(&fixture->shares[i]);
  fixture->count = 0;
}

static void forget_results(struct fixture *fixture) {
  for (unsigned i = 0; i < TASKS; i++) {
    free(fixture->tasks[i].image);
    free(fixture->tasks[i].missing);
  }
  memset(fixture->tasks, 0, sizeof fixture->tasks);
}

static int teardown(void **state) {
  struct fixture *fixture = *state;
  inspect_stop(fixture->inspect);
  loop_timer_free(fixture->timer);
  inspect_free(fixture->inspect);
  loop_free(fixture->loop);
  forget_files(fixture);
  forget_results(fixture);
  if (fixture->script[0])
    unlink(fixture->script);
  free(fixture);
  return 0;
}

/* ---- files ---- */

static struct share memory_of(const void *bytes, size_t n) {
  int fd = memfd_create("test_inspect", MFD_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, bytes, n), n);
  return (struct share){SHARE_FILE, fd};
}

static void add(struct fixture *fixture, const char *name, const void *bytes, size_t n) {
  uint32_t i = fixture->count++;
  fixture->shares[i] = memory_of(bytes, n);
  fixture->files[i] =
      (struct inspector_file){.name = name, .size = n, .share = &fixture->shares[i]};
}

static void add_safetensors(struct fixture *fixture, const char *name, const char *header,
                            size_t weights) {
  char bytes[1024] = {0};
  uint64_t length = strlen(header);
  memcpy(bytes, &length, sizeof length);
  memcpy(bytes + sizeof length, header, length);
  add(fixture, name, bytes, sizeof length + length + weights);
}

static void add_gguf(struct fixture *fixture, const char *name, uint64_t no, uint64_t count) {
  struct buf file BUF_CLEANUP;
  buf_init(&file, MIB);
  gguf_fixture_begin(&file, 1, count ? 3 : 0);
  if (count) {
    gguf_fixture_put_key(&file, "split.no", U16);
    gguf_fixture_put(&file, 2, no);
    gguf_fixture_put_key(&file, "split.count", U16);
    gguf_fixture_put(&file, 2, count);
    gguf_fixture_put_key(&file, "split.tensors.count", I32);
    gguf_fixture_put(&file, 4, count);
  }
  struct gguf_fixture_tensor tensor = {.name = no ? "b" : "a", .rank = 1, .dims = {8}};
  gguf_fixture_put_tensor(&file, &tensor);
  gguf_fixture_put_weights(&file, 32, 32);
  add(fixture, name, file.data, file.size);
}

/* ---- asking ---- */

static void run(struct fixture *fixture) {
  loop_timer_start(fixture->timer, PATIENCE / CLOCK_MS, 0);
  loop_run(fixture->loop);
  assert_int_equal(fixture->ended, fixture->wanted);
  fixture->ended = 0;
}

static void ask(struct fixture *fixture, unsigned i) {
  fixture->tasks[i] = (struct inspector_task){
      .files = fixture->files, .file_count = fixture->count, .done = on_done};
  inspect_table()->inspect(fixture->inspect, &fixture->tasks[i]);
}

static struct inspector_task *look(struct fixture *fixture) {
  forget_results(fixture);
  fixture->wanted = 1;
  ask(fixture, 0);
  run(fixture);
  return &fixture->tasks[0];
}

static struct card card_of(struct fixture *fixture) {
  struct inspector_task *task = look(fixture);
  struct problem problem;
  struct card card = {NULL};
  if (task->problem.status)
    fail_msg("refused: %s", task->problem.text);
  assert_non_null(task->image);
  assert_int_equal(card_check(task->image, task->image_bytes, &card, &problem), STATUS_OK);
  return card;
}

static void is_refused(struct fixture *fixture, enum status status, const char *because) {
  struct inspector_task *task = look(fixture);
  assert_int_equal(task->problem.status, status);
  assert_null(task->image);
  assert_null(task->missing);
  if (!strstr(task->problem.text, because))
    fail_msg("\"%s\" does not say: %s", task->problem.text, because);
}

static void is_invalid(struct fixture *fixture, const char *because) {
  is_refused(fixture, STATUS_MODEL_FORMAT_INVALID, because);
}

/* ---- good files ---- */

static void safetensors_become_a_card(void **state) {
  struct fixture *fixture = *state;
  add_safetensors(fixture, "m.safetensors", "{" ONE("a", 0, 4) "," ONE("b", 4, 8) "}", 8);
  struct card card = card_of(fixture);
  assert_int_equal(card.head->tensors, 2);
  assert_int_equal(card.head->weight_bytes, 8);
  assert_int_equal(card.files[0].size, fixture->files[0].size);
  assert_memory_equal(card.text + card.files[0].name, "m.safetensors", card.files[0].name_bytes);
}

static void what_a_file_is_its_content_says(void **state) {
  struct fixture *fixture = *state;
  add_safetensors(fixture, "liar.gguf", "{" ONE("a", 0, 4) "}", 4);
  assert_int_equal(card_of(fixture).head->format, CARD_SAFETENSORS);
  forget_files(fixture);
  add_gguf(fixture, "liar.safetensors", 0, 0);
  assert_int_equal(card_of(fixture).head->format, CARD_GGUF);
}

static void many_keys_are_read_behind_the_walls(void **state) {
  struct fixture *fixture = *state;
  struct buf file BUF_CLEANUP;
  buf_init(&file, MIB);
  gguf_fixture_begin(&file, 1, 500);
  for (unsigned i = 0; i < 500; i++) {
    char key[32];
    snprintf(key, sizeof key, "a.key.%u", (i * 7919) % 500);
    gguf_fixture_put_u32(&file, key, i);
  }
  gguf_fixture_finish(&file);
  add(fixture, "m.gguf", file.data, file.size);
  assert_int_equal(card_of(fixture).head->tensors, 1);
}

static const char index_text[] = "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":"
                                 "\"m-2.safetensors\"}}";

static void of_an_index_the_shards_are_missing(void **state) {
  struct fixture *fixture = *state;
  add(fixture, "m.index.json", index_text, sizeof index_text - 1);
  const struct inspector_task *task = look(fixture);
  assert_int_equal(task->problem.status, STATUS_OK);
  assert_int_equal(task->missing_count, 2);
  assert_string_equal(task->missing, "m-1.safetensors");
  assert_string_equal(task->missing + sizeof "m-1.safetensors", "m-2.safetensors");
  add_safetensors(fixture, "m-1.safetensors", "{" ONE("a", 0, 4) "}", 4);
  add_safetensors(fixture, "m-2.safetensors", "{" ONE("b", 0, 4) "}", 4);
  struct card card = card_of(fixture);
  assert_int_equal(card.head->files, 2);
  assert_int_equal(card.head->tensors, 2);
}

static void a_part_of_a_split_file_names_the_others(void **state) {
  struct fixture *fixture = *state;
  add_gguf(fixture, "m-00002-of-00002.gguf", 1, 2);
  const struct inspector_task *task = look(fixture);
  assert_int_equal(task->problem.status, STATUS_OK);
  assert_int_equal(task->missing_count, 1);
  assert_string_equal(task->missing, "m-00001-of-00002.gguf");
  add_gguf(fixture, "m-00001-of-00002.gguf", 0, 2);
  struct card card = card_of(fixture);
  assert_int_equal(card.head->files, 2);
  assert_memory_equal(card.text + card.files[0].name, "m-00001", 7);
}

static void more_files_than_the_kernel_lets_wait(void **state) {
  struct fixture *fixture = *state;
  static char names[40][32];
  for (unsigned i = 0; i < 40; i++) {
    char header[128];
    snprintf(header, sizeof header,
             "{\"t%u\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", i);
    snprintf(names[i], sizeof names[i], "m-%02u.safetensors", i);
    add_safetensors(fixture, names[i], header, 4);
  }
  assert_int_equal(card_of(fixture).head->files, 40);
}

static void many_at_once_are_all_answered(void **state) {
  struct fixture *fixture = *state;
  add_safetensors(fixture, "m.safetensors", "{" ONE("a", 0, 4) "}", 4);
  fixture->wanted = TASKS;
  for (unsigned i = 0; i < TASKS; i++)
    ask(fixture, i);
  run(fixture);
  for (unsigned i = 0; i < TASKS; i++)
    assert_non_null(fixture->tasks[i].image);
}

/* ---- hostile files ---- */

static void hostile_files_are_refused_with_a_reason(void **state) {
  struct fixture *fixture = *state;
  static const struct {
    const char *bytes, *because;
    size_t n;
  } rows[] = {
      {"", "is empty", 0},
      {"PK\3\4 a zip file", "neither", 15},
      {"{\"weight_map\":{\"a\":\"../passwd\"}}", "name", 32},
      {"{", "", 1},
      {"GGUF\3\0\0\0", "", 8},
      {"GGUF\3\0\0\0\377\377\377\377\377\377\377\377\0\0\0\0\0\0\0\0", "", 24},
      {"\377\377\377\377\0\0\0\0{}", "header", 10},
      {"\2\0\0\0\0\0\0\0[]", "", 10},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    add(fixture, "m", rows[i].bytes, rows[i].n);
    is_invalid(fixture, rows[i].because);
    forget_files(fixture);
  }
}

static void of_several_files_the_bad_one_is_named(void **state) {
  struct fixture *fixture = *state;
  add(fixture, "m.index.json", index_text, sizeof index_text - 1);
  add_safetensors(fixture, "m-1.safetensors", "{" ONE("a", 0, 4) "}", 4);
  add_safetensors(fixture, "m-2.safetensors", "{" ONE("b", 0, 5) "}", 5);
  is_invalid(fixture, "m-2.safetensors: ");
}

static void a_file_that_shrank_is_refused(void **state) {
  struct fixture *fixture = *state;
  add_safetensors(fixture, "m.safetensors", "{" ONE("a", 0, 4) "}", 4);
  assert_int_equal(ftruncate((int)fixture->shares[0].value, 20), 0);
  is_invalid(fixture, "shorter than it was");
}

static void a_name_that_is_no_text_is_refused(void **state) {
  struct fixture *fixture = *state;
  add_safetensors(fixture, "m\xff.safetensors", "{" ONE("a", 0, 4) "}", 4);
  is_invalid(fixture, "UTF-8");
}

/* 100 MB of header, over and over. */
static void what_takes_too_long_is_ended(void **state) {
  struct fixture *fixture = *state;
  static char names[FILES][32];
  const size_t header = 99 * MIB - 8;
  char *bytes = malloc(header + 8);
  if (!os_sandbox_is_strict()) {
    free(bytes);
    skip(); /* a sanitizer's runtime does not live with limits */
  }
  assert_non_null(bytes);
  uint64_t length = header > 100000000 ? 100000000 : header;
  memset(bytes, ' ', header + 8);
  memcpy(bytes, &length, 8);
  bytes[8] = '{';
  bytes[7 + length] = '}';
  struct share share = memory_of(bytes, 8 + length);
  free(bytes);
  for (unsigned i = 0; i < FILES; i++) {
    snprintf(names[i], sizeof names[i], "m-%02u.safetensors", i);
    assert_int_equal(share_copy(&share, &fixture->shares[i]), STATUS_OK);
    fixture->files[i] =
        (struct inspector_file){.name = names[i], .size = 8 + length, .share = &fixture->shares[i]};
  }
  fixture->count = FILES;
  share_close(&share);
  const struct inspector_task *task = look(fixture);
  assert_true(task->problem.status == STATUS_MODEL_FORMAT_INVALID ||
              task->problem.status == STATUS_WORKER_UNAVAILABLE);
  assert_true(strstr(task->problem.text, "over 2 s") || strstr(task->problem.text, "in time"));
}

/* ---- hostile readers ---- */

/* A reader of our own, that does what one may that was taken over. */
static void use_script(struct fixture *fixture, const char *text) {
  inspect_stop(fixture->inspect);
  inspect_free(fixture->inspect);
  if (fixture->script[0])
    unlink(fixture->script);
  snprintf(fixture->script, sizeof fixture->script, "/tmp/test_inspect-XXXXXX");
  int fd = mkstemp(fixture->script);
  assert_true(fd >= 0);
  assert_int_equal(fchmod(fd, 0700), 0);
  dprintf(fd, "#!/bin/sh\n%s\n", text);
  close(fd);
  snprintf(fixture->program, sizeof fixture->program, "%s", fixture->script);
  begin(fixture);
  add_safetensors(fixture, "m.safetensors", "{" ONE("a", 0, 4) "}", 4);
}

static void one_that_is_killed_is_told_with_its_signal(void **state) {
  struct fixture *fixture = *state;
  use_script(fixture, "kill -SYS $$");
  is_invalid(fixture, "made its reader end: SIGSYS");
}

static void one_that_did_not_answer_is_no_success(void **state) {
  struct fixture *fixture = *state;
  use_script(fixture, "echo nonsense");
  is_refused(fixture, STATUS_WORKER_UNAVAILABLE, "exit 0");
  use_script(fixture, "echo '{\"image_bytes\":64}'; exit 3");
  is_refused(fixture, STATUS_WORKER_UNAVAILABLE, "exit 3");
}

static void a_card_that_is_none_is_refused(void **state) {
  struct fixture *fixture = *state;
  use_script(fixture, "echo '{\"image_bytes\":4096}'");
  is_invalid(fixture, "card");
  use_script(fixture, "echo '{\"image_bytes\":4000000000}'");
  is_refused(fixture, STATUS_WORKER_UNAVAILABLE, "no memory");
}

static void only_plain_new_names_can_be_missing(void **state) {
  struct fixture *fixture = *state;
  use_script(fixture, "echo '{\"missing\":[\"../x\"]}'");
  is_invalid(fixture, "no plain names");
  use_script(fixture, "echo '{\"missing\":[\"m.safetensors\"]}'");
  is_invalid(fixture, "no plain names");
}

static void its_words_do_not_reach_a_terminal_raw(void **state) {
  struct fixture *fixture = *state;
  use_script(fixture, "echo '{\"error_code\":\"OK\",\"error\":\"a\\u001b[2Jb\"}'");
  is_invalid(fixture, "a?[2Jb");
}

static void one_that_hangs_is_ended(void **state) {
  struct fixture *fixture = *state;
  fixture->deadline_ns = CLOCK_SECOND;
  use_script(fixture, "exec sleep 600");
  is_refused(fixture, STATUS_WORKER_UNAVAILABLE, "in time");
}

static void a_stop_ends_all_of_it(void **state) {
  struct fixture *fixture = *state;
  use_script(fixture, "exec sleep 600");
  fixture->wanted = TASKS;
  for (unsigned i = 0; i < TASKS; i++)
    ask(fixture, i);
  loop_timer_start(fixture->timer, 50, 0);
  loop_run(fixture->loop);
  inspect_stop(fixture->inspect);
  run(fixture);
  for (unsigned i = 0; i < TASKS; i++)
    assert_int_equal(fixture->tasks[i].problem.status, STATUS_WORKER_UNAVAILABLE);
}

static void without_the_program_it_is_refused(void **state) {
  struct fixture *fixture = *state;
  snprintf(fixture->program, sizeof fixture->program, "/nowhere/memkeep-worker");
  add_safetensors(fixture, "m.safetensors", "{" ONE("a", 0, 4) "}", 4);
  is_refused(fixture, STATUS_WORKER_UNAVAILABLE, "cannot be started");
}

/* ---- leaks ---- */

static void nothing_stays_open(void **state) {
  struct fixture *fixture = *state;
  add(fixture, "m.index.json", index_text, sizeof index_text - 1);
  add_safetensors(fixture, "m-1.safetensors", "{" ONE("a", 0, 4) "}", 4);
  look(fixture);
  unsigned before = files_fixture_count();
  for (unsigned i = 0; i < 200; i++)
    look(fixture);
  assert_int_equal(files_fixture_count(), before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(safetensors_become_a_card),
      TEST(what_a_file_is_its_content_says),
      TEST(many_keys_are_read_behind_the_walls),
      TEST(of_an_index_the_shards_are_missing),
      TEST(a_part_of_a_split_file_names_the_others),
      TEST(more_files_than_the_kernel_lets_wait),
      TEST(many_at_once_are_all_answered),
      TEST(hostile_files_are_refused_with_a_reason),
      TEST(of_several_files_the_bad_one_is_named),
      TEST(a_file_that_shrank_is_refused),
      TEST(a_name_that_is_no_text_is_refused),
      TEST(what_takes_too_long_is_ended),
      TEST(one_that_is_killed_is_told_with_its_signal),
      TEST(one_that_did_not_answer_is_no_success),
      TEST(a_card_that_is_none_is_refused),
      TEST(only_plain_new_names_can_be_missing),
      TEST(its_words_do_not_reach_a_terminal_raw),
      TEST(one_that_hangs_is_ended),
      TEST(a_stop_ends_all_of_it),
      TEST(without_the_program_it_is_refused),
      TEST(nothing_stays_open),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
