/*
 * failure: the public codes are the statuses that a client can meet, with numbers that stay. Faults
 * of form, which the daemon tells apart for people who write JSON, are one code here.
 */
#include "client/failure.h"

#include <stdarg.h>
#include <stdio.h>

static const enum mk_code codes[STATUS_COUNT] = {
    [STATUS_INVALID_ARGUMENT] = MK_INVALID_ARGUMENT,
    [STATUS_MISSING_PARAMETER] = MK_INVALID_ARGUMENT,
    [STATUS_INVALID_JSON] = MK_INVALID_ARGUMENT,
    [STATUS_UNKNOWN_FIELD] = MK_INVALID_ARGUMENT,
    [STATUS_BODY_TOO_LARGE] = MK_INVALID_ARGUMENT,
    [STATUS_UNAUTHORIZED] = MK_UNAUTHORIZED,
    [STATUS_FORBIDDEN] = MK_FORBIDDEN,
    [STATUS_NOT_FOUND] = MK_NOT_FOUND,
    [STATUS_DEVICE_NOT_FOUND] = MK_DEVICE_NOT_FOUND,
    [STATUS_ALLOCATION_NOT_FOUND] = MK_ALLOCATION_NOT_FOUND,
    [STATUS_TRANSFER_NOT_FOUND] = MK_TRANSFER_NOT_FOUND,
    [STATUS_MODEL_NOT_FOUND] = MK_MODEL_NOT_FOUND,
    [STATUS_WORKER_NOT_FOUND] = MK_WORKER_NOT_FOUND,
    [STATUS_CONFLICT] = MK_CONFLICT,
    [STATUS_ALLOCATION_BUSY] = MK_ALLOCATION_BUSY,
    [STATUS_MODEL_BUSY] = MK_MODEL_BUSY,
    [STATUS_ALLOCATION_LOST] = MK_ALLOCATION_LOST,
    [STATUS_MODEL_FORMAT_INVALID] = MK_MODEL_FORMAT_INVALID,
    [STATUS_RATE_LIMITED] = MK_RATE_LIMITED,
    [STATUS_CANCELLED] = MK_CANCELLED,
    [STATUS_DAEMON_RESTARTED] = MK_DAEMON_RESTARTED,
    [STATUS_CHECKSUM_MISMATCH] = MK_CHECKSUM_MISMATCH,
    [STATUS_INTERNAL_ERROR] = MK_INTERNAL_ERROR,
    [STATUS_WORKER_UNAVAILABLE] = MK_WORKER_UNAVAILABLE,
    [STATUS_DEVICE_UNAVAILABLE] = MK_DEVICE_UNAVAILABLE,
    [STATUS_WORKER_TIMEOUT] = MK_WORKER_TIMEOUT,
    [STATUS_INSUFFICIENT_MEMORY] = MK_INSUFFICIENT_MEMORY,
    [STATUS_ALLOCATION_TOO_LARGE] = MK_ALLOCATION_TOO_LARGE,
    [STATUS_QUOTA_EXCEEDED] = MK_QUOTA_EXCEEDED,
};

static enum mk_code code_of(enum status status) {
  enum mk_code code = codes[status];
  return code ? code : MK_INTERNAL_ERROR;
}

enum mk_code failure_set(struct failure *failure, enum mk_code code, const char *format, ...) {
  va_list args;
  failure->code = code;
  va_start(args, format);
  vsnprintf(failure->text, sizeof failure->text, format, args);
  va_end(args);
  return code;
}

enum mk_code failure_no_memory(struct failure *failure) {
  return failure_set(failure, MK_INTERNAL_ERROR, "this process is out of memory");
}

enum mk_code failure_of(struct failure *failure, const struct problem *problem) {
  return failure_set(failure, code_of(problem->status), "%s", problem->text);
}

enum mk_code failure_read(struct failure *failure, struct reader_value answer) {
  const char *word = reader_text(reader_get(answer, "error_code"), "INTERNAL_ERROR");
  const char *text = reader_text(reader_get(answer, "error"), "the daemon gave no reason");
  return failure_set(failure, code_of(status_parse(word)), "%s", text);
}

const char *failure_word(enum mk_code code) {
  if (code == MK_OK)
    return "OK";
  if (code == MK_DAEMON_NOT_FOUND)
    return "DAEMON_NOT_FOUND";
  for (int i = 0; i < STATUS_COUNT; i++)
    if (codes[i] == code)
      return status_code((enum status)i);
  return status_code(STATUS_INTERNAL_ERROR);
}
