/*
 * host/owner: a segment is a memfd of fixed size, and the pages behind it come at first touch, or
 * with commit. What the machine has is read from /proc at each call.
 *
 * A segment that others may still hold is punched empty before it is closed, so that its pages come
 * back even from a holder who will not let go.
 */
#include "device/host/owner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os_memfd.h"
#include "base/os_proc.h"
#include "base/units.h"

struct owner {
  struct spec spec;
  uint64_t page;
};

enum status host_owner_open(const struct spec *spec, void **out) {
  struct owner *owner = malloc(sizeof *owner);
  if (!owner)
    return STATUS_INTERNAL_ERROR;
  *owner = (struct owner){*spec, (uint64_t)sysconf(_SC_PAGESIZE)};
  *out = owner;
  return STATUS_OK;
}

void host_owner_close(void *owner) { free(owner); }

enum status host_owner_describe(void *arg, struct device_info *info) {
  const struct owner *owner = arg;
  struct os_proc_memory memory;
  enum status status = os_proc_memory(&memory);
  if (status)
    return status;
  info->whole_host = !owner->spec.size_bytes;
  info->total_bytes = info->whole_host ? memory.total_bytes : owner->spec.size_bytes;
  info->limit_bytes = info->whole_host ? memory.total_bytes / 2 : owner->spec.size_bytes;
  snprintf(info->name, sizeof info->name, "%s",
           info->whole_host ? "host memory" : "pool of host memory");
  snprintf(info->driver, sizeof info->driver, "memfd");
  info->type = DEVICE_CPU;
  info->memory = DEVICE_RAM;
  info->granularity = owner->page;
  return STATUS_OK;
}

enum status host_owner_budget(void *owner, struct device_budget *budget) {
  struct os_proc_memory memory;
  (void)owner;
  enum status status = os_proc_memory(&memory);
  if (status)
    return status;
  budget->free_bytes = memory.available_bytes;
  budget->used_bytes = units_minus(memory.total_bytes, memory.available_bytes);
  return STATUS_OK;
}

enum status host_owner_create(void *owner, uint64_t size, struct share *out) {
  struct share share;
  (void)owner;
  enum status status = os_memfd_create("memkeep", size, &share);
  if (status)
    return status;
  status = os_memfd_seal(&share, OS_MEMFD_SEAL_SIZE);
  if (status)
    share_close(&share);
  else
    *out = share;
  return status;
}

void host_owner_release(void *owner, struct share *share, uint64_t size, bool exported) {
  (void)owner;
  if (exported)
    (void)os_memfd_punch(share, 0, size); /* a sealed model refuses, and waits for its holders */
  share_close(share);
}

/* Without a look at what there is, the kernel would take all RAM and then kill somebody. */
enum status host_owner_commit(void *owner, const struct share *share, uint64_t offset,
                              uint64_t size) {
  struct device_budget budget;
  enum status status = host_owner_budget(owner, &budget);
  if (!status && size > budget.free_bytes)
    status = STATUS_INSUFFICIENT_MEMORY;
  return status ? status : os_memfd_commit(share, offset, size);
}

enum status host_owner_resident(void *owner, const struct share *share, uint64_t *bytes) {
  (void)owner;
  return os_memfd_resident(share, bytes);
}

uint32_t host_owner_processes(void *owner, struct device_process *out, uint32_t max) {
  struct os_proc_process found[OS_PROC_TOP];
  uint32_t count = 0;
  (void)owner;
  if (os_proc_top(found, (uint32_t)units_min(max, OS_PROC_TOP), &count))
    return 0;
  for (uint32_t i = 0; i < count; i++) {
    out[i] = (struct device_process){.pid = found[i].pid, .used_bytes = found[i].resident_bytes};
    snprintf(out[i].name, sizeof out[i].name, "%.31s", found[i].name);
  }
  return count;
}
