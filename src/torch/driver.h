/*
 * driver: what is used of the CUDA driver, found at run time, declared by ourselves. It is the one
 * that the process has already (PyTorch's); nothing is called before driver_open.
 *
 * For tests only, MEMKEEP_LIBCUDA names another file than libcuda.so.1.
 */
#ifndef TORCH_DRIVER_H
#define TORCH_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  DRIVER_OK = 0,
  DRIVER_DEINITIALIZED = 4, /* the process ends */
  DRIVER_NOT_READY = 600
};

typedef void *driver_context, *driver_stream, *driver_event;

struct driver_location {
  int type, id;
};

struct driver_access {
  struct driver_location location;
  int flags;
};

struct driver_memory { /* CUmemAllocationProp */
  int type, handle_types;
  struct driver_location location;
  void *unused;
  unsigned char flags[8];
};

struct driver {
  int (*init)(unsigned flags);
  int (*device_get)(int *device, int ordinal);
  int (*device_uuid)(unsigned char uuid[16], int device);
  int (*error_name)(int error, const char **name);
  int (*context_retain)(driver_context *context, int device);
  int (*context_get)(driver_context *context);
  int (*context_set)(driver_context context);
  int (*context_wait)(void);
  int (*granularity)(size_t *size, const struct driver_memory *how, int kind);
  int (*import)(unsigned long long *handle, void *share, int type);
  int (*release)(unsigned long long handle);
  int (*reserve)(unsigned long long *start, size_t size, size_t alignment, unsigned long long wish,
                 unsigned long long flags);
  int (*map)(unsigned long long start, size_t size, size_t offset, unsigned long long handle,
             unsigned long long flags);
  int (*unmap)(unsigned long long start, size_t size);
  int (*set_access)(unsigned long long start, size_t size, const struct driver_access *access,
                    size_t count);
  int (*event_create)(driver_event *event, unsigned flags);
  int (*event_record)(driver_event event, driver_stream stream);
  int (*event_query)(driver_event event);
};

/* False, with a sentence in `why` (DRIVER_WHY bytes): there is none, or it lacks a function. The
 * driver is started. */
#define DRIVER_WHY 256
bool driver_open(struct driver *driver, char *why);
/* "CUDA_ERROR_…"; static. */
const char *driver_error(const struct driver *driver, int error);

/* Makes a device's primary context this thread's; what was is restored by driver_leave. */
int driver_enter(const struct driver *driver, driver_context context, driver_context *before);
void driver_leave(const struct driver *driver, driver_context before);
/* Of segments of a device; 2 MiB at least, as the daemon has it. */
uint64_t driver_granule(const struct driver *driver, int device);
/* Maps the memory behind a descriptor, which stays the caller's, for the device to use. In its
 * context. An answer of the driver; nothing is mapped unless DRIVER_OK. */
int driver_map(const struct driver *driver, int device, int fd, uint64_t start, uint64_t size);

#endif
