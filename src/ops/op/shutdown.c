/*
 * shutdown: the same as SIGTERM, from the socket. The answer is sent before the end begins to close
 * doors.
 */
#include "ops/op.h"
#include "ops/reply.h"
#include "service/service.h"

struct shutdown {
  bool release_all;
};

static enum ops_progress run(struct ops_call *call, void *params) {
  struct problem problem;
  struct writer w;
  const struct shutdown *shutdown = params;
  if (service_shutdown(ops_service(call->ops), shutdown->release_all)) {
    problem_set(&problem, STATUS_CONFLICT, "the daemon cannot be stopped this way");
    return reply_fail(call, &problem);
  }
  reply_begin(call, &w);
  writer_bool(&w, "stopping", true);
  return reply_end(call, &w);
}

static const struct reader_field fields[] = {
    OP_BOOL(struct shutdown, release_all, "releaseAll", "false",
            "give everything back, also what would outlive the daemon"),
};

const struct ops_row op_shutdown_now = {.action = "memory.shutdown",
                                        .role = CALLER_ADMIN,
                                        .envelope = true,
                                        .fields = fields,
                                        .field_count = 1,
                                        .params_size = sizeof(struct shutdown),
                                        .summary = "Stop the daemon",
                                        .answer = "The daemon stops",
                                        .handler = run};
