/* One safetensors file, read in place where the daemon asks a process. */
#include "inspector_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

#include "base/loop.h"
#include "model/safetensors.h"

/* Reads one safetensors file in place. */
static enum status read_card(struct inspector_task *task) {
  const struct inspector_file *file = &task->files[0];
  struct card_file_new new = {file->name, strlen(file->name), file->size, 0};
  struct card_builder *builder;
  char start[SAFETENSORS_START];
  uint64_t need;
  ssize_t n = pread((int)file->share->value, start, sizeof start, 0);
  enum status status = safetensors_header(start, (size_t)n, file->size, &need, &task->problem);
  if (status)
    return status;
  char *header = malloc(need);
  assert_int_equal(pread((int)file->share->value, header, need, 0), (ssize_t)need);
  assert_int_equal(card_begin(CARD_SAFETENSORS, &builder), STATUS_OK);
  status = safetensors_parse(header + SAFETENSORS_START, need - SAFETENSORS_START, &new, builder,
                             &task->problem);
  if (!status)
    status = card_end(builder, &task->image, &task->image_bytes, &task->problem);
  card_free(builder);
  free(header);
  return status;
}

static void run_inspect(struct task *posted) {
  struct inspector_task *task =
      (struct inspector_task *)((char *)posted - offsetof(struct inspector_task, task));
  (void)read_card(task);
  task->done(task);
}

static void inspect(void *ctx, struct inspector_task *task) {
  task->task = (struct task){.run = run_inspect};
  loop_post(ctx, &task->task);
}

const struct inspector_table inspector_fixture = {.inspect = inspect};
