/*
 * driver: one row per function; the library stays in memory, as its threads do.
 */
#include "torch/driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define GRANULE (2 * MIB)
#define HANDLE_FD 1  /* CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR */
#define PINNED 1     /* CU_MEM_ALLOCATION_TYPE_PINNED */
#define ON_DEVICE 1  /* CU_MEM_LOCATION_TYPE_DEVICE */
#define READ_WRITE 3 /* CU_MEM_ACCESS_FLAGS_PROT_READWRITE */

#define AT(member) offsetof(struct driver, member)

static const struct {
  size_t at;
  const char *name;
} rows[] = {
    {AT(init), "cuInit"},
    {AT(device_get), "cuDeviceGet"},
    {AT(device_uuid), "cuDeviceGetUuid_v2"},
    {AT(error_name), "cuGetErrorName"},
    {AT(context_retain), "cuDevicePrimaryCtxRetain"},
    {AT(context_get), "cuCtxGetCurrent"},
    {AT(context_set), "cuCtxSetCurrent"},
    {AT(context_wait), "cuCtxSynchronize"},
    {AT(granularity), "cuMemGetAllocationGranularity"},
    {AT(import), "cuMemImportFromShareableHandle"},
    {AT(release), "cuMemRelease"},
    {AT(reserve), "cuMemAddressReserve"},
    {AT(map), "cuMemMap"},
    {AT(unmap), "cuMemUnmap"},
    {AT(set_access), "cuMemSetAccess"},
    {AT(event_create), "cuEventCreate"},
    {AT(event_record), "cuEventRecord"},
    {AT(event_query), "cuEventQuery"},
};

bool driver_open(struct driver *driver, char *why) {
  const char *elsewhere = getenv("MEMKEEP_LIBCUDA");
  const char *file = elsewhere ? elsewhere : "libcuda.so.1";
  void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) {
    snprintf(why, DRIVER_WHY, "there is no CUDA driver: %s", file);
    return false;
  }
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    void *function = dlsym(library, rows[i].name);
    if (!function) {
      snprintf(why, DRIVER_WHY, "the CUDA driver has no %s: it is too old", rows[i].name);
      return false;
    }
    memcpy((char *)driver + rows[i].at, &function, sizeof function);
  }
  int answer = driver->init(0);
  if (answer)
    snprintf(why, DRIVER_WHY, "the CUDA driver cannot start: %s", driver_error(driver, answer));
  return !answer;
}

const char *driver_error(const struct driver *driver, int error) {
  const char *name = NULL;
  return driver->error_name(error, &name) || !name ? "an unknown error" : name;
}

int driver_enter(const struct driver *driver, driver_context context, driver_context *before) {
  int answer = driver->context_get(before);
  return answer ? answer : *before == context ? DRIVER_OK : driver->context_set(context);
}

void driver_leave(const struct driver *driver, driver_context before) {
  (void)driver->context_set(before);
}

uint64_t driver_granule(const struct driver *driver, int device) {
  const struct driver_memory how = {
      .type = PINNED, .handle_types = HANDLE_FD, .location = {ON_DEVICE, device}};
  size_t size = 0;
  if (driver->granularity(&size, &how, 0) || !units_is_power(size))
    return GRANULE;
  return units_max(size, GRANULE);
}

int driver_map(const struct driver *driver, int device, int fd, uint64_t start, uint64_t size) {
  const struct driver_access access = {{ON_DEVICE, device}, READ_WRITE};
  unsigned long long handle;
  int answer = driver->import(&handle, (void *)(intptr_t)fd, HANDLE_FD); /* a number as a pointer */
  if (answer)
    return answer;
  answer = driver->map(start, size, 0, handle, 0);
  (void)driver->release(handle); /* what is mapped holds the memory */
  if (answer)
    return answer;
  answer = driver->set_access(start, size, &access, 1);
  if (answer)
    (void)driver->unmap(start, size);
  return answer;
}
