/*
 * process: os_child in a talk's words.
 */
#include "daemon/process.h"

#include <signal.h>

#include "base/os_child.h"

static bool send_line(void *ctx, const char *text, size_t n) {
  return !os_child_send(ctx, text, n);
}

static bool send_share(void *ctx, const char *text, size_t n, const struct share *share) {
  return !os_child_share(ctx, text, n, share);
}

static int32_t pid(void *ctx) { return os_child_pid(ctx); }

static void close_input(void *ctx) { os_child_close(ctx); }

static void end(void *ctx) { os_child_signal(ctx, SIGTERM); }

static void finish_off(void *ctx) { os_child_signal(ctx, SIGKILL); }

static void release(void *ctx) { os_child_free(ctx); }

static const struct talk_carrier carrier = {.send = send_line,
                                            .share = send_share,
                                            .pid = pid,
                                            .close = close_input,
                                            .end = end,
                                            .kill = finish_off,
                                            .release = release};

static bool on_line(void *arg, char *text, size_t n) {
  talk_line(arg, text, n);
  return true;
}

static void on_end(void *arg, const char *how) { talk_gone(arg, how); }

enum status process_start(const struct process_params *params, struct talk **out) {
  struct talk *talk;
  struct os_child *made;
  enum status status = talk_create(&params->talk, &talk);
  if (status)
    return status;
  const struct os_child_params child = {.argv = params->argv,
                                        .environment = params->environment,
                                        .max_line = WIRE_LINE,
                                        .max_queue = WIRE_QUEUE,
                                        .on_line = on_line,
                                        .on_end = on_end,
                                        .arg = talk};
  status = os_child_start(params->loop, &child, &made);
  if (status) {
    talk_free(talk);
    return status;
  }
  talk_carry(talk, &carrier, made);
  *out = talk;
  return STATUS_OK;
}
