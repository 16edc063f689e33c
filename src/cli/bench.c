/*
 * bench: two allocations are the place for memcpy and for the daemon's copies, so that both touch
 * the same memory. Medians, for a host has other things to do too; the time is what the caller
 * waits. A transfer is a trial of the daemon's, which keeps nothing.
 */
#include "cli/bench.h"

#include <inttypes.h>
#include <memkeep/memkeep.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "base/writer.h"
#include "cli/ending.h"
#include "cli/paint.h"

#define SIZE_DEFAULT (256 * MIB)
#define SIZE_MIN MIB
#define SIZE_MAX_BYTES                                                                             \
  (4 * GIB) /* a transfer of that is still done within the time of one answer */
#define SMALL (4 * KIB)
#define ROUNDS_MAX 1000
#define RESULTS_MAX 64
#define TEXT 256

struct result {
  char name[96];
  uint64_t bytes, median_ns;
  unsigned rounds;
  bool moves; /* bytes, whose rate is the point */
};

struct bench {
  mk_client *client, *other; /* other: who attaches what the first has */
  mk_allocation *source, *target;
  uint64_t size;
  const char *device; /* that transfers go to, NULL: all */
  struct result results[RESULTS_MAX];
  size_t count;
  char peer[80];  /* of the transfer that is measured */
  char why[TEXT]; /* a round failed, where the library does not know; "" */
  struct ending ending;
  int signal;
  bool lively, failed;
};

/* One round; MK_OK, or bench->why says why not, or else mk_error_text(). */
typedef enum mk_code round_fn(struct bench *bench);

static int by_size(const void *a, const void *b) {
  uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
  return (one > other) - (one < other);
}

static uint64_t median(uint64_t *times, unsigned count) {
  qsort(times, count, sizeof *times, by_size);
  return times[count / 2];
}

/* What the row of a result says, and how often it is tried. */
struct plan {
  round_fn *round;
  uint64_t bytes;
  unsigned rounds;
  bool moves;
};

/* The first round warms up, and is not counted. */
static void measure(struct bench *bench, const struct plan *plan, const char *name) {
  uint64_t times[ROUNDS_MAX];
  bench->signal = bench->signal ? bench->signal : ending_next(&bench->ending);
  if (bench->signal || bench->count == RESULTS_MAX)
    return;
  if (bench->lively)
    fprintf(stderr, "\r\033[K%s …", name);
  enum mk_code code = plan->round(bench);
  for (unsigned i = 0; i < plan->rounds && !code; i++) {
    uint64_t begun = clock_now();
    code = plan->round(bench);
    times[i] = clock_now() - begun;
  }
  if (bench->lively)
    fprintf(stderr, "\r\033[K");
  if (code) {
    fprintf(stderr, "memkeep: %s: %s\n", name, *bench->why ? bench->why : mk_error_text());
    bench->why[0] = '\0';
    bench->failed = true;
    return;
  }
  struct result *result = &bench->results[bench->count++];
  *result = (struct result){.bytes = plan->bytes,
                            .median_ns = median(times, plan->rounds),
                            .rounds = plan->rounds,
                            .moves = plan->moves};
  snprintf(result->name, sizeof result->name, "%s", name);
}

/* ---- rounds ---- */

static enum mk_code copy_here(struct bench *bench) {
  memcpy(mk_pointer(bench->target), mk_pointer(bench->source), bench->size);
  return MK_OK;
}

static enum mk_code allocate_small(struct bench *bench) {
  const struct mk_request request = {.size = SMALL, .device = mk_device(bench->source)};
  mk_allocation *made;
  enum mk_code code = mk_allocate(bench->client, &request, &made);
  return code ? code : mk_free(made);
}

static enum mk_code attach(struct bench *bench) {
  mk_allocation *attached;
  enum mk_code code = mk_attach(bench->other, mk_id(bench->source), MK_READ_ONLY, &attached);
  return code ? code : mk_detach(attached);
}

static enum mk_code copy_by_daemon(struct bench *bench, bool verify) {
  char data[TEXT];
  snprintf(data, sizeof data,
           "{\"source_allocation_id\":\"%s\",\"target_allocation_id\":\"%s\",\"verify\":%s,"
           "\"timeout\":600}",
           mk_id(bench->source), mk_id(bench->target), verify ? "true" : "false");
  return mk_call(bench->client, "memory.copy", data, NULL);
}

static enum mk_code copy(struct bench *bench) { return copy_by_daemon(bench, false); }
static enum mk_code copy_verified(struct bench *bench) { return copy_by_daemon(bench, true); }

/* A transfer that has not come to a good end is an answer like any other. */
static enum mk_code judge(struct bench *bench, const char *answer) {
  struct reader_doc *doc;
  struct problem problem;
  if (reader_parse(answer, strlen(answer), &doc, &problem))
    return MK_INTERNAL_ERROR;
  struct reader_value root = reader_root(doc);
  const char *status = reader_text(reader_get(root, "status"), "");
  bool done = strcmp(status, "completed") == 0;
  if (!done)
    snprintf(bench->why, sizeof bench->why, "%s: %s", status,
             reader_text(reader_get(root, "error_message"), "no reason is known"));
  reader_free(doc);
  return done ? MK_OK : MK_INTERNAL_ERROR;
}

static enum mk_code transfer(struct bench *bench) {
  char data[TEXT], *answer;
  snprintf(data, sizeof data,
           "{\"source_device_id\":\"%s\",\"target_device_id\":\"%s\",\"size_bytes\":%" PRIu64
           ",\"verify\":false,\"wait\":true,\"timeout\":600}",
           mk_device(bench->source), bench->peer, bench->size);
  enum mk_code code = mk_call(bench->client, "memory.transfer", data, &answer);
  if (code)
    return code;
  code = judge(bench, answer);
  free(answer);
  return code;
}

/* ---- the run ---- */

static void measure_transfers(struct bench *bench, struct reader_value devices) {
  const struct plan plan = {transfer, bench->size, 3, true};
  const char *from = mk_device(bench->source);
  char name[TEXT];
  for (size_t i = 0; i < reader_count(devices); i++) {
    const char *to = reader_text(reader_get(reader_at(devices, i), "device_id"), "");
    bool wanted = bench->device ? strcmp(to, bench->device) == 0 : true;
    if (!wanted || strcmp(to, from) == 0 || strlen(to) >= sizeof bench->peer)
      continue;
    snprintf(bench->peer, sizeof bench->peer, "%s", to);
    snprintf(name, sizeof name, "transfer %s to %s", from, to);
    measure(bench, &plan, name);
  }
}

static enum mk_code measure_all(struct bench *bench) {
  const struct plan plans[] = {{copy_here, bench->size, 7, true},
                               {allocate_small, SMALL, ROUNDS_MAX, false},
                               {attach, bench->size, 200, false},
                               {copy, bench->size, 7, true},
                               {copy_verified, bench->size, 3, true}};
  static const char *const names[] = {"memcpy", "allocate and free", "attach and detach",
                                      "copy by the daemon", "copy, both ends compared"};
  struct reader_doc *doc;
  struct problem problem;
  char *devices;
  for (size_t i = 0; i < sizeof plans / sizeof *plans; i++)
    measure(bench, &plans[i], names[i]);
  enum mk_code code = mk_call(bench->client, "memory.list_devices", NULL, &devices);
  if (code)
    return code;
  if (!reader_parse(devices, strlen(devices), &doc, &problem)) {
    measure_transfers(bench, reader_get(reader_root(doc), "devices"));
    reader_free(doc);
  }
  free(devices);
  return MK_OK;
}

static enum mk_code run(struct bench *bench, const struct globals *globals) {
  const struct mk_options options = {.socket = globals->socket};
  struct mk_request request = {.size = bench->size, .memory = "RAM", .label = "memkeep bench"};
  enum mk_code code = mk_connect(&options, &bench->client);
  if (!code)
    code = mk_connect(&options, &bench->other);
  if (!code && bench->device)
    code = mk_status(bench->client, bench->device, &(struct mk_status){0});
  if (!code)
    code = mk_allocate(bench->client, &request, &bench->source);
  request = (struct mk_request){.size = bench->size, .label = "memkeep bench"};
  request.device = code ? NULL : mk_device(bench->source);
  if (!code)
    code = mk_allocate(bench->client, &request, &bench->target);
  if (!code) {
    memset(mk_pointer(bench->source), 1, bench->size);
    code = measure_all(bench);
  }
  if (code)
    fprintf(stderr, "memkeep: %s\n", mk_error_text());
  if (code == MK_DEVICE_NOT_FOUND)
    fputs("  memkeep devices lists those there are\n", stderr);
  mk_free(bench->target);
  mk_free(bench->source);
  mk_close(bench->other);
  mk_close(bench->client);
  return code;
}

/* ---- what came out ---- */

static double rate_of(const struct result *result) {
  double seconds = (double)result->median_ns / (double)CLOCK_SECOND;
  double done = result->moves ? (double)result->bytes : 1;
  return seconds > 0 ? done / seconds : 0;
}

static double of_memcpy(const struct bench *bench, const struct result *result) {
  return rate_of(result) / rate_of(&bench->results[0]);
}

static void print_row(struct paint_table *table, const struct bench *bench,
                      const struct result *result) {
  char text[TEXT], bytes[32];
  paint_cell(table, result->name);
  paint_cell(table, units_format(result->bytes, bytes, sizeof bytes));
  double us = (double)result->median_ns / 1000;
  snprintf(text, sizeof text, us < 10000 ? "%.1f us" : "%.1f ms", us < 10000 ? us : us / 1000);
  paint_cell(table, text);
  if (result->moves)
    snprintf(text, sizeof text, "%s/s",
             units_format((uint64_t)rate_of(result), bytes, sizeof bytes));
  else
    snprintf(text, sizeof text, "%.0f/s", rate_of(result));
  paint_cell(table, text);
  snprintf(text, sizeof text, result->moves ? "%.2f" : "-", of_memcpy(bench, result));
  paint_cell(table, text);
  snprintf(text, sizeof text, "%u", result->rounds);
  paint_cell(table, text);
}

static void print_table(const struct bench *bench) {
  static const char *const headers[] = {"MEASURED",   ">SIZE",   ">MEDIAN", ">RATE",
                                        ">OF MEMCPY", ">ROUNDS", NULL};
  struct paint_table table;
  paint_begin(&table, headers);
  for (size_t i = 0; i < bench->count; i++)
    print_row(&table, bench, &bench->results[i]);
  paint_end(&table);
  puts("\nmedians of one caller, one at a time; the time is what it waited; memcpy on one thread");
}

static void print_json(const struct bench *bench) {
  struct buf out BUF_CLEANUP;
  struct writer w;
  buf_init(&out, 1 << 20);
  writer_init(&w, &out, WRITER_CAMEL);
  writer_object(&w, NULL);
  writer_uint(&w, "sizeBytes", bench->size);
  writer_array(&w, "measurements");
  for (size_t i = 0; i < bench->count; i++) {
    const struct result *result = &bench->results[i];
    writer_object(&w, NULL);
    writer_text(&w, "name", result->name);
    writer_uint(&w, "sizeBytes", result->bytes);
    writer_ms(&w, "medianMs", result->median_ns);
    writer_double(&w, result->moves ? "bytesPerSecond" : "perSecond", rate_of(result));
    if (result->moves)
      writer_double(&w, "ofMemcpy", of_memcpy(bench, result));
    writer_uint(&w, "rounds", result->rounds);
    writer_end(&w);
  }
  writer_end(&w);
  writer_end(&w);
  puts(buf_text(&out));
}

static int misused(const char *what) {
  fprintf(stderr, "memkeep: bench %s\n", what);
  return EXIT_USAGE;
}

int bench_run(const struct globals *globals, struct reader_value said) {
  static const int held[] = {SIGINT, SIGTERM, SIGHUP};
  struct bench bench = {.size = reader_uint(reader_get(said, "sizeBytes"), SIZE_DEFAULT),
                        .device = reader_text(reader_get(said, "deviceId"), NULL),
                        .lively = paint_lively(STDERR_FILENO)};
  if (globals->url)
    return misused("measures this host's memory over the socket, not --url");
  if (bench.size < SIZE_MIN || bench.size > SIZE_MAX_BYTES)
    return misused("--size: from 1MiB to 4GiB");
  ending_hold(&bench.ending, held, sizeof held / sizeof *held);
  enum mk_code code = run(&bench, globals);
  bench.signal = bench.signal ? bench.signal : ending_next(&bench.ending);
  if (bench.signal)
    ending_obey(bench.signal);
  if (code)
    return code == MK_DAEMON_NOT_FOUND ? EXIT_UNREACHABLE : EXIT_FAILED;
  if (globals->json)
    print_json(&bench);
  else
    print_table(&bench);
  return bench.failed ? EXIT_FAILED : EXIT_OK;
}
