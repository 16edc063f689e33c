/*
 * meter: how fast something goes that tells its progress: over the last one to two seconds. Pure;
 * times are clock_now().
 */
#ifndef WORKER_METER_H
#define WORKER_METER_H

#include <stdint.h>

struct meter {
  uint64_t at_ns[2], done[2]; /* start of the window, start of the next one */
};

void meter_start(struct meter *meter, uint64_t now_ns);
/* Bytes per second; `done` never falls. 0: not known yet. */
uint64_t meter_add(struct meter *meter, uint64_t now_ns, uint64_t done);
/* Milliseconds for so many bytes, rounded up; 0 when none are left. The rate is not 0. */
uint64_t meter_left_ms(uint64_t rate_bytes, uint64_t left);

#endif
