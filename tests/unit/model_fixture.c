/* Files are written to /tmp, where the fixture's service may read models. */
#include "model_fixture.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os_memfd.h"
#include "service/models.h"

struct fixture *model_fixture_start(const char *const *devices) {
  struct fixture *fixture = fixture_start(devices);
  service_set_relief(fixture_service(fixture), &(struct service_relief){0});
  return fixture;
}

/* A safetensors file of one tensor of `size` bytes, which a seed tells; the path is static. */
const char *model_fixture_file(const char *name, size_t size, unsigned seed) {
  static char path[8][64];
  static unsigned next;
  char *out = path[next++ % 8], header[128];
  snprintf(out, 64, "/tmp/memkeep-test-%d-%s", (int)getpid(), name);
  int n =
      snprintf(header, sizeof header,
               "{\"w\":{\"dtype\":\"U8\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}", size, size);
  uint64_t length = (uint64_t)n;
  FILE *file = fopen(out, "w");
  assert_non_null(file);
  fwrite(&length, 8, 1, file);
  fwrite(header, (size_t)n, 1, file);
  for (size_t i = 0; i < size; i++)
    fputc((int)((i * 31 + seed) & 0xff), file);
  fclose(file);
  return out;
}

struct model_load model_fixture_load(const char *path, const char *name, const char *device) {
  struct model_load params = MODEL_LOAD_DEFAULT;
  snprintf(params.path, sizeof params.path, "%s", path);
  snprintf(params.name, sizeof params.name, "%s", name);
  snprintf(params.device, sizeof params.device, "%s", device);
  return params;
}

enum status model_fixture_run(struct fixture *fixture, const struct model_load *params,
                              struct job_view *view) {
  struct model_started started;
  struct problem problem;
  enum status status =
      model_load_start(fixture_service(fixture), &fixture_admin, params, &started, &problem);
  memset(view, 0, sizeof *view);
  if (status || !started.job)
    return status;
  fixture_end(started.job, view);
  return view->problem.status;
}

struct model_view model_fixture_find(struct service *s, const char *name) {
  struct model_view view;
  struct problem problem;
  assert_int_equal(model_look(s, name, &view, &problem), STATUS_OK);
  return view;
}

struct model_view model_fixture_look(struct fixture *fixture, const char *name) {
  return model_fixture_find(fixture_service(fixture), name);
}

static void compare(const struct model_piece *piece, const char *path) {
  FILE *file = fopen(path, "r");
  char *bytes = malloc(piece->size_bytes);
  void *map;
  assert_int_equal(fread(bytes, 1, piece->size_bytes, file), piece->size_bytes);
  assert_int_equal(fgetc(file), EOF);
  fclose(file);
  assert_int_equal(
      os_memfd_map(&piece->share, piece->offset_bytes + piece->size_bytes, false, &map), STATUS_OK);
  assert_memory_equal((char *)map + piece->offset_bytes, bytes, piece->size_bytes);
  os_memfd_unmap(map, piece->offset_bytes + piece->size_bytes);
  free(bytes);
}

void model_fixture_same(struct fixture *fixture, const char *name, const char *path) {
  struct service *s = fixture_service(fixture);
  struct caller caller = fixture_admin;
  struct model_attached attached;
  struct model_detached left;
  struct problem problem;
  caller.connection = 77;
  if (model_attach(s, &caller, name, &attached, &problem))
    fail_msg("%s", problem.text);
  compare(&attached.pieces[0], path);
  assert_true(model_fixture_look(fixture, name).busy);
  model_attach_free(&attached);
  assert_int_equal(model_attach_end(s, &caller, name, &left, &problem), STATUS_OK);
  assert_false(model_fixture_look(fixture, name).busy);
}

void model_fixture_unload(struct fixture *fixture, const char *name) {
  struct model_unload params = {.force = true};
  struct model_started started;
  struct problem problem;
  struct job_view end;
  snprintf(params.model, sizeof params.model, "%s", name);
  assert_int_equal(
      model_unload_start(fixture_service(fixture), &fixture_admin, &params, &started, &problem),
      STATUS_OK);
  fixture_end(started.job, &end);
}

void model_fixture_cost(struct fixture *fixture, const char *name, uint64_t load_ns) {
  struct service *s = fixture_service(fixture);
  uint64_t id = model_fixture_look(fixture, name).id;
  LOCK_SCOPE(&s->lock);
  models_at(s, idmap_find(&s->models->ids, id))->facts.load_ns = load_ns;
}

void model_fixture_age(struct fixture *fixture, const char *name) {
  struct service *s = fixture_service(fixture);
  uint64_t id = model_fixture_look(fixture, name).id;
  LOCK_SCOPE(&s->lock);
  models_at(s, idmap_find(&s->models->ids, id))->weights->resident_since = 0;
}

/* ---- the thread for files ---- */

static sem_t gate;

static void wait_there(struct task *task) {
  (void)task;
  while (sem_wait(&gate)) {
  }
}

void model_fixture_shut(struct fixture *fixture) {
  static struct task task;
  task = (struct task){.run = wait_there};
  sem_init(&gate, 0, 0);
  queue_post(fixture_service(fixture)->models->files, &task);
}

void model_fixture_open(void) { sem_post(&gate); }
