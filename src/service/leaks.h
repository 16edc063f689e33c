/*
 * leaks: owners whose bytes on a device only rise (memory/leak), the LEAKS_WATCHED largest of each
 * device. Private to this room, but for leaks_find.
 */
#ifndef SERVICE_LEAKS_H
#define SERVICE_LEAKS_H

#include <stdint.h>

#include "base/status.h"

struct service;

#define LEAKS_WATCHED 64

struct leak {
  char owner[40];
  uint64_t owner_id;
  int32_t pid;           /* 0: it is no process */
  const char *device_id; /* the service's */
  double bytes_per_second;
  uint64_t bytes; /* what it has there now */
  uint64_t since; /* CLOCK_REALTIME ns */
};
/* The suspected ones, the fastest first; at most `max`. Takes the state lock. */
uint32_t leaks_find(struct service *service, struct leak *out, uint32_t max);

enum status leaks_create(struct service *s);
void leaks_free(struct service *s);
/* Once a second, on the decision thread, no lock held; looks when it is time to. */
void leaks_look(struct service *s);

#endif
