/*
 * load: one row per function, with its names from the newest on; the first that the library has is
 * taken. Only names whose parameters are the same stand in one row.
 */
#include "device/cuda/load.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define NAMES 3

struct row {
  size_t at; /* in struct cuda_load */
  bool optional;
  const char *names[NAMES];
};

#define AT(member) offsetof(struct cuda_load, member)

static const struct row of_driver[] = {
    {AT(init), false, {"cuInit"}},
    {AT(driver_version), false, {"cuDriverGetVersion"}},
    {AT(device_count), false, {"cuDeviceGetCount"}},
    {AT(device_get), false, {"cuDeviceGet"}},
    {AT(device_name), false, {"cuDeviceGetName"}},
    {AT(device_uuid), false, {"cuDeviceGetUuid_v2", "cuDeviceGetUuid"}},
    {AT(device_pci), false, {"cuDeviceGetPCIBusId"}},
    {AT(device_attribute), false, {"cuDeviceGetAttribute"}},
    {AT(error_name), true, {"cuGetErrorName"}},
    {AT(granularity), false, {"cuMemGetAllocationGranularity"}},
    {AT(create), false, {"cuMemCreate"}},
    {AT(release), false, {"cuMemRelease"}},
    {AT(export), false, {"cuMemExportToShareableHandle"}},
    {AT(import), false, {"cuMemImportFromShareableHandle"}},
    {AT(reserve), false, {"cuMemAddressReserve"}},
    {AT(address_free), false, {"cuMemAddressFree"}},
    {AT(map), false, {"cuMemMap"}},
    {AT(unmap), false, {"cuMemUnmap"}},
    {AT(set_access), false, {"cuMemSetAccess"}},
    {AT(peer_possible), false, {"cuDeviceCanAccessPeer"}},
    {AT(context_retain), false, {"cuDevicePrimaryCtxRetain"}},
    {AT(context_release), false, {"cuDevicePrimaryCtxRelease_v2", "cuDevicePrimaryCtxRelease"}},
    {AT(context_set), false, {"cuCtxSetCurrent"}},
    {AT(stream_create), false, {"cuStreamCreate"}},
    {AT(stream_destroy), false, {"cuStreamDestroy_v2", "cuStreamDestroy"}},
    {AT(stream_wait), false, {"cuStreamSynchronize"}},
    {AT(event_create), false, {"cuEventCreate"}},
    {AT(event_destroy), false, {"cuEventDestroy_v2", "cuEventDestroy"}},
    {AT(event_record), false, {"cuEventRecord"}},
    {AT(event_wait), false, {"cuEventSynchronize"}},
    {AT(host_alloc), false, {"cuMemHostAlloc"}},
    {AT(host_free), false, {"cuMemFreeHost"}},
    {AT(host_register), false, {"cuMemHostRegister_v2", "cuMemHostRegister"}},
    {AT(host_unregister), false, {"cuMemHostUnregister"}},
    {AT(copy_in), false, {"cuMemcpyHtoDAsync_v2"}},
    {AT(copy_out), false, {"cuMemcpyDtoHAsync_v2"}},
    {AT(copy_inside), false, {"cuMemcpyDtoDAsync_v2"}},
    {AT(memory_alloc), true, {"cuMemAlloc_v2"}},
    {AT(memory_free), true, {"cuMemFree_v2"}},
    {AT(module_load), true, {"cuModuleLoadData"}},
    {AT(module_unload), true, {"cuModuleUnload"}},
    {AT(module_function), true, {"cuModuleGetFunction"}},
    {AT(launch), true, {"cuLaunchKernelEx"}},
    {AT(fill), false, {"cuMemsetD8Async"}},
};

static const struct row of_nvml[] = {
    {AT(nvml_init), false, {"nvmlInit_v2", "nvmlInit"}},
    {AT(nvml_shutdown), false, {"nvmlShutdown"}},
    {AT(nvml_driver), false, {"nvmlSystemGetDriverVersion"}},
    {AT(nvml_by_uuid), false, {"nvmlDeviceGetHandleByUUID"}},
    {AT(nvml_memory_2), true, {"nvmlDeviceGetMemoryInfo_v2"}},
    {AT(nvml_memory), false, {"nvmlDeviceGetMemoryInfo"}},
    {AT(nvml_compute),
     true,
     {"nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"}},
    {AT(nvml_graphics),
     true,
     {"nvmlDeviceGetGraphicsRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v2"}},
    {AT(nvml_count), true, {"nvmlDeviceGetCount_v2"}},
    {AT(nvml_by_index), true, {"nvmlDeviceGetHandleByIndex_v2"}},
    {AT(nvml_uuid), true, {"nvmlDeviceGetUUID"}},
    {AT(nvml_mig_mode), true, {"nvmlDeviceGetMigMode"}},
    {AT(nvml_mig_count), true, {"nvmlDeviceGetMaxMigDeviceCount"}},
    {AT(nvml_mig), true, {"nvmlDeviceGetMigDeviceHandleByIndex"}},
    {AT(nvml_mig_memory), true, {"nvmlDeviceGetGpuInstanceId"}},
};
#define ROWS(table) (sizeof(table) / sizeof *(table))

static bool find(struct cuda_load *load, void *library, const struct row *rows, size_t count) {
  for (size_t i = 0; i < count; i++) {
    void *function = NULL;
    for (size_t n = 0; !function && n < NAMES && rows[i].names[n]; n++)
      function = dlsym(library, rows[i].names[n]);
    if (!function && !rows[i].optional) {
      log_warning("device", "this NVIDIA driver has no %s: its cards are left out",
                  rows[i].names[0]);
      return false;
    }
    memcpy((char *)load + rows[i].at, &function, sizeof function);
  }
  return true;
}

/* Stays in memory also when it is closed: a driver that was started has threads of its own. */
static void *open_library(const char *variable, const char *name) {
  const char *elsewhere = getenv(variable);
  return dlopen(elsewhere ? elsewhere : name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

enum status cuda_load_open(bool managed, struct cuda_load *out) {
  struct cuda_load load = {.driver = open_library("MEMKEEP_LIBCUDA", "libcuda.so.1")};
  if (load.driver && managed) {
    load.management = open_library("MEMKEEP_LIBNVML", "libnvidia-ml.so.1");
    if (!load.management)
      log_warning("device", "there is an NVIDIA driver, but not its libnvidia-ml.so.1, which knows "
                            "what its cards have left: they are left out");
  }
  bool found = load.driver && find(&load, load.driver, of_driver, ROWS(of_driver));
  if (found && managed)
    found = load.management && find(&load, load.management, of_nvml, ROWS(of_nvml));
  if (!found)
    cuda_load_close(&load);
  *out = load;
  return found ? STATUS_OK : STATUS_DEVICE_NOT_FOUND;
}

void cuda_load_close(struct cuda_load *load) {
  if (load->management)
    dlclose(load->management);
  if (load->driver)
    dlclose(load->driver);
  *load = (struct cuda_load){.driver = NULL};
}

int cuda_load_ordinal(const struct spec *spec) {
  return !strcmp(spec->backend, "mig") ? 0 : (int)strtol(strchr(spec->id, ':') + 1, NULL, 10);
}

/* ---- answers ---- */

/* After these a context answers nothing else any more, and mostly its card neither. */
static const int lost[] = {API_DEINITIALIZED,
                           API_DEVICE_UNAVAILABLE,
                           API_ECC_UNCORRECTABLE,
                           API_NVLINK_UNCORRECTABLE,
                           API_CONTAINED,
                           API_ILLEGAL_ADDRESS,
                           API_LAUNCH_TIMEOUT,
                           API_CONTEXT_IS_DESTROYED,
                           API_ASSERT,
                           API_HARDWARE_STACK_ERROR,
                           API_MISALIGNED_ADDRESS,
                           API_INVALID_ADDRESS_SPACE,
                           API_LAUNCH_FAILED,
                           API_UNKNOWN};

static enum status meaning(int answer) {
  for (size_t i = 0; i < ROWS(lost); i++)
    if (lost[i] == answer)
      return STATUS_DEVICE_UNAVAILABLE;
  if (answer == API_OUT_OF_MEMORY || answer == API_OPERATING_SYSTEM)
    return STATUS_INSUFFICIENT_MEMORY;
  return answer == API_NO_DEVICE || answer == API_INVALID_DEVICE ? STATUS_DEVICE_NOT_FOUND
                                                                 : STATUS_INTERNAL_ERROR;
}

enum status cuda_load_check(const struct cuda_load *load, const char *what, int answer) {
  if (answer == API_OK)
    return STATUS_OK;
  const char *name = NULL;
  if (!load->error_name || load->error_name(answer, &name) || !name)
    name = "an unknown error";
  enum status status = meaning(answer);
  log_write(status == STATUS_INSUFFICIENT_MEMORY ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, "device",
            "the CUDA driver could not %s: %s (%d)", what, name, answer);
  return status;
}

enum status cuda_load_check_nvml(const char *what, int answer) {
  if (answer == API_NVML_OK)
    return STATUS_OK;
  if (what)
    log_error("device", "NVML could not %s (%d)", what, answer);
  return answer == API_NVML_NOT_FOUND ? STATUS_DEVICE_NOT_FOUND : STATUS_DEVICE_UNAVAILABLE;
}
