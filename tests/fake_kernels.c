/*
 * fake_kernels: the kernel of device/cuda/batch_kernels.h as the FAKE cards have them, and the
 * memory for their lists, see fake_libcuda.h.
 */
#include "fake_libcuda.h"

#include <string.h>

#define GRANULARITY ((size_t)2 << 20)

struct piece {
  api_pointer from, to;
  uint32_t size, differs;
  uint64_t move;
};

int cuMemCreate(api_handle *handle, size_t size, const struct api_allocation *how,
                unsigned long long flags);
int cuMemRelease(api_handle handle);
int cuMemAddressReserve(api_pointer *start, size_t size, size_t alignment, api_pointer wish,
                        unsigned long long flags);
int cuMemAddressFree(api_pointer start, size_t size);
int cuMemMap(api_pointer start, size_t size, size_t offset, api_handle handle,
             unsigned long long flags);
int cuMemUnmap(api_pointer start, size_t size);
int cuMemSetAccess(api_pointer start, size_t size, const struct api_access *access, size_t count);

static void *memory(api_pointer start) { return (void *)(uintptr_t)start; }

static void move(void *list, uint32_t count) {
  struct piece *pieces = list;
  for (uint32_t i = 0; i < count; i++) {
    void *from = memory(pieces[i].from), *to = memory(pieces[i].to);
    if (!fake_fails("piece"))
      memcpy(to, from, pieces[i].size);
    pieces[i].differs |= memcmp(to, from, pieces[i].size) != 0;
  }
}

static const struct kernel {
  const char *name;
  fake_kernel run;
} kernels[] = {{"move", move}};

#pragma GCC visibility push(default)
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#ifdef FAKE_OLD
#define cuLaunchKernelEx cuLaunchMissing
#endif

int cuModuleLoadData(api_module *module, const void *image) {
  *module = (void *)kernels;
  return strstr(image, ".visible .entry move(") ? fake_begin_in_context("cuModuleLoadData")
                                                : API_INVALID_VALUE;
}

int cuModuleUnload(api_module module) {
  (void)module;
  return fake_begin_in_context("cuModuleUnload");
}

int cuModuleGetFunction(api_function *out, api_module module, const char *name) {
  for (size_t i = 0; module && i < sizeof kernels / sizeof *kernels; i++)
    if (!strcmp(name, kernels[i].name)) {
      *out = (void *)&kernels[i];
      return fake_begin_in_context("cuModuleGetFunction");
    }
  return API_INVALID_VALUE;
}

int cuLaunchKernelEx(const struct api_launch *how, api_function function, void **arguments,
                     void **more) {
  int answer = fake_begin_in_context("cuLaunchKernelEx");
  const struct kernel *kernel = function;
  if (answer || more || !how->grid[0] || !how->block[0] || how->block[0] > 1024)
    return answer ? answer : API_INVALID_VALUE;
  return fake_put_kernel(how->stream, kernel->run, memory(*(api_pointer *)arguments[0]),
                         *(uint32_t *)arguments[1]);
}

/* 2 MiB, whatever is asked: lists are smaller. */
int cuMemAlloc_v2(api_pointer *start, size_t size) {
  const struct api_access access = {{API_ON_DEVICE, fake_current()}, API_READ_WRITE};
  const struct api_allocation how = {
      .type = API_PINNED, .handle_types = API_HANDLE_FD, .location = access.location};
  api_handle handle;
  int answer = fake_begin_in_context("cuMemAlloc_v2");
  if (!answer)
    answer = size > GRANULARITY ? API_OUT_OF_MEMORY : cuMemCreate(&handle, GRANULARITY, &how, 0);
  if (answer)
    return answer;
  answer = cuMemAddressReserve(start, GRANULARITY, 0, 0, 0);
  if (!answer)
    answer = cuMemMap(*start, GRANULARITY, 0, handle, 0);
  if (!answer)
    answer = cuMemSetAccess(*start, GRANULARITY, &access, 1);
  cuMemRelease(handle);
  return answer;
}

int cuMemFree_v2(api_pointer start) {
  int answer = cuMemUnmap(start, GRANULARITY);
  return answer ? answer : cuMemAddressFree(start, GRANULARITY);
}
