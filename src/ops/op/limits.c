/*
 * limits: what a device may give out, and quotas of domains; what was not said stays.
 */
#include "service/limits.h"
#include "ops/op.h"
#include "ops/reply.h"
#include "service/report.h"

#define NOT_SAID UINT64_MAX

struct limits {
  char device[80];
  uint64_t max_bytes, reserved_bytes;
  struct reader_value quotas;
};

static const struct reader_field quota_fields[] = {
    {.name = "domain",
     .type = READER_TEXT,
     .offset = offsetof(struct limits_quota, domain),
     .size = sizeof(((struct limits_quota *)0)->domain),
     .required = true,
     .doc = "whose: uid:N or token:NAME"},
    {.name = "maxBytes",
     .type = READER_UINT,
     .offset = offsetof(struct limits_quota, max_bytes),
     .doc = "bytes at most"},
    {.name = "maxAllocations",
     .type = READER_UINT,
     .offset = offsetof(struct limits_quota, max_allocations),
     .doc = "allocations at most"},
};

static enum status decode_quotas(const struct ops_call *call, struct reader_value list,
                                 struct limits_set *set, struct problem *problem) {
  const struct reader_table table = {quota_fields, OP_COUNT(quota_fields),
                                     call->names == WRITER_SNAKE ? READER_SNAKE : READER_CAMEL,
                                     NULL};
  if (!reader_is_array(list) || reader_count(list) > LIMITS_QUOTAS)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "quotas",
                         "quotas is an array of at most %d objects", LIMITS_QUOTAS);
  set->has_quotas = true;
  set->quota_count = (uint32_t)reader_count(list);
  for (uint32_t i = 0; i < set->quota_count; i++) {
    set->quotas[i] = (struct limits_quota){.max_bytes = UINT64_MAX, .max_allocations = UINT64_MAX};
    struct reader_value one = reader_at(list, i);
    if (!reader_is_object(one))
      return problem_field(problem, STATUS_INVALID_ARGUMENT, "quotas", "a quota is an object");
    enum status status = reader_decode(one, &table, &set->quotas[i], NULL, problem);
    if (status)
      return status;
  }
  return STATUS_OK;
}

static enum ops_progress answer(struct ops_call *call, const struct limits_set *set) {
  const struct limits *limits = (const struct limits *)call->params;
  struct service *service = ops_service(call->ops);
  struct problem problem;
  struct writer w;
  uint32_t index;
  if (report_find_device(service, limits->device, &index, &problem))
    return reply_fail(call, &problem);
  reply_begin(call, &w);
  writer_text(&w, "deviceId", report_device_id(service, index));
  writer_uint(&w, "maxBytes", set->max_bytes);
  writer_uint(&w, "reservedBytes", set->reserved_bytes);
  writer_array(&w, "quotas");
  for (uint32_t i = 0; i < set->quota_count; i++) {
    writer_object(&w, NULL);
    writer_text(&w, "domain", set->quotas[i].domain);
    writer_bytes(&w, "maxBytes", set->quotas[i].max_bytes);
    writer_bytes(&w, "maxAllocations", set->quotas[i].max_allocations);
    writer_end(&w);
  }
  writer_end(&w);
  return reply_end(call, &w);
}

static enum ops_progress run(struct ops_call *call, void *params) {
  const struct limits *limits = params;
  struct limits_set set = {.has_max = limits->max_bytes != NOT_SAID,
                           .has_reserved = limits->reserved_bytes != NOT_SAID,
                           .max_bytes = limits->max_bytes,
                           .reserved_bytes = limits->reserved_bytes};
  struct problem problem;
  enum status status = STATUS_OK;
  if (limits->quotas.json)
    status = decode_quotas(call, limits->quotas, &set, &problem);
  if (!status)
    status = limits_change(ops_service(call->ops), &call->caller, limits->device, &set, &problem);
  return status ? reply_fail(call, &problem) : answer(call, &set);
}

static void set_defaults(void *params) {
  struct limits *limits = params;
  limits->max_bytes = limits->reserved_bytes = NOT_SAID;
}

static const struct reader_field fields[] = {
    {.name = "deviceId",
     .type = READER_TEXT,
     .offset = offsetof(struct limits, device),
     .size = sizeof(((struct limits *)0)->device),
     .required = true,
     .doc = "device id, UUID or PCI address"},
    {.name = "maxBytes",
     .type = READER_UINT,
     .offset = offsetof(struct limits, max_bytes),
     .doc = "how much of the device may be committed"},
    {.name = "reservedBytes",
     .type = READER_UINT,
     .offset = offsetof(struct limits, reserved_bytes),
     .doc = "how much of that stays free for others"},
    {.name = "quotas",
     .type = READER_RAW,
     .offset = offsetof(struct limits, quotas),
     .doc = "array of {domain, maxBytes, maxAllocations}"},
};

const struct ops_row op_limits_set = {.action = "memory.set_limits",
                                      .method = OPS_PUT,
                                      .path = "/api/memory/limits/{idDevice}",
                                      .role = CALLER_ADMIN,
                                      .envelope = true,
                                      .fields = fields,
                                      .field_count = OP_COUNT(fields),
                                      .path_count = 1,
                                      .params_size = sizeof(struct limits),
                                      .summary = "Set limits of a device and quotas of domains",
                                      .answer = "Limits",
                                      .schema = "Limits",
                                      .defaults = set_defaults,
                                      .handler = run};
