/*
 * fake_pins: host memory that the driver of the FAKE cards has pinned, see fake_libcuda.h.
 */
#include "fake_libcuda.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PINS 1024

struct pin {
  uintptr_t start; /* 0: none */
  size_t size;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pin pins[PINS];

/* One that the bytes touch. Under the lock. */
static struct pin *pin_at(uintptr_t start, size_t size) {
  for (unsigned i = 0; i < PINS; i++)
    if (pins[i].start && pins[i].start < start + size && start < pins[i].start + pins[i].size)
      return &pins[i];
  return NULL;
}

/* What is pinned in two pieces cannot be copied in one. */
bool fake_pins_whole(const void *from, size_t size) {
  uintptr_t start = (uintptr_t)from;
  pthread_mutex_lock(&lock);
  const struct pin *pin = pin_at(start, size);
  bool whole = !pin || (pin->start <= start && start + size <= pin->start + pin->size);
  pthread_mutex_unlock(&lock);
  return whole;
}

/* Whether a mapping of this process holds the bytes, and may be written. */
static bool is_mapped(uintptr_t start, size_t size, bool *writable) {
  FILE *maps = fopen("/proc/self/maps", "re");
  unsigned long from, to;
  char rights[8];
  bool found = false;
  while (maps && !found && fscanf(maps, "%lx-%lx %7s %*[^\n]", &from, &to, rights) == 3)
    found = from <= start && start + size <= to;
  if (maps)
    fclose(maps);
  *writable = found && rights[1] == 'w';
  return found;
}

#pragma GCC visibility push(default)
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#ifdef FAKE_OLD
#define cuMemHostRegister_v2 cuMemHostRegister
#endif

uint64_t fake_registered(void) {
  uint64_t bytes = 0;
  pthread_mutex_lock(&lock);
  for (unsigned i = 0; i < PINS; i++)
    bytes += pins[i].start ? pins[i].size : 0;
  pthread_mutex_unlock(&lock);
  return bytes;
}

/* As on Linux: whole pages; memory that cannot be written only where that is said. */
int cuMemHostRegister_v2(void *memory, size_t size, unsigned flags) {
  int answer = fake_begin_in_context("cuMemHostRegister_v2");
  uintptr_t start = (uintptr_t)memory, page = (uintptr_t)sysconf(_SC_PAGESIZE);
  bool writable;
  if (answer || !size || start % page || size % page || !is_mapped(start, size, &writable) ||
      writable == (flags == API_REGISTER_READ_ONLY))
    return answer ? answer : API_INVALID_VALUE;
  struct pin *pin = NULL;
  pthread_mutex_lock(&lock);
  bool taken = pin_at(start, size);
  for (unsigned i = 0; !taken && !pin && i < PINS; i++)
    pin = pins[i].start ? NULL : &pins[i];
  if (pin)
    *pin = (struct pin){start, size};
  pthread_mutex_unlock(&lock);
  return taken ? API_ALREADY_REGISTERED : pin ? API_OK : API_OUT_OF_MEMORY;
}

int cuMemHostUnregister(void *memory) {
  int answer = fake_begin_in_context("cuMemHostUnregister");
  pthread_mutex_lock(&lock);
  struct pin *pin = pin_at((uintptr_t)memory, 1);
  bool fits = pin && pin->start == (uintptr_t)memory;
  if (fits)
    pin->start = 0;
  pthread_mutex_unlock(&lock);
  return answer ? answer : fits ? API_OK : API_NOT_REGISTERED;
}

int cuMemHostAlloc(void **out, size_t size, unsigned flags) {
  (void)flags;
  int answer = fake_begin_in_context("cuMemHostAlloc");
  *out = answer ? NULL : malloc(size);
  return answer ? answer : *out ? API_OK : API_OUT_OF_MEMORY;
}

int cuMemFreeHost(void *host) {
  free(host);
  return API_OK;
}
