/*
 * interface: the call layer: which actions there are, on which thread each runs, cancel, progress.
 * A call is made by the instructor from one line and answered exactly once through it.
 */
#ifndef WORKER_INTERFACE_H
#define WORKER_INTERFACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/problem.h"
#include "base/reader.h"
#include "base/writer.h"

struct interface;
struct manager;
struct instructor;
struct told;

#define INTERFACE_ID 80 /* a request_id with its quotes; longer ones are refused */

struct interface_call {
  struct interface *interface;
  struct instructor *instructor;
  char id[INTERFACE_ID]; /* raw JSON, to be echoed */
  char transfer[24];     /* transfer_id, "" none */
  struct reader_doc *doc;
  struct reader_value data;
  const struct interface_action *action;
  atomic_bool cancel;
  atomic_uint_fast64_t bytes_done;
  uint64_t bytes_total, started_ns, progress_ns, device_us;
  struct problem problem; /* why it failed */
  struct interface_call *next;
};

/* `manager` is borrowed. */
enum status interface_create(struct manager *manager, struct instructor *instructor,
                             struct interface **out);
/* Cancels what runs and waits for it. */
void interface_free(struct interface *interface);
/* Runs one request; doc is taken. Quick actions are answered before it returns; of the others a
 * first progress event says at once that they were read, where bytes move. */
void interface_run(struct interface *interface, const char *id, struct reader_doc *doc);
/* What the daemon tells without asking; on the reading thread. */
void interface_hear(struct interface *interface, const char *event, struct reader_value data);
/* The capabilities of hello, as array elements. */
void interface_capabilities(struct writer *writer);

/* ---- for the actions ---- */

struct manager *interface_manager(const struct interface_call *call);
/* Of quick ones only. */
struct told *interface_told(const struct interface_call *call);
/* Cancels another call by its raw request id, or (request NULL) by its transfer id. False: it is
 * not under way. */
bool interface_cancel(struct interface_call *asking, const char *request, const char *transfer);
/* How far a transfer under way is. */
bool interface_look(struct interface_call *asking, const char *transfer, uint64_t *done,
                    uint64_t *total);
/* A mover's progress callback; arg is the call. Also a sign of life while it waits. */
void interface_progress(void *arg, uint64_t bytes_done);

#endif
