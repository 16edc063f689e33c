/*
 * cuda/mover: the mover half of NVIDIA cards; each entry as backend.h says. The driver is not
 * touched before the first segment is imported: a context takes 0.2 s and half a GiB of the card.
 */
#ifndef DEVICE_CUDA_MOVER_H
#define DEVICE_CUDA_MOVER_H

#include "device/backend.h"

enum status cuda_mover_start(const struct spec *spec, void **out);
void cuda_mover_stop(void *arg);
enum status cuda_mover_import(void *arg, const struct share *share, uint64_t size, void **out);
void cuda_mover_drop(void *arg, void *memory, uint64_t size);
const void *cuda_mover_peek(void *arg, const struct device_range *range);
enum status cuda_mover_read(void *arg, const struct device_range *from, void *to);
enum status cuda_mover_write(void *arg, const struct device_range *to, const void *from);
enum status cuda_mover_copy(void *arg, const struct device_range *from,
                            const struct device_range *to);
bool cuda_mover_sends(const void *from, void *to);
enum status cuda_mover_copy_all(void *arg, struct device_pair *pairs, uint32_t count);
enum status cuda_mover_sum(void *arg, const struct device_range *range, uint64_t chunk,
                           uint64_t *sums);
enum status cuda_mover_fill(void *arg, const struct device_range *range, uint8_t value);

#endif
