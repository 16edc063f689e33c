/*
 * manager: two small tables under one lock. Segments are few hundred, so they are a list; a
 * descriptor that is still on its way is waited for on a condition.
 *
 * A card's driver takes a fraction of a millisecond to import a segment, and a defragmentation has
 * dozens. So they are imported as they arrive, by a thread beside those that copy; who needs one
 * that it has not begun does it himself. The lock is not held meanwhile.
 */
#include "worker/manager.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/lock.h"

#define MANAGER_DEVICES 32
#define MANAGER_FILES 2048 /* of two of the largest models */
#define MANAGER_FILE_NS (60 * CLOCK_SECOND)
#define MANAGER_ARRIVAL_S 1 /* contract 5 */

struct segment {
  uint64_t id, size;
  char device[SPEC_ID];
  unsigned users;
  bool ahead;                    /* it is to be imported before anybody asks for it */
  bool importing;                /* some thread does it, and is one of the users */
  enum status failed;            /* what that said, if nobody had asked: the next use hears it */
  struct share share;            /* until it is imported */
  struct device_segment *memory; /* NULL: not yet */
  struct segment *next;
};

struct file {
  uint64_t id, arrived_ns;
  struct share share;
  struct file *next;
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
  struct file *files, **files_last; /* in order of arrival */
  unsigned file_count;
  pthread_cond_t wanted; /* for the importer: something is to be imported ahead, or it is over */
  pthread_t importer;
  bool imports, over; /* imports: there is that thread */
};

/* An arrival, or the end of a use, is waited for this long. */
static struct timespec patience(void) {
  return clock_timespec(clock_now() + MANAGER_ARRIVAL_S * CLOCK_SECOND);
}

enum status manager_create(struct manager **out) {
  struct manager *manager = calloc(1, sizeof *manager);
  if (!manager)
    return STATUS_INTERNAL_ERROR;
  pthread_mutex_init(&manager->mutex, NULL);
  lock_cond_init(&manager->changed);
  pthread_cond_init(&manager->wanted, NULL);
  manager->files_last = &manager->files;
  *out = manager;
  return STATUS_OK;
}

static void let_go(struct segment *segment) {
  if (segment->memory)
    device_drop(segment->memory);
  share_close(&segment->share);
  free(segment);
}

static struct file *unlink_file(struct manager *manager, struct file **link) {
  struct file *file = *link;
  *link = file->next;
  if (manager->files_last == &file->next)
    manager->files_last = link;
  manager->file_count--;
  return file;
}

static void drop_first_file(struct manager *manager) {
  struct file *file = unlink_file(manager, &manager->files);
  share_close(&file->share);
  free(file);
}

static void end_importer(struct manager *manager) {
  pthread_mutex_lock(&manager->mutex);
  manager->over = true;
  pthread_cond_signal(&manager->wanted);
  pthread_mutex_unlock(&manager->mutex);
  if (manager->imports)
    pthread_join(manager->importer, NULL);
}

void manager_free(struct manager *manager) {
  if (!manager)
    return;
  end_importer(manager);
  while (manager->files)
    drop_first_file(manager);
  for (struct segment *segment = manager->segments, *next; segment; segment = next) {
    next = segment->next;
    let_go(segment);
  }
  for (unsigned i = 0; i < manager->device_count; i++)
    device_mover_close(manager->devices[i].mover);
  pthread_cond_destroy(&manager->wanted);
  pthread_cond_destroy(&manager->changed);
  pthread_mutex_destroy(&manager->mutex);
  free(manager);
}

static struct device_mover *find_device(const struct manager *manager, const char *id) {
  for (unsigned i = 0; i < manager->device_count; i++)
    if (!strcmp(manager->devices[i].spec.id, id))
      return manager->devices[i].mover;
  return NULL;
}

static struct segment *find(const struct manager *manager, uint64_t id) {
  struct segment *segment = manager->segments;
  while (segment && segment->id != id)
    segment = segment->next;
  return segment;
}

enum status manager_add_device(struct manager *manager, const struct spec *spec) {
  enum status status = STATUS_OK;
  pthread_mutex_lock(&manager->mutex);
  if (!find_device(manager, spec->id)) {
    unsigned i = manager->device_count;
    status = i < MANAGER_DEVICES ? device_mover_open(spec, &manager->devices[i].mover)
                                 : STATUS_INTERNAL_ERROR;
    if (!status) {
      manager->devices[i].spec = *spec;
      manager->device_count++;
      pthread_cond_signal(&manager->wanted);
    }
  }
  pthread_mutex_unlock(&manager->mutex);
  return status;
}

bool manager_initialized(struct manager *manager) {
  pthread_mutex_lock(&manager->mutex);
  bool initialized = manager->device_count > 0;
  pthread_mutex_unlock(&manager->mutex);
  return initialized;
}

/* ---- importing ---- */

/* Under the lock, which is let go meanwhile; the segment stays, for it is in use. */
static enum status import(struct manager *manager, struct segment *segment) {
  struct device_mover *mover = find_device(manager, segment->device);
  struct device_segment *memory = NULL;
  segment->ahead = false;
  if (!mover)
    return STATUS_DEVICE_NOT_FOUND;
  segment->importing = true;
  segment->users++;
  pthread_mutex_unlock(&manager->mutex);
  enum status status = device_import(mover, &segment->share, segment->size, &memory);
  pthread_mutex_lock(&manager->mutex);
  segment->users--;
  segment->importing = false;
  if (!status) {
    segment->memory = memory;
    share_close(&segment->share);
  }
  pthread_cond_broadcast(&manager->changed);
  return status;
}

/* The first that arrived of those to be imported ahead; the list begins with the last. A segment
 * may come before its device was told of. */
static struct segment *first_ahead(const struct manager *manager) {
  struct segment *first = NULL;
  for (struct segment *segment = manager->segments; segment; segment = segment->next)
    if (segment->ahead && find_device(manager, segment->device))
      first = segment;
  return first;
}

static void *import_ahead(void *arg) {
  struct manager *manager = arg;
  pthread_mutex_lock(&manager->mutex);
  while (!manager->over) {
    struct segment *segment = first_ahead(manager);
    if (segment)
      segment->failed = import(manager, segment);
    else
      pthread_cond_wait(&manager->wanted, &manager->mutex);
  }
  pthread_mutex_unlock(&manager->mutex);
  return NULL;
}

/* Under the lock. Where no importer can be started, whoever needs a segment imports it. */
static void want_ahead(struct manager *manager, struct segment *segment) {
  segment->ahead = segment->share.kind != SHARE_MEMFD; /* mapped when it is touched */
  if (!segment->ahead)
    return;
  if (!manager->imports)
    manager->imports = !pthread_create(&manager->importer, NULL, import_ahead, manager);
  pthread_cond_signal(&manager->wanted);
}

enum status manager_add_segment(struct manager *manager, const struct manager_arrival *arrival,
                                struct share *share) {
  struct segment *segment = calloc(1, sizeof *segment);
  enum status status = segment ? STATUS_OK : STATUS_INTERNAL_ERROR;
  pthread_mutex_lock(&manager->mutex);
  if (!status && find(manager, arrival->segment))
    status = STATUS_CONFLICT;
  if (!status) {
    *segment = (struct segment){.id = arrival->segment, .size = arrival->size, .share = *share};
    memcpy(segment->device, arrival->device, sizeof segment->device);
    *share = (struct share){SHARE_NONE, 0};
    segment->next = manager->segments;
    manager->segments = segment;
    want_ahead(manager, segment);
    pthread_cond_broadcast(&manager->changed);
  }
  pthread_mutex_unlock(&manager->mutex);
  share_close(share);
  if (status)
    free(segment);
  return status;
}

/* Under the lock: waits for a segment's arrival, a second at most, and for who imports it. NULL: it
 * did not arrive. */
static struct segment *await(struct manager *manager, uint64_t id) {
  struct timespec until = patience();
  struct segment *segment;
  bool late = false;
  while ((!(segment = find(manager, id)) && !late) || (segment && segment->importing)) {
    if (segment)
      pthread_cond_wait(&manager->changed, &manager->mutex);
    else
      late = pthread_cond_timedwait(&manager->changed, &manager->mutex, &until);
  }
  return segment;
}

/* Under the lock. A failure is told once: the next use tries again. */
static enum status make_usable(struct manager *manager, struct segment *segment,
                               struct problem *problem) {
  enum status status = segment->failed;
  segment->failed = STATUS_OK;
  if (!status && !segment->memory)
    status = import(manager, segment);
  if (status == STATUS_DEVICE_NOT_FOUND)
    return problem_set(problem, status, "no device %s here", segment->device);
  if (status)
    return problem_set(problem, status, "%s: a segment cannot be used: %s", segment->device,
                       status_text(status));
  segment->users++;
  return STATUS_OK;
}

enum status manager_use(struct manager *manager, uint64_t id, struct device_segment **out,
                        struct problem *problem) {
  pthread_mutex_lock(&manager->mutex);
  struct segment *segment = await(manager, id);
  enum status status = segment ? make_usable(manager, segment, problem) : STATUS_INVALID_ARGUMENT;
  if (!status)
    *out = segment->memory;
  pthread_mutex_unlock(&manager->mutex);
  if (segment)
    return status;
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

static void unlink_segment(struct manager *manager, const struct segment *segment) {
  struct segment **link = &manager->segments;
  while (*link != segment)
    link = &(*link)->next;
  *link = segment->next;
}

enum status manager_drop(struct manager *manager, uint64_t id) {
  struct timespec until = patience();
  struct segment *segment;
  bool late = false;
  pthread_mutex_lock(&manager->mutex);
  while ((!(segment = find(manager, id)) || segment->users) && !late)
    late = pthread_cond_timedwait(&manager->changed, &manager->mutex, &until);
  bool busy = segment && segment->users;
  if (segment && !busy)
    unlink_segment(manager, segment);
  pthread_mutex_unlock(&manager->mutex);
  if (busy)
    return STATUS_ALLOCATION_BUSY;
  if (!segment)
    return STATUS_NOT_FOUND;
  let_go(segment);
  return STATUS_OK;
}

/* ---- files ---- */

static struct file **find_file(struct manager *manager, uint64_t id) {
  struct file **link = &manager->files;
  while (*link && (*link)->id != id)
    link = &(*link)->next;
  return *link ? link : NULL;
}

void manager_add_file(struct manager *manager, uint64_t id, struct share *share) {
  struct file *file = malloc(sizeof *file);
  uint64_t now = clock_now();
  if (!file) {
    share_close(share);
    return;
  }
  *file = (struct file){.id = id, .arrived_ns = now, .share = *share};
  *share = (struct share){SHARE_NONE, 0};
  pthread_mutex_lock(&manager->mutex);
  while (manager->files && (manager->file_count >= MANAGER_FILES ||
                            now - manager->files->arrived_ns > MANAGER_FILE_NS))
    drop_first_file(manager);
  *manager->files_last = file;
  manager->files_last = &file->next;
  manager->file_count++;
  pthread_cond_broadcast(&manager->changed);
  pthread_mutex_unlock(&manager->mutex);
}

enum status manager_take_file(struct manager *manager, uint64_t id, struct share *out) {
  struct timespec until = patience();
  pthread_mutex_lock(&manager->mutex);
  struct file **link = find_file(manager, id), *file = NULL;
  while (!link && !pthread_cond_timedwait(&manager->changed, &manager->mutex, &until))
    link = find_file(manager, id);
  if (link)
    file = unlink_file(manager, link);
  pthread_mutex_unlock(&manager->mutex);
  if (!file)
    return STATUS_NOT_FOUND;
  *out = file->share;
  free(file);
  return STATUS_OK;
}

uint64_t manager_mapped(struct manager *manager, const char *device, uint32_t *count) {
  uint64_t bytes = 0;
  *count = 0;
  pthread_mutex_lock(&manager->mutex);
  for (const struct segment *segment = manager->segments; segment; segment = segment->next) {
    if (device[0] && strcmp(segment->device, device) != 0)
      continue;
    bytes += segment->size;
    ++*count;
  }
  pthread_mutex_unlock(&manager->mutex);
  return bytes;
}
