/*
 * show: a table per list: which members stand in which column. What has no view of its own is shown
 * whole (paint_all).
 */
#include "cli/show.h"

#include <stdio.h>
#include <string.h>

#include "cli/paint.h"

#define TEXT 256

/* A column: its header, and the member that stands there. */
struct column {
  const char *header, *member;
};

static void table(struct reader_value list, const struct column *columns) {
  const char *headers[PAINT_COLUMNS + 1] = {NULL};
  struct paint_table out;
  for (size_t c = 0; c < PAINT_COLUMNS && columns[c].header; c++)
    headers[c] = columns[c].header;
  paint_begin(&out, headers);
  for (size_t i = 0; i < reader_count(list); i++)
    for (size_t c = 0; c < PAINT_COLUMNS && columns[c].header; c++)
      paint_member(&out, reader_at(list, i), columns[c].member);
  paint_end(&out);
}

static void table_or(const char *none, struct reader_value list, const struct column *columns) {
  if (reader_count(list))
    table(list, columns);
  else
    puts(none);
}

/* Prints members into a sentence: "%s" stands for the next name. */
static void say(struct reader_value data, const char *sentence, const char *const *names) {
  char text[TEXT];
  for (; *sentence; sentence++)
    if (*sentence == '%')
      fputs(paint_text(data, *names++, text, sizeof text), stdout);
    else
      putchar(*sentence);
  putchar('\n');
}
#define SAY(data, sentence, ...) say(data, sentence, (const char *const[]){__VA_ARGS__})

/* ---- devices ---- */

static const char *const status_headers[] = {"DEVICE",   "HEALTH",      ">TOTAL",   ">USED",
                                             ">FREE",    "1>ALLOCATED", "3>CACHED", "4>FRAG",
                                             "PRESSURE", "2>BLOCKS",    "5~NAME",   NULL};

static void status_row(struct paint_table *out, struct reader_value device) {
  static const char *const members[] = {
      "deviceId",       "health",         "totalBytes",  "usedBytes",
      "availableBytes", "allocatedBytes", "cachedBytes", "fragmentationPercent"};
  for (size_t i = 0; i < sizeof members / sizeof *members; i++)
    paint_member(out, device, members[i]);
  paint_member(out, reader_get(device, "pressure"), "level");
  paint_member(out, device, "activeAllocations");
  paint_member(out, device, "name");
}

static void status_sum(struct reader_value data) {
  SAY(data, "\n% devices, % allocations with %, % of % free", "deviceCount", "activeAllocations",
      "allocatedBytes", "availableBytes", "totalBytes");
  struct reader_value workers = reader_get(data, "workers");
  SAY(workers, "% of % workers healthy", "healthy", "total");
}

void show_status(struct reader_value data) {
  struct reader_value devices = reader_get(data, "devices");
  struct paint_table out;
  paint_begin(&out, status_headers);
  if (!devices.json)
    status_row(&out, data);
  for (size_t i = 0; i < reader_count(devices); i++)
    status_row(&out, reader_at(devices, i));
  paint_end(&out);
  if (devices.json) {
    status_sum(data);
    return;
  }
  putchar('\n');
  paint_all(data);
}

void show_devices(struct reader_value data) {
  static const struct column devices[] = {
      {"DEVICE", "deviceId"},    {"BACKEND", "backend"}, {"2TYPE", "type"},
      {"1MEMORY", "memoryType"}, {"HEALTH", "health"},   {">TOTAL", "totalBytes"},
      {"3PCI", "pciAddress"},    {"~NAME", "name"},      {NULL, NULL}};
  static const struct column links[] = {{"FROM", "from"},
                                        {"TO", "to"},
                                        {"KIND", "kind"},
                                        {">GB/S", "gigabytesPerSecond"},
                                        {NULL, NULL}};
  struct reader_value list = reader_get(data, "devices");
  const char *type = reader_text(reader_get(reader_at(list, 0), "type"), "");
  table(list, devices);
  if (!reader_count(reader_get(data, "links"))) { /* then it is the only one there is */
    if (strcmp(type, "cpu") == 0)
      puts("\nno cards: memkeep health says whether one is missing");
    return;
  }
  putchar('\n');
  table(reader_get(data, "links"), links);
}

void show_health(struct reader_value data) {
  static const struct column parts[] = {
      {"PART", "name"}, {"STATUS", "status"}, {"REASON", "reason"}, {NULL, NULL}};
  table(reader_get(data, "parts"), parts);
}

void show_limits(struct reader_value data) {
  static const char *const headers[] = {"DEVICE", ">MAX", ">RESERVED", ">COMMITTED", NULL};
  struct reader_value devices = reader_get(data, "devices");
  struct paint_table out;
  if (!devices.json) {
    paint_all(data);
    return;
  }
  paint_begin(&out, headers);
  for (size_t i = 0; i < reader_count(devices); i++) {
    struct reader_value device = reader_at(devices, i), limits = reader_get(device, "limits");
    paint_member(&out, device, "deviceId");
    paint_member(&out, limits, "maxBytes");
    paint_member(&out, limits, "reservedBytes");
    paint_member(&out, device, "committedBytes");
  }
  paint_end(&out);
}

/* ---- allocations ---- */

static void owner_cell(struct paint_table *out, struct reader_value owner) {
  char name[TEXT], pid[32], text[sizeof name + sizeof pid + 4];
  paint_text(owner, "name", name, sizeof name);
  if (strcmp(name, "-") == 0)
    paint_text(owner, "kind", name, sizeof name);
  paint_text(owner, "pid", pid, sizeof pid);
  bool process = strcmp(pid, "-") != 0;
  snprintf(text, sizeof text, "%s%s%s", name, process ? "/" : "", process ? pid : "");
  paint_cell(out, text);
}

void show_allocations(struct reader_value data) {
  static const char *const headers[] = {"ALLOCATION", "DEVICE",   ">SIZE",  "2PURPOSE", "1STATUS",
                                        "3~OWNER",    "4CREATED", "~LABEL", NULL};
  struct reader_value list = reader_get(data, "allocations");
  struct paint_table out;
  if (!reader_count(list)) {
    puts("no allocations");
    return;
  }
  paint_begin(&out, headers);
  for (size_t i = 0; i < reader_count(list); i++) {
    struct reader_value one = reader_at(list, i);
    static const char *const members[] = {"allocationId", "deviceId", "sizeBytes", "purpose",
                                          "status"};
    for (size_t m = 0; m < sizeof members / sizeof *members; m++)
      paint_member(&out, one, members[m]);
    owner_cell(&out, reader_get(one, "owner"));
    paint_member(&out, one, "createdAt");
    paint_member(&out, one, "label");
  }
  paint_end(&out);
}

void show_allocated(struct reader_value data) {
  struct reader_value allocation = reader_get(data, "allocation");
  if (!reader_is_object(allocation)) {
    paint_all(data); /* a dry run */
    return;
  }
  SAY(allocation, "% is % on %", "allocationId", "sizeBytes", "deviceId");
  SAY(data, "% are left there", "availableBytes");
  SAY(allocation, "give it back with: memkeep free %", "allocationId");
}

void show_freed(struct reader_value data) {
  SAY(data, "% is freed: %; % are available there", "allocationId", "freedBytes", "availableBytes");
}

/* ---- work ---- */

/* A job that takes longer than the answer was held. */
static bool still_runs(struct reader_value data) {
  const char *status = reader_text(reader_get(data, "status"), "");
  if (strcmp(status, "pending") != 0 && strcmp(status, "in_progress") != 0)
    return false;
  SAY(data, "% is still at it; look with: memkeep jobs %", "jobId", "jobId");
  return true;
}

void show_cleared(struct reader_value data) {
  static const struct column devices[] = {{"DEVICE", "deviceId"},
                                          {">CLEARED", "clearedBytes"},
                                          {"1>USED BEFORE", "usedBytesBefore"},
                                          {">AFTER", "usedBytesAfter"},
                                          {NULL, NULL}};
  static const struct column workers[] = {
      {"WORKER", "workerId"}, {">CLEARED", "clearedBytes"}, {NULL, NULL}};
  if (still_runs(data))
    return;
  SAY(data, "cleared % and % allocations in % ms", "clearedBytes", "clearedAllocations",
      "clearTimeMs");
  table(reader_get(data, "devices"), devices);
  if (!reader_count(reader_get(data, "workers")))
    return;
  putchar('\n');
  table(reader_get(data, "workers"), workers);
}

void show_defragmented(struct reader_value data) {
  if (still_runs(data))
    return;
  SAY(data, "moved % allocations (%), released % segments (%) in % ms", "allocationsMoved",
      "defragmentedBytes", "segmentsReleased", "releasedBytes", "defragmentationTimeMs");
  SAY(data, "fragmentation % -> %, largest free block % -> %", "fragmentationBefore",
      "fragmentationAfter", "largestFreeBytesBefore", "largestFreeBytesAfter");
}

static const char *target_of(struct reader_value data) {
  bool model = reader_text(reader_get(data, "targetModelId"), NULL);
  return model ? "targetModelId" : "targetAllocationId";
}

void show_transfer(struct reader_value data) {
  if (!reader_get(data, "status").json) {
    paint_all(data); /* a dry run */
    return;
  }
  SAY(data, "% %: % of % from % to %", "transferId", "status", "transferredBytes", "sizeBytes",
      "sourceDeviceId", "targetDeviceId");
  if (reader_text(reader_get(data, "errorCode"), NULL))
    SAY(data, "%: %", "errorCode", "errorMessage");
  else if (reader_text(reader_get(data, "checksum"), NULL))
    SAY(data, "%, %, checksum %, verified: %; the target is %", "mode", "bytesPerSecond",
        "checksum", "verified", target_of(data));
  else if (reader_text(reader_get(data, "targetModelId"), NULL))
    SAY(data, "%, %, verified: %; the target is %", "mode", "bytesPerSecond", "verified",
        "targetModelId");
  else if (strcmp(reader_text(reader_get(data, "status"), ""), "completed") != 0)
    SAY(data, "look with: memkeep transfers %", "transferId");
}

void show_transfers(struct reader_value data) {
  static const struct column columns[] = {
      {"TRANSFER", "transferId"}, {"STATUS", "status"},         {">DONE", "progressPercent"},
      {">SIZE", "sizeBytes"},     {"1>RATE", "bytesPerSecond"}, {"FROM", "sourceDeviceId"},
      {"TO", "targetDeviceId"},   {"2CREATED", "createdAt"},    {NULL, NULL}};
  struct reader_value transfers = reader_get(data, "transfers");
  if (!transfers.json)
    paint_all(data);
  else
    table_or("no transfers in the last hour", transfers, columns);
}

void show_jobs(struct reader_value data) {
  static const struct column columns[] = {{"JOB", "jobId"},          {"1KIND", "kind"},
                                          {"STATUS", "status"},      {">DONE", "progressPercent"},
                                          {"2CREATED", "createdAt"}, {"3COMPLETED", "completedAt"},
                                          {"~ERROR", "errorCode"},   {NULL, NULL}};
  struct reader_value jobs = reader_get(data, "jobs");
  if (!jobs.json)
    paint_all(data);
  else
    table_or("no jobs in the last hour", jobs, columns);
}

/* ---- models ---- */

void show_model(struct reader_value data) {
  SAY(reader_get(data, "model"), "% (%) is % on %: %, priority %, pinned: %", "name", "modelId",
      "state", "deviceId", "sizeBytes", "priority", "pinned");
}

void show_loaded(struct reader_value data) {
  struct reader_value model = reader_get(data, "model");
  if (still_runs(data))
    return;
  if (reader_text(reader_get(data, "errorCode"), NULL)) {
    SAY(data, "% %: %: %", "jobId", "status", "errorCode", "errorMessage");
  } else if (model.json) {
    show_model(data);
    SAY(model, "% tensors, loaded in % ms", "tensors", "loadTimeMs");
  } else {
    paint_all(data); /* a dry run */
  }
}

void show_models(struct reader_value data) {
  static const struct column columns[] = {{"MODEL", "modelId"},
                                          {"~NAME", "name"},
                                          {"STATE", "state"},
                                          {"1WEIGHTS", "residency"},
                                          {"DEVICE", "deviceId"},
                                          {">SIZE", "sizeBytes"},
                                          {"4PRIORITY", "priority"},
                                          {"2PINNED", "pinned"},
                                          {"3BUSY", "busy"},
                                          {"5LAST USED", "lastUsedAt"},
                                          {NULL, NULL}};
  table_or("no models", reader_get(data, "models"), columns);
}

void show_unloaded(struct reader_value data) {
  static const struct column holders[] = {{">PID", "pid"}, {"NAME", "name"}, {NULL, NULL}};
  struct reader_value model = reader_get(data, "model"), held = reader_get(data, "heldBy");
  if (still_runs(data))
    return;
  SAY(model, "% (%) is %", "name", "modelId", "state");
  SAY(data, "% came back", "freedBytes");
  if (!reader_count(held))
    return;
  puts("bytes of it are still held by");
  table(held, holders);
}

static void list_ids(const char *header, struct reader_value ids) {
  for (size_t i = 0; i < reader_count(ids); i++)
    printf("%s %s\n", header, reader_text(reader_at(ids, i), "-"));
}

void show_optimized(struct reader_value data) {
  if (still_runs(data))
    return;
  if (!reader_bool(reader_get(data, "triggered"), true)) {
    SAY(data, "nothing was done: % (% percent used)", "reason", "utilizationBefore");
    return;
  }
  SAY(data, "% freed, % -> % percent used", "freedBytes", "utilizationBefore", "utilizationAfter");
  list_ids("parked", reader_get(data, "modelsParked"));
  list_ids("unloaded", reader_get(data, "modelsUnloaded"));
}

void show_workers(struct reader_value data) {
  static const struct column columns[] = {{"WORKER", "workerId"},
                                          {">PID", "pid"},
                                          {"STATE", "state"},
                                          {"1>RESTARTS", "restarts"},
                                          {">MEMORY", "memoryBytes"},
                                          {"2TRANSPORT", "transport"},
                                          {"3LAST CONTACT", "lastContact"},
                                          {NULL, NULL}};
  table_or("no workers", reader_get(data, "workers"), columns);
}

/* A part of an answer under its name; nothing where there is none. */
static void section(const char *name, struct reader_value rows, const struct column *columns) {
  if (!reader_count(rows))
    return;
  printf("%s\n", name);
  table(rows, columns);
  putchar('\n');
}

/* "41m", "-": how long until then. */
static const char *span_text(struct reader_value seconds, char *out, size_t size) {
  static const struct {
    double seconds;
    const char *unit;
  } units[] = {{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}};
  double value = reader_double(seconds, -1);
  size_t i = 0;
  while (i + 1 < sizeof units / sizeof *units && value < 2 * units[i].seconds)
    i++;
  if (value < 0)
    snprintf(out, size, "-");
  else
    snprintf(out, size, "%.0f%s", value / units[i].seconds, units[i].unit);
  return out;
}

static void full_cell(struct paint_table *out, struct reader_value trend) {
  char expected[TEXT], earliest[TEXT], latest[TEXT], text[3 * TEXT + 8];
  span_text(reader_get(trend, "timeToFullSeconds"), expected, sizeof expected);
  span_text(reader_get(trend, "timeToFullEarliestSeconds"), earliest, sizeof earliest);
  span_text(reader_get(trend, "timeToFullLatestSeconds"), latest, sizeof latest);
  snprintf(text, sizeof text, "%s (%s to %s)", expected, earliest, latest);
  paint_cell(out, strcmp(expected, "-") == 0 ? expected : text);
}

void show_usage(struct reader_value data) {
  static const char *const headers[] = {"DEVICE", ">NOW",        "1>PEAK",  "2>AVERAGE", "3>95 %",
                                        "TREND",  ">PER SECOND", "FULL IN", NULL};
  struct reader_value devices = reader_get(data, "devices");
  struct paint_table out;
  paint_begin(&out, headers);
  for (size_t i = 0; i < reader_count(devices); i++) {
    struct reader_value device = reader_at(devices, i), trend = reader_get(device, "trend");
    paint_member(&out, device, "deviceId");
    paint_member(&out, device, "currentBytes");
    paint_member(&out, device, "peakBytes");
    paint_member(&out, device, "averageBytes");
    paint_member(&out, device, "p95Bytes");
    paint_member(&out, trend, "direction");
    paint_member(&out, trend, "bytesPerSecond");
    full_cell(&out, trend);
  }
  paint_end(&out);
  if (reader_count(devices) != 1)
    return;
  putchar('\n');
  paint_all(reader_at(devices, 0));
}

void show_analytics(struct reader_value data) {
  static const struct column devices[] = {{"DEVICE", "deviceId"},
                                          {">PEAK", "peakBytes"},
                                          {">AVERAGE", "averageBytes"},
                                          {">95 %", "p95Bytes"},
                                          {NULL, NULL}};
  static const struct column operations[] = {{"OPERATION", "name"},     {">COUNT", "count"},
                                             {">ERRORS", "errors"},     {">MEDIAN ms", "p50Ms"},
                                             {"1>95 % ms", "p95Ms"},    {"2>99 % ms", "p99Ms"},
                                             {"3>LONGEST ms", "maxMs"}, {NULL, NULL}};
  static const struct column layers[] = {{"~DONE BY WORKERS", "operation"},
                                         {">COUNT", "count"},
                                         {">DAEMON ms", "decisionMs"},
                                         {">WIRE ms", "wireMs"},
                                         {">WORKER ms", "workerMs"},
                                         {">DEVICE ms", "deviceMs"},
                                         {NULL, NULL}};
  static const struct column transfers[] = {{"FROM", "from"},
                                            {"TO", "to"},
                                            {"3PATH", "path"},
                                            {">COUNT", "count"},
                                            {"1>FAILED", "failed"},
                                            {">MOVED", "bytes"},
                                            {">MEDIAN/s", "p50BytesPerSecond"},
                                            {"2>BEST/s", "bestBytesPerSecond"},
                                            {NULL, NULL}};
  static const struct column leaks[] = {{"~OWNER", "owner"},
                                        {">PID", "pid"},
                                        {"DEVICE", "deviceId"},
                                        {">PER SECOND", "bytesPerSecond"},
                                        {">HAS", "bytes"},
                                        {"1SINCE", "since"},
                                        {NULL, NULL}};
  section("devices", reader_get(data, "devices"), devices);
  section("operations", reader_get(data, "operations"), operations);
  section("time by layer", reader_get(data, "layers"), layers);
  section("transfers", reader_get(data, "transfers"), transfers);
  section("suspected leaks", reader_get(data, "leaks"), leaks);
}

void show_advice(struct reader_value data) {
  static const struct column columns[] = {{"ADVICE", "id"},
                                          {"1SEVERITY", "severity"},
                                          {">BRINGS", "expectedBytes"},
                                          {"=WHY", "why"},
                                          {NULL, NULL}};
  struct reader_value found = reader_get(data, "recommendations");
  if (!reader_count(found)) {
    puts("nothing to be done");
    return;
  }
  table(found, columns);
  puts("memkeep optimize does what takes nothing from anybody; --dry-run says what");
}

void show_applied(struct reader_value data) {
  static const struct column columns[] = {
      {"ADVICE", "id"}, {">EXPECTED", "expectedBytes"}, {">FREED", "freedBytes"}, {NULL, NULL}};
  struct reader_value applied = reader_get(data, "applied");
  if (still_runs(data))
    return;
  if (!reader_count(applied)) {
    puts("nothing had to be done");
    return;
  }
  table(applied, columns);
  SAY(data, "% in all", "freedBytes");
}

void show_stopping(struct reader_value data) {
  (void)data;
  puts("the daemon stops");
}
