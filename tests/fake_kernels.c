/*
 * fake_kernels: the kernels of device/cuda/batch_kernels.h and sum_kernel.h as the FAKE cards have
 * them, and the memory for their lists, see fake_libcuda.h.
 */
#include "fake_libcuda.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "device/cuda/sum_kernel.h"

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

/* list, count */
static void move(const uint64_t arguments[FAKE_ARGUMENTS]) {
  struct piece *pieces = memory(arguments[0]);
  for (uint32_t i = 0; i < arguments[1]; i++) {
    void *from = memory(pieces[i].from), *to = memory(pieces[i].to);
    if (!fake_fails("piece"))
      memcpy(to, from, pieces[i].size);
    pieces[i].differs |= memcmp(to, from, pieces[i].size) != 0;
  }
}

/* start, size, chunk, sums */
static void sum(const uint64_t arguments[FAKE_ARGUMENTS]) {
  const char *bytes = memory(arguments[0]);
  uint64_t size = arguments[1], chunk = arguments[2], *sums = memory(arguments[3]);
  for (uint64_t done = 0, n; done < size; done += n) {
    n = size - done < chunk ? size - done : chunk;
    *sums++ = XXH3_64bits(bytes + done, n) + (fake_fails("sum") != 0);
  }
}

/* It is started for as many chunks as there are, none too short for it, of memory that is open. */
static bool may_sum(const struct api_launch *how, const uint64_t arguments[FAKE_ARGUMENTS]) {
  uint64_t chunks = (arguments[1] + arguments[2] - 1) / arguments[2];
  uint64_t last = arguments[1] - (chunks - 1) * arguments[2];
  return how->grid[0] == chunks && how->block[0] == SUM_THREADS && last >= SUM_LEAST &&
         fake_range_is_open(arguments[0], arguments[1], fake_current());
}

static const struct kernel {
  const char *name, *entry, *load, *find; /* load and find: as what these calls fail */
  fake_kernel run;
  size_t sizes[FAKE_ARGUMENTS];
  bool (*may)(const struct api_launch *how, const uint64_t arguments[FAKE_ARGUMENTS]);
} kernels[] = {{"move",
                ".visible .entry move(",
                "cuModuleLoadData",
                "cuModuleGetFunction",
                move,
                {8, 4},
                NULL},
               {"sum",
                ".visible .entry sum(",
                "cuModuleLoadData sum",
                "cuModuleGetFunction sum",
                sum,
                {8, 8, 8, 8},
                may_sum}};
#define KERNELS (sizeof kernels / sizeof *kernels)

#pragma GCC visibility push(default)
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#ifdef FAKE_OLD
#define cuLaunchKernelEx cuLaunchMissing
#endif

int cuModuleLoadData(api_module *module, const void *image) {
  for (size_t i = 0; i < KERNELS; i++)
    if (strstr(image, kernels[i].entry)) {
      *module = (void *)&kernels[i];
      return fake_begin_in_context(kernels[i].load);
    }
  return API_INVALID_VALUE;
}

int cuModuleUnload(api_module module) {
  (void)module;
  return fake_begin_in_context("cuModuleUnload");
}

int cuModuleGetFunction(api_function *out, api_module module, const char *name) {
  const struct kernel *kernel = (const void *)module;
  if (!kernel || strcmp(name, kernel->name) != 0)
    return API_INVALID_VALUE;
  *out = (void *)kernel;
  return fake_begin_in_context(kernel->find);
}

int cuLaunchKernelEx(const struct api_launch *how, api_function function, void **arguments,
                     void **more) {
  int answer = fake_begin_in_context("cuLaunchKernelEx");
  const struct kernel *kernel = function;
  uint64_t copies[FAKE_ARGUMENTS] = {0};
  if (answer || more || !how->grid[0] || !how->block[0] || how->block[0] > 1024)
    return answer ? answer : API_INVALID_VALUE;
  for (unsigned i = 0; i < FAKE_ARGUMENTS && kernel->sizes[i]; i++)
    memcpy(&copies[i], arguments[i], kernel->sizes[i]);
  if (kernel->may && !kernel->may(how, copies))
    return API_ILLEGAL_ADDRESS;
  return fake_put_kernel(how->stream, kernel->run, copies);
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
