/*
 * failure: why a call of the library failed, in its public codes. Below it (client, wire) things
 * fail with a struct problem.
 */
#ifndef CLIENT_FAILURE_H
#define CLIENT_FAILURE_H

#include <memkeep/memkeep.h>

#include "base/problem.h"
#include "base/reader.h"

struct failure {
  enum mk_code code;
  char text[320];
};

/* Returns the code, so that callers can `return failure_set(...)`. */
enum mk_code failure_set(struct failure *failure, enum mk_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
enum mk_code failure_no_memory(struct failure *failure);
/* What was found here. NOT_FOUND is MK_NOT_FOUND. */
enum mk_code failure_of(struct failure *failure, const struct problem *problem);
/* What the daemon said: {"success":false,"error_code":…,"error":…,"details":{…}}. */
enum mk_code failure_read(struct failure *failure, struct reader_value answer);
/* "INSUFFICIENT_MEMORY". Static; any value is safe. */
const char *failure_word(enum mk_code code);

#endif
