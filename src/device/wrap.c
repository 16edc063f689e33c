/*
 * wrap: each entry does what the spec says should happen before the call, then calls the inner
 * backend. The count of calls is per half: the owner's in the daemon, the mover's in each worker.
 */
#include "device/wrap.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "device/probe.h"

struct wrapped {
  struct backend inner;
  void *half; /* the inner owner or mover */
  struct spec spec;
  atomic_uint_fast32_t calls; /* of the entry that shall fail */
  atomic_uint_fast64_t used;
};

static const char *const names[] = {"",     "create", "commit", "budget", "import",
                                    "read", "write",  "copy",   "fill"};

static bool fails(struct wrapped *wrapped, enum spec_call call) {
  const struct spec *spec = &wrapped->spec;
  return call == spec->fail && (atomic_fetch_add(&wrapped->calls, 1) + 1) % spec->fail_nth == 0;
}

/* A card without room says so; one that fails in the middle does not answer. */
static enum status before(struct wrapped *wrapped, enum spec_call call, uint64_t size) {
  const struct spec *spec = &wrapped->spec;
  if (spec->delay_ns) {
    const struct timespec delay = {(time_t)(spec->delay_ns / CLOCK_SECOND),
                                   (long)(spec->delay_ns % CLOCK_SECOND)};
    nanosleep(&delay, NULL);
  }
  bool failing = fails(wrapped, call);
  if (spec->trace)
    log_debug("device", "%s: %s %llu%s", spec->id, names[call], (unsigned long long)size,
              failing ? " is made to fail" : "");
  if (!failing)
    return STATUS_OK;
  return call == SPEC_CREATE || call == SPEC_COMMIT ? STATUS_INSUFFICIENT_MEMORY
                                                    : STATUS_DEVICE_UNAVAILABLE;
}

/* ---- both halves ---- */

static enum status make(const struct spec *spec, bool owner, void **out) {
  struct wrapped *wrapped = calloc(1, sizeof *wrapped);
  if (!wrapped)
    return STATUS_INTERNAL_ERROR;
  wrapped->spec = *spec;
  enum status status = probe_table(spec, &wrapped->inner) ? STATUS_OK : STATUS_DEVICE_NOT_FOUND;
  if (!status)
    status = (owner ? wrapped->inner.open : wrapped->inner.start)(spec, &wrapped->half);
  if (status)
    free(wrapped);
  else
    *out = wrapped;
  return status;
}

static enum status wrap_open(const struct spec *spec, void **out) { return make(spec, true, out); }

static enum status wrap_start(const struct spec *spec, void **out) {
  return make(spec, false, out);
}

static void wrap_close(void *arg) {
  struct wrapped *wrapped = arg;
  wrapped->inner.close(wrapped->half);
  free(wrapped);
}

static void wrap_stop(void *arg) {
  struct wrapped *wrapped = arg;
  wrapped->inner.stop(wrapped->half);
  free(wrapped);
}

/* ---- owner ---- */

static enum status wrap_describe(void *arg, struct device_info *info) {
  struct wrapped *wrapped = arg;
  return wrapped->inner.describe(wrapped->half, info);
}

static enum status wrap_budget(void *arg, struct device_budget *budget) {
  struct wrapped *wrapped = arg;
  enum status status = before(wrapped, SPEC_BUDGET, 0);
  return status ? status : wrapped->inner.budget(wrapped->half, budget);
}

/* Memory that ends within a page is released as a whole one. */
static uint64_t in_pages(uint64_t size) { return units_up(size, (uint64_t)sysconf(_SC_PAGESIZE)); }

static enum status wrap_create(void *arg, uint64_t size, struct share *out) {
  struct wrapped *wrapped = arg;
  uint64_t quota = wrapped->spec.quota_bytes, used = atomic_load(&wrapped->used);
  enum status status = before(wrapped, SPEC_CREATE, size);
  if (!status && quota && (used > quota || in_pages(size) > quota - used))
    status = STATUS_INSUFFICIENT_MEMORY;
  if (!status)
    status = wrapped->inner.create(wrapped->half, size, out);
  if (!status)
    atomic_fetch_add(&wrapped->used, in_pages(size));
  return status;
}

static void wrap_release(void *arg, struct share *share, uint64_t size, bool exported) {
  struct wrapped *wrapped = arg;
  wrapped->inner.release(wrapped->half, share, size, exported);
  atomic_fetch_sub(&wrapped->used, size);
}

static enum status wrap_commit(void *arg, const struct share *share, uint64_t offset,
                               uint64_t size) {
  struct wrapped *wrapped = arg;
  enum status status = before(wrapped, SPEC_COMMIT, size);
  if (status || !wrapped->inner.commit)
    return status;
  return wrapped->inner.commit(wrapped->half, share, offset, size);
}

static enum status wrap_resident(void *arg, const struct share *share, uint64_t *bytes) {
  struct wrapped *wrapped = arg;
  return wrapped->inner.resident(wrapped->half, share, bytes);
}

static void wrap_settle(void *arg) {
  struct wrapped *wrapped = arg;
  wrapped->inner.settle(wrapped->half);
}

static uint32_t wrap_processes(void *arg, struct device_process *out, uint32_t max) {
  struct wrapped *wrapped = arg;
  return wrapped->inner.processes(wrapped->half, out, max);
}

/* ---- mover ---- */

static enum status wrap_import(void *arg, const struct share *share, uint64_t size,
                               void **segment) {
  struct wrapped *wrapped = arg;
  enum status status = before(wrapped, SPEC_IMPORT, size);
  return status ? status : wrapped->inner.import(wrapped->half, share, size, segment);
}

static void wrap_drop(void *arg, void *segment, uint64_t size) {
  struct wrapped *wrapped = arg;
  wrapped->inner.drop(wrapped->half, segment, size);
}

static enum status wrap_read(void *arg, const struct device_range *from, void *to) {
  struct wrapped *wrapped = arg;
  enum status status = before(wrapped, SPEC_READ, from->size);
  return status ? status : wrapped->inner.read(wrapped->half, from, to);
}

static enum status wrap_write(void *arg, const struct device_range *to, const void *from) {
  struct wrapped *wrapped = arg;
  enum status status = before(wrapped, SPEC_WRITE, to->size);
  return status ? status : wrapped->inner.write(wrapped->half, to, from);
}

static enum status wrap_copy(void *arg, const struct device_range *from,
                             const struct device_range *to) {
  struct wrapped *wrapped = arg;
  enum status status = before(wrapped, SPEC_COPY, to->size);
  return status ? status : wrapped->inner.copy(wrapped->half, from, to);
}

static enum status wrap_copy_all(void *arg, struct device_pair *pairs, uint32_t count) {
  struct wrapped *wrapped = arg;
  uint64_t size = 0;
  for (uint32_t i = 0; i < count; i++)
    size += pairs[i].to.size;
  enum status status = before(wrapped, SPEC_COPY, size);
  return status ? status : wrapped->inner.copy_all(wrapped->half, pairs, count);
}

static enum status wrap_sum(void *arg, const struct device_range *range, uint64_t chunk,
                            uint64_t *sums) {
  struct wrapped *wrapped = arg;
  enum status status = before(wrapped, SPEC_READ, range->size);
  return status ? status : wrapped->inner.sum(wrapped->half, range, chunk, sums);
}

static enum status wrap_fill(void *arg, const struct device_range *range, uint8_t value) {
  struct wrapped *wrapped = arg;
  enum status status = before(wrapped, SPEC_FILL, range->size);
  return status ? status : wrapped->inner.fill(wrapped->half, range, value);
}

void wrap_table(const struct backend *inner, struct backend *out) {
  *out = (struct backend){.name = inner->name,
                          .share = inner->share,
                          .fresh_is_zero = inner->fresh_is_zero,
                          .host_memory = inner->host_memory,
                          .reaches_host = inner->reaches_host,
                          .open = wrap_open,
                          .close = wrap_close,
                          .describe = wrap_describe,
                          .budget = wrap_budget,
                          .create = wrap_create,
                          .release = wrap_release,
                          .commit = wrap_commit,
                          .resident = inner->resident ? wrap_resident : NULL,
                          .settle = inner->settle ? wrap_settle : NULL,
                          .processes = inner->processes ? wrap_processes : NULL,
                          .start = wrap_start,
                          .stop = wrap_stop,
                          .import = wrap_import,
                          .drop = wrap_drop,
                          .read = wrap_read,
                          .write = wrap_write,
                          .copy = inner->copy ? wrap_copy : NULL,
                          .sends = inner->sends,
                          .copy_all = inner->copy_all ? wrap_copy_all : NULL,
                          .sum = inner->sum ? wrap_sum : NULL,
                          .fill = inner->fill ? wrap_fill : NULL};
}
