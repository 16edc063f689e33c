/*
 * spec: what a user said about a device: "host:0=2GiB",
 * "fake:0=8GiB,rate=20GiB/s,latency=50us,fail=create:3". The same text travels to workers, so that
 * their mover half behaves like the owner half.
 */
#ifndef DEVICE_SPEC_H
#define DEVICE_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/problem.h"

#define SPEC_ID 32
#define SPEC_ENVIRONMENT 1024 /* the UUIDs of a machine's cards */
#define SPEC_UUID 112

enum spec_call {
  SPEC_NONE,
  SPEC_CREATE,
  SPEC_COMMIT,
  SPEC_BUDGET,
  SPEC_IMPORT,
  SPEC_READ,
  SPEC_WRITE,
  SPEC_COPY,
  SPEC_FILL
};

struct spec {
  char id[SPEC_ID];     /* "host:0": backend name, colon, number 0 … 999 */
  char backend[16];     /* "host" */
  char uuid[SPEC_UUID]; /* vulkan: DEVICE or DEVICE/DRIVER, as its own description has them; "" */
  uint64_t size_bytes;  /* 0: not said (host: the whole RAM) */
  uint64_t rate_bytes;  /* fake: bytes per second of its link, 0: as fast as memory */
  uint64_t latency_ns;  /* fake: of each transfer chunk */
  enum spec_call fail;  /* wrap: every fail_nth call of this entry fails */
  uint32_t fail_nth;
  uint64_t delay_ns;    /* wrap: before every call */
  uint64_t quota_bytes; /* wrap: create refuses beyond this sum; 0: none */
  bool trace;           /* wrap: logs every call at debug level */

  /* Not of the text, but of the machine, as probe found it, and of the program. */
  char environment[SPEC_ENVIRONMENT]; /* "NAME=value", without which a process does not see the
                                         device; "": it does */
  char pci[16];                       /* where it was found; "": not known before it is opened */
  bool found;         /* nobody named it: where it cannot be opened it is left out */
  bool absent;        /* its driver is not to be asked (absent.h) */
  const char *broker; /* path of memkeep-worker, which can own it in a process of its own; borrowed,
                         NULL: none */
};

/* INVALID_ARGUMENT with a problem that says what is wrong and what would be right. */
enum status spec_parse(const char *text, struct spec *out, struct problem *problem);
/* The canonical text; spec_parse of it gives the same spec. Returns out. */
const char *spec_format(const struct spec *spec, char *out, size_t size);
/* Means from now on that card of that driver, whatever its number will be; without effect where the
 * driver's is "". */
void spec_bind(struct spec *spec, const char *uuid, const char *driver_uuid);
/* Whether wrap has anything to do. */
bool spec_wants_wrap(const struct spec *spec);

#endif
