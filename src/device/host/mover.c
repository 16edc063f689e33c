/*
 * host/mover: segments are mapped whole, and a copy is a memcpy. What it costs is decided by the
 * pages that it touches for the first time: a fault each. So before a large piece is written its
 * pages are populated with one call, which for pages that are there already costs a look at them.
 */
#include "device/host/mover.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/os_memfd.h"
#include "base/units.h"

#define POPULATE_FROM (256 * KIB) /* below, the call costs more than the faults it saves */
#define POPULATE_STEP MIB         /* populated and written while still in the cache */

static char *at(const struct device_range *range) { return (char *)range->segment + range->offset; }

enum status host_mover_start(const struct spec *spec, void **mover) {
  (void)spec;
  *mover = NULL;
  return STATUS_OK;
}

void host_mover_stop(void *mover) { (void)mover; }

enum status host_mover_import(void *mover, const struct share *share, uint64_t size,
                              void **segment) {
  (void)mover;
  enum status status = os_memfd_map(share, size, true, segment);
  /* A sealed model: it is only read from. */
  return status == STATUS_CONFLICT ? os_memfd_map(share, size, false, segment) : status;
}

void host_mover_drop(void *mover, void *segment, uint64_t size) {
  (void)mover;
  os_memfd_unmap(segment, size);
}

void *host_mover_pointer(void *mover, void *segment) {
  (void)mover;
  return segment;
}

enum status host_mover_read(void *mover, const struct device_range *from, void *to) {
  (void)mover;
  memcpy(to, at(from), from->size);
  return STATUS_OK;
}

/* Makes the pages of a piece present. A kernel that does not know the advice leaves it to the
 * faults; one that has no memory says so here instead of by SIGBUS. */
static enum status populate(char *start, uint64_t size) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  char *first = (char *)((uintptr_t)start & ~(uintptr_t)(page - 1));
  if (size < POPULATE_FROM || !madvise(first, (size_t)(start + size - first), MADV_POPULATE_WRITE))
    return STATUS_OK;
  return errno == ENOMEM ? STATUS_INSUFFICIENT_MEMORY : STATUS_OK;
}

enum status host_mover_write(void *mover, const struct device_range *to, const void *from) {
  (void)mover;
  for (uint64_t done = 0; done < to->size;) {
    uint64_t size = units_min(POPULATE_STEP, to->size - done);
    enum status status = populate(at(to) + done, size);
    if (status)
      return status;
    memcpy(at(to) + done, (const char *)from + done, size);
    done += size;
  }
  return STATUS_OK;
}

enum status host_mover_copy(void *mover, const struct device_range *from,
                            const struct device_range *to) {
  return host_mover_write(mover, to, at(from));
}

enum status host_mover_fill(void *mover, const struct device_range *range, uint8_t value) {
  (void)mover;
  for (uint64_t done = 0; done < range->size;) {
    uint64_t size = units_min(POPULATE_STEP, range->size - done);
    enum status status = populate(at(range) + done, size);
    if (status)
      return status;
    memset(at(range) + done, value, size);
    done += size;
  }
  return STATUS_OK;
}
