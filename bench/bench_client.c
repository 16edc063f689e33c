/*
 * bench_client SOCKET [DEVICE]: libmemkeep against a daemon. Prints medians of one connection, by
 * turns:
 *
 *   client.round_trip_us   an operation that does nothing
 *   client.cycle_us        allocate, attach, map, touch and free 1 MiB
 *   client.attach_small_us attach, map and detach what is there: 64 KiB
 *   client.attach_large_us the same: 1 GiB
 *
 * or, with a device, of allocating 64 KiB there, which are freed each time:
 *
 *   client.allocate_us
 */
#include <err.h>
#include <memkeep/memkeep.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/units.h"

#define ROUNDS 2000

enum { ROUND_TRIP, CYCLE, ATTACH_SMALL, ATTACH_LARGE, KINDS };
static const char *const names[KINDS] = {"round_trip", "cycle", "attach_small", "attach_large"};

struct bench {
  mk_client *client;
  mk_allocation *small, *large;
};

static void must(enum mk_code code) {
  if (code)
    errx(1, "%s: %s", mk_code_name(code), mk_error_text());
}

static void attach(mk_client *by, const mk_allocation *what) {
  mk_allocation *got;
  must(mk_attach(by, mk_id(what), 0, &got));
  if (!mk_pointer(got))
    errx(1, "no pointer");
  must(mk_detach(got));
}

static void cycle(mk_client *client) {
  mk_allocation *made;
  must(mk_allocate(client, &(struct mk_request){.size = MIB, .device = "host:0"}, &made));
  *(char *)mk_pointer(made) = 1;
  must(mk_free(made));
}

static void one(const struct bench *bench, mk_client *other, int kind) {
  switch (kind) {
  case ROUND_TRIP:
    must(mk_call(bench->client, "ping", NULL, NULL));
    return;
  case CYCLE:
    cycle(bench->client);
    return;
  case ATTACH_SMALL:
    attach(other, bench->small);
    return;
  default:
    attach(other, bench->large);
  }
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void print_median(const char *name, uint64_t times[ROUNDS]) {
  qsort(times, ROUNDS, sizeof *times, by_value);
  printf("client.%s_us=%.1f\n", name, (double)times[ROUNDS / 2] / 1e3);
}

static void allocate_on(const struct mk_options *options, const char *device) {
  static uint64_t times[ROUNDS];
  struct mk_request request = {.size = 64 * KIB, .device = device};
  mk_client *client;
  must(mk_connect(options, &client));
  for (int i = 0; i < ROUNDS; i++) {
    mk_allocation *made;
    uint64_t start = clock_now();
    must(mk_allocate(client, &request, &made));
    times[i] = clock_now() - start;
    must(mk_free(made));
  }
  print_median("allocate", times);
  mk_close(client);
}

int main(int argc, char **argv) {
  static uint64_t times[KINDS][ROUNDS];
  struct mk_options options = {.socket = argc >= 2 ? argv[1] : NULL};
  if (argc == 3) {
    allocate_on(&options, argv[2]);
    return 0;
  }
  struct mk_request small = {.size = 64 * KIB, .device = "host:0", .share = "write"};
  struct mk_request large = {.size = GIB, .device = "host:0", .share = "write"};
  struct bench bench;
  mk_client *other;
  must(mk_connect(&options, &bench.client));
  must(mk_connect(&options, &other));
  must(mk_allocate(bench.client, &small, &bench.small));
  must(mk_allocate(bench.client, &large, &bench.large));
  for (int i = 0; i < ROUNDS; i++)
    for (int kind = 0; kind < KINDS; kind++) {
      uint64_t start = clock_now();
      one(&bench, other, kind);
      times[kind][i] = clock_now() - start;
    }
  for (int kind = 0; kind < KINDS; kind++)
    print_median(names[kind], times[kind]);
  mk_close(other);
  mk_close(bench.client);
  return 0;
}
