/*
 * tally: a timer.
 */
#include "daemon/tally.h"

#include <stdlib.h>

#include "ops/latency.h"
#include "service/service.h"

#define TALLY_MS 60000

struct tally {
  struct ops *ops;
  struct loop_timer *timer;
};

static void give(void *arg) {
  const struct tally *tally = arg;
  latency_give(ops_latency(tally->ops), service_history(ops_service(tally->ops)));
}

struct tally *tally_start(struct loop *loop, struct ops *ops) {
  struct tally *tally = calloc(1, sizeof *tally);
  if (!tally)
    return NULL;
  tally->ops = ops;
  if (loop_timer(loop, give, tally, &tally->timer)) {
    free(tally);
    return NULL;
  }
  loop_timer_start(tally->timer, TALLY_MS, TALLY_MS);
  return tally;
}

void tally_free(struct tally *tally) {
  if (!tally)
    return;
  loop_timer_free(tally->timer);
  give(tally);
  free(tally);
}
