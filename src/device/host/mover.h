/*
 * host/mover: the mover half of host memory; each entry as backend.h says.
 */
#ifndef DEVICE_HOST_MOVER_H
#define DEVICE_HOST_MOVER_H

#include "device/backend.h"

enum status host_mover_start(const struct spec *spec, void **mover);
void host_mover_stop(void *mover);
enum status host_mover_import(void *mover, const struct share *share, uint64_t size,
                              void **segment);
void host_mover_drop(void *mover, void *segment, uint64_t size);
enum status host_mover_read(void *mover, const struct device_range *from, void *to);
enum status host_mover_write(void *mover, const struct device_range *to, const void *from);
enum status host_mover_copy(void *mover, const struct device_range *from,
                            const struct device_range *to);
const void *host_mover_peek(void *mover, const struct device_range *range);
void *host_mover_poke(void *mover, const struct device_range *range);
void host_mover_bring(void *mover, const struct device_range *range);
enum status host_mover_fill(void *mover, const struct device_range *range, uint8_t value);

#endif
