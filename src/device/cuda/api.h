/*
 * api: what this house uses of the CUDA driver and of NVML, declared by ourselves, so that neither
 * a toolkit nor a card is needed to build. tests/unit/test_cuda_api.c compares with the toolkit's
 * header where there is one. Types only; load.h finds the functions.
 */
#ifndef DEVICE_CUDA_API_H
#define DEVICE_CUDA_API_H

#include <stddef.h>
#include <stdint.h>

/* ---- driver ---- */

enum {
  API_OK = 0,
  API_INVALID_VALUE = 1,
  API_OUT_OF_MEMORY = 2,
  API_NOT_INITIALIZED = 3,
  API_DEINITIALIZED = 4,
  API_DEVICE_UNAVAILABLE = 46,
  API_NO_DEVICE = 100,
  API_INVALID_DEVICE = 101,
  API_INVALID_CONTEXT = 201,
  API_ECC_UNCORRECTABLE = 214,
  API_NVLINK_UNCORRECTABLE = 220,
  API_CONTAINED = 226,        /* a fault of memory that the card could confine */
  API_OPERATING_SYSTEM = 304, /* no descriptor, no address space */
  API_INVALID_HANDLE = 400,
  API_ILLEGAL_ADDRESS = 700,
  API_LAUNCH_TIMEOUT = 702,
  API_CONTEXT_IS_DESTROYED = 709,
  API_ASSERT = 710,
  API_ALREADY_REGISTERED = 712,
  API_NOT_REGISTERED = 713,
  API_HARDWARE_STACK_ERROR = 714,
  API_MISALIGNED_ADDRESS = 716,
  API_INVALID_ADDRESS_SPACE = 717,
  API_LAUNCH_FAILED = 719,
  API_UNKNOWN = 999
};

enum {
  API_ATTRIBUTE_VMM = 102,    /* CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED */
  API_ATTRIBUTE_VMM_FD = 103, /* CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED */
  API_ATTRIBUTE_READ_ONLY = 113, /* CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED */
  API_PINNED = 1,                /* CU_MEM_ALLOCATION_TYPE_PINNED */
  API_ON_DEVICE = 1,             /* CU_MEM_LOCATION_TYPE_DEVICE */
  API_ON_HOST = 3,               /* CU_MEM_LOCATION_TYPE_HOST_NUMA */
  API_HANDLE_FD = 1,             /* CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR */
  API_READ_WRITE = 3,            /* CU_MEM_ACCESS_FLAGS_PROT_READWRITE */
  API_STREAM_NON_BLOCKING = 1,
  API_EVENT_NO_TIMING = 2,   /* CU_EVENT_DISABLE_TIMING */
  API_HOST_PORTABLE = 1,     /* CU_MEMHOSTALLOC_PORTABLE */
  API_REGISTER_READ_ONLY = 8 /* CU_MEMHOSTREGISTER_READ_ONLY */
};

typedef int api_device;
typedef void *api_context, *api_stream, *api_event, *api_module, *api_function;
typedef unsigned long long api_pointer, api_handle;

struct api_uuid {
  unsigned char bytes[16];
};

struct api_location {
  int type, id;
};

struct api_allocation {
  int type, handle_types;
  struct api_location location;
  void *unused;
  unsigned char flags[8];
};

struct api_access {
  struct api_location location;
  int flags;
};

struct api_launch {
  unsigned grid[3], block[3], shared;
  api_stream stream;
  void *attributes;
  unsigned attribute_count;
};

/* ---- NVML ---- */

enum {
  API_NVML_OK = 0,
  API_NVML_NOT_FOUND = 6,
  API_NVML_TOO_SMALL = 7,
  API_NVML_LOST = 15,
  API_NVML_MIG = 1,     /* NVML_DEVICE_MIG_ENABLE */
  API_NVML_UUID = 96,   /* NVML_DEVICE_UUID_V2_BUFFER_SIZE */
  API_NVML_DRIVER = 80, /* NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE */
  API_NVML_MEMORY_2 = (2 << 24) | 40
};
#define API_NVML_UNKNOWN UINT64_MAX /* NVML_VALUE_NOT_AVAILABLE */

typedef void *api_card;

struct api_memory {
  unsigned long long total, free, used; /* used: the driver's reserve included */
};

struct api_memory_2 {
  unsigned int version;
  unsigned long long total, reserved, free, used;
};
_Static_assert(sizeof(struct api_memory_2) == 40, "as in its version");

struct api_process { /* v2 and v3 of the call */
  unsigned int pid;
  unsigned long long used;
  unsigned int gpu_instance, compute_instance;
};

#endif
