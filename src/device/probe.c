/*
 * probe: the list of backends in this build.
 */
#include "device/probe.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "device/backend.h"
#include "device/cuda/backend.h"
#include "device/cuda/owner.h"
#include "device/fake.h"
#include "device/host/backend.h"

static const struct backend *const backends[] = {&host_backend, &cuda_backend, &fake_backend};

const struct backend *probe_backend(const char *name) {
  for (size_t i = 0; i < sizeof backends / sizeof(void *); i++)
    if (strcmp(backends[i]->name, name) == 0)
      return backends[i];
  return NULL;
}

unsigned probe_defaults(bool gpus, struct spec *out, unsigned max) {
  if (!max)
    return 0;
  out[0] = (struct spec){.id = "host:0", .backend = "host"};
  unsigned count = 1, cards = gpus ? cuda_owner_count() : 0;
  for (unsigned i = 0; i < cards && count < max; i++, count++) {
    out[count] = (struct spec){.backend = "cuda"};
    snprintf(out[count].id, sizeof out[count].id, "cuda:%u", i);
  }
  return count;
}
