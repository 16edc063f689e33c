/*
 * policy_trace: the traces by which policies are compared, and one device that replays them. For
 * bench_policy and test_policy. Deterministic: a seed is a trace.
 *
 * 50 models of 1 to 16 GiB (an octave, then a place in it, each by chance) share a device that
 * holds eight of the mean size. 20,000 requests follow Zipf's law; which model has which rank is
 * chance, and is drawn again every `shift` requests, if any.
 */
#ifndef BENCH_POLICY_TRACE_H
#define BENCH_POLICY_TRACE_H

#include <stdlib.h>

#include "base/clock.h"
#include "base/units.h"
#include "model/policy.h"

#define TRACE_MODELS 50
#define TRACE_HELD 8
#define TRACE_REQUESTS 20000

/* A reload: what a load costs however small, then the bytes at the rate of an NVMe disk. */
#define TRACE_LATENCY 0.05
#define TRACE_RATE (3.0 * (double)GIB)

struct trace {
  uint64_t seed;
  unsigned tenths; /* Zipf's exponent in tenths: 8, 10 or 12 */
  uint32_t shift;  /* 0: popularity stays */
  bool foreseen;   /* the credit is the true popularity: what nobody can know */
  /* Given, and not drawn: of TRACE_MODELS and TRACE_REQUESTS; all reloads at the same rate. NULL.
   */
  const uint64_t *sizes;
  const uint64_t *asked;
};
struct trace_result {
  uint64_t reloads, bytes;
};

struct trace_device {
  struct trace trace;
  struct policy_model models[TRACE_MODELS];
  struct policy_clock clock;
  double share[TRACE_MODELS]; /* of the requests, by rank */
  uint32_t of_rank[TRACE_MODELS];
  double popularity[TRACE_MODELS]; /* by model */
  bool resident[TRACE_MODELS];
  uint64_t capacity, used;
  struct trace_result result;
};

static uint64_t trace_draw(struct trace *trace) {
  trace->seed ^= trace->seed << 13;
  trace->seed ^= trace->seed >> 7;
  trace->seed ^= trace->seed << 17;
  return trace->seed * UINT64_C(2685821657736338717);
}

static double trace_chance(struct trace *trace) {
  return (double)(trace_draw(trace) >> 11) / (double)(UINT64_C(1) << 53);
}

/* rank ^ -(tenths / 10), by Newton's fifth root: 8, 10 and 12 tenths are 4, 5 and 6 fifths. */
static double trace_zipf(unsigned rank, unsigned tenths) {
  double root = 1 + rank / 10.0, power = 1;
  for (int i = 0; i < 50; i++)
    root -= (root - rank / (root * root * root * root)) / 5;
  for (unsigned i = 0; i < tenths / 2; i++)
    power *= root;
  return 1 / power;
}

static void trace_shuffle(struct trace_device *device) {
  for (uint32_t i = TRACE_MODELS; i-- > 1;) {
    uint32_t j = (uint32_t)(trace_draw(&device->trace) % (i + 1)), other = device->of_rank[j];
    device->of_rank[j] = device->of_rank[i];
    device->of_rank[i] = other;
  }
  for (uint32_t i = 0; i < TRACE_MODELS; i++)
    device->popularity[device->of_rank[i]] = device->share[i];
}

static void trace_begin(struct trace_device *device, const struct trace *trace) {
  uint64_t total = 0;
  double sum = 0;
  *device = (struct trace_device){.trace = *trace};
  for (uint32_t i = 0; i < TRACE_MODELS; i++) {
    uint64_t octave = GIB << trace_draw(&device->trace) % 4;
    uint64_t size = octave + (uint64_t)((double)octave * trace_chance(&device->trace));
    size = trace->sizes ? trace->sizes[i] : size;
    device->models[i].user = i;
    device->models[i].bytes = size;
    device->models[i].disk_seconds = (trace->sizes ? 0 : TRACE_LATENCY) + (double)size / TRACE_RATE;
    device->of_rank[i] = i;
    device->share[i] = trace_zipf(i + 1, trace->tenths);
    sum += device->share[i];
    total += size;
  }
  for (uint32_t i = 0; i < TRACE_MODELS; i++)
    device->share[i] /= sum;
  device->capacity = total / TRACE_MODELS * TRACE_HELD;
  trace_shuffle(device);
}

static uint32_t trace_next(struct trace_device *device) {
  double chance = trace_chance(&device->trace);
  for (uint32_t i = 0; i + 1 < TRACE_MODELS; i++)
    if ((chance -= device->share[i]) < 0)
      return device->of_rank[i];
  return device->of_rank[TRACE_MODELS - 1];
}

static void trace_evict(struct trace_device *device, struct policy_params *params, uint64_t now) {
  struct policy_model models[TRACE_MODELS];
  struct policy_snapshot snapshot = {models, 0, device->clock, now};
  struct policy_plan plan;
  for (uint32_t i = 0; i < TRACE_MODELS; i++)
    if (device->resident[i])
      models[snapshot.count++] = device->models[i];
  if (policy_plan_make(&snapshot, params, &plan) || !plan.covered)
    abort();
  for (uint32_t i = 0; i < plan.count; i++) {
    struct policy_model *victim = &device->models[plan.steps[i].user];
    device->resident[victim->user] = false;
    device->used -= victim->bytes;
    if (!device->trace.foreseen)
      policy_evicted(&device->clock, &victim->credit);
  }
  policy_plan_free(&plan);
}

/* The frequency that a popularity comes to in the long run, and nothing that ages. */
static void trace_foresee(struct trace_device *device) {
  for (uint32_t i = 0; i < TRACE_MODELS; i++) {
    double frequency = device->popularity[i] * 256 / 0.693;
    device->models[i].credit = (struct policy_credit){frequency, frequency, device->clock.uses};
  }
}

/* One request a second. Nobody is protected by age, so that policies differ in their order only. */
static struct trace_result trace_run(const struct trace *trace, enum policy_strategy strategy) {
  struct trace_device device;
  struct policy_params params = {
      .strategy = strategy, .drop = true, .max_models = UINT32_MAX, .max_priority = UINT8_MAX};
  trace_begin(&device, trace);
  for (uint32_t i = 0; i < TRACE_REQUESTS; i++) {
    if (trace->shift && i && i % trace->shift == 0)
      trace_shuffle(&device);
    uint32_t asked = trace->asked ? (uint32_t)trace->asked[i] : trace_next(&device);
    struct policy_model *model = &device.models[asked];
    uint64_t now = (i + 1) * CLOCK_SECOND;
    params.bytes = units_minus(device.used + model->bytes, device.capacity);
    if (!device.resident[asked]) {
      if (params.bytes)
        trace_evict(&device, &params, now);
      device.resident[asked] = true;
      device.used += model->bytes;
      model->resident_since_ns = now;
      device.result.reloads++;
      device.result.bytes += model->bytes;
    }
    model->last_used_ns = now;
    policy_used(&device.clock, &model->credit, model->bytes, model->disk_seconds);
    if (trace->foreseen)
      trace_foresee(&device);
  }
  return device.result;
}

#endif
