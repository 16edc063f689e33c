/*
 * bench_predict: what prediction does to who waits and to what is loaded again, the same requests
 * replayed without it and with it. No clock is read: the figures are the same on every machine.
 *
 *     bench_predict FILE…      lines "second KiB", as bench/record.py writes them
 *
 * Room: a card of 80 GiB on which 24 models of 1 to 8 GiB are asked for by Zipf's law, one each 10
 * s, while others' use of it is a recorded trace, stretched to 60 % of the card. Twenty orders of
 * requests for each trace. A request, of a model or of a recorded allocation, waits for an eviction
 * if it finds less free than it takes. Models go in the order of COST, all of them by parking.
 * There is no relief, which would keep a fifth of the card free for everybody; `relief` is the same
 * with it.
 *
 *   predict.room.waits          requests that wait for an eviction, without prediction
 *   predict.room.waits_with     the same with it
 *   predict.room.bytes          bytes brought to the card, with it / without
 *   predict.room.acts, .needed  acts, and the share of them that was needed
 *   predict.room.NAME.…         of one trace
 *
 * Next: 40 models; ten workflows of three of them each are asked for by Zipf's law, three models
 * one after another, and one request in five is for any model by chance (`chain`); or all are
 * (`chance`). A card that holds six, and host memory for twelve, of which prediction leaves a
 * tenth.
 *
 *   predict.chain.waits, .waits_with  requests whose model had to be read from its files meanwhile
 *   predict.chain.bytes               bytes read from files, with / without
 */
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/units.h"
#include "model/policy.h"
#include "model/successor.h"
#include "use_trace.h"

#define ORDERS 20
#define ZIPF_MAX 64

/* ---- chance ---- */

static uint64_t state;

static double chance(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (double)(state * UINT64_C(2685821657736338717) >> 11) / (double)(UINT64_C(1) << 53);
}

static void begin_chance(uint64_t seed) { state = UINT64_C(0x9e3779b97f4a7c15) * seed; }

/* A rank by Zipf's law with the exponent 1. */
static uint32_t zipf(uint32_t count) {
  double sum = 0;
  for (uint32_t i = 0; i < count; i++)
    sum += 1.0 / (i + 1);
  double left = chance() * sum;
  for (uint32_t i = 0; i + 1 < count; i++)
    if ((left -= 1.0 / (i + 1)) < 0)
      return i;
  return count - 1;
}

struct result {
  uint64_t waits, bytes, acts, needed;
};

static void print(const char *what, const struct result *without, const struct result *with) {
  printf("predict.%s.waits=%llu\n", what, (unsigned long long)without->waits);
  printf("predict.%s.waits_with=%llu\n", what, (unsigned long long)with->waits);
  printf("predict.%s.bytes=%.4f\n", what, (double)with->bytes / (double)without->bytes);
  printf("predict.%s.acts=%llu\n", what, (unsigned long long)with->acts);
  if (with->acts)
    printf("predict.%s.needed=%.4f\n", what, (double)with->needed / (double)with->acts);
}

static void add(struct result *sum, const struct result *one) {
  sum->waits += one->waits;
  sum->bytes += one->bytes;
  sum->acts += one->acts;
  sum->needed += one->needed;
}

/* ---- room ---- */

#define ROOM_MODELS 24
#define ROOM_BYTES (80 * GIB)
#define ROOM_OTHERS 0.6
#define ROOM_EVERY 10 /* seconds between requests */
#define ROOM_HIGH 0.9
#define ROOM_AHEAD 60.0 /* seconds: the daemon's defaults, as are all below */
#define ROOM_IDLE_NS (10 * CLOCK_SECOND)
#define ROOM_SETTLE 15
#define ROOM_TRIGGER 0.8
#define ROOM_TARGET 0.7
#define ROOM_AGAIN 0.75
#define ROOM_RATE (3.0 * (double)GIB)

struct card {
  struct policy_model models[ROOM_MODELS];
  struct policy_clock clock;
  bool there[ROOM_MODELS], relief, predicts, relieved;
  uint64_t own, others, now;
  struct forecast_point seen[USE_POINTS];
  uint32_t seen_count;
  double act_until, again; /* act_until < 0: none is to be judged */
  uint64_t act_bytes;
  struct result result;
};

static uint64_t used(const struct card *card) { return card->own + card->others; }

static uint64_t part(double share) { return (uint64_t)(share * (double)ROOM_BYTES); }

static uint64_t evict(struct card *card, uint64_t bytes, uint64_t idle_ns) {
  struct policy_model models[ROOM_MODELS];
  struct policy_snapshot snapshot = {models, 0, card->clock, card->now};
  struct policy_params params = {.strategy = POLICY_COST,
                                 .park = true,
                                 .ram_bytes = UINT64_MAX / 2,
                                 .max_models = UINT32_MAX,
                                 .max_priority = UINT8_MAX,
                                 .bytes = bytes,
                                 .min_idle_ns = idle_ns};
  struct policy_plan plan;
  uint64_t freed = 0;
  for (uint32_t i = 0; i < ROOM_MODELS; i++)
    if (card->there[i])
      models[snapshot.count++] = card->models[i];
  if (policy_plan_make(&snapshot, &params, &plan))
    abort();
  for (uint32_t i = 0; i < plan.count; i++) {
    struct policy_model *model = &card->models[plan.steps[i].user];
    card->there[model->user] = false;
    card->own -= model->bytes;
    freed += model->bytes;
    policy_evicted(&card->clock, &model->credit);
  }
  policy_plan_free(&plan);
  return freed;
}

/* Somebody takes so much more. */
static void take(struct card *card, uint64_t bytes) {
  uint64_t missing = units_minus(used(card) + bytes, ROOM_BYTES);
  card->result.waits += missing > 0;
  if (missing)
    evict(card, missing, 0);
}

static void ask(struct card *card, uint32_t index) {
  struct policy_model *model = &card->models[index];
  if (!card->there[index]) {
    take(card, model->bytes);
    card->there[index] = true;
    card->own += model->bytes;
    card->result.bytes += model->bytes;
    model->resident_since_ns = card->now;
  }
  model->last_used_ns = card->now;
  policy_used(&card->clock, &model->credit, model->bytes, model->disk_seconds);
}

static void relieve(struct card *card) {
  if (used(card) < part(ROOM_AGAIN))
    card->relieved = false;
  if (!card->relief || card->relieved || used(card) < part(ROOM_TRIGGER))
    return;
  card->relieved = true;
  evict(card, used(card) - part(ROOM_TARGET), CLOCK_SECOND);
}

static void judge(struct card *card, double second) {
  bool needed = used(card) + card->act_bytes > part(card->relief ? ROOM_TRIGGER : ROOM_HIGH);
  if (card->act_until < 0 || (!needed && second < card->act_until))
    return;
  card->result.needed += needed;
  card->act_until = -1;
}

static void predict(struct card *card, double second) {
  if (!card->predicts || second < card->again || used(card) >= part(ROOM_HIGH))
    return;
  struct forecast forecast = forecast_make(card->seen, card->seen_count);
  double excess = forecast_excess(&forecast, ROOM_HIGH * (double)ROOM_BYTES, ROOM_AHEAD);
  uint64_t freed = excess > 0 ? evict(card, (uint64_t)excess, ROOM_IDLE_NS) : 0;
  if (!freed)
    return;
  card->again = second + ROOM_SETTLE;
  card->act_until = second + 2 * ROOM_AHEAD;
  card->act_bytes = freed;
  card->result.acts++;
  card->seen_count = 0; /* the forecast begins anew */
}

static void shuffle(uint32_t *order, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    order[i] = i;
  for (uint32_t i = count; i-- > 1;) {
    uint32_t j = (uint32_t)(chance() * (i + 1)), other = order[j];
    order[j] = order[i];
    order[i] = other;
  }
}

static void begin_room(struct card *card, uint32_t *order) {
  for (uint32_t i = 0; i < ROOM_MODELS; i++) {
    uint64_t octave = GIB << (unsigned)(chance() * 3);
    struct policy_model *model = &card->models[i];
    *model =
        (struct policy_model){.user = i, .bytes = octave + (uint64_t)((double)octave * chance())};
    model->disk_seconds = (double)model->bytes / ROOM_RATE;
  }
  card->act_until = -1;
  shuffle(order, ROOM_MODELS);
}

static struct result run_room(const struct use_trace *trace, uint64_t seed, bool relief,
                              bool predicts) {
  static struct card card;
  uint32_t order[ROOM_MODELS];
  double low = trace->points[0].bytes, high = low;
  card = (struct card){.relief = relief, .predicts = predicts};
  begin_chance(seed);
  begin_room(&card, order);
  for (uint32_t i = 0; i < trace->count; i++) {
    low = fmin(low, trace->points[i].bytes);
    high = fmax(high, trace->points[i].bytes);
  }
  for (uint32_t i = 0; i < trace->count; i++) {
    double second = trace->points[i].seconds;
    uint64_t others = part(ROOM_OTHERS * (trace->points[i].bytes - low) / (high - low));
    card.now = (i + 1) * CLOCK_SECOND;
    if (others > card.others)
      take(&card, others - card.others);
    card.others = others;
    if (i % ROOM_EVERY == 0)
      ask(&card, order[zipf(ROOM_MODELS)]);
    relieve(&card);
    card.seen[card.seen_count++] = (struct forecast_point){second, (double)used(&card)};
    judge(&card, second);
    predict(&card, second);
  }
  return card.result;
}

static void room(const char *name, bool relief, int count, char **paths) {
  static struct use_trace trace;
  struct result all[2] = {{0}, {0}};
  for (int i = 0; i < count; i++) {
    struct result one[2] = {{0}, {0}};
    char what[64];
    if (!use_trace_read(paths[i], &trace))
      continue;
    for (uint64_t seed = 1; seed <= ORDERS; seed++)
      for (int with = 0; with < 2; with++) {
        struct result result = run_room(&trace, seed, relief, with);
        add(&one[with], &result);
        add(&all[with], &result);
      }
    snprintf(what, sizeof what, "%s.%s", name, trace.name);
    print(what, &one[0], &one[1]);
  }
  print(name, &all[0], &all[1]);
}

/* ---- next ---- */

#define NEXT_MODELS 40
#define NEXT_FLOWS 10
#define NEXT_STEPS 3
#define NEXT_REQUESTS 4000
#define NEXT_CARD 6 /* models, all of one size */
#define NEXT_RAM 12
#define NEXT_LOW 9    /* in RAM: 75 %: from there on its pressure is not low */
#define NEXT_OTHERS 8 /* requests for others, after which a guess was wrong */
#define NEXT_SEEN 0.8 /* of requests that begin, those of workflows */

enum place { ON_DISK, IN_RAM, ON_CARD };

struct host {
  enum place places[NEXT_MODELS];
  uint64_t used_at[NEXT_MODELS];
  uint32_t guess, others; /* guess: the model + 1, 0: none */
  struct successor_table successors;
  struct result result;
};

static uint32_t count_in(const struct host *host, enum place place) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < NEXT_MODELS; i++)
    count += host->places[i] == place;
  return count;
}

/* The one that was not used for longest. */
static uint32_t oldest_in(const struct host *host, enum place place) {
  uint32_t found = NEXT_MODELS;
  for (uint32_t i = 0; i < NEXT_MODELS; i++)
    if (host->places[i] == place &&
        (found == NEXT_MODELS || host->used_at[i] < host->used_at[found]))
      found = i;
  return found;
}

/* To the card; who goes for it is parked, and relief keeps host memory under its trigger. */
static void use(struct host *host, uint32_t model, uint64_t now) {
  host->result.waits += host->places[model] == ON_DISK;
  host->result.bytes += host->places[model] == ON_DISK;
  host->places[model] = ON_CARD;
  host->used_at[model] = now;
  if (count_in(host, ON_CARD) > NEXT_CARD)
    host->places[oldest_in(host, ON_CARD)] = IN_RAM;
  if (count_in(host, IN_RAM) >= (uint32_t)(ROOM_TRIGGER * NEXT_RAM))
    while (count_in(host, IN_RAM) > (uint32_t)(ROOM_TARGET * NEXT_RAM))
      host->places[oldest_in(host, IN_RAM)] = ON_DISK;
}

static void guess(struct host *host, uint32_t model) {
  bool asked = host->guess == model + 1;
  if (host->guess && (asked || !--host->others)) {
    host->result.needed += asked;
    host->guess = 0;
  }
  successor_add(&host->successors, model + 1);
  struct successor next = successor_after(&host->successors, model + 1);
  if (host->guess || next.confidence < SUCCESSOR_SURE || host->places[next.id - 1] != ON_DISK ||
      count_in(host, IN_RAM) >= NEXT_LOW)
    return;
  host->guess = (uint32_t)next.id;
  host->others = NEXT_OTHERS;
  host->places[next.id - 1] = IN_RAM;
  host->used_at[next.id - 1] = host->used_at[model];
  host->result.acts++;
  host->result.bytes++;
}

static struct result run_next(uint64_t seed, double of_flows, bool predicts) {
  static struct host host;
  uint32_t order[NEXT_MODELS], flow = 0, step = NEXT_STEPS;
  host = (struct host){.guess = 0};
  begin_chance(seed);
  shuffle(order, NEXT_MODELS);
  for (uint64_t now = 1; now <= NEXT_REQUESTS; now++) {
    uint32_t model;
    if (step == NEXT_STEPS && chance() < of_flows) {
      flow = zipf(NEXT_FLOWS);
      step = 0;
    }
    model = step < NEXT_STEPS ? order[NEXT_STEPS * flow + step++] : order[zipf(NEXT_MODELS)];
    use(&host, model, now);
    if (predicts)
      guess(&host, model);
  }
  return host.result;
}

static void next(const char *name, double of_flows) {
  struct result all[2] = {{0}, {0}};
  for (uint64_t seed = 1; seed <= ORDERS; seed++)
    for (int with = 0; with < 2; with++) {
      struct result result = run_next(seed, of_flows, with);
      add(&all[with], &result);
    }
  print(name, &all[0], &all[1]);
}

int main(int argc, char **argv) {
  room("room", false, argc - 1, argv + 1);
  room("relief", true, argc - 1, argv + 1);
  next("chain", NEXT_SEEN);
  next("chance", 0);
  return argc > 1 ? 0 : 2;
}
