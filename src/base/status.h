/*
 * status: the one list of outcomes. Every function that can fail returns one; the doors only
 * translate.
 *
 * X(name, http status, retryable, sentence). The name is the code that users see in `error.code`.
 * PENDING never leaves the service: it says that the answer comes later, through a job.
 */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include <stdbool.h>

#define STATUS_TABLE(X)                                                                            \
  X(OK, 200, false, "done")                                                                        \
  X(PENDING, 202, false, "under way")                                                              \
  X(INVALID_ARGUMENT, 400, false, "a field has a wrong type, range or word")                       \
  X(MISSING_PARAMETER, 400, false, "a required field is missing")                                  \
  X(INVALID_JSON, 400, false, "the body is not a JSON object")                                     \
  X(UNKNOWN_FIELD, 400, false, "a field is not known here")                                        \
  X(UNAUTHORIZED, 401, false, "no valid credentials")                                              \
  X(FORBIDDEN, 403, false, "the role does not allow this")                                         \
  X(ORIGIN_NOT_ALLOWED, 403, false, "requests from other origins are refused")                     \
  X(NOT_FOUND, 404, false, "no such thing")                                                        \
  X(DEVICE_NOT_FOUND, 404, false, "no such device")                                                \
  X(ALLOCATION_NOT_FOUND, 404, false, "no such allocation")                                        \
  X(TRANSFER_NOT_FOUND, 404, false, "no such transfer")                                            \
  X(MODEL_NOT_FOUND, 404, false, "no such model")                                                  \
  X(WORKER_NOT_FOUND, 404, false, "no such worker")                                                \
  X(METHOD_NOT_ALLOWED, 405, false, "the path knows other methods")                                \
  X(CONFLICT, 409, false, "the state does not allow this")                                         \
  X(ALLOCATION_BUSY, 409, true, "the allocation is in use")                                        \
  X(MODEL_BUSY, 409, true, "the model is in use")                                                  \
  X(ALLOCATION_LOST, 410, false, "the memory behind the allocation is gone")                       \
  X(BODY_TOO_LARGE, 413, false, "the body is too large")                                           \
  X(URI_TOO_LONG, 414, false, "the request line is too long")                                      \
  X(UNSUPPORTED_MEDIA_TYPE, 415, false, "the body must be application/json, not encoded")          \
  X(HOST_NOT_ALLOWED, 421, false, "the Host header names another host")                            \
  X(MODEL_FORMAT_INVALID, 422, false, "the model file is not valid")                               \
  X(RATE_LIMITED, 429, true, "too many requests")                                                  \
  X(HEADERS_TOO_LARGE, 431, false, "the headers are too large")                                    \
  X(CANCELLED, 499, false, "cancelled")                                                            \
  X(DAEMON_RESTARTED, 500, true, "the daemon was restarted meanwhile")                             \
  X(CHECKSUM_MISMATCH, 500, true, "the bytes read back differ")                                    \
  X(INTERNAL_ERROR, 500, false, "internal error")                                                  \
  X(WORKER_UNAVAILABLE, 503, true, "no worker can do this now")                                    \
  X(DEVICE_UNAVAILABLE, 503, true, "the device does not answer")                                   \
  X(HISTORY_UNAVAILABLE, 503, true, "the history does not answer now")                             \
  X(WORKER_TIMEOUT, 504, true, "the worker did not answer in time")                                \
  X(INSUFFICIENT_MEMORY, 507, true, "not enough memory")                                           \
  X(ALLOCATION_TOO_LARGE, 507, false, "larger than the device's limit")                            \
  X(QUOTA_EXCEEDED, 507, true, "over a quota")

enum status {
#define X(name, http, retryable, text) STATUS_##name,
  STATUS_TABLE(X)
#undef X
      STATUS_COUNT
};

/* The code as users see it: "INVALID_ARGUMENT". Static; any value is safe. */
const char *status_code(enum status status);
/* One sentence without a full stop. Static. */
const char *status_text(enum status status);
int status_http(enum status status);
/* Whether the same request may succeed later. */
bool status_retryable(enum status status);
/* The status of a code, STATUS_INTERNAL_ERROR for a word that is none. */
enum status status_parse(const char *code);

#endif
