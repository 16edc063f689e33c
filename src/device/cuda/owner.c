/*
 * cuda/owner: cuInit and no more. Memory is made with cuMemCreate and exported at once; from then
 * on the descriptor alone keeps it, in us, the vault, or whoever has it. The handle is of no more
 * use. Releasing it takes the driver up to 5 ms (8 GiB, H100), so that is not done before the
 * answer: it waits for the next call, or for a release, after which the memory shall be gone.
 *
 * Two things that a driver does for who comes first are done for nobody (measured on H100 and H200,
 * docs/benchmarks.md). What it needs to export anything at all it makes with the first export, and
 * forgets with the last descriptor, which takes 0.7 to 1.5 ms each time: an anchor of host memory
 * stays exported. And memory that came back is cleared at once, but accounted for by the next call
 * that makes some, 0.3 ms a GiB: settling is such a call.
 *
 * What a card has left only NVML knows, who counts everybody's.
 */
#include "device/cuda/owner.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/os_proc.h"
#include "base/units.h"
#include "device/cuda/load.h"

#define OWNER_GRANULARITY                                                                          \
  (2 * MIB)              /* of every card since Pascal; a card that says more is asked             \
                          */
#define OWNER_HANDLES 16 /* that wait to be released */
#define OWNER_PROCESSES 512

struct owner {
  struct cuda_load load;
  struct spec spec;
  api_device device;
  api_card card;
  uint64_t granularity;
  int said; /* NVML's last answer about figures: a lost card is asked each second, and logged once
             */
  struct share anchor; /* SHARE_NONE: this driver has none */
  struct lock lock;    /* of the handles: release runs on the reaper */
  api_handle handles[OWNER_HANDLES];
  unsigned handle_count;
};

static struct api_allocation kind_of(const struct owner *owner) {
  return (struct api_allocation){.type = API_PINNED,
                                 .handle_types = API_HANDLE_FD,
                                 .location = {API_ON_DEVICE, owner->device}};
}

/* ---- finding ---- */

/* "GPU-1234abcd-…" as NVML and nvidia-smi write it. */
static void format_uuid(const char *prefix, const struct api_uuid *uuid, char out[API_NVML_UUID]) {
  size_t n = (size_t)snprintf(out, API_NVML_UUID, "%s-", prefix);
  for (size_t i = 0; i < sizeof uuid->bytes; i++)
    n += (size_t)snprintf(out + n, API_NVML_UUID - n, "%s%02x",
                          i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid->bytes[i]);
}

/* NVML counts on its own, so it is asked for the card that the driver named. */
static enum status find_card(struct owner *owner, char uuid[API_NVML_UUID]) {
  struct api_uuid bytes;
  int answer = owner->load.device_uuid(&bytes, owner->device);
  if (answer)
    return cuda_load_check(&owner->load, "tell a card's UUID", answer);
  format_uuid("GPU", &bytes, uuid);
  answer = owner->load.nvml_by_uuid(uuid, &owner->card);
  if (answer) { /* a part of a card */
    format_uuid("MIG", &bytes, uuid);
    answer = owner->load.nvml_by_uuid(uuid, &owner->card);
  }
  return cuda_load_check_nvml("find the card that the driver has", answer);
}

static enum status find_device(struct owner *owner) {
  const struct cuda_load *load = &owner->load;
  int vmm = 0, fd = 0, ordinal = cuda_load_ordinal(&owner->spec);
  enum status status = cuda_load_check(load, "start", load->init(0));
  if (!status)
    status = cuda_load_check(load, "find a card", load->device_get(&owner->device, ordinal));
  if (status)
    return status;
  if (load->device_attribute(&vmm, API_ATTRIBUTE_VMM, owner->device) ||
      load->device_attribute(&fd, API_ATTRIBUTE_VMM_FD, owner->device) || !vmm || !fd)
    return STATUS_DEVICE_NOT_FOUND; /* it cannot share memory as a descriptor */
  struct api_allocation kind = kind_of(owner);
  size_t granularity = 0;
  owner->granularity = OWNER_GRANULARITY;
  if (!load->granularity(&granularity, &kind, 0) && units_is_power(granularity))
    owner->granularity = units_max(granularity, OWNER_GRANULARITY);
  return STATUS_OK;
}

/* A copy above stdin, stdout and stderr, which no child inherits. */
static enum status keep_descriptor(int fd, struct share *out) {
  struct share made = {SHARE_CUDA_VMM, fd};
  int flags = fcntl(fd, F_GETFD);
  if (fd > STDERR_FILENO && flags >= 0 && !fcntl(fd, F_SETFD, flags | FD_CLOEXEC)) {
    *out = made;
    return STATUS_OK;
  }
  enum status status = share_copy(&made, out);
  share_close(&made);
  return status;
}

/* Without it everything works, and an export takes longer. */
static void drop_anchor(struct owner *owner) {
  const struct cuda_load *load = &owner->load;
  const struct api_allocation kind = {
      .type = API_PINNED, .handle_types = API_HANDLE_FD, .location = {API_ON_HOST, 0}};
  api_handle handle;
  int fd = -1;
  if (load->create(&handle, OWNER_GRANULARITY, &kind, 0))
    return;
  if (!load->export(&fd, handle, API_HANDLE_FD, 0))
    (void)keep_descriptor(fd, &owner->anchor);
  (void)load->release(handle);
}

enum status cuda_owner_open(const struct spec *spec, void **out) {
  struct owner *owner = calloc(1, sizeof *owner);
  if (!owner)
    return STATUS_INTERNAL_ERROR;
  owner->spec = *spec;
  lock_init(&owner->lock, LOCK_RANK_LEAF, "cuda owner");
  enum status status = cuda_load_open(true, &owner->load);
  bool managed = false;
  if (!status)
    status = find_device(owner);
  if (!status)
    status = cuda_load_check_nvml("start", owner->load.nvml_init());
  managed = !status;
  char uuid[API_NVML_UUID];
  if (!status)
    status = find_card(owner, uuid);
  if (!status) {
    drop_anchor(owner);
    *out = owner;
    return STATUS_OK;
  }
  if (managed)
    owner->load.nvml_shutdown();
  cuda_load_close(&owner->load);
  lock_done(&owner->lock);
  free(owner);
  return status;
}

/* ---- figures ---- */

struct figures {
  uint64_t total, reserved, used, free;
};

/* An older NVML counts the driver's reserve among what is used. */
static enum status read_figures(struct owner *owner, struct figures *out) {
  struct api_memory_2 memory = {.version = API_NVML_MEMORY_2};
  struct api_memory old;
  if (owner->load.nvml_memory_2 && !owner->load.nvml_memory_2(owner->card, &memory)) {
    *out = (struct figures){memory.total, memory.reserved, memory.used, memory.free};
    owner->said = API_NVML_OK;
    return STATUS_OK;
  }
  int answer = owner->load.nvml_memory(owner->card, &old);
  bool said = answer == owner->said;
  owner->said = answer;
  enum status status = cuda_load_check_nvml(said ? NULL : "tell what a card has left", answer);
  if (!status)
    *out = (struct figures){old.total, 0, old.used, old.free};
  return status;
}

enum status cuda_owner_describe(void *arg, struct device_info *info) {
  struct owner *owner = arg;
  struct figures figures;
  char uuid[API_NVML_UUID], driver[API_NVML_DRIVER] = "";
  enum status status = read_figures(owner, &figures);
  if (!status)
    status = find_card(owner, uuid);
  if (status)
    return status;
  if (owner->load.device_name(info->name, sizeof info->name, owner->device))
    snprintf(info->name, sizeof info->name, "NVIDIA card");
  if (owner->load.device_pci(info->pci, sizeof info->pci, owner->device))
    info->pci[0] = 0;
  if (owner->load.nvml_driver(driver, sizeof driver))
    driver[0] = 0;
  snprintf(info->uuid, sizeof info->uuid, "%.63s", uuid);
  snprintf(info->driver, sizeof info->driver, "%.63s", driver);
  info->type = DEVICE_GPU;
  info->memory = DEVICE_VRAM;
  info->total_bytes = figures.total;
  info->kept_bytes = figures.reserved;
  info->limit_bytes = units_minus(figures.total, figures.reserved);
  if (owner->spec.size_bytes)
    info->limit_bytes = units_min(info->limit_bytes, owner->spec.size_bytes);
  info->granularity = owner->granularity;
  info->costly = true;
  return STATUS_OK;
}

/* Handles that are of no more use. */
static void release_handles(struct owner *owner) {
  api_handle handles[OWNER_HANDLES];
  lock_take(&owner->lock);
  unsigned count = owner->handle_count;
  memcpy(handles, owner->handles, count * sizeof *handles);
  owner->handle_count = 0;
  lock_give(&owner->lock);
  for (unsigned i = 0; i < count; i++)
    (void)cuda_load_check(&owner->load, "release a handle", owner->load.release(handles[i]));
}

enum status cuda_owner_budget(void *arg, struct device_budget *budget) {
  struct owner *owner = arg;
  struct figures figures;
  release_handles(owner);
  enum status status = read_figures(owner, &figures);
  if (status)
    return status;
  budget->free_bytes = figures.free;
  budget->used_bytes = figures.used;
  return STATUS_OK;
}

/* ---- memory ---- */

static void release_later(struct owner *owner, api_handle handle) {
  bool kept = false;
  lock_take(&owner->lock);
  if (owner->handle_count < OWNER_HANDLES) {
    owner->handles[owner->handle_count++] = handle;
    kept = true;
  }
  lock_give(&owner->lock);
  if (!kept)
    (void)owner->load.release(handle);
}

enum status cuda_owner_create(void *arg, uint64_t size, struct share *out) {
  struct owner *owner = arg;
  const struct cuda_load *load = &owner->load;
  const struct api_allocation kind = kind_of(owner);
  api_handle handle;
  int fd = -1;
  enum status status = cuda_load_check(
      load, "make memory", load->create(&handle, units_up(size, owner->granularity), &kind, 0));
  if (status)
    return status;
  status = cuda_load_check(load, "export memory", load->export(&fd, handle, API_HANDLE_FD, 0));
  if (!status)
    status = keep_descriptor(fd, out);
  if (status)
    (void)load->release(handle);
  else
    release_later(owner, handle);
  return status;
}

void cuda_owner_release(void *arg, struct share *share, uint64_t size, bool exported) {
  (void)size;
  (void)exported;
  release_handles(arg);
  share_close(share);
}

/* A full card has nothing to settle with, and a lost one is found by others. */
void cuda_owner_settle(void *arg) {
  struct owner *owner = arg;
  struct api_allocation kind = kind_of(owner);
  api_handle handle;
  kind.handle_types = 0;
  release_handles(owner);
  if (!owner->load.create(&handle, owner->granularity, &kind, 0))
    (void)owner->load.release(handle);
}

void cuda_owner_close(void *arg) {
  struct owner *owner = arg;
  release_handles(owner);
  share_close(&owner->anchor);
  owner->load.nvml_shutdown();
  cuda_load_close(&owner->load);
  lock_done(&owner->lock);
  free(owner);
}

/* ---- who ---- */

typedef int list_fn(api_card card, unsigned *count, struct api_process *out);

struct list {
  struct device_process rows[OWNER_PROCESSES];
  uint32_t count;
};

/* A process may stand in both lists, each time with all that it has. */
static void add(struct list *list, const struct api_process *process) {
  uint64_t used = process->used == API_NVML_UNKNOWN ? DEVICE_BYTES_UNKNOWN : process->used;
  for (uint32_t i = 0; i < list->count; i++)
    if (list->rows[i].pid == (int32_t)process->pid)
      return;
  if (list->count == OWNER_PROCESSES)
    return;
  struct device_process *row = &list->rows[list->count++];
  *row = (struct device_process){.pid = (int32_t)process->pid, .used_bytes = used};
  row->dead = os_proc_name((pid_t)process->pid, row->name, sizeof row->name) == STATUS_NOT_FOUND;
}

static void add_all(const struct owner *owner, list_fn *fn, struct list *list) {
  struct api_process rows[OWNER_PROCESSES];
  unsigned count = OWNER_PROCESSES;
  memset(rows, 0, sizeof rows);
  if (!fn || fn(owner->card, &count, rows))
    return;
  for (unsigned i = 0; i < count && i < OWNER_PROCESSES; i++)
    add(list, &rows[i]);
}

/* What is not known goes last. */
static int by_size(const void *a, const void *b) {
  uint64_t x = ((const struct device_process *)a)->used_bytes + 1;
  uint64_t y = ((const struct device_process *)b)->used_bytes + 1;
  return x < y ? 1 : x > y ? -1 : 0;
}

uint32_t cuda_owner_processes(void *arg, struct device_process *out, uint32_t max) {
  const struct owner *owner = arg;
  struct list *list = calloc(1, sizeof *list);
  if (!list)
    return 0;
  add_all(owner, owner->load.nvml_compute, list);
  add_all(owner, owner->load.nvml_graphics, list);
  qsort(list->rows, list->count, sizeof *list->rows, by_size);
  uint32_t count = (uint32_t)units_min(max, list->count);
  memcpy(out, list->rows, count * sizeof *out);
  free(list);
  return count;
}
