/*
 * load: the driver's and NVML's functions, found at run time. A machine without them is a machine
 * without cards: nothing here is an error that anyone must hear of.
 *
 * A table belongs to who loaded it. Its functions may be called by any thread.
 *
 * For tests only, MEMKEEP_LIBCUDA and MEMKEEP_LIBNVML name other files than libcuda.so.1 and
 * libnvidia-ml.so.1 (tests/fake_libcuda.c).
 */
#ifndef DEVICE_CUDA_LOAD_H
#define DEVICE_CUDA_LOAD_H

#include <stdbool.h>

#include "base/status.h"
#include "device/cuda/api.h"
#include "device/spec.h"

struct cuda_load {
  void *driver, *management; /* the libraries */

  int (*init)(unsigned flags);
  int (*driver_version)(int *version);
  int (*device_count)(int *count);
  int (*device_get)(api_device *device, int ordinal);
  int (*device_name)(char *name, int size, api_device device);
  int (*device_uuid)(struct api_uuid *uuid, api_device device);
  int (*device_pci)(char *text, int size, api_device device);
  int (*device_attribute)(int *value, int attribute, api_device device);
  int (*error_name)(int error, const char **name); /* optional */

  int (*granularity)(size_t *size, const struct api_allocation *how, int kind);
  int (*create)(api_handle *handle, size_t size, const struct api_allocation *how,
                unsigned long long flags);
  int (*release)(api_handle handle);
  int (*export)(void *out, api_handle handle, int type, unsigned long long flags);
  int (*import)(api_handle *handle, void *share, int type);
  int (*reserve)(api_pointer *start, size_t size, size_t alignment, api_pointer wish,
                 unsigned long long flags);
  int (*address_free)(api_pointer start, size_t size);
  int (*map)(api_pointer start, size_t size, size_t offset, api_handle handle,
             unsigned long long flags);
  int (*unmap)(api_pointer start, size_t size);
  int (*set_access)(api_pointer start, size_t size, const struct api_access *access, size_t count);
  int (*peer_possible)(int *possible, api_device device, api_device peer);

  int (*context_retain)(api_context *context, api_device device);
  int (*context_release)(api_device device);
  int (*context_set)(api_context context);
  int (*stream_create)(api_stream *stream, unsigned flags);
  int (*stream_destroy)(api_stream stream);
  int (*stream_wait)(api_stream stream); /* until all of it is done */
  int (*event_create)(api_event *event, unsigned flags);
  int (*event_destroy)(api_event event);
  int (*event_record)(api_event event, api_stream stream);
  int (*event_wait)(api_event event);
  int (*host_alloc)(void **memory, size_t size, unsigned flags);
  int (*host_free)(void *memory);
  int (*host_register)(void *memory, size_t size, unsigned flags);
  int (*host_unregister)(void *memory);
  int (*copy_in)(api_pointer to, const void *from, size_t size, api_stream stream);
  int (*copy_out)(void *to, api_pointer from, size_t size, api_stream stream);
  int (*copy_inside)(api_pointer to, api_pointer from, size_t size, api_stream stream);
  int (*memory_alloc)(api_pointer *start, size_t size);                           /* optional */
  int (*memory_free)(api_pointer start);                                          /* optional */
  int (*module_load)(api_module *module, const void *image);                      /* optional */
  int (*module_unload)(api_module module);                                        /* optional */
  int (*module_function)(api_function *out, api_module module, const char *name); /* optional */
  int (*launch)(const struct api_launch *how, api_function function, void **arguments,
                void **more); /* optional */
  int (*fill)(api_pointer to, unsigned char value, size_t count, api_stream stream);

  int (*nvml_init)(void);
  int (*nvml_shutdown)(void);
  int (*nvml_driver)(char *text, unsigned size);
  int (*nvml_by_uuid)(const char *uuid, api_card *card);
  int (*nvml_memory_2)(api_card card, struct api_memory_2 *memory); /* optional */
  int (*nvml_memory)(api_card card, struct api_memory *memory);
  int (*nvml_compute)(api_card card, unsigned *count, struct api_process *out);  /* optional */
  int (*nvml_graphics)(api_card card, unsigned *count, struct api_process *out); /* optional */
  int (*nvml_count)(unsigned *count);                                            /* optional */
  int (*nvml_by_index)(unsigned index, api_card *card);                          /* optional */
  int (*nvml_uuid)(api_card card, char *uuid, unsigned size);                    /* optional */
  int (*nvml_mig_mode)(api_card card, unsigned *now, unsigned *later);           /* optional */
  int (*nvml_mig_count)(api_card card, unsigned *most);                          /* optional */
  int (*nvml_mig)(api_card card, unsigned index, api_card *instance);            /* optional */
  int (*nvml_mig_memory)(api_card instance, unsigned *id);                       /* optional */
};

/* Finds the functions; nothing is called yet. `managed`: NVML's too, without which nobody knows
 * what a card has left. DEVICE_NOT_FOUND: a library, or a function that is not optional, is absent;
 * the table is empty then. */
enum status cuda_load_open(bool managed, struct cuda_load *out);
/* Harmless on an empty table. */
void cuda_load_close(struct cuda_load *load);
/* The card's number among those that the driver shows: N of "cuda:N". A process that may use a MIG
 * instance sees nothing else, so that it is the first, whatever its N. */
int cuda_load_ordinal(const struct spec *spec);
/* What an answer of the driver means here; what is not OK is logged, with `what` was tried.
 * INSUFFICIENT_MEMORY: the card, or the driver, has no more. DEVICE_NOT_FOUND: no such card.
 * DEVICE_UNAVAILABLE: the card or its context is lost, and every later call will fail as well.
 * INTERNAL_ERROR: the call was wrong. */
enum status cuda_load_check(const struct cuda_load *load, const char *what, int answer);
/* The same of NVML: OK, DEVICE_NOT_FOUND or DEVICE_UNAVAILABLE. `what` NULL: it was said before. */
enum status cuda_load_check_nvml(const char *what, int answer);

#endif
