/*
 * inspect: what is asked comes from the daemon and is taken before the walls are up; what the files
 * say is read only behind them. The answer is made there too, so the daemon trusts none of it.
 */
#include "worker/inspect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os_bytes.h"
#include "base/os_sandbox.h"
#include "base/packet.h"
#include "base/units.h"
#include "base/writer.h"
#include "worker/inspect_read.h"

/* The files of design 2: what one model's headers may cost. */
#define INSPECT_MEMORY (512 * MIB)
#define INSPECT_CPU_SECONDS 2
#define ANSWER (2 * MIB) /* 1,024 names of 255 bytes, each byte escaped, are half of it */

static const struct share answer_pipe = {SHARE_FILE, STDOUT_FILENO};

struct request {
  struct share card;
  struct inspect_read_file *files;
  uint32_t count;
  bool complete;
};

/* "SIZE NAME" */
static bool add_file(struct request *request, const char *text, const struct share *share) {
  char *blank;
  uint64_t size = strtoull(text, &blank, 10);
  if (request->count == INSPECT_READ_FILES || blank == text || *blank != ' ' ||
      strlen(blank + 1) >= sizeof request->files->name)
    return false;
  struct inspect_read_file *file = &request->files[request->count++];
  *file = (struct inspect_read_file){.size = size, .share = *share};
  memcpy(file->name, blank + 1, strlen(blank + 1));
  return true;
}

static bool take(struct request *request, const char *text, const struct share *share) {
  if (share->kind == SHARE_NONE) {
    request->complete = !strcmp(text, "go") && request->count && request->card.kind != SHARE_NONE;
    return request->complete;
  }
  if (strcmp(text, "card") != 0)
    return add_file(request, text, share);
  request->card = *share;
  return true;
}

static bool receive(struct request *request) {
  char text[PACKET_TEXT + 1];
  struct share end, share;
  request->files = malloc(INSPECT_READ_FILES * sizeof *request->files);
  if (!request->files || packet_inherited(getenv("MEMKEEP_FD"), &end))
    return false;
  while (!request->complete)
    if (packet_receive(&end, text, &share) || !take(request, text, &share))
      return false;
  return true;
}

static void write_missing(struct writer *w, struct inspect_read_answer *found) {
  const char *name = found->missing.data;
  writer_array(w, "missing");
  for (uint32_t i = 0; i < found->missing_count; i++, name += strlen(name) + 1)
    writer_text(w, NULL, name);
  writer_end(w);
}

/* One line. */
static bool answer(struct inspect_read_answer *found, const struct problem *problem) {
  struct buf out BUF_CLEANUP;
  struct writer w;
  buf_init(&out, ANSWER);
  writer_init(&w, &out, WRITER_SNAKE);
  writer_object(&w, NULL);
  if (problem->status) {
    writer_text(&w, "errorCode", status_code(problem->status));
    writer_text(&w, "error", problem->text);
  } else if (found->image) {
    writer_uint(&w, "imageBytes", found->image_bytes);
  } else {
    write_missing(&w, found);
  }
  writer_end(&w);
  buf_add(&out, "\n", 1);
  return !out.failed && !os_bytes_say(&answer_pipe, out.data, out.size);
}

static void read_headers(const struct request *request, struct inspect_read_answer *found,
                         struct problem *problem) {
  const struct os_sandbox_params walls = {.memory_bytes = INSPECT_MEMORY,
                                          .cpu_seconds = INSPECT_CPU_SECONDS,
                                          .file_bytes = CARD_BYTES,
                                          .file = &request->card,
                                          .pipe = &answer_pipe};
  if (os_sandbox_enter(&walls)) {
    problem_set(problem, STATUS_WORKER_UNAVAILABLE,
                "model files are not read here: this kernel has no seccomp to read them behind");
    return;
  }
  const struct inspect_read_set set = {.files = request->files, .count = request->count};
  if (inspect_read(&set, found, problem) || !found->image)
    return;
  if (os_bytes_write(&request->card, 0, found->image, found->image_bytes))
    problem_set(problem, STATUS_WORKER_UNAVAILABLE, "there is no memory for the model's card");
}

int inspect_run(void) {
  struct request request = {.card = {SHARE_NONE, 0}};
  struct inspect_read_answer found = {.image = NULL};
  struct problem problem = {.status = STATUS_OK};
  if (!receive(&request)) {
    log_error("worker", "--inspect is for memkeepd, which says on $MEMKEEP_FD what to read");
    free(request.files);
    return 1;
  }
  read_headers(&request, &found, &problem);
  /* Nothing of what was taken is given back one by one: the process's end is faster. */
  _exit(!answer(&found, &problem));
}
