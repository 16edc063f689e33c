/* ops/op/models…: what clients of the socket are answered about models, over the real service. */
#include "service_fixture.h"

#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/os_memfd.h"
#include "model/policy_preset.h"
#include "ops/ops.h"

#define FEW 3
#define MANY 5000 /* tensors, whose table is no line any more */

static const char *const devices[] = {"host:0=64MiB", "fake:0=16MiB", NULL};

/* One service for each test, and what was asked of it last. */
struct world {
  struct fixture *fixture;
  struct ops *ops;
  struct reader_doc *doc; /* the answer */
  struct ops_call call;
  sem_t done;
  char folder[64];
};

static int setup(void **state) {
  struct world *world = calloc(1, sizeof *world);
  assert_non_null(world);
  world->fixture = fixture_start(devices);
  assert_int_equal(ops_create(fixture_service(world->fixture), &world->ops), STATUS_OK);
  sem_init(&world->done, 0, 0);
  snprintf(world->folder, sizeof world->folder, "/tmp/memkeep-models-XXXXXX");
  assert_non_null(mkdtemp(world->folder));
  *state = world;
  return 0;
}

static void forget(struct world *world) {
  reader_free(world->doc);
  ops_end(&world->call);
  buf_done(&world->call.out);
  world->doc = NULL;
}

static int teardown(void **state) {
  struct world *world = *state;
  char command[96];
  forget(world);
  ops_free(world->ops);
  fixture_stop(world->fixture);
  snprintf(command, sizeof command, "rm -r %s", world->folder);
  assert_int_equal(system(command), 0);
  sem_destroy(&world->done);
  free(world);
  return 0;
}

/* ---- asking ---- */

static void on_done(struct ops_call *call) {
  sem_post(&((struct world *)((char *)call - offsetof(struct world, call)))->done);
}

/* Asks, waits for the answer and returns it; the files come with the line. */
static struct reader_value ask_with(struct world *world, const char *action, const char *data,
                                    const struct share *given, unsigned count) {
  struct problem problem;
  struct reader_doc *doc;
  forget(world);
  memset(&world->call, 0, sizeof world->call);
  world->call.ops = world->ops;
  world->call.row = ops_by_action(action);
  assert_non_null(world->call.row);
  world->call.caller = fixture_admin;
  world->call.caller.connection = 7;
  world->call.names = WRITER_SNAKE;
  world->call.path = action;
  world->call.done = on_done;
  world->call.given = given;
  world->call.given_count = count;
  buf_init(&world->call.out, (size_t)4 << 20);
  assert_int_equal(reader_parse(data, strlen(data), &doc, &problem), STATUS_OK);
  if (ops_run_value(&world->call, reader_root(doc)) == OPS_LATER)
    sem_wait(&world->done);
  reader_free(doc);
  if (reader_parse(world->call.out.data, world->call.out.size, &world->doc, &problem))
    fail_msg("%s: %s", problem.text, buf_text(&world->call.out));
  return reader_root(world->doc);
}

static struct reader_value ask(struct world *world, const char *action, const char *data) {
  return ask_with(world, action, data, NULL, 0);
}

static struct reader_value member(struct reader_value object, const char *name) {
  struct reader_value value = reader_get(object, name);
  if (!value.json)
    fail_msg("%s is missing", name);
  return value;
}

static void assert_word(struct reader_value object, const char *name, const char *wanted) {
  assert_string_equal(reader_text(member(object, name), "(no text)"), wanted);
}

static void assert_null_member(struct reader_value object, const char *name) {
  struct buf text BUF_CLEANUP;
  buf_init(&text, 4096);
  reader_dump(member(object, name), &text);
  assert_string_equal(buf_text(&text), "null");
}

/* The data of a success. */
static struct reader_value get(struct world *world, const char *action, const char *data) {
  struct reader_value answer = ask(world, action, data);
  if (!reader_bool(member(answer, "success"), false))
    fail_msg("%s", buf_text(&world->call.out));
  return member(answer, "data");
}

static void assert_refused(struct world *world, const char *action, const char *data,
                           const char *code) {
  struct reader_value answer = ask(world, action, data);
  assert_false(reader_bool(member(answer, "success"), true));
  assert_word(answer, "error_code", code);
}

/* ---- files ---- */

/* A safetensors file of so many tensors of 16 bytes each, whose bytes say which one it is. */
static void make_file(const struct world *world, const char *name, unsigned tensors) {
  struct buf text BUF_CLEANUP;
  char path[128];
  buf_init(&text, (size_t)1 << 20);
  for (unsigned i = 0; i < tensors; i++)
    buf_print(&text, "%s\"layer.%u\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[%u,%u]}",
              i ? "," : "{", i, i * 16, i * 16 + 16);
  buf_print(&text, "}");
  uint64_t size = text.size;
  snprintf(path, sizeof path, "%s/%s", world->folder, name);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fwrite(&size, sizeof size, 1, file);
  fwrite(text.data, text.size, 1, file);
  for (unsigned i = 0; i < tensors; i++)
    fprintf(file, "%016u", i);
  assert_int_equal(fclose(file), 0);
}

/* One tensor of `size` bytes. */
static void make_large(const struct world *world, const char *name, uint64_t size) {
  char path[128], header[96];
  uint64_t n =
      (uint64_t)snprintf(header, sizeof header,
                         "{\"w\":{\"dtype\":\"U8\",\"shape\":[%llu],\"data_offsets\":[0,%llu]}}",
                         (unsigned long long)size, (unsigned long long)size);
  snprintf(path, sizeof path, "%s/%s", world->folder, name);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fwrite(&n, sizeof n, 1, file);
  fwrite(header, n, 1, file);
  assert_int_equal(fflush(file), 0);
  assert_int_equal(ftruncate(fileno(file), (off_t)(8 + n + size)), 0);
  fclose(file);
}

/* The data of a load of a file by its name; `more` are further members. */
static const char *load_data(const struct world *world, const char *name, const char *more) {
  static char data[512];
  snprintf(data, sizeof data, "{\"path\":\"%s/%s\",\"name\":\"%s\"%s}", world->folder, name, name,
           more);
  return data;
}

static struct reader_value load(struct world *world, const char *name, const char *more) {
  return member(get(world, "memory.load_model", load_data(world, name, more)), "model");
}

static size_t models_there(struct world *world) {
  return reader_count(member(get(world, "memory.list_models", "{}"), "models"));
}

/* ---- load ---- */

static void a_loaded_model_looks_as_the_contract_says(void **state) {
  static const char *const members[] = {"model_id",
                                        "name",
                                        "path",
                                        "format",
                                        "fingerprint",
                                        "state",
                                        "residency",
                                        "device_id",
                                        "worker_id",
                                        "size_bytes",
                                        "estimate",
                                        "tensors",
                                        "load_time_ms",
                                        "load_bytes_per_second",
                                        "priority",
                                        "pinned",
                                        "busy",
                                        "last_used_at",
                                        "use_count",
                                        "loaded_at",
                                        "progress_percent",
                                        "error"};
  struct world *world = *state;
  make_file(world, "a", FEW);
  struct reader_value model = load(world, "a", ",\"device_id\":\"host:0\",\"priority\":\"high\"");
  void *iterator = NULL;
  struct reader_value value;
  for (size_t i = 0; i < sizeof members / sizeof *members; i++)
    assert_string_equal(reader_next(model, &iterator, &value), members[i]);
  assert_null(reader_next(model, &iterator, &value));
  assert_word(model, "name", "a");
  assert_word(model, "format", "safetensors");
  assert_word(model, "state", "ready");
  assert_word(model, "residency", "ram");
  assert_word(model, "device_id", "host:0");
  assert_word(model, "priority", "high");
  assert_int_equal(reader_uint(member(model, "tensors"), 0), FEW);
  assert_int_equal(reader_uint(member(member(model, "estimate"), "weights_bytes"), 0), FEW * 16);
  assert_null_member(model, "error");
}

static void a_trial_loads_nothing(void **state) {
  struct world *world = *state;
  make_file(world, "a", FEW);
  struct reader_value trial =
      get(world, "memory.load_model", load_data(world, "a", ",\"dry_run\":true"));
  assert_true(reader_bool(member(trial, "would_fit"), false));
  assert_true(reader_is_array(member(trial, "would_evict")));
  assert_true(reader_uint(member(member(trial, "estimate"), "weights_bytes"), 0) >= FEW * 16);
  assert_int_equal(models_there(world), 0);
}

static void without_waiting_the_job_names_the_model(void **state) {
  struct world *world = *state;
  char id[32], question[64];
  make_file(world, "a", FEW);
  struct reader_value job =
      get(world, "memory.load_model", load_data(world, "a", ",\"wait\":false"));
  assert_int_equal(world->call.http_status, 202);
  assert_word(job, "kind", "load");
  snprintf(id, sizeof id, "%s", reader_text(member(job, "model_id"), ""));
  snprintf(question, sizeof question, "{\"job_id\":\"%s\"}",
           reader_text(member(job, "job_id"), ""));
  uint64_t end = clock_now() + 20 * CLOCK_SECOND;
  do {
    job = get(world, "memory.get_job", question);
    assert_true(clock_now() < end);
  } while (strcmp(reader_text(member(job, "status"), ""), "completed") != 0);
  assert_word(member(job, "result"), "model_id", id);
  assert_word(member(member(job, "result"), "model"), "model_id", id);
}

static void opened_files_need_no_path(void **state) {
  struct world *world = *state;
  char path[128];
  make_file(world, "a", FEW);
  snprintf(path, sizeof path, "%s/a", world->folder);
  struct share file = {SHARE_FILE, open(path, O_RDONLY | O_CLOEXEC)};
  unlink(path);
  struct reader_value answer =
      ask_with(world, "memory.load_model",
               "{\"files\":[{\"name\":\"a.safetensors\"}],\"name\":\"a\"}", &file, 1);
  share_close(&file);
  struct reader_value model = member(member(answer, "data"), "model");
  assert_word(model, "state", "ready");
  assert_null_member(model, "path");
}

static void a_file_that_is_no_model_says_why(void **state) {
  struct world *world = *state;
  make_large(world, "a", 4096);
  char path[128];
  snprintf(path, sizeof path, "%s/a", world->folder);
  assert_int_equal(truncate(path, 100), 0);
  assert_refused(world, "memory.load_model", load_data(world, "a", ""), "MODEL_FORMAT_INVALID");
  assert_refused(world, "memory.load_model", load_data(world, "none", ""), "MODEL_NOT_FOUND");
}

/* ---- change, unload ---- */

static void what_is_not_said_stays(void **state) {
  struct world *world = *state;
  make_file(world, "a", FEW);
  load(world, "a", ",\"priority\":\"high\",\"pinned\":true");
  struct reader_value model =
      member(get(world, "memory.change_model", "{\"model_id\":\"a\",\"name\":\"b\"}"), "model");
  assert_word(model, "name", "b");
  assert_word(model, "priority", "high");
  assert_true(reader_bool(member(model, "pinned"), false));
  model =
      member(get(world, "memory.change_model", "{\"model_id\":\"b\",\"pinned\":false}"), "model");
  assert_false(reader_bool(member(model, "pinned"), true));
  assert_word(model, "priority", "high");
  assert_refused(world, "memory.get_model_info", "{\"model_id\":\"a\"}", "MODEL_NOT_FOUND");
}

static void an_unloaded_one_is_listed_and_says_what_came_back(void **state) {
  struct world *world = *state;
  make_large(world, "a", 3 << 20);
  load(world, "a", ",\"device_id\":\"fake:0\",\"keep_ram_copy\":false");
  struct reader_value data = get(world, "memory.unload_model", "{\"model_id\":\"a\"}");
  assert_true(reader_uint(member(data, "freed_bytes"), 0) >= 3 << 20);
  assert_int_equal(reader_count(member(data, "held_by")), 0);
  assert_word(member(data, "model"), "state", "unloaded");
  assert_word(member(data, "model"), "residency", "disk");
  assert_int_equal(models_there(world), 1);
}

static void park_is_unload_to_ram(void **state) {
  struct world *world = *state;
  make_large(world, "a", 3 << 20);
  load(world, "a", ",\"device_id\":\"fake:0\"");
  struct reader_value data = get(world, "memory.park_model", "{\"model_id\":\"a\"}");
  assert_word(member(data, "model"), "state", "parked");
  assert_word(member(data, "model"), "residency", "ram");
}

/* ---- attach ---- */

/* The bytes of a file of make_file are where its table of tensors says. */
static void assert_tensors(const struct world *world, struct reader_value segments,
                           struct reader_value tensors, unsigned count) {
  struct reader_value segment = reader_at(segments, 0);
  uint64_t base = reader_uint(member(segment, "offset_bytes"), 0),
           size = reader_uint(member(segment, "size_bytes"), 0);
  char name[32], bytes[17];
  void *map;
  assert_int_equal(reader_count(segments), 1);
  assert_int_equal(reader_count(tensors), count);
  assert_int_equal(os_memfd_map(&world->call.shares[0], base + size, false, &map), STATUS_OK);
  for (unsigned i = 0; i < count; i += count / FEW) {
    struct reader_value one = reader_at(tensors, i);
    snprintf(name, sizeof name, "layer.%u", i);
    snprintf(bytes, sizeof bytes, "%016u", i);
    assert_word(one, "name", name);
    assert_word(one, "dtype", "F32");
    assert_int_equal(reader_count(member(one, "shape")), 2);
    assert_int_equal(reader_uint(member(one, "segment"), 9), 0);
    assert_int_equal(reader_uint(member(one, "size_bytes"), 0), 16);
    uint64_t offset = reader_uint(member(one, "offset_bytes"), 0);
    assert_memory_equal((char *)map + base + offset, bytes, 16);
  }
  os_memfd_unmap(map, base + size);
}

static bool is_busy(struct world *world) {
  struct reader_value data = get(world, "memory.get_model_info", "{\"model_id\":\"a\"}");
  return reader_bool(member(member(data, "model"), "busy"), false);
}

static void a_short_table_of_tensors_is_in_the_line(void **state) {
  struct world *world = *state;
  make_file(world, "a", FEW);
  load(world, "a", "");
  struct reader_value data = get(world, "memory.attach", "{\"model_id\":\"a\"}");
  assert_int_equal(world->call.share_count, 1);
  assert_int_equal(reader_uint(member(reader_root(world->doc), "fds"), 0), 1);
  assert_false(reader_bool(member(data, "tensors_in_fd"), true));
  assert_word(data, "handle_type", "memfd");
  assert_tensors(world, member(data, "segments"), member(data, "tensors"), FEW);
  assert_true(is_busy(world));
  data = get(world, "memory.detach", "{\"model_id\":\"a\"}");
  assert_int_equal(reader_uint(member(data, "attachments"), 9), 0);
  assert_false(is_busy(world));
  assert_refused(world, "memory.detach", "{\"model_id\":\"a\"}", "CONFLICT");
}

static void a_long_one_is_the_last_descriptor(void **state) {
  struct world *world = *state;
  make_file(world, "a", MANY);
  load(world, "a", "");
  struct reader_value data = get(world, "memory.attach", "{\"model_id\":\"a\"}");
  struct buf text BUF_CLEANUP;
  struct reader_doc *doc;
  struct problem problem;
  uint64_t size;
  void *map;
  assert_int_equal(world->call.share_count, 2);
  assert_true(reader_bool(member(data, "tensors_in_fd"), false));
  assert_null(reader_get(data, "tensors").json);
  assert_int_equal(os_memfd_size(&world->call.shares[1], &size), STATUS_OK);
  assert_int_not_equal(os_memfd_map(&world->call.shares[1], size, true, &map), STATUS_OK);
  assert_int_equal(os_memfd_map(&world->call.shares[1], size, false, &map), STATUS_OK);
  buf_init(&text, (size_t)4 << 20);
  buf_print(&text, "{\"tensors\":%.*s}", (int)size, (const char *)map);
  os_memfd_unmap(map, size);
  assert_int_equal(reader_parse(text.data, text.size, &doc, &problem), STATUS_OK);
  assert_tensors(world, member(data, "segments"), member(reader_root(doc), "tensors"), MANY);
  reader_free(doc);
}

static void what_goes_with_its_connection_is_free_again(void **state) {
  struct world *world = *state;
  make_file(world, "a", FEW);
  load(world, "a", "");
  get(world, "memory.attach", "{\"model_id\":\"a\"}");
  assert_refused(world, "memory.unload_model", "{\"model_id\":\"a\"}", "MODEL_BUSY");
  ops_connection_closed(world->ops, 7);
  get(world, "memory.unload_model", "{\"model_id\":\"a\"}");
  assert_refused(world, "memory.attach", "{\"model_id\":\"a\"}", "MODEL_BUSY");
}

/* ---- optimize, status ---- */

static void the_words_of_strategy_are_those_of_the_presets(void **state) {
  (void)state;
  const struct ops_row *row = ops_by_action("memory.model_optimize");
  const char *const *words = NULL;
  for (size_t i = 0; i < row->field_count; i++)
    if (strcmp(row->fields[i].name, "strategy") == 0)
      words = row->fields[i].words;
  assert_non_null(words);
  uint32_t count = 0;
  for (const struct policy_preset *preset; (preset = policy_preset_at(count)); count++)
    assert_string_equal(words[count], preset->name);
  assert_null(words[count]);
}

static void optimize_tells_who_went(void **state) {
  struct world *world = *state;
  char id[32];
  make_large(world, "a", 14 << 20);
  struct reader_value model = load(world, "a", ",\"device_id\":\"fake:0\"");
  snprintf(id, sizeof id, "%s", reader_text(member(model, "model_id"), ""));
  static const char trial[] = "{\"device_id\":\"fake:0\",\"target_percent\":10,\"force\":true,"
                              "\"dry_run\":true}";
  struct reader_value data = get(world, "memory.model_optimize", trial);
  size_t would =
      reader_count(member(data, "models_parked")) + reader_count(member(data, "models_unloaded"));
  assert_int_equal(would, 1);
  data = get(world, "memory.model_optimize",
             "{\"device_id\":\"fake:0\",\"target_percent\":10,\"force\":true}");
  assert_true(reader_bool(member(data, "triggered"), false));
  assert_word(data, "strategy", "fifo");
  assert_true(reader_uint(member(data, "freed_bytes"), 0) >= 14 << 20);
  struct reader_value gone = member(data, "models_parked");
  if (!reader_count(gone))
    gone = member(data, "models_unloaded");
  assert_string_equal(reader_text(reader_at(gone, 0), ""), id);
  data = get(world, "memory.model_optimize", "{\"device_id\":\"fake:0\"}");
  assert_false(reader_bool(member(data, "triggered"), true));
  assert_true(*reader_text(member(data, "reason"), ""));
}

static void status_tells_of_models_and_the_host_counts_them(void **state) {
  struct world *world = *state;
  make_large(world, "a", 3 << 20);
  load(world, "a", ",\"device_id\":\"fake:0\",\"keep_ram_copy\":false");
  struct reader_value memory = member(get(world, "memory.model_status", "{}"), "model_memory");
  assert_int_equal(reader_uint(member(memory, "count"), 0), 1);
  assert_int_equal(reader_count(member(memory, "loaded_models")), 1);
  assert_true(reader_uint(member(memory, "used_bytes"), 0) >= 3 << 20);
  assert_word(member(memory, "last_operation"), "operation", "load");
  struct reader_value models = member(get(world, "memory.get_status", "{}"), "models");
  assert_int_equal(reader_uint(member(models, "loaded"), 0), 1);
  assert_true(reader_uint(member(models, "device_bytes"), 0) >= 3 << 20);
  get(world, "memory.unload_model", "{\"model_id\":\"a\"}");
  models = member(get(world, "memory.get_status", "{}"), "models");
  assert_int_equal(reader_uint(member(models, "loaded"), 9), 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(a_loaded_model_looks_as_the_contract_says),
      TEST(a_trial_loads_nothing),
      TEST(without_waiting_the_job_names_the_model),
      TEST(opened_files_need_no_path),
      TEST(a_file_that_is_no_model_says_why),
      TEST(what_is_not_said_stays),
      TEST(an_unloaded_one_is_listed_and_says_what_came_back),
      TEST(park_is_unload_to_ram),
      TEST(a_short_table_of_tensors_is_in_the_line),
      TEST(a_long_one_is_the_last_descriptor),
      TEST(what_goes_with_its_connection_is_free_again),
      TEST(the_words_of_strategy_are_those_of_the_presets),
      TEST(optimize_tells_who_went),
      TEST(status_tells_of_models_and_the_host_counts_them),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
