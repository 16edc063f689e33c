/*
 * probe: the list of backends in this build.
 */
#include "device/probe.h"

#include <stddef.h>
#include <string.h>

#include "device/backend.h"
#include "device/cuda/backend.h"
#include "device/cuda/find.h"
#include "device/fake.h"
#include "device/host/backend.h"

/* A part of a card is as a card, to a process that sees it. */
static const struct {
  const char *kind;
  const struct backend *backend;
} kinds[] = {{"host", &host_backend},
             {"cuda", &cuda_backend},
             {"mig", &cuda_backend},
             {"fake", &fake_backend}};

const struct backend *probe_backend(const char *kind) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(kinds[i].kind, kind) == 0)
      return kinds[i].backend;
  return NULL;
}

unsigned probe_defaults(bool gpus, struct spec *out, unsigned max) {
  if (!max)
    return 0;
  out[0] = (struct spec){.id = "host:0", .backend = "host"};
  return 1 + (gpus ? cuda_find(out + 1, max - 1) : 0);
}
