/*
 * meter: two marks. The rate is measured from the older one; when the younger is a second old, it
 * becomes the older one, so that a rate is neither that of one chunk nor that of long ago.
 */
#include "worker/meter.h"

#include "base/clock.h"

static uint64_t times_per(uint64_t value, uint64_t factor, uint64_t by) {
  unsigned __int128 result = (unsigned __int128)value * factor / by;
  return result < UINT64_MAX ? (uint64_t)result : UINT64_MAX;
}

void meter_start(struct meter *meter, uint64_t now_ns) {
  *meter = (struct meter){.at_ns = {now_ns, now_ns}};
}

uint64_t meter_add(struct meter *meter, uint64_t now_ns, uint64_t done) {
  if (now_ns - meter->at_ns[1] >= CLOCK_SECOND) {
    meter->at_ns[0] = meter->at_ns[1];
    meter->done[0] = meter->done[1];
    meter->at_ns[1] = now_ns;
    meter->done[1] = done;
  }
  uint64_t ns = now_ns - meter->at_ns[0];
  return ns ? times_per(done - meter->done[0], CLOCK_SECOND, ns) : 0;
}

uint64_t meter_left_ms(uint64_t rate_bytes, uint64_t left) {
  uint64_t ms = left ? times_per(left, 1000, rate_bytes) : 0;
  return left && ms < UINT64_MAX ? ms + 1 : ms;
}
