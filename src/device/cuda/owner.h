/*
 * cuda/owner: the owner half of NVIDIA cards; each entry as backend.h says. No context is ever made
 * here: a process that has one costs half a GiB of each card.
 */
#ifndef DEVICE_CUDA_OWNER_H
#define DEVICE_CUDA_OWNER_H

#include "device/backend.h"

enum status cuda_owner_open(const struct spec *spec, void **out);
void cuda_owner_close(void *arg);
enum status cuda_owner_describe(void *arg, struct device_info *info);
enum status cuda_owner_budget(void *arg, struct device_budget *budget);
enum status cuda_owner_create(void *arg, uint64_t size, struct share *out);
void cuda_owner_release(void *arg, struct share *share, uint64_t size, bool exported);
void cuda_owner_settle(void *arg);
uint32_t cuda_owner_processes(void *arg, struct device_process *out, uint32_t max);

#endif
