/* Files are written to /tmp, where the fixture's service may read models. */
#include "model_fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
