/* The ledger is copied as it is; the segments are the same memory. */
#include "crash_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/os_memfd.h"
#include "device/spec.h"
#include "service/state.h"

static struct share copy_of(const struct share *share) {
  struct share copy;
  uint64_t size;
  void *from, *to;
  assert_int_equal(os_memfd_size(share, &size), STATUS_OK);
  assert_int_equal(os_memfd_create("copy", size, &copy), STATUS_OK);
  assert_int_equal(os_memfd_seal(&copy, OS_MEMFD_SEAL_SHRINK), STATUS_OK);
  assert_int_equal(os_memfd_map(share, size, false, &from), STATUS_OK);
  assert_int_equal(os_memfd_map(&copy, size, true, &to), STATUS_OK);
  memcpy(to, from, size);
  os_memfd_unmap(from, size);
  os_memfd_unmap(to, size);
  return copy;
}

/* What the vault would hold if `s` died now. */
void crash_fixture(struct service *s, struct crash_fixture *next) {
  struct restore_found *found = &next->found;
  *next = (struct crash_fixture){.found.epoch = 1};
  LOCK_SCOPE(&s->lock);
  found->ledger = copy_of(ledger_share(s->ledger));
  ledger_identity(s->ledger, found->identity);
  found->segments = calloc(s->segments.live + (size_t)1, sizeof *found->segments);
  const struct idmap_entry *entry = idmap_next(&s->segment_ids, 0);
  for (; entry; entry = idmap_next(&s->segment_ids, entry->id)) {
    const struct state_segment *segment = state_segment(s, entry->value);
    struct keeper_segment *kept = &found->segments[found->count++];
    *kept = (struct keeper_segment){.id = segment->id, .size = segment->size};
    assert_int_equal(share_copy(&segment->share, &kept->share), STATUS_OK);
  }
}

struct service *crash_fixture_next(struct crash_fixture *next, const char *const *devices) {
  struct spec specs[8];
  struct problem problem = {0};
  uint32_t count = 0;
  for (; devices[count]; count++)
    assert_int_equal(spec_parse(devices[count], &specs[count], &problem), STATUS_OK);
  assert_int_equal(loop_create(&next->loop), STATUS_OK);
  struct service_params params = {.devices = specs,
                                  .device_count = count,
                                  .loop = next->loop,
                                  .thresholds = PRESSURE_DEFAULTS,
                                  .max_allocations = 1 << 20,
                                  .found = &next->found};
  if (service_create(&params, &next->service, &problem))
    fail_msg("%s", problem.text);
  return next->service;
}

void crash_fixture_end(struct crash_fixture *next) {
  service_free(next->service);
  loop_free(next->loop);
  for (uint32_t i = 0; i < next->found.count; i++)
    share_close(&next->found.segments[i].share);
  free(next->found.segments);
  share_close(&next->found.ledger);
}
