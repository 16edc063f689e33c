/*
 * backend: what a kind of device implements. One static const table per backend, 28 entries, each
 * *required* or *optional: default*; device.c validates it once and fills the defaults. Backends
 * never include each other; probe.c alone names them.
 *
 * Owner half (in the daemon, or in a broker): knows totals, makes and releases segments, never maps
 * or copies. Its calls run on the device's owner thread and may block; `release`, `commit` run on
 * the reaper thread. Mover half (in workers): imports segments and touches bytes. Its calls run on
 * the worker's threads; read, write, copy and fill of different ranges may run at the same time on
 * several threads.
 */
#ifndef DEVICE_BACKEND_H
#define DEVICE_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/share.h"
#include "base/status.h"
#include "device/device.h"
#include "device/spec.h"

struct backend {
  const char *name;
  enum share_kind share; /* what create exports */
  bool fresh_is_zero; /* a new segment reads as zeros; else the mover fills it before anyone sees it
                       */
  bool host_memory;  /* segments are pages of this machine's RAM: a CPU can map them, and no link is
                        between two such devices */
  bool reaches_host; /* import also takes host memory that is sealed against writing, and copy goes
                        from it to the device's own */
  bool context;      /* the mover half makes a context on the device, which goes with its process */

  /* Owner half. `owner` is what open made. */
  enum status (*open)(const struct spec *spec, void **owner);           /* required */
  void (*close)(void *owner);                                           /* required */
  enum status (*describe)(void *owner, struct device_info *info);       /* required: slow facts */
  enum status (*budget)(void *owner, struct device_budget *budget);     /* required: live figures */
  enum status (*create)(void *owner, uint64_t size, struct share *out); /* required */
  void (*release)(void *owner, struct share *share, uint64_t size,
                  bool exported); /* required: takes the share */
  enum status (*commit)(void *owner, const struct share *share, uint64_t offset,
                        uint64_t size); /* optional: always committed */
  enum status (*resident)(void *owner, const struct share *share,
                          uint64_t *bytes); /* optional: = size */
  void (*settle)(
      void *owner); /* optional: nothing to do. Some time after a release: what the driver
                       puts off until memory is made is done while nobody waits for it */
  uint32_t (*processes)(void *owner, struct device_process *out,
                        uint32_t max); /* optional: none known */

  /* Mover half. `mover` is what start made. */
  enum status (*start)(const struct spec *spec, void **mover); /* required */
  void (*stop)(void *mover);                                   /* required */
  enum status (*import)(void *mover, const struct share *share, uint64_t size,
                        void **segment);                   /* required */
  void (*drop)(void *mover, void *segment, uint64_t size); /* required */
  void *(*stage)(void *mover, uint64_t size); /* optional: plain memory. Memory that read and write
                                                 need no core to copy from or to; NULL: none left */
  bool (*unstage)(void *mover, void *bytes);  /* with it; false: it is none of stage's */
  enum status (*read)(void *mover, const struct device_range *from, void *to);        /* required */
  enum status (*write)(void *mover, const struct device_range *to, const void *from); /* required */
  enum status (*feed)(void *mover, const struct device_range *to,
                      const struct device_flow *flow); /* optional: no. Writes what `each` fills */
  enum status (*drain)(void *mover, const struct device_range *from,
                       const struct device_flow *flow); /* with it. Reads what `each` empties */
  const void *(*peek)(void *mover,
                      const struct device_range *range); /* optional: the bytes where they are, NULL
                                                            where read is needed; default: NULL */
  void *(*poke)(void *mover, const struct device_range *range); /* optional: the same, to be written
                                                                   there; default: NULL */
  void (*bring)(void *mover, const struct device_range *range); /* optional: makes the bytes there,
                                                                   so that poke gives them */
  enum status (*copy)(void *mover, const struct device_range *from,
                      const struct device_range *to); /* optional: read + write staged. From a
                                                         segment of this mover to another, or to
                                                         one that it sends to */
  bool (*sends)(const void *from, void *to); /* optional: no. Whether it copies from a segment to
                                                one of another of the backend's movers */
  enum status (*copy_all)(void *mover, struct device_pair *pairs,
                          uint32_t count); /* optional: no. Many copies inside the device at once,
                                              then both ends of each are read again there */
  enum status (*sum)(void *mover, const struct device_range *range, uint64_t chunk,
                     uint64_t *sums); /* optional: no. XXH3-64 of each chunk, where the bytes are.
                                         DEVICE_NOT_FOUND: it cannot after all */
  enum status (*fill)(void *mover, const struct device_range *range,
                      uint8_t value); /* optional: write staged */
};

#endif
