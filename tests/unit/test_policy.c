/* policy: whom a plan takes, whom it never takes, and that it takes no more than it must. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/units.h"
#include "model/policy.h"

#define MOST 10
#define NOW (1000 * CLOCK_SECOND)

struct picture {
  struct policy_model models[MOST];
  struct policy_snapshot snapshot;
  struct policy_params params;
  struct policy_plan plan;
  uint64_t seed;
};

static void begin(struct picture *picture, enum policy_strategy strategy, uint64_t gib) {
  *picture = (struct picture){.seed = 1};
  picture->snapshot = (struct policy_snapshot){picture->models, 0, {0, 0}, NOW};
  picture->params = (struct policy_params){.strategy = strategy,
                                           .bytes = gib * GIB,
                                           .drop = true,
                                           .max_models = UINT32_MAX,
                                           .max_priority = UINT8_MAX};
}

/* A model that came and was used so many seconds after the start. */
static struct policy_model *add(struct picture *picture, uint64_t gib, unsigned came,
                                unsigned used) {
  struct policy_model *model = &picture->models[picture->snapshot.count];
  *model = (struct policy_model){.user = 100 + picture->snapshot.count++,
                                 .bytes = gib * GIB,
                                 .resident_since_ns = came * CLOCK_SECOND,
                                 .last_used_ns = used * CLOCK_SECOND,
                                 .disk_seconds = (double)gib,
                                 .ram_seconds = (double)gib / 10};
  return model;
}

static void plan(struct picture *picture) {
  policy_plan_free(&picture->plan);
  assert_int_equal(STATUS_OK,
                   policy_plan_make(&picture->snapshot, &picture->params, &picture->plan));
}

static bool takes(const struct picture *picture, uint32_t model) {
  return picture->plan.rules[model] == POLICY_VICTIM;
}

static void takes_only(struct picture *picture, uint32_t model) {
  plan(picture);
  assert_true(picture->plan.covered);
  assert_int_equal(1, picture->plan.count);
  assert_int_equal(model, picture->plan.steps[0].model);
  assert_int_equal(100 + model, picture->plan.steps[0].user);
  policy_plan_free(&picture->plan);
}

/* ---- the orders ---- */

static void each_strategy_has_its_first_victim(void **state) {
  (void)state;
  struct picture p;
  struct policy_model *model;
  begin(&p, POLICY_FIFO, 1);
  p.snapshot.clock.uses = 10;
  model = add(&p, 4, 1, 90); /* came first; used most */
  model->credit = (struct policy_credit){90, 9, 10};
  model->priority = 2;
  model = add(&p, 4, 2, 50); /* not used for longest */
  model->credit = (struct policy_credit){50, 5, 10};
  model->priority = 2;
  model = add(&p, 4, 3, 80); /* used least */
  model->credit = (struct policy_credit){70, 1, 10};
  model->priority = 2;
  model = add(&p, 4, 4, 95); /* least important */
  model->credit = (struct policy_credit){80, 8, 10};
  model->priority = 1;
  takes_only(&p, 0);
  p.params.strategy = POLICY_LRU;
  takes_only(&p, 1);
  p.params.strategy = POLICY_LFU;
  takes_only(&p, 2);
  p.params.strategy = POLICY_PRIORITY;
  takes_only(&p, 3);
  p.models[0].priority = p.models[1].priority = 1; /* equal: the longest not used */
  takes_only(&p, 1);
}

static void cost_keeps_what_is_slow_to_reload(void **state) {
  (void)state;
  struct picture p;
  begin(&p, POLICY_COST, 1);
  for (uint32_t i = 0; i < 3; i++) {
    struct policy_model *model = add(&p, 4, i, i);
    model->disk_seconds = i == 1 ? 2 : 8;
    policy_used(&p.snapshot.clock, &model->credit, model->bytes, model->disk_seconds);
  }
  takes_only(&p, 1);
  for (uint32_t i = 0; i < 6; i++) /* unless it is used so much more */
    policy_used(&p.snapshot.clock, &p.models[1].credit, 4 * GIB, 2);
  takes_only(&p, 0);
}

/* ---- who is never taken ---- */

static void rules_hold_models_back_and_say_so(void **state) {
  (void)state;
  struct picture p;
  begin(&p, POLICY_FIFO, 64);
  p.params.max_priority = 1;
  p.params.min_residency_ns = 60 * CLOCK_SECOND;
  p.params.min_idle_ns = 10 * CLOCK_SECOND;
  add(&p, 1, 1, 1)->busy = true;
  add(&p, 2, 2, 2)->pinned = true;
  add(&p, 4, 3, 3)->excluded = true;
  add(&p, 8, 4, 4)->priority = 2;
  add(&p, 16, 980, 980);
  add(&p, 32, 6, 995);
  add(&p, 1, 7, 7);
  add(&p, 0, 8, 8);
  static const enum policy_rule RULES[] = {POLICY_BUSY,   POLICY_PINNED, POLICY_EXCLUDED,
                                           POLICY_HIGHER, POLICY_YOUNG,  POLICY_IN_USE,
                                           POLICY_VICTIM, POLICY_EMPTY};
  plan(&p);
  assert_false(p.plan.covered);
  for (uint32_t i = 0; i < 8; i++) {
    assert_int_equal(RULES[i], p.plan.rules[i]);
    assert_int_equal(p.models[i].bytes, p.plan.bytes_of[RULES[i]]);
  }
  assert_int_equal(GIB, p.plan.freed_bytes); /* the most that can be done */
  assert_true(p.plan.next_ns == 1005 * CLOCK_SECOND);
  p.params.force = true; /* forgets ages, nothing else */
  plan(&p);
  assert_int_equal(49 * GIB, p.plan.freed_bytes);
  assert_int_equal(0, p.plan.next_ns);
  assert_false(takes(&p, 0) || takes(&p, 1) || takes(&p, 2) || takes(&p, 3));
  policy_plan_free(&p.plan);
}

static void a_model_stays_as_long_as_its_loads_took(void **state) {
  (void)state;
  struct picture p;
  begin(&p, POLICY_FIFO, 1);
  p.params.min_loads = 4;
  add(&p, 4, 990, 990)->disk_seconds = 3; /* until 1002 */
  add(&p, 4, 995, 995)->disk_seconds = 1;
  takes_only(&p, 1);
}

/* It goes if it is the least missed, but only where it need not: a device that holds few would do
 * nothing but load. */
static void what_was_served_need_not_stay_where_others_could_go(void **state) {
  (void)state;
  struct picture p;
  begin(&p, POLICY_COST, 4);
  p.params.min_loads = 1;
  struct policy_model *often = add(&p, 4, 1, 1), *young = add(&p, 4, 999, 999);
  for (unsigned uses = 5; uses--;)
    policy_used(&p.snapshot.clock, &often->credit, 4 * GIB, 4);
  policy_used(&p.snapshot.clock, &young->credit, 4 * GIB, 4);
  takes_only(&p, 0);
  young->served = true;
  takes_only(&p, 1);
  p.params.strategy = POLICY_LFU; /* an order is an order */
  takes_only(&p, 0);
  p.params.strategy = POLICY_COST;
  often->busy = true;
  plan(&p);
  assert_false(p.plan.covered);
  assert_int_equal(POLICY_YOUNG, p.plan.rules[1]);
  assert_true(p.plan.next_ns == 1003 * CLOCK_SECOND);
  policy_plan_free(&p.plan);
}

static void pinned_models_go_last_and_in_the_last_resort_only(void **state) {
  (void)state;
  struct picture p;
  begin(&p, POLICY_FIFO, 6);
  add(&p, 8, 1, 1)->pinned = true;
  add(&p, 4, 2, 2);
  add(&p, 4, 3, 3);
  p.params.last_resort = true;
  plan(&p);
  assert_true(!takes(&p, 0) && takes(&p, 1) && takes(&p, 2));
  p.params.bytes = 12 * GIB;
  plan(&p);
  assert_true(p.plan.covered && takes(&p, 0));
  p.models[0].busy = true;
  plan(&p);
  assert_false(p.plan.covered || takes(&p, 0));
  policy_plan_free(&p.plan);
}

/* ---- the smallest set ---- */

static void a_victim_that_became_unnecessary_stays(void **state) {
  (void)state;
  struct picture p;
  begin(&p, POLICY_FIFO, 8);
  add(&p, 2, 1, 1);
  add(&p, 8, 2, 2);
  takes_only(&p, 1);
}

static void one_victim_is_preferred_at_no_more_cost(void **state) {
  (void)state;
  struct picture p;
  begin(&p, POLICY_LRU, 8);
  add(&p, 4, 1, 1);
  add(&p, 4, 2, 2);
  add(&p, 8, 3, 3);
  takes_only(&p, 2);
  p.models[2].disk_seconds = 80; /* dearer than the two */
  plan(&p);
  assert_true(takes(&p, 0) && takes(&p, 1) && !takes(&p, 2));
  p.models[2].disk_seconds = 8;
  p.models[2].priority = 1;
  p.params.strategy = POLICY_PRIORITY; /* seconds do not outweigh a priority */
  plan(&p);
  assert_true(takes(&p, 0) && takes(&p, 1) && !takes(&p, 2));
  policy_plan_free(&p.plan);
}

static void at_most_so_many_models_are_taken(void **state) {
  (void)state;
  struct picture p;
  begin(&p, POLICY_FIFO, 9);
  add(&p, 1, 1, 1);
  add(&p, 2, 2, 2);
  add(&p, 8, 3, 3);
  p.params.max_models = 2;
  plan(&p);
  assert_true(p.plan.covered && !takes(&p, 0) && takes(&p, 1) && takes(&p, 2));
  p.params.max_models = 1;
  plan(&p);
  assert_false(p.plan.covered);
  assert_int_equal(8 * GIB, p.plan.freed_bytes);
  assert_int_equal(POLICY_LIMIT, p.plan.rules[0]);
  policy_plan_free(&p.plan);
}

/* ---- park, then drop ---- */

static void models_are_parked_before_any_is_dropped(void **state) {
  (void)state;
  struct picture p;
  begin(&p, POLICY_FIFO, 4);
  p.params.park = true;
  p.params.ram_bytes = 4 * GIB;
  add(&p, 8, 1, 1); /* the first, but there is no RAM for it */
  add(&p, 4, 2, 2);
  takes_only(&p, 1);
  plan(&p);
  assert_int_equal(POLICY_PARK, p.plan.steps[0].act);
  assert_int_equal(4 * GIB, p.plan.ram_bytes);
  p.params.bytes = 12 * GIB;
  plan(&p);
  assert_int_equal(2, p.plan.count);
  assert_int_equal(POLICY_PARK, p.plan.steps[0].act);
  assert_int_equal(1, p.plan.steps[0].model);
  assert_int_equal(POLICY_DROP, p.plan.steps[1].act);
  p.params.drop = false;
  plan(&p);
  assert_false(p.plan.covered);
  assert_int_equal(POLICY_NO_ROOM, p.plan.rules[0]);
  p.models[0].has_ram_copy = true; /* takes no RAM to park */
  plan(&p);
  assert_true(p.plan.covered);
  assert_int_equal(0, p.plan.steps[0].model);
  assert_int_equal(4 * GIB, p.plan.ram_bytes);
  policy_plan_free(&p.plan);
}

/* Whatever the order says: the model stays, and neither a pin nor its age holds its copy. */
static void second_copies_go_before_any_model(void **state) {
  (void)state;
  for (unsigned strategy = 0; strategy < POLICY_STRATEGIES; strategy++) {
    struct picture p;
    begin(&p, (enum policy_strategy)strategy, 4);
    p.params.min_residency_ns = 100 * CLOCK_SECOND;
    add(&p, 4, 1, 1);
    struct policy_model *spare = add(&p, 4, 990, 999);
    spare->spare = spare->pinned = true;
    spare->priority = 3;
    plan(&p);
    assert_int_equal(1, p.plan.count);
    assert_int_equal(1, p.plan.steps[0].model);
    assert_int_equal(POLICY_DRAIN, p.plan.steps[0].act);
    assert_int_equal(0, p.plan.ram_bytes);
    p.params.bytes = 8 * GIB;
    plan(&p);
    assert_int_equal(2, p.plan.count);
    assert_int_equal(POLICY_DRAIN, p.plan.steps[0].act);
    assert_int_equal(POLICY_DROP, p.plan.steps[1].act);
    p.params.drop = false; /* then only what is no loss goes */
    plan(&p);
    assert_int_equal(1, p.plan.count);
    assert_int_equal(POLICY_DRAIN, p.plan.steps[0].act);
    policy_plan_free(&p.plan);
  }
}

static void ram_that_the_first_would_use_up_is_left_for_one_that_covers(void **state) {
  (void)state;
  struct picture p;
  begin(&p, POLICY_FIFO, 6);
  p.params.park = true;
  p.params.drop = false;
  p.params.ram_bytes = 6 * GIB;
  add(&p, 4, 1, 1);
  add(&p, 6, 2, 2);
  takes_only(&p, 1);
}

static void smart_lets_go_what_comes_back_from_ram(void **state) {
  (void)state;
  struct picture p;
  begin(&p, POLICY_COST, 4);
  p.params.park = true;
  for (uint32_t i = 0; i < 2; i++) {
    struct policy_model *model = add(&p, 4, i, i);
    model->has_ram_copy = true;
    policy_used(&p.snapshot.clock, &model->credit, 4 * GIB, 4 + i);
  }
  p.models[0].ram_seconds = 0; /* not known: nothing is assumed */
  takes_only(&p, 0);
  p.params.prefer_ram = true;
  p.params.max_models = 1;
  p.models[1].disk_seconds = 5;
  plan(&p);
  assert_true(takes(&p, 1));
  policy_plan_free(&p.plan);
}

/* ---- random pictures against all subsets ---- */

static uint64_t draw(struct picture *picture, uint64_t below) {
  picture->seed = picture->seed * UINT64_C(6364136223846793005) + 1; /* Knuth's MMIX */
  return (picture->seed >> 33) % below;
}

static void random_picture(struct picture *p, uint64_t seed) {
  begin(p, (enum policy_strategy)(seed % POLICY_STRATEGIES), 0);
  p->seed = seed * UINT64_C(0x9e3779b97f4a7c15);
  p->params.bytes = draw(p, 40) * GIB;
  p->params.max_models = draw(p, 3) ? UINT32_MAX : (uint32_t)draw(p, 4);
  p->params.max_priority = (uint8_t)draw(p, 4);
  p->params.min_residency_ns = draw(p, 2) * 100 * CLOCK_SECOND;
  p->params.min_loads = (uint32_t)draw(p, 5);
  p->params.min_idle_ns = draw(p, 2) * 50 * CLOCK_SECOND;
  p->params.force = !draw(p, 4);
  p->params.last_resort = !draw(p, 4);
  p->params.park = draw(p, 2);
  p->params.drop = !p->params.park || draw(p, 2);
  p->params.ram_bytes = p->params.drop ? draw(p, 20) * GIB : 1000 * GIB;
  for (uint64_t i = draw(p, MOST + 1); i--;) {
    struct policy_model *model =
        add(p, draw(p, 12), (unsigned)draw(p, 1000), (unsigned)draw(p, 1000));
    model->priority = (uint8_t)draw(p, 4);
    model->has_ram_copy = !draw(p, 3);
    model->busy = !draw(p, 8);
    model->pinned = !draw(p, 8);
    model->excluded = !draw(p, 8);
    model->spare = !draw(p, 6);
    for (uint64_t uses = draw(p, 5); uses--;)
      policy_used(&p->snapshot.clock, &model->credit, model->bytes, model->disk_seconds);
  }
}

static bool is_old(const struct picture *p, const struct policy_model *model) {
  double loads = p->params.min_loads * model->disk_seconds * (double)CLOCK_SECOND;
  uint64_t here = NOW - model->resident_since_ns;
  return p->params.force || model->spare ||
         (here >= p->params.min_residency_ns && (double)here >= loads &&
          NOW - model->last_used_ns >= p->params.min_idle_ns);
}

static bool may_go(const struct picture *p, const struct policy_model *model) {
  return model->bytes && !model->busy && !model->excluded && is_old(p, model) &&
         model->priority <= p->params.max_priority &&
         (!model->pinned || model->spare || p->params.last_resort);
}

static bool some_set_covers(const struct picture *p) {
  uint32_t count = p->snapshot.count;
  for (uint32_t set = 0; set < UINT32_C(1) << count; set++) {
    uint64_t bytes = 0;
    bool allowed = (uint32_t)__builtin_popcount(set) <= p->params.max_models;
    for (uint32_t i = 0; i < count && allowed; i++)
      if (set >> i & 1) {
        bytes += p->models[i].bytes;
        allowed = may_go(p, &p->models[i]);
      }
    if (allowed && bytes >= p->params.bytes)
      return true;
  }
  return false;
}

static void is_lawful(const struct picture *p) {
  const struct policy_plan *made = &p->plan;
  uint64_t freed = 0, ram = 0, of_rules = 0, all = 0;
  assert_true(made->count <= p->params.max_models);
  for (uint32_t i = 0; i < made->count; i++) {
    const struct policy_step *step = &made->steps[i];
    const struct policy_model *model = &p->models[step->model];
    assert_true(may_go(p, model));
    assert_int_equal(model->bytes, step->bytes);
    assert_int_equal(model->spare, step->act == POLICY_DRAIN);
    assert_true(model->spare || (step->act == POLICY_PARK ? p->params.park : p->params.drop));
    assert_int_equal(step->act == POLICY_PARK && !model->has_ram_copy ? step->bytes : 0,
                     step->ram_bytes);
    assert_true(!i || step[-1].act <= step->act);
    for (uint32_t j = 0; j < i; j++)
      assert_int_not_equal(step->model, made->steps[j].model);
    freed += step->bytes;
    ram += step->ram_bytes;
  }
  assert_true(ram <= p->params.ram_bytes);
  assert_int_equal(freed, made->freed_bytes);
  assert_int_equal(ram, made->ram_bytes);
  for (uint32_t i = 0; made->covered && i < made->count; i++) /* nobody can be left out */
    assert_true(freed - made->steps[i].bytes < p->params.bytes);
  for (unsigned rule = 0; rule < POLICY_RULES; rule++)
    of_rules += made->bytes_of[rule];
  for (uint32_t i = 0; i < p->snapshot.count; i++)
    all += p->models[i].bytes;
  assert_int_equal(all, of_rules);
}

static void random_plans_cover_when_any_set_does_and_take_no_more(void **state) {
  (void)state;
  unsigned covered = 0;
  for (uint64_t seed = 1; seed <= 4000; seed++) {
    struct picture p;
    random_picture(&p, seed);
    plan(&p);
    is_lawful(&p);
    assert_int_equal(some_set_covers(&p), p.plan.covered);
    covered += p.plan.covered && p.plan.count;
    policy_plan_free(&p.plan);
  }
  assert_true(covered > 500); /* the pictures are worth it */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_strategy_has_its_first_victim),
      cmocka_unit_test(cost_keeps_what_is_slow_to_reload),
      cmocka_unit_test(rules_hold_models_back_and_say_so),
      cmocka_unit_test(a_model_stays_as_long_as_its_loads_took),
      cmocka_unit_test(what_was_served_need_not_stay_where_others_could_go),
      cmocka_unit_test(pinned_models_go_last_and_in_the_last_resort_only),
      cmocka_unit_test(a_victim_that_became_unnecessary_stays),
      cmocka_unit_test(one_victim_is_preferred_at_no_more_cost),
      cmocka_unit_test(at_most_so_many_models_are_taken),
      cmocka_unit_test(models_are_parked_before_any_is_dropped),
      cmocka_unit_test(second_copies_go_before_any_model),
      cmocka_unit_test(ram_that_the_first_would_use_up_is_left_for_one_that_covers),
      cmocka_unit_test(smart_lets_go_what_comes_back_from_ram),
      cmocka_unit_test(random_plans_cover_when_any_set_does_and_take_no_more),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
