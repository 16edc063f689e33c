/*
 * manager: two small tables under one lock. Segments are few hundred, so they are a list; a
 * descriptor that is still on its way is waited for on a condition.
 */
#include "worker/manager.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/id.h"

#define MANAGER_DEVICES 32
#define MANAGER_ARRIVAL_S 1 /* contract 5 */

struct segment {
  uint64_t id, size;
  unsigned device, users;
  struct device_segment *memory;
  struct segment *next;
};

struct manager {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  struct {
    struct spec spec;
    struct device_mover *mover;
  } devices[MANAGER_DEVICES];
  unsigned device_count;
  struct segment *segments;
};

/* An arrival is waited for this long. */
static struct timespec patience(void) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += MANAGER_ARRIVAL_S;
  return until;
}

enum status manager_create(struct manager **out) {
  struct manager *manager = calloc(1, sizeof *manager);
  if (!manager)
    return STATUS_INTERNAL_ERROR;
  pthread_condattr_t clock;
  pthread_condattr_init(&clock);
  pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
  pthread_mutex_init(&manager->mutex, NULL);
  pthread_cond_init(&manager->changed, &clock);
  pthread_condattr_destroy(&clock);
  *out = manager;
  return STATUS_OK;
}

void manager_free(struct manager *manager) {
  if (!manager)
    return;
  for (struct segment *segment = manager->segments, *next; segment; segment = next) {
    next = segment->next;
    device_drop(segment->memory);
    free(segment);
  }
  for (unsigned i = 0; i < manager->device_count; i++)
    device_mover_close(manager->devices[i].mover);
  pthread_cond_destroy(&manager->changed);
  pthread_mutex_destroy(&manager->mutex);
  free(manager);
}

static bool find_device(const struct manager *manager, const char *id, unsigned *index) {
  for (unsigned i = 0; i < manager->device_count; i++) {
    if (strcmp(manager->devices[i].spec.id, id))
      continue;
    *index = i;
    return true;
  }
  return false;
}

static struct segment *find(const struct manager *manager, uint64_t id) {
  struct segment *segment = manager->segments;
  while (segment && segment->id != id)
    segment = segment->next;
  return segment;
}

enum status manager_add_device(struct manager *manager, const struct spec *spec) {
  unsigned known;
  enum status status = STATUS_OK;
  pthread_mutex_lock(&manager->mutex);
  if (!find_device(manager, spec->id, &known)) {
    unsigned i = manager->device_count;
    status = i < MANAGER_DEVICES ? device_mover_open(spec, &manager->devices[i].mover)
                                 : STATUS_INTERNAL_ERROR;
    if (!status) {
      manager->devices[i].spec = *spec;
      manager->device_count++;
      pthread_cond_broadcast(&manager->changed);
    }
  }
  pthread_mutex_unlock(&manager->mutex);
  return status;
}

enum status manager_add_segment(struct manager *manager, const struct manager_arrival *arrival,
                                const struct share *share) {
  struct segment *segment = calloc(1, sizeof *segment);
  if (!segment)
    return STATUS_INTERNAL_ERROR;
  segment->id = arrival->segment;
  segment->size = arrival->size;
  struct timespec until = patience();
  pthread_mutex_lock(&manager->mutex);
  /* Its device is named on the other wire, and may be read there a moment later. */
  while (!find_device(manager, arrival->device, &segment->device) &&
         !pthread_cond_timedwait(&manager->changed, &manager->mutex, &until))
    ;
  enum status status = STATUS_OK;
  if (find(manager, segment->id))
    status = STATUS_CONFLICT;
  else if (!find_device(manager, arrival->device, &segment->device))
    status = STATUS_DEVICE_NOT_FOUND;
  if (!status)
    status = device_import(manager->devices[segment->device].mover, share, segment->size,
                           &segment->memory);
  if (!status) {
    segment->next = manager->segments;
    manager->segments = segment;
    pthread_cond_broadcast(&manager->changed);
  }
  pthread_mutex_unlock(&manager->mutex);
  if (status)
    free(segment);
  return status;
}

enum status manager_use(struct manager *manager, uint64_t id, struct device_segment **out,
                        struct problem *problem) {
  struct timespec until = patience();
  pthread_mutex_lock(&manager->mutex);
  struct segment *segment = find(manager, id);
  while (!segment && !pthread_cond_timedwait(&manager->changed, &manager->mutex, &until))
    segment = find(manager, id);
  if (segment) {
    segment->users++;
    *out = segment->memory;
  }
  pthread_mutex_unlock(&manager->mutex);
  if (segment)
    return STATUS_OK;
  char text[ID_SIZE];
  return problem_set(problem, STATUS_INVALID_ARGUMENT, "segment %s did not arrive",
                     id_format(ID_SEGMENT, id, text));
}

void manager_done(struct manager *manager, uint64_t id) {
  pthread_mutex_lock(&manager->mutex);
  struct segment *segment = find(manager, id);
  if (segment && !--segment->users)
    pthread_cond_broadcast(&manager->changed);
  pthread_mutex_unlock(&manager->mutex);
}

/* Takes the segment out of the list when its last user is gone; NULL: it is not there (any more).
 */
static struct segment *take_unused(struct manager *manager, uint64_t id) {
  struct segment *segment;
  while ((segment = find(manager, id)) && segment->users)
    pthread_cond_wait(&manager->changed, &manager->mutex);
  for (struct segment **link = &manager->segments; segment && *link; link = &(*link)->next) {
    if (*link != segment)
      continue;
    *link = segment->next;
    break;
  }
  return segment;
}

enum status manager_drop(struct manager *manager, uint64_t id) {
  pthread_mutex_lock(&manager->mutex);
  struct segment *segment = take_unused(manager, id);
  pthread_mutex_unlock(&manager->mutex);
  if (!segment)
    return STATUS_NOT_FOUND;
  device_drop(segment->memory);
  free(segment);
  return STATUS_OK;
}

uint64_t manager_mapped(struct manager *manager, const char *device, uint32_t *count) {
  uint64_t bytes = 0;
  *count = 0;
  pthread_mutex_lock(&manager->mutex);
  for (const struct segment *segment = manager->segments; segment; segment = segment->next) {
    if (device[0] && strcmp(manager->devices[segment->device].spec.id, device))
      continue;
    bytes += segment->size;
    ++*count;
  }
  pthread_mutex_unlock(&manager->mutex);
  return bytes;
}
