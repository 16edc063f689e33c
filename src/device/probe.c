/*
 * probe: the list of backends in this build.
 */
#include "device/probe.h"

#include <stddef.h>
#include <string.h>

#include "device/absent.h"
#include "device/backend.h"
#include "device/broker.h"
#include "device/cuda/backend.h"
#include "device/cuda/find.h"
#include "device/fake.h"
#include "device/host/backend.h"
#include "device/vulkan/backend.h"
#include "device/vulkan/find.h"

/* A part of a card is as a card, to a process that sees it. */
static const struct {
  const char *kind;
  const struct backend *backend;
  bool hidden; /* unless the environment says which */
  bool apart;  /* its owner half takes memory and threads that a daemon has no room for */
} kinds[] = {{"host", &host_backend, false, false},
             {"cuda", &cuda_backend, false, false},
             {"mig", &cuda_backend, true, false},
             {"vulkan", &vulkan_backend, false, true},
             {"fake", &fake_backend, false, false}};
#define PROBE_CARDS 32 /* of one host */
#define KINDS (sizeof kinds / sizeof *kinds)

static size_t find(const char *kind) {
  size_t i = 0;
  while (i < KINDS && strcmp(kinds[i].kind, kind) != 0)
    i++;
  return i;
}

const struct backend *probe_backend(const char *kind) {
  size_t i = find(kind);
  return i < KINDS ? kinds[i].backend : NULL;
}

bool probe_table(const struct spec *spec, struct backend *out) {
  size_t i = find(spec->backend);
  bool placed = spec->environment[0];
  if (i < KINDS && spec->absent) {
    *out = *kinds[i].backend;
    absent_table(out);
    return true;
  }
  if (i == KINDS || (kinds[i].hidden && spec->broker && !placed))
    return false;
  *out = *kinds[i].backend;
  if ((placed || kinds[i].apart) && spec->broker)
    broker_table(out);
  return true;
}

unsigned probe_defaults(bool gpus, struct spec *out, unsigned max) {
  if (!max)
    return 0;
  out[0] = (struct spec){.id = "host:0", .backend = "host"};
  unsigned cards = gpus ? cuda_find(out + 1, max - 1) : 0;
  for (unsigned i = 1; i <= cards; i++)
    out[i].found = true;
  return 1 + cards;
}

unsigned probe_cards(struct spec *out, unsigned max) { return vulkan_find(out, max); }

bool probe_is_apart(const char *kind) {
  size_t i = find(kind);
  return i < KINDS && kinds[i].apart;
}

void probe_place(struct spec *spec) {
  struct spec found[PROBE_CARDS];
  unsigned count =
      probe_backend(spec->backend) == &cuda_backend ? cuda_find(found, PROBE_CARDS) : 0;
  for (unsigned i = 0; i < count; i++)
    if (strcmp(found[i].id, spec->id) == 0)
      memcpy(spec->environment, found[i].environment, sizeof spec->environment);
}
