/*
 * host/mover: a segment is a view of its memfd (base/os_view), read and written through the
 * caller's staging, which stays in a core's L2 cache.
 */
#include "device/host/mover.h"

#include "base/os_view.h"

enum status host_mover_start(const struct spec *spec, void **mover) {
  (void)spec;
  *mover = NULL;
  return STATUS_OK;
}

void host_mover_stop(void *mover) { (void)mover; }

enum status host_mover_import(void *mover, const struct share *share, uint64_t size,
                              void **segment) {
  struct os_view *view;
  (void)mover;
  enum status status = os_view_open(share, size, &view);
  if (!status)
    *segment = view;
  return status;
}

void host_mover_drop(void *mover, void *segment, uint64_t size) {
  (void)mover;
  (void)size;
  os_view_close(segment);
}

enum status host_mover_read(void *mover, const struct device_range *from, void *to) {
  (void)mover;
  return os_view_read(from->segment, from->offset, to, from->size);
}

enum status host_mover_write(void *mover, const struct device_range *to, const void *from) {
  (void)mover;
  return os_view_write(to->segment, to->offset, from, to->size);
}

enum status host_mover_copy(void *mover, const struct device_range *from,
                            const struct device_range *to) {
  (void)mover;
  const struct os_view_range source = {from->segment, from->offset};
  const struct os_view_range target = {to->segment, to->offset};
  return os_view_copy(&source, &target, to->size);
}

const void *host_mover_peek(void *mover, const struct device_range *range) {
  (void)mover;
  return os_view_peek(range->segment, range->offset, range->size);
}

void *host_mover_poke(void *mover, const struct device_range *range) {
  (void)mover;
  return os_view_poke(range->segment, range->offset, range->size);
}

void host_mover_bring(void *mover, const struct device_range *range) {
  (void)mover;
  os_view_bring(range->segment, range->offset, range->size);
}

enum status host_mover_fill(void *mover, const struct device_range *range, uint8_t value) {
  (void)mover;
  return os_view_fill(range->segment, range->offset, value, range->size);
}
