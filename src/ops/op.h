/*
 * op: the rows, one file of op/ per subject, and the few things that rows say for each other.
 * Private to this room.
 */
#ifndef OPS_OP_H
#define OPS_OP_H

#include <stddef.h>

#include "ops/ops.h"

struct events_record;
struct view_device;

/* Fields whose form is the same wherever they stand. `params_type` is the params', `member` its
 * member. */
#define OP_DEVICE(params_type)                                                                     \
  {                                                                                                \
    .name = "deviceId", .type = READER_TEXT, .offset = offsetof(params_type, device),              \
    .size = sizeof(((params_type *)0)->device), .doc = "device id, UUID or PCI address"            \
  }
#define OP_BOOL(params_type, member, field, text, sentence)                                        \
  {                                                                                                \
    .name = (field), .type = READER_BOOL, .offset = offsetof(params_type, member),                 \
    .otherwise = (text), .doc = (sentence)                                                         \
  }
#define OP_MEMORY(params_type, member, list, text)                                                 \
  {                                                                                                \
    .name = "memoryType", .type = READER_WORD, .offset = offsetof(params_type, member),            \
    .words = (list), .otherwise = (text),                                                          \
    .doc = "kind of memory; CPU and GPU are other words for RAM and VRAM"                          \
  }
#define OP_TIMEOUT(params_type)                                                                    \
  {                                                                                                \
    .name = "timeout", .type = READER_UINT, .offset = offsetof(params_type, said.timeout),         \
    .max = 600, .otherwise = "60", .doc = "seconds that `wait` holds the answer"                   \
  }
#define OP_WAIT(params_type, text)                                                                 \
  OP_BOOL(params_type, said.wait, "wait", text, "answer when it is done, not with a job")
#define OP_WINDOW(params_type, member)                                                             \
  {                                                                                                \
    .name = "window", .type = READER_TEXT, .offset = offsetof(params_type, member),                \
    .size = sizeof(((params_type *)0)->member), .otherwise = "1h",                                 \
    .doc = "how far back: a number with s, m, h or d"                                              \
  }
/* Of a list in pages. */
#define OP_LIMIT(params_type, member, sentence)                                                    \
  {                                                                                                \
    .name = "limit", .type = READER_UINT, .offset = offsetof(params_type, member), .min = 1,       \
    .max = 1000, .otherwise = "100", .doc = (sentence)                                             \
  }
#define OP_CURSOR(params_type, member, letter)                                                     \
  {                                                                                                \
    .name = "cursor", .type = READER_ID, .offset = offsetof(params_type, member),                  \
    .prefix = (letter), .doc = "nextCursor of the page before"                                     \
  }
/* "asc" or OP_DESCENDING. */
#define OP_ORDER(params_type, member, text, sentence)                                              \
  {                                                                                                \
    .name = "order", .type = READER_WORD, .offset = offsetof(params_type, member),                 \
    .words = op_allocations_orders, .otherwise = (text), .doc = (sentence)                         \
  }
#define OP_DESCENDING 1
extern const char *const op_allocations_orders[];
#define OP_COUNT(fields) (sizeof(fields) / sizeof *(fields))

/* any RAM VRAM CPU GPU; for what is done to all devices "all" stands first and "any" means it too.
 * op_memory turns an index of either into an enum placement_memory. */
extern const char *const op_allocate_memories[], *const op_allocate_memories_all[];
static inline int op_memory(int word) { return word > 2 ? (word - 2) % 3 : word; }

/* What OP_WINDOW took: 1 s … OP_WINDOW_MAX. A number alone is refused: seconds are as likely meant
 * as minutes. */
#define OP_WINDOW_MAX (UINT64_C(366) * 24 * 3600 * 1000000000)
enum status op_usage_window(const char *text, uint64_t *ns, struct problem *problem);

/* A cursor that is an id: OP_START, its default, begins at the start; one that names nothing is
 * refused, or a client would read the first page for ever. */
#define OP_START UINT64_MAX
static inline enum status op_cursor(uint64_t *cursor, struct problem *problem) {
  if (!*cursor)
    return problem_field(problem, STATUS_INVALID_ARGUMENT, "cursor",
                         "cursor is none that an answer had as its nextCursor");
  *cursor = *cursor == OP_START ? 0 : *cursor;
  return STATUS_OK;
}

extern const struct ops_row op_status_host, op_status_device;
extern const struct ops_row op_usage_host, op_usage_device;
extern const struct ops_row op_allocations_list, op_allocations_list_device, op_allocations_get;
extern const struct ops_row op_allocate_best, op_allocate_device, op_allocate_free;
extern const struct ops_row op_models_list, op_models_get, op_models_change, op_models_unload,
    op_models_park;
extern const struct ops_row op_models_load_start, op_models_optimize_start, op_models_status;
extern const struct ops_row op_attach_attach, op_attach_detach, op_attach_resume;
extern const struct ops_row op_clear_all, op_clear_device;
extern const struct ops_row op_defragment_all, op_defragment_device;
extern const struct ops_row op_transfer_start, op_transfer_get, op_transfer_list,
    op_transfer_cancel;
extern const struct ops_row op_copy_copy, op_copy_fill;
extern const struct ops_row op_devices_list, op_devices_get;
extern const struct ops_row op_limits_set;
extern const struct ops_row op_pressure_host, op_pressure_device, op_pressure_thresholds;
extern const struct ops_row op_map_segments;
extern const struct ops_row op_analytics_host;
extern const struct ops_row op_optimization_list, op_optimization_apply;
extern const struct ops_row op_jobs_list, op_jobs_get, op_jobs_cancel;
extern const struct ops_row op_workers_list, op_workers_restart;
extern const struct ops_row op_events_stream;
extern const struct ops_row op_health_short, op_health_detailed, op_health_openapi, op_health_ping;
extern const struct ops_row op_metrics;
extern const struct ops_row op_shutdown_now;

/* Results as members of an object that is open, for the operation itself and for GET /jobs. */
struct writer;
void op_clear_write(struct writer *w, const struct job_view *view);
void op_defragment_write(struct writer *w, const struct job_view *view);
void op_copy_write(struct writer *w, const struct job_view *view);
void op_transfer_write(struct writer *w, const struct job_view *view);
void op_models_write_job(struct writer *w, const struct job_view *view); /* load, unload */
void op_models_optimize_write(struct writer *w, const struct job_view *view);
void op_optimization_write(struct writer *w, const struct job_view *view);
/* `key` NULL: an array's element. With a key the object is left open, for more members. */
void op_allocate_write(struct writer *w, const struct view_alloc *allocation, const char *key);
/* Where what was attached is, and as what. */
struct attach_made;
void op_attach_write(struct writer *w, const struct attach_made *made);
/* reply_end of an answer that hands something out; what is not handed out is not attached. */
enum ops_progress op_attach_end(struct ops_call *call, struct writer *w, uint64_t allocation);
/* What a device is and how it is: deviceId … health. */
void op_devices_write(struct writer *w, const struct view_device *device);
/* Hundredths. */
uint32_t op_jobs_percent(const struct job_view *view);

/* A page of the list: an array of that name, of objects with what `write` puts there, and the id,
 * with that letter, at which the next page begins. The cursor is OP_START or an id. */
struct op_jobs_words {
  const char *name;
  char letter;
  void (*write)(struct ops_call *call, struct writer *w, const struct job_view *view);
};
struct job_list;
enum ops_progress op_jobs_page(struct ops_call *call, struct job_list *asked,
                               const struct op_jobs_words *words);
/* Answer with a job as it is now, or cancel it and answer with its end. Both take the reference. */
enum ops_progress op_jobs_look(struct ops_call *call, struct job *job,
                               void (*encode_job)(struct ops_call *call,
                                                  const struct job_view *view));
enum ops_progress op_jobs_end(struct ops_call *call, struct job *job,
                              void (*encode_job)(struct ops_call *call,
                                                 const struct job_view *view));
/* Answers with a job that is not finished: 202. */
enum ops_progress op_jobs_accepted(struct ops_call *call, const struct job_view *view);

/* Whether the params of op_events_stream let an event through. */
bool op_events_wanted(const void *params, const struct events_record *event);
/* Where they want to begin: behind this event; false: with what is to come. */
bool op_events_after(const void *params, uint64_t *after);
/* The event as one object. */
void op_events_write(struct service *service, const struct events_record *event, struct writer *w);
/* That so many are gone, 0: nobody knows how many. */
void op_events_write_lost(uint64_t lost, struct writer *w);

#endif
