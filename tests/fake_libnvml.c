/*
 * fake_libnvml: the NVML half of the FAKE cards, and what both halves know. See fake_libcuda.h.
 */
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake_libcuda.h"

#define SEEN 16384

/* ---- settings ---- */

static const char *session(void) {
  const char *text = getenv("FAKE_CUDA_SESSION");
  return text ? text : "0";
}

uint64_t fake_context_bytes(void) { return fake_setting("FAKE_CUDA_CONTEXT", UINT64_C(64) << 20); }

bool fake_is_lost(int card) {
  const char *path = getenv("FAKE_CUDA_LOST");
  char text[512];
  if (!path)
    return false;
  snprintf(text, sizeof text, "%s.%d", path, card);
  return access(text, F_OK) == 0;
}

static void be_slow(const char *name) {
  const char *text = getenv("FAKE_CUDA_SLOW");
  size_t n = strlen(name);
  unsigned ms = 0;
  char path[256] = "/";
  if (text && !strncmp(text, name, n) && sscanf(text + n, ":%u:%255s", &ms, path) >= 1 &&
      !access(path, F_OK))
    usleep(ms * 1000);
}

/* Counts per row of the setting, from when it was set; a process has few. */
int fake_fails(const char *name) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static unsigned calls[16];
  static char counted[512];
  const char *text = getenv("FAKE_CUDA_FAIL");
  size_t n = strlen(name);
  int answer = 0;
  be_slow(name);
  pthread_mutex_lock(&lock);
  if (strncmp(counted, text ? text : "", sizeof counted - 1) != 0) {
    snprintf(counted, sizeof counted, "%s", text ? text : "");
    memset(calls, 0, sizeof calls);
  }
  for (unsigned row = 0; text && *text && row < 16; row++) {
    unsigned nth = 0;
    int code = 0;
    if (strncmp(text, name, n) == 0 && text[n] == ':' &&
        sscanf(text + n, ":%u:%d", &nth, &code) == 2 && ++calls[row] == nth)
      answer = code;
    text = strchr(text, ',');
    text = text ? text + 1 : NULL;
  }
  pthread_mutex_unlock(&lock);
  return answer;
}

int fake_memory(int card, enum fake_kind kind, uint64_t size) {
  char name[128];
  snprintf(name, sizeof name, "FAKE-cuda-%s-%d-%c", session(), card, kind);
  int fd = memfd_create(name, MFD_CLOEXEC);
  if (fd >= 0 && ftruncate(fd, (off_t)size) == 0)
    return fd;
  if (fd >= 0)
    close(fd);
  return -1;
}

/* ---- who has what ---- */

struct seen {
  pid_t pid;
  ino_t inode;
  uint64_t bytes;
  enum fake_kind kind;
  bool mapped;
};

struct look {
  char name[128]; /* as the kernel shows it, without the kind */
  struct seen *rows;
  unsigned count;
};

static void see(struct look *look, struct seen seen) {
  for (unsigned i = 0; i < look->count; i++) {
    struct seen *row = &look->rows[i];
    if (row->pid != seen.pid || row->inode != seen.inode)
      continue;
    row->mapped |= seen.mapped;
    if (row->bytes < seen.bytes)
      row->bytes = seen.bytes;
    return;
  }
  if (look->count < SEEN)
    look->rows[look->count++] = seen;
}

static void see_descriptors(struct look *look, pid_t pid) {
  char path[64], target[256];
  snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
  DIR *folder = opendir(path);
  size_t n = strlen(look->name);
  for (struct dirent *entry; folder && (entry = readdir(folder));) {
    struct stat facts;
    ssize_t length = readlinkat(dirfd(folder), entry->d_name, target, sizeof target - 1);
    if (length <= (ssize_t)n || strncmp(target, look->name, n) != 0 ||
        fstatat(dirfd(folder), entry->d_name, &facts, 0))
      continue;
    see(look, (struct seen){pid, facts.st_ino, (uint64_t)facts.st_size, (enum fake_kind)target[n],
                            false});
  }
  if (folder)
    closedir(folder);
}

static void see_mappings(struct look *look, pid_t pid) {
  char path[64], line[512];
  snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
  FILE *file = fopen(path, "re");
  while (file && fgets(line, sizeof line, file)) {
    unsigned long start, end, inode;
    const char *name = strstr(line, look->name);
    if (!name || sscanf(line, "%lx-%lx %*s %*s %*s %lu", &start, &end, &inode) != 3)
      continue;
    see(look,
        (struct seen){pid, inode, end - start, (enum fake_kind)name[strlen(look->name)], true});
  }
  if (file)
    fclose(file);
}

static void look_around(struct look *look, int card) {
  snprintf(look->name, sizeof look->name, "/memfd:FAKE-cuda-%s-%d-", session(), card);
  look->rows = calloc(SEEN, sizeof *look->rows);
  look->count = 0;
  DIR *folder = opendir("/proc");
  for (struct dirent *entry; folder && (entry = readdir(folder));) {
    pid_t pid = (pid_t)atoi(entry->d_name);
    if (pid > 0) {
      see_descriptors(look, pid);
      see_mappings(look, pid);
    }
  }
  if (folder)
    closedir(folder);
}

static bool is_first(const struct look *look, unsigned i) {
  for (unsigned k = 0; k < i; k++)
    if (look->rows[k].inode == look->rows[i].inode)
      return false;
  return true;
}

uint64_t fake_used(int card) {
  struct look look;
  uint64_t used = 0;
  look_around(&look, card);
  for (unsigned i = 0; i < look.count; i++)
    if (is_first(&look, i))
      used += look.rows[i].bytes;
  free(look.rows);
  return used;
}

unsigned fake_processes(int card, struct api_process *out, unsigned max) {
  struct look look;
  unsigned count = 0;
  look_around(&look, card);
  for (unsigned i = 0; i < look.count; i++) {
    if (look.rows[i].kind != FAKE_CONTEXT)
      continue;
    struct api_process row = {.pid = (unsigned)look.rows[i].pid, .used = look.rows[i].bytes};
    for (unsigned k = 0; k < look.count; k++)
      if (look.rows[k].pid == look.rows[i].pid && look.rows[k].mapped)
        row.used += look.rows[k].bytes;
    if (count < max)
      out[count] = row;
    count++;
  }
  free(look.rows);
  return count;
}

/* ---- NVML ---- */

#pragma GCC visibility push(default)
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#ifdef FAKE_OLD
#define nvmlInit_v2 nvmlInit
#define nvmlDeviceGetComputeRunningProcesses_v3 nvmlDeviceGetComputeRunningProcesses_v2
#define nvmlDeviceGetGraphicsRunningProcesses_v3 nvmlDeviceGetGraphicsRunningProcesses_v2
#endif

static int card_of(api_card card) { return (int)(intptr_t)card - 1; }

int nvmlInit_v2(void) { return fake_fails("nvmlInit_v2"); }
int nvmlShutdown(void) { return API_NVML_OK; }

int nvmlSystemGetDriverVersion(char *text, unsigned size) {
  snprintf(text, size, "FAKE 1.0");
  return API_NVML_OK;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, api_card *card) {
  int place = fake_by_uuid(uuid, strlen(uuid));
  *card = (api_card)(intptr_t)(place + 1); /* NOLINT: a number as a handle */
  return place < 0 ? API_NVML_NOT_FOUND : fake_is_lost(place) ? API_NVML_LOST : API_NVML_OK;
}

int nvmlDeviceGetMemoryInfo(api_card card, struct api_memory *out) {
  if (fake_is_lost(card_of(card)))
    return API_NVML_LOST;
  out->total = fake_bytes(card_of(card));
  out->used = fake_used(card_of(card)) + FAKE_RESERVED;
  out->free = out->total - out->used;
  return fake_fails("nvmlDeviceGetMemoryInfo");
}

#ifndef FAKE_OLD
int nvmlDeviceGetMemoryInfo_v2(api_card card, struct api_memory_2 *out) {
  if (out->version != API_NVML_MEMORY_2)
    return 25; /* NVML_ERROR_ARGUMENT_VERSION_MISMATCH */
  if (fake_is_lost(card_of(card)))
    return API_NVML_LOST;
  out->total = fake_bytes(card_of(card));
  out->reserved = FAKE_RESERVED;
  out->used = fake_used(card_of(card));
  out->free = out->total - out->reserved - out->used;
  return fake_fails("nvmlDeviceGetMemoryInfo_v2");
}
#endif

int nvmlDeviceGetComputeRunningProcesses_v3(api_card card, unsigned *count,
                                            struct api_process *out) {
  unsigned max = *count;
  *count = fake_processes(card_of(card), out, max);
  return *count > max ? API_NVML_TOO_SMALL : API_NVML_OK;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(api_card card, unsigned *count,
                                             struct api_process *out) {
  (void)card;
  (void)out;
  *count = 0;
  return API_NVML_OK;
}
