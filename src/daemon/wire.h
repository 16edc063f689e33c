/*
 * wire: the worker protocol (contract 5) as text: what a mover task says, what an answer means.
 * Pure.
 */
#ifndef DAEMON_WIRE_H
#define DAEMON_WIRE_H

#include "base/buf.h"
#include "base/reader.h"
#include "device/spec.h"
#include "service/mover.h"

#define WIRE_LINE (4u << 20)  /* longest line, both ways */
#define WIRE_QUEUE (8u << 20) /* what may wait for one worker (contract 8) */
/* Longest silence, of a request that moves or unmaps bytes, and of one that only looks. */
#define WIRE_DEADLINE_MS 30000
#define WIRE_QUICK_MS 10000

/* "memory.transfer": the name of an action, and of the capability. */
const char *wire_action(enum mover_action action);
/* Each appends one line without newline. */
void wire_task(struct buf *out, uint64_t request, const struct mover_task *task);
void wire_drop(struct buf *out, uint64_t request, uint64_t segment);
void wire_plain(struct buf *out, uint64_t request,
                const char *action); /* ping, memory.get_status */
void wire_cancel(struct buf *out, uint64_t request, uint64_t target);
struct wire_limits {
  uint64_t max_bytes, reserved_bytes;
  struct view_pressure pressure;
};
struct wire_initialize {
  const struct spec *devices;
  unsigned count;
  struct mover_numbers numbers;
  /* Of a device, as they are now; false: not known. May be NULL. */
  bool (*limits)(void *arg, const char *device, struct wire_limits *out);
  void *arg;
};
void wire_initialize(struct buf *out, uint64_t request, const struct wire_initialize *what);
/* The same numbers once more, when they have changed. */
void wire_thresholds(struct buf *out, const struct wire_initialize *what);
/* The text that travels with a segment's descriptor. */
void wire_segment(struct buf *out, const struct mover_segment *segment);
/* ... and with a file's. */
void wire_file(struct buf *out, uint64_t id, uint64_t size);

/* Such a list of the names in an array: as many whole ones as there is room for. */
void wire_names(struct reader_value array, char *out, size_t size);
/* Whether a list of capabilities, separated by commas, holds this one. */
bool wire_lists(const char *capabilities, const char *capability);
/* The number in "r-17"; 0: not one of ours. */
uint64_t wire_request(const char *id);
/* Fills a task's results from an answer that says success. */
void wire_result(struct mover_task *task, struct reader_value data);

#endif
