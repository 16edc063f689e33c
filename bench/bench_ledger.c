/*
 * bench_ledger: what a start costs at 1,000,000 live allocations in 1,000 segments, 10 owners.
 *
 *   ledger.adopt_rising_ms, ledger.adopt_shuffled_ms  map, validate and take over
 *   ledger.check_rising_ms, ledger.check_shuffled_ms  the check for overlaps
 *
 * Rising: the allocations were made one after the other, and none freed. Shuffled: in a random
 * order of places, and then twice as many as there are were freed and made again, at random.
 * Each figure is the best of several: other programs only make them worse.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "ledger/ledger.h"

#define LIVE 1000000
#define SEGMENTS 1000
#define OWNERS 10
#define BLOCK 4096
#define ROUNDS 5

struct field {
  struct ledger *ledger;
  uint64_t segments[SEGMENTS], owners[OWNERS];
  uint32_t slots[LIVE];
  uint32_t places[LIVE];
  uint64_t seed;
};

static void fail(const char *what) {
  fprintf(stderr, "bench_ledger: %s\n", what);
  exit(1);
}

static uint64_t draw(struct field *field) {
  field->seed ^= field->seed << 13;
  field->seed ^= field->seed >> 7;
  field->seed ^= field->seed << 17;
  return field->seed;
}

static uint32_t put(struct field *field, struct ledger_record *record) {
  uint32_t slot = 0;
  record->id = ledger_next_id(field->ledger);
  if (ledger_put(field->ledger, record, &slot))
    fail("the ledger is full");
  return slot;
}

static void allocate(struct field *field, uint32_t i) {
  uint32_t place = field->places[i], per_segment = LIVE / SEGMENTS;
  struct ledger_record record = {.kind = LEDGER_ALLOCATION};
  record.u.allocation = (struct ledger_allocation){
      .segment = field->segments[place / per_segment],
      .offset_bytes = (uint64_t)(place % per_segment) * BLOCK,
      .size_bytes = BLOCK,
      .owner = field->owners[place % OWNERS],
  };
  field->slots[i] = put(field, &record);
}

static void shuffle_places(struct field *field) {
  for (uint32_t i = LIVE - 1; i; i--) {
    uint32_t other = (uint32_t)(draw(field) % (i + 1)), place = field->places[i];
    field->places[i] = field->places[other];
    field->places[other] = place;
  }
}

static void churn(struct field *field) {
  for (uint32_t n = 0; n < 2 * LIVE / 100; n++) {
    uint32_t some[100];
    for (unsigned i = 0; i < 100; i++) {
      some[i] = (uint32_t)(draw(field) % (LIVE / 100) * 100 + i); /* no two are one */
      ledger_drop(field->ledger, field->slots[some[i]]);
    }
    for (unsigned i = 0; i < 100; i++)
      allocate(field, some[i]);
  }
}

static void make(struct field *field, bool shuffled) {
  if (ledger_create(LIVE + SEGMENTS + OWNERS, &field->ledger))
    fail("no ledger");
  for (uint32_t i = 0; i < OWNERS; i++) {
    struct ledger_record record = {.kind = LEDGER_OWNER};
    put(field, &record);
    field->owners[i] = record.id;
  }
  for (uint32_t i = 0; i < SEGMENTS; i++) {
    struct ledger_record record = {.kind = LEDGER_SEGMENT};
    record.u.segment.size_bytes = LIVE / SEGMENTS * BLOCK;
    put(field, &record);
    field->segments[i] = record.id;
  }
  for (uint32_t i = 0; i < LIVE; i++)
    field->places[i] = i;
  if (shuffled)
    shuffle_places(field);
  for (uint32_t i = 0; i < LIVE; i++)
    allocate(field, i);
  if (shuffled)
    churn(field);
}

static void measure(struct field *field, const char *name) {
  double adopt = 1e9, check = 1e9;
  for (int round = 0; round < ROUNDS; round++) {
    struct ledger *heir;
    struct problem problem;
    uint64_t start = clock_now();
    if (ledger_adopt(ledger_share(field->ledger), &heir, &problem))
      fail(problem.text);
    uint64_t adopted = clock_now();
    if (ledger_check_overlaps(heir, &problem))
      fail(problem.text);
    uint64_t checked = clock_now();
    double adopt_ms = (double)(adopted - start) / 1e6, check_ms = (double)(checked - adopted) / 1e6;
    adopt = adopt_ms < adopt ? adopt_ms : adopt;
    check = check_ms < check ? check_ms : check;
    ledger_free(heir);
  }
  printf("ledger.adopt_%s_ms=%.1f\nledger.check_%s_ms=%.1f\n", name, adopt, name, check);
}

int main(void) {
  static struct field field = {.seed = 88172645463325252};
  make(&field, false);
  measure(&field, "rising");
  ledger_free(field.ledger);
  make(&field, true);
  measure(&field, "shuffled");
  ledger_free(field.ledger);
  return 0;
}
