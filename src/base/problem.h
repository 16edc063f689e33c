/*
 * problem: a failed operation, told so that a user knows what to do. Filled by the service once,
 * where the context is known; the doors translate it. A struct problem whose status is STATUS_OK
 * holds nothing.
 */
#ifndef BASE_PROBLEM_H
#define BASE_PROBLEM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct problem_space {
  uint64_t requested_bytes, available_bytes, largest_free_bytes;
  uint64_t reclaimable_cache_bytes; /* empty segments kept for reuse */
  struct {
    uint64_t model, bytes; /* a model that could go, and what that would free */
  } models[8];
  struct {
    char name[40];  /* a worker that says it has memory to give */
    uint64_t bytes; /* what its word is worth */
  } workers[4];
  uint32_t model_count, worker_count;
  uint32_t fragmentation_hundredths;
  char reason[16]; /* "" or what ran out: "segments", "quota", "pressure" */
};

struct problem {
  enum status status;
  char text[256];
  char field[64];   /* the input that is wrong, "" if none; becomes details.field */
  char subject[80]; /* the id that was asked for, "" if none; details.deviceId, .allocationId ... by
                       status */
  char allowed[512]; /* what exists instead, comma separated ("host:0,fake:0"), "" if none */
  bool has_space;    /* 507s always say how much there is */
  struct problem_space space;
};

/* Sets status and text (printf style), clears the rest; returns the status, so that callers can
 * `return problem_set(...)`. */
enum status problem_set(struct problem *problem, enum status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same about one input field. */
enum status problem_field(struct problem *problem, enum status status, const char *field,
                          const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
