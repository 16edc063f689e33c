/*
 * memkeep-worker: touches bytes, so that the daemon need not. It may crash at any time: all that it
 * knows can be rebuilt.
 *
 * Layers: instructor (the wire) -> interface (the call) -> manager (the state) -> mover (bytes).
 * With --inspect, --own or --find it is none of that, see inspect.c, own.c and find.c.
 * Descriptors of segments come on fd 3 and are taken by a thread of their own, so that a line can
 * wait for them.
 */
#include "worker/main.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/id.h"
#include "base/log.h"
#include "base/packet.h"
#include "base/reader.h"
#include "base/reserve.h"
#include "base/spawn.h"
#include "base/version.h"
#include "worker/find.h"
#include "worker/inspect.h"
#include "worker/instructor.h"
#include "worker/manager.h"
#include "worker/own.h"

struct arrivals {
  struct share end;
  struct manager *manager;
};

static bool read_segment(struct reader_value root, struct manager_arrival *out,
                         struct share *share) {
  const char *segment = reader_text(reader_get(root, "segment_id"), "");
  const char *device = reader_text(reader_get(root, "device_id"), "");
  *out = (struct manager_arrival){.segment = id_parse(ID_SEGMENT, segment),
                                  .size = reader_uint(reader_get(root, "size_bytes"), 0)};
  snprintf(out->device, sizeof out->device, "%s", device);
  enum share_kind kind = share_kind_parse(reader_text(reader_get(root, "handle_type"), ""));
  if (!out->segment || !out->size || kind == SHARE_NONE)
    return false;
  share->kind = kind;
  return true;
}

/* A segment, or a file; the share is taken over where it is one. */
static bool take_arrival(struct manager *manager, struct reader_value root, struct share *share) {
  struct manager_arrival arrival;
  if (reader_get(root, "file_id").json) {
    manager_add_file(manager, reader_uint(reader_get(root, "file_id"), UINT64_MAX), share);
    return true;
  }
  if (!read_segment(root, &arrival, share))
    return false;
  enum status status = manager_add_segment(manager, &arrival, share);
  if (status)
    log_error("worker", "a segment of %s is not taken: %s", arrival.device, status_text(status));
  return true;
}

static void *take_arrivals(void *arg) {
  struct arrivals *arrivals = arg;
  char text[PACKET_TEXT + 1];
  enum status status;
  for (;;) {
    struct share share = {SHARE_NONE, 0};
    struct reader_doc *doc = NULL;
    struct problem problem;
    status = packet_receive(&arrivals->end, text, &share);
    if (status == STATUS_NOT_FOUND)
      return NULL;
    if (status || share.kind == SHARE_NONE || reader_parse(text, strlen(text), &doc, &problem) ||
        !take_arrival(arrivals->manager, reader_root(doc), &share)) {
      log_error("worker", "a message on fd 3 that is none of ours");
      share_close(&share);
    }
    reader_free(doc);
  }
}

/* Keeps the wire for us alone: whatever prints to stdout prints to stderr. */
static bool move_stdout(void) {
  return dup3(STDOUT_FILENO, MAIN_WIRE_OUT, O_CLOEXEC) >= 0 &&
         dup2(STDERR_FILENO, STDOUT_FILENO) >= 0;
}

static int usage(int code) {
  fprintf(code ? stderr : stdout,
          "memkeep-worker " VERSION_TEXT ": moves bytes for memkeepd, which starts it.\n"
          "It speaks JSON lines on stdin and stdout and takes descriptors on $MEMKEEP_FD.\n"
          "It ends when stdin ends. With --inspect it reads the headers of one model's files,\n"
          "walled in, and ends. With --own DEVICE it makes memory of that device for memkeepd,\n"
          "and moves nothing. With --find it says which cards Vulkan's drivers have, and ends.\n"
          "There are no other options but --help and --version.\n");
  return code;
}

static enum status start_taking(struct arrivals *arrivals) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, take_arrivals, arrivals))
    return STATUS_INTERNAL_ERROR;
  pthread_detach(thread);
  return STATUS_OK;
}

static int serve(struct arrivals *arrivals) {
  struct instructor *instructor;
  enum status status = manager_create(&arrivals->manager);
  if (!status)
    status = instructor_create(arrivals->manager, &instructor);
  if (!status && arrivals->end.kind != SHARE_NONE)
    status = start_taking(arrivals);
  if (status) {
    log_error("worker", "cannot start: %s", status_text(status));
    return 1;
  }
  int code = instructor_run(instructor);
  instructor_free(instructor);
  /* The thread on fd 3 may be waiting in the kernel, with mappings in use: the process's end is
   * their end. */
  fflush(NULL);
  _exit(code);
}

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "--version")) {
    printf("memkeep-worker " VERSION_TEXT "\n");
    return 0;
  }
  signal(SIGPIPE, SIG_IGN);
  if (argc == 2 && !strcmp(argv[1], "--inspect"))
    return inspect_run();
  if (argc == 2 && !strcmp(argv[1], "--find"))
    return find_run();
  bool owns = argc == 3 && !strcmp(argv[1], "--own");
  if (argc > 1 && !owns)
    return usage(argc == 2 && !strcmp(argv[1], "--help") ? 0 : 2);
  reserve_install();
  spawn_raise_fd_limit();
  if (owns)
    return own_run(argv[2]);
  if (!move_stdout())
    return 1;
  struct arrivals arrivals = {.end = {SHARE_NONE, 0}};
  if (packet_inherited(getenv("MEMKEEP_FD"), &arrivals.end))
    log_debug("worker", "no MEMKEEP_FD: no segments will come");
  return serve(&arrivals);
}
