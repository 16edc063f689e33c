/*
 * spec: ID[=SIZE][,key=value…]. One table says which keys there are; parsing and formatting walk
 * it.
 */
#include "device/spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "device/probe.h"

#define SPEC_NUMBER 999
#define SPEC_DELAY (UINT64_C(60) * 1000000000) /* longest delay or latency of one call */

static const char *const calls[] = {"",     "create", "commit", "budget", "import",
                                    "read", "write",  "copy",   "fill",   NULL};

struct key {
  const char *name, *form; /* what a good value looks like */
  bool (*parse)(const char *value, struct spec *spec);
  void (*format)(const struct spec *spec, char *out, size_t size); /* "" when it is not set */
  const char *backend; /* which alone has it; NULL: all do */
};

/* ---- values ---- */

static bool parse_rate(const char *value, struct spec *spec) {
  char text[64];
  size_t n = strlen(value);
  if (n >= sizeof text)
    return false;
  memcpy(text, value, n + 1);
  if (n > 2 && strcmp(text + n - 2, "/s") == 0)
    text[n - 2] = 0;
  return units_parse(text, &spec->rate_bytes) && spec->rate_bytes;
}

/* "50us" beside what units_parse_duration knows. */
static bool parse_time(const char *value, uint64_t *ns) {
  char *end;
  unsigned long long number = strtoull(value, &end, 10);
  if (end != value && *value >= '0' && *value <= '9' && strcmp(end, "us") == 0)
    *ns = number < SPEC_DELAY ? number * 1000 : SPEC_DELAY + 1;
  else if (!units_parse_duration(value, ns))
    return false;
  return *ns <= SPEC_DELAY;
}

static bool parse_latency(const char *value, struct spec *spec) {
  return parse_time(value, &spec->latency_ns);
}

static bool parse_delay(const char *value, struct spec *spec) {
  return parse_time(value, &spec->delay_ns);
}

static bool parse_quota(const char *value, struct spec *spec) {
  return units_parse(value, &spec->quota_bytes) && spec->quota_bytes;
}

static bool parse_uuid(const char *value, struct spec *spec) {
  size_t n = strlen(value);
  if (!n || n >= sizeof spec->uuid || strspn(value, "0123456789abcdefABCDEF-/") != n)
    return false;
  memcpy(spec->uuid, value, n + 1);
  return true;
}

static bool parse_trace(const char *value, struct spec *spec) {
  spec->trace = strcmp(value, "on") == 0;
  return spec->trace || strcmp(value, "off") == 0;
}

static bool parse_fail(const char *value, struct spec *spec) {
  size_t n = strcspn(value, ":");
  for (int call = SPEC_CREATE; calls[call] && value[n]; call++) {
    if (strlen(calls[call]) != n || strncmp(calls[call], value, n) != 0)
      continue;
    char *end;
    unsigned long nth = strtoul(value + n + 1, &end, 10);
    if (value[n + 1] < '1' || value[n + 1] > '9' || *end || nth > UINT32_MAX)
      return false;
    spec->fail = (enum spec_call)call;
    spec->fail_nth = (uint32_t)nth;
    return true;
  }
  return false;
}

static void format_rate(const struct spec *spec, char *out, size_t size) {
  if (spec->rate_bytes)
    snprintf(out, size, "%llu", (unsigned long long)spec->rate_bytes);
}

static void format_time(uint64_t ns, char *out, size_t size) {
  if (ns)
    snprintf(out, size, "%lluus", (unsigned long long)ns / 1000);
}

static void format_latency(const struct spec *spec, char *out, size_t size) {
  format_time(spec->latency_ns, out, size);
}

static void format_delay(const struct spec *spec, char *out, size_t size) {
  format_time(spec->delay_ns, out, size);
}

static void format_quota(const struct spec *spec, char *out, size_t size) {
  if (spec->quota_bytes)
    snprintf(out, size, "%llu", (unsigned long long)spec->quota_bytes);
}

static void format_uuid(const struct spec *spec, char *out, size_t size) {
  snprintf(out, size, "%s", spec->uuid);
}

static void format_trace(const struct spec *spec, char *out, size_t size) {
  if (spec->trace)
    snprintf(out, size, "on");
}

static void format_fail(const struct spec *spec, char *out, size_t size) {
  if (spec->fail)
    snprintf(out, size, "%s:%u", calls[spec->fail], spec->fail_nth);
}

static const struct key keys[] = {
    {"rate", "20GiB/s", parse_rate, format_rate, "fake"},
    {"latency", "50us", parse_latency, format_latency, "fake"},
    {"uuid", "the device's UUID, or that and its driver's with a / between", parse_uuid,
     format_uuid, "vulkan"},
    {"fail", "CALL:N, where CALL is create, commit, budget, import, read, write, copy or fill",
     parse_fail, format_fail, NULL},
    {"delay", "10ms", parse_delay, format_delay, NULL},
    {"quota", "1GiB", parse_quota, format_quota, NULL},
    {"trace", "on or off", parse_trace, format_trace, NULL},
};
#define KEYS (sizeof keys / sizeof *keys)

/* ---- the whole ---- */

static enum status parse_id(const char *id, struct spec *spec, struct problem *problem) {
  const char *colon = strchr(id, ':'), *number = colon ? colon + 1 : "";
  size_t n = colon ? (size_t)(colon - id) : 0;
  size_t digits = strspn(number, "0123456789");
  if (!n || n >= sizeof spec->backend || !digits || number[digits] || digits > 3 ||
      (digits > 1 && *number == '0'))
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "device",
                         "device '%.40s': an id is a kind, a colon and a number up to %d, as in "
                         "host:0",
                         id, SPEC_NUMBER);
  memcpy(spec->backend, id, n);
  spec->backend[n] = 0;
  snprintf(spec->id, sizeof spec->id, "%s", id);
  if (!probe_backend(spec->backend))
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "device",
                         "device '%.40s': there is no kind of device called %s here", id,
                         spec->backend);
  return STATUS_OK;
}

static enum status parse_size(const char *id, const char *text, struct spec *spec,
                              struct problem *problem) {
  if (text && (!units_parse(text, &spec->size_bytes) || !spec->size_bytes))
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "device",
                         "device %s: '%.40s' is no size; write it like 8GiB or 512M", id, text);
  if (!text && strcmp(spec->backend, "fake") == 0)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "device",
                         "device %s needs a size, as in %s=8GiB", id, id);
  return STATUS_OK;
}

static enum status parse_key(char *text, struct spec *spec, struct problem *problem) {
  char *value = strchr(text, '=');
  if (value)
    *value++ = 0;
  for (size_t i = 0; i < KEYS; i++) {
    if (strcmp(keys[i].name, text) != 0 ||
        (keys[i].backend && strcmp(spec->backend, keys[i].backend) != 0))
      continue;
    if (value && keys[i].parse(value, spec))
      return STATUS_OK;
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "device",
                         "device %s: %s=%.40s is wrong; write it like %s=%s", spec->id, text,
                         value ? value : "", text, keys[i].form);
  }
  return problem_field(problem, STATUS_INVALID_ARGUMENT, "device",
                       "device %s has no setting '%.40s'", spec->id, text);
}

enum status spec_parse(const char *text, struct spec *out, struct problem *problem) {
  char copy[256], *rest = NULL;
  size_t n = strlen(text);
  if (!n || n >= sizeof copy)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "device",
                         "device '%.40s': write it like host:0=2GiB", text);
  memcpy(copy, text, n + 1);
  struct spec spec = {.size_bytes = 0};
  char *head = strtok_r(copy, ",", &rest), *size = head ? strchr(head, '=') : NULL;
  if (size)
    *size++ = 0;
  enum status status = parse_id(head ? head : "", &spec, problem);
  if (!status)
    status = parse_size(spec.id, size, &spec, problem);
  for (char *key; !status && (key = strtok_r(NULL, ",", &rest));)
    status = parse_key(key, &spec, problem);
  if (!status)
    *out = spec;
  return status;
}

const char *spec_format(const struct spec *spec, char *out, size_t size) {
  size_t n = (size_t)snprintf(out, size, "%s", spec->id);
  if (spec->size_bytes && n < size)
    n += (size_t)snprintf(out + n, size - n, "=%llu", (unsigned long long)spec->size_bytes);
  for (size_t i = 0; i < KEYS && n < size; i++) {
    char value[SPEC_UUID] = "";
    keys[i].format(spec, value, sizeof value);
    if (*value)
      n += (size_t)snprintf(out + n, size - n, ",%s=%s", keys[i].name, value);
  }
  return out;
}

void spec_bind(struct spec *spec, const char *uuid, const char *driver_uuid) {
  if (*uuid && *driver_uuid)
    snprintf(spec->uuid, sizeof spec->uuid, "%s/%s", uuid, driver_uuid);
}

bool spec_wants_wrap(const struct spec *spec) {
  return spec->fail || spec->delay_ns || spec->quota_bytes || spec->trace;
}
