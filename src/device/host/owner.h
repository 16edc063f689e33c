/*
 * host/owner: the owner half of host memory; each entry as backend.h says.
 */
#ifndef DEVICE_HOST_OWNER_H
#define DEVICE_HOST_OWNER_H

#include "device/backend.h"

enum status host_owner_open(const struct spec *spec, void **out);
void host_owner_close(void *owner);
enum status host_owner_describe(void *arg, struct device_info *info);
enum status host_owner_budget(void *owner, struct device_budget *budget);
enum status host_owner_create(void *owner, uint64_t size, struct share *out);
void host_owner_release(void *owner, struct share *share, uint64_t size, bool exported);
enum status host_owner_commit(void *owner, const struct share *share, uint64_t offset,
                              uint64_t size);
enum status host_owner_resident(void *owner, const struct share *share, uint64_t *bytes);
uint32_t host_owner_processes(void *owner, struct device_process *out, uint32_t max);

#endif
