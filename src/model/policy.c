/*
 * policy: candidates are sorted once, then walked from the front.
 *
 * COST is GreedyDual-Size (Cao and Irani, "Cost-Aware WWW Proxy Caching Algorithms", USITS 1997):
 * credit = level + cost / size, where the level rises to the credit of whoever goes, so that credit
 * ages by eviction. The frequency is Cherkasova's (GDSF, HP Labs 1998), its exponent that of
 * GreedyDual* (Jin and Bestavros, 2000): credit = level + frequency^3 * cost / size. Reloads of
 * models show little recency beyond their popularity, and so the frequency has to outweigh the
 * level. Measured in bytes reloaded where FIFO reloads 1, in a prototype on five traces: without
 * frequency 0.96, with it 0.77, squared 0.74, cubed 0.73. By bench_policy, on 60 others: cubed,
 * with the search of the best set, 0.748; an order by the true popularity, which nobody can know,
 * 0.745.
 *
 * With parks only, RAM is a second thing to run out of, and the front of the order can use it up
 * badly; then the walk begins anew behind the first, the second, … candidate.
 */
#include "model/policy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"

#define POLICY_HALF_LIFE                                                                           \
  256                    /* uses; 512 and more lose where popularity shifts, and gain little else */
#define POLICY_STARTS 64 /* keeps the search quadratic in few, not in all models */

#define POLICY_FEW 14 /* 16,384 sets, some 100 us; a device seldom holds more models */
#define POLICY_SPARE                                                                               \
  0.4 /* bytes freed beyond the need, beside those of the last victim; measured */
#define POLICY_UNSEEN 0.125 /* uses to expect of a model that had none lately */

/* Seconds for a GiB: from a RAM copy over the fastest link to a file over a slow network. A time
 * that was measured on a stuck disk must not keep a model for ever. */
#define POLICY_DEAREST 1000.0
#define POLICY_CHEAPEST 0.001

struct candidate {
  double rank;
  uint64_t since;
  uint32_t index; /* in the snapshot */
  bool spare, pinned;
};

struct planner {
  const struct policy_snapshot *snapshot;
  const struct policy_params *params;
  struct candidate *order;
  uint32_t count;
  uint32_t *chosen; /* places in the order, rising */
  uint32_t chosen_count;
  uint64_t bytes, ram_bytes; /* of the chosen */
  bool parks_only;
  bool served_too; /* youth holds nobody back who was served */
  struct policy_plan plan;
};

static double larger(double a, double b) { return a > b ? a : b; }

/* ---- credit ---- */

static double seconds_per_gib(uint64_t bytes, double seconds) {
  if (!bytes || !(seconds > 0))
    return 1;
  double each = larger(seconds / (double)bytes * (double)GIB, POLICY_CHEAPEST);
  return each < POLICY_DEAREST ? each : POLICY_DEAREST;
}

/* Halves with each half life, straight in between. */
double policy_frequency(const struct policy_clock *clock, const struct policy_credit *credit) {
  uint64_t age = units_minus(clock->uses, credit->at);
  double part = (double)(age % POLICY_HALF_LIFE) / POLICY_HALF_LIFE;
  uint64_t halvings = units_min(age / POLICY_HALF_LIFE, 1000);
  return ldexp(credit->frequency, -(int)halvings) * (1 - part / 2);
}

void policy_used(struct policy_clock *clock, struct policy_credit *credit, uint64_t bytes,
                 double seconds) {
  double frequency = policy_frequency(clock, credit) + 1;
  double worth = frequency * frequency * frequency * seconds_per_gib(bytes, seconds);
  clock->uses++;
  credit->frequency = frequency;
  credit->at = clock->uses;
  credit->credit = clock->level + worth;
}

void policy_moved(const struct policy_clock *from, const struct policy_clock *to,
                  struct policy_credit *credit) {
  if (from != to)
    *credit = (struct policy_credit){0, policy_frequency(from, credit), to->uses};
}

void policy_evicted(struct policy_clock *clock, const struct policy_credit *credit) {
  clock->level = larger(clock->level, credit->credit);
}

/* ---- strategies ---- */

static double rank_by_frequency(const struct planner *p, const struct policy_model *model) {
  return policy_frequency(&p->snapshot->clock, &model->credit);
}

static double rank_by_priority(const struct planner *p, const struct policy_model *model) {
  (void)p;
  return model->priority;
}

static double rank_by_credit(const struct planner *p, const struct policy_model *model) {
  double level = p->snapshot->clock.level;
  double above = larger(model->credit.credit - level, 0);
  bool quick = p->params->prefer_ram && model->has_ram_copy;
  if (quick && model->ram_seconds > 0 && model->disk_seconds > model->ram_seconds)
    above *= model->ram_seconds / model->disk_seconds;
  return level + above;
}

static const struct {
  double (*rank)(const struct planner *p, const struct policy_model *model); /* NULL: all equal */
  bool by_arrival; /* then the longest there goes first, else the longest not used */
} STRATEGIES[POLICY_STRATEGIES] = {
    [POLICY_FIFO] = {NULL, true},
    [POLICY_LRU] = {NULL, false},
    [POLICY_LFU] = {rank_by_frequency, false},
    [POLICY_COST] = {rank_by_credit, false},
    [POLICY_PRIORITY] = {rank_by_priority, false},
};

static int by_rank(const void *left, const void *right) {
  const struct candidate *a = left, *b = right;
  if (a->spare != b->spare)
    return a->spare ? -1 : 1;
  if (a->pinned != b->pinned)
    return a->pinned ? 1 : -1;
  if (a->rank < b->rank || a->rank > b->rank)
    return a->rank < b->rank ? -1 : 1;
  if (a->since != b->since)
    return a->since < b->since ? -1 : 1;
  return a->index < b->index ? -1 : a->index > b->index;
}

static void add_candidate(struct planner *p, uint32_t index) {
  const struct policy_model *model = &p->snapshot->models[index];
  enum policy_strategy strategy = p->params->strategy;
  bool by_arrival = STRATEGIES[strategy].by_arrival;
  p->order[p->count++] = (struct candidate){
      .rank = STRATEGIES[strategy].rank ? STRATEGIES[strategy].rank(p, model) : 0,
      .since = by_arrival ? model->resident_since_ns : model->last_used_ns,
      .index = index,
      .spare = model->spare,
      .pinned = model->pinned && !model->spare,
  };
}

/* ---- who may go ---- */

static uint64_t later(uint64_t since, uint64_t ns) {
  uint64_t sum;
  return units_add(since, ns, &sum) ? sum : UINT64_MAX;
}

static uint64_t grown_up_at(const struct policy_params *params, const struct policy_model *model) {
  double loads = params->min_loads * larger(model->disk_seconds, 0) * (double)CLOCK_SECOND;
  uint64_t ns = loads < (double)INT64_MAX ? (uint64_t)loads : INT64_MAX;
  return later(model->resident_since_ns, units_max(params->min_residency_ns, ns));
}

/* Without being dropped. */
static bool is_parkable(const struct policy_params *params, const struct policy_model *model) {
  return model->spare ||
         (params->park && (model->has_ram_copy || model->bytes <= params->ram_bytes));
}

/* *until: when YOUNG and IN_USE end. */
static enum policy_rule rule_of(const struct planner *p, const struct policy_model *model,
                                uint64_t *until) {
  const struct policy_params *params = p->params;
  bool anytime = params->force || model->spare;
  bool grown = anytime || (p->served_too && model->served);
  uint64_t grown_up = grown ? 0 : grown_up_at(params, model);
  uint64_t idle = anytime ? 0 : later(model->last_used_ns, params->min_idle_ns);
  *until = units_max(grown_up, idle);
  const bool holds[POLICY_RULES] = {
      [POLICY_EMPTY] = !model->bytes,
      [POLICY_BUSY] = model->busy,
      [POLICY_PINNED] = model->pinned && !model->spare && !params->last_resort,
      [POLICY_EXCLUDED] = model->excluded,
      [POLICY_HIGHER] = model->priority > params->max_priority,
      [POLICY_YOUNG] = p->snapshot->now_ns < grown_up,
      [POLICY_IN_USE] = p->snapshot->now_ns < idle,
      [POLICY_NO_ROOM] = !params->drop && !is_parkable(params, model),
  };
  for (unsigned rule = POLICY_EMPTY; rule < POLICY_RULES; rule++)
    if (holds[rule])
      return (enum policy_rule)rule;
  return POLICY_SPARED;
}

static void judge(struct planner *p) {
  uint64_t next = UINT64_MAX;
  for (uint32_t i = 0; i < p->snapshot->count; i++) {
    uint64_t until;
    enum policy_rule rule = rule_of(p, &p->snapshot->models[i], &until);
    p->plan.rules[i] = rule;
    if (rule == POLICY_SPARED)
      add_candidate(p, i);
    if (rule == POLICY_YOUNG || rule == POLICY_IN_USE)
      next = units_min(next, until);
  }
  p->plan.next_ns = next < UINT64_MAX ? next : 0;
  if (p->count > 1)
    qsort(p->order, p->count, sizeof *p->order, by_rank);
}

/* ---- the set ---- */

static const struct policy_model *at(const struct planner *p, uint32_t place) {
  return &p->snapshot->models[p->order[place].index];
}

static bool is_covered(const struct planner *p) { return p->bytes >= p->params->bytes; }

static uint64_t ram_of(const struct planner *p, uint32_t place) {
  const struct policy_model *model = at(p, place);
  return p->parks_only && !model->has_ram_copy && !model->spare ? model->bytes : 0;
}

static void put(struct planner *p, uint32_t place) {
  p->chosen[p->chosen_count++] = place;
  p->bytes += at(p, place)->bytes;
  p->ram_bytes += ram_of(p, place);
}

static void clear(struct planner *p) {
  p->chosen_count = 0;
  p->bytes = p->ram_bytes = 0;
}

static void leave_out(struct planner *p, uint32_t which) {
  uint32_t place = p->chosen[which];
  p->bytes -= at(p, place)->bytes;
  p->ram_bytes -= ram_of(p, place);
  p->chosen_count--;
  memmove(&p->chosen[which], &p->chosen[which + 1], (p->chosen_count - which) * sizeof *p->chosen);
}

static uint32_t smallest(const struct planner *p) {
  uint32_t found = 0;
  for (uint32_t i = 1; i < p->chosen_count; i++)
    if (at(p, p->chosen[i])->bytes < at(p, p->chosen[found])->bytes)
      found = i;
  return found;
}

/* Where the models are counted, a larger one takes the place of the smallest. */
static void consider(struct planner *p, uint32_t place) {
  bool is_full = p->chosen_count == p->params->max_models;
  uint32_t out = is_full ? smallest(p) : 0;
  uint64_t given = is_full ? ram_of(p, p->chosen[out]) : 0;
  if (is_full && at(p, place)->bytes <= at(p, p->chosen[out])->bytes)
    return;
  if (ram_of(p, place) > units_minus(p->params->ram_bytes, p->ram_bytes - given))
    return;
  if (is_full)
    leave_out(p, out);
  put(p, place);
}

static bool choose(struct planner *p, uint32_t start, bool parks_only) {
  clear(p);
  p->parks_only = parks_only;
  for (uint32_t i = start; i < p->count && p->params->max_models && !is_covered(p); i++)
    if (!parks_only || is_parkable(p->params, at(p, i)))
      consider(p, i);
  return is_covered(p);
}

static void choose_all(struct planner *p) {
  const struct policy_params *params = p->params;
  uint32_t starts = params->park ? (uint32_t)units_min(p->count, POLICY_STARTS) : 0;
  bool covered = false;
  for (uint32_t i = 0; i < starts && !covered; i++)
    covered = choose(p, i, true);
  if (!covered)
    choose(p, 0, !params->drop);
}

static void prune(struct planner *p) {
  for (uint32_t i = p->chosen_count; i--;)
    if (p->bytes - at(p, p->chosen[i])->bytes >= p->params->bytes)
      leave_out(p, i);
}

/* The seconds that reloads are expected to take. Nobody is without any use to come; a second copy
 * is never loaded again. */
static double loss_of(const struct planner *p, uint32_t place) {
  const struct policy_model *model = at(p, place);
  if (model->spare)
    return 0;
  bool quick = p->params->prefer_ram && model->has_ram_copy && model->ram_seconds > 0;
  double seconds = quick ? model->ram_seconds : model->disk_seconds;
  double gib = (double)model->bytes / (double)GIB;
  return seconds_per_gib(model->bytes, seconds) * gib *
         (POLICY_UNSEEN + rank_by_frequency(p, model));
}

static double loss_of_chosen(const struct planner *p) {
  double loss = 0;
  for (uint32_t i = 0; i < p->chosen_count; i++)
    loss += loss_of(p, p->chosen[i]);
  return loss;
}

/* A pin, and under PRIORITY a priority, is not weighed against seconds. */
static bool can_replace(const struct planner *p, uint32_t place, uint32_t last) {
  const struct candidate *one = &p->order[place], *most = &p->order[last];
  if (at(p, place)->bytes < p->params->bytes || ram_of(p, place) > p->params->ram_bytes)
    return false;
  if (one->pinned && !most->pinned)
    return false;
  return p->params->strategy != POLICY_PRIORITY || one->rank <= most->rank;
}

static void prefer_one(struct planner *p) {
  uint32_t last = p->chosen[p->chosen_count - 1];
  uint64_t end = units_min((uint64_t)last + 1 + p->chosen_count, p->count);
  double loss = loss_of_chosen(p);
  for (uint32_t i = 0; i < end; i++)
    if (can_replace(p, i, last) && loss_of(p, i) <= loss) {
      clear(p);
      put(p, i);
      return;
    }
}

/* What a place of the first few weighs: its loss, less what bytes beyond the need are worth. */
static uint32_t weigh(const struct planner *p, double weights[POLICY_FEW]) {
  uint32_t few = 0, last = p->chosen[p->chosen_count - 1];
  double spare = POLICY_SPARE * loss_of(p, last) / (double)at(p, last)->bytes;
  while (few < units_min(p->count, POLICY_FEW) && !p->order[few].pinned) {
    weights[few] = loss_of(p, few) - spare * (double)at(p, few)->bytes;
    few++;
  }
  return last < few ? few : 0;
}

/* Every set of the first few, each one model away from the one before (Gray's code). */
static void least_loss(struct planner *p) {
  uint32_t set = 0, best = 0, members = 0;
  uint64_t bytes = 0, ram = 0;
  double weights[POLICY_FEW], weight = 0, least = INFINITY;
  uint32_t few = weigh(p, weights);
  for (uint32_t step = 1; step < UINT32_C(1) << few; step++) {
    uint32_t i = (uint32_t)__builtin_ctz(step), bit = UINT32_C(1) << i;
    bool in = !(set & bit);
    set ^= bit;
    members += in ? 1 : UINT32_MAX;
    bytes += in ? at(p, i)->bytes : -at(p, i)->bytes;
    ram += in ? ram_of(p, i) : -ram_of(p, i);
    weight += in ? weights[i] : -weights[i];
    bool allowed = members <= p->params->max_models && (!ram || ram <= p->params->ram_bytes);
    if (bytes >= p->params->bytes && allowed && weight < least) {
      least = weight;
      best = set;
    }
  }
  if (best)
    clear(p);
  for (uint32_t i = 0; i < few; i++)
    if (best >> i & 1)
      put(p, i);
  prune(p);
}

static void improve(struct planner *p) {
  prune(p);
  if (p->chosen_count > 0 && p->params->strategy == POLICY_COST)
    least_loss(p);
  else if (p->chosen_count > 1)
    prefer_one(p);
}

/* ---- steps ---- */

/* What RAM there is goes to those most worth keeping. */
static void fill_steps(struct planner *p) {
  uint64_t left = p->params->ram_bytes;
  for (uint32_t i = p->chosen_count; i--;) {
    uint32_t index = p->order[p->chosen[i]].index;
    const struct policy_model *model = &p->snapshot->models[index];
    uint64_t ram = model->has_ram_copy ? 0 : model->bytes;
    bool parks = p->params->park && !model->spare && ram <= left;
    enum policy_act act = model->spare ? POLICY_DRAIN : parks ? POLICY_PARK : POLICY_DROP;
    p->plan.steps[i] = (struct policy_step){model->user, index, act, model->bytes, parks ? ram : 0};
    left -= parks ? ram : 0;
  }
}

static unsigned kind_of(const struct policy_step *step) {
  return step->act == POLICY_DRAIN ? 0 : step->act == POLICY_DROP ? 3 : step->ram_bytes ? 2 : 1;
}

static void sort_steps(struct policy_plan *plan, struct policy_step *sorted) {
  uint32_t count = 0;
  for (unsigned kind = 0; kind < 4; kind++)
    for (uint32_t i = 0; i < plan->count; i++)
      if (kind_of(&plan->steps[i]) == kind)
        sorted[count++] = plan->steps[i];
  memcpy(plan->steps, sorted, count * sizeof *sorted);
}

static void account(struct planner *p) {
  struct policy_plan *plan = &p->plan;
  bool is_full = p->chosen_count == p->params->max_models;
  for (uint32_t i = 0; i < plan->count; i++) {
    plan->freed_bytes += plan->steps[i].bytes;
    plan->ram_bytes += plan->steps[i].ram_bytes;
    plan->rules[plan->steps[i].model] = POLICY_VICTIM;
  }
  plan->covered = plan->freed_bytes >= p->params->bytes;
  for (uint32_t i = 0; i < p->snapshot->count; i++) {
    if (plan->rules[i] == POLICY_SPARED && !plan->covered)
      plan->rules[i] = is_full ? POLICY_LIMIT : POLICY_NO_ROOM;
    plan->bytes_of[plan->rules[i]] += p->snapshot->models[i].bytes;
  }
}

static void choose_victims(struct planner *p) {
  p->count = 0;
  judge(p);
  choose_all(p);
  if (is_covered(p))
    improve(p);
}

/* Somebody young need not be waited for. Where a drop is not allowed, more to choose from may cover
 * less: RAM runs out. */
static bool may_take_served(const struct planner *p) {
  bool any = false;
  for (uint32_t i = 0; i < p->snapshot->count; i++)
    any = any || (p->plan.rules[i] == POLICY_YOUNG && p->snapshot->models[i].served);
  return any && p->params->strategy == POLICY_COST && p->params->drop && is_covered(p);
}

static bool make(struct planner *p, struct policy_step **sorted) {
  size_t count = (size_t)p->snapshot->count + 1;
  p->order = calloc(count, sizeof *p->order);
  p->chosen = calloc(count, sizeof *p->chosen);
  p->plan.steps = calloc(count, sizeof *p->plan.steps);
  p->plan.rules = calloc(count, sizeof *p->plan.rules);
  *sorted = calloc(count, sizeof **sorted);
  return p->order && p->chosen && p->plan.steps && p->plan.rules && *sorted;
}

enum status policy_plan_make(const struct policy_snapshot *snapshot,
                             const struct policy_params *params, struct policy_plan *out) {
  struct planner p = {.snapshot = snapshot, .params = params};
  struct policy_step *sorted;
  bool made = make(&p, &sorted);
  if (made) {
    choose_victims(&p);
    p.served_too = may_take_served(&p);
    if (p.served_too)
      choose_victims(&p);
    p.plan.count = p.chosen_count;
    fill_steps(&p);
    sort_steps(&p.plan, sorted);
    account(&p);
  }
  free(sorted);
  free(p.order);
  free(p.chosen);
  if (!made) {
    policy_plan_free(&p.plan);
    return STATUS_INTERNAL_ERROR;
  }
  *out = p.plan;
  return STATUS_OK;
}

void policy_plan_free(struct policy_plan *plan) {
  free(plan->steps);
  free(plan->rules);
  *plan = (struct policy_plan){0};
}

const char *policy_rule_name(enum policy_rule rule) {
  static const char *const NAMES[POLICY_RULES] = {
      [POLICY_SPARED] = "spared",     [POLICY_VICTIM] = "victim",  [POLICY_EMPTY] = "empty",
      [POLICY_BUSY] = "busy",         [POLICY_PINNED] = "pinned",  [POLICY_EXCLUDED] = "excluded",
      [POLICY_HIGHER] = "priority",   [POLICY_YOUNG] = "young",    [POLICY_IN_USE] = "used lately",
      [POLICY_LIMIT] = "model limit", [POLICY_NO_ROOM] = "no RAM",
  };
  return (unsigned)rule < POLICY_RULES ? NAMES[rule] : "?";
}
