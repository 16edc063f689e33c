/*
 * report: status. Everything that an operation can change is read live under the state lock; the
 * driver's figures are at most 100 ms old, or PENDING says that a fresh reading was asked for.
 */
#ifndef SERVICE_REPORT_H
#define SERVICE_REPORT_H

#include "memory/forecast.h"
#include "service/job.h"

/* Makes sure that the driver's figures are at most 100 ms old (and slow facts re-read with
 * refresh). OK: they are. PENDING: *job finishes when they are; then go on. Devices that do not
 * answer do not hold it up. */
enum status report_fresh(struct service *service, bool refresh, struct job **job);
void report_host(struct service *service, struct view_host *out);
/* By id, UUID or PCI address. DEVICE_NOT_FOUND with what exists. */
enum status report_device(struct service *service, const char *name, struct view_device *out,
                          struct problem *problem);
/* The id of a device by its index in view_host.devices; it lives as long as the service. */
const char *report_device_id(const struct service *service, uint32_t index);
/* Resolves a device name to its index in view_host.devices. */
enum status report_find_device(struct service *service, const char *name, uint32_t *index,
                               struct problem *problem);

struct report_link {
  const char *from, *to, *kind; /* kind: "host" (through RAM), later "nvlink" "pcie" */
  double gigabytes_per_second;  /* best measured; < 0: null */
};
uint32_t report_links(struct service *service, struct report_link *out, uint32_t max);

struct report_block {
  uint64_t allocation, offset_bytes, size_bytes;
  enum view_purpose purpose;
  enum view_alloc_status status;
};
struct report_segment {
  uint64_t id, size_bytes, allocated_bytes, largest_free_bytes;
  bool dedicated, exported;
  char domain[40];
  uint32_t free_ranges;
  struct report_block *blocks; /* into report_map.blocks */
  uint32_t block_count;
};
struct report_map {
  struct report_segment *segments; /* malloced; report_map_free */
  struct report_block *blocks;
  uint32_t count;
  uint64_t next; /* cursor for more, 0: none */
  uint64_t holes, average_hole_bytes, largest_free_bytes, releasable_bytes;
};
struct report_map_params {
  char device[80];
  uint64_t cursor, limit; /* limit 1 … 1000 */
};
enum status report_map_make(struct service *service, const struct report_map_params *params,
                            struct report_map *out, struct problem *problem);
void report_map_free(struct report_map *map);

struct report_pressure {
  struct view_pressure pressure;
  const struct device_info *info; /* NULL: the host */
  uint64_t available_bytes, total_bytes;
  uint64_t cached_bytes, park_bytes, unload_bytes; /* could be had: segments; models, by what can be
                                                      done to them, on cards and on hosts */
  struct pressure_thresholds thresholds;
  bool psi_known;
  uint32_t psi_some10, psi_full10; /* hundredths */
  struct forecast_time critical;   /* of the device that is there first */
};
/* name "": the host. */
enum status report_pressure(struct service *service, const char *name, struct report_pressure *out,
                            struct problem *problem);

/* Bytes that would have to go for relief's target to be met on a device. */
uint64_t report_excess(struct service *service, uint32_t index);

/* parts[] of /health/detailed */
struct report_part {
  char name[40];
  bool ok;
  char reason[160];
};
uint32_t report_health(struct service *service, struct report_part *out, uint32_t max);

#endif
