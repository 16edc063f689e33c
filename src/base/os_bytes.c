/*
 * os_bytes: pread, pwrite and write, again until all is done. A file that was cut meanwhile is a
 * short read here, where a mapping of it would be a signal.
 */
#include "base/os_bytes.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"

#define FILL (64 * KIB) /* written from the stack; stays in the cache */

/* Whether to go on: *n are the bytes that were done, 0 when it was only interrupted. */
static bool went_on(ssize_t *n) {
  if (*n < 0 && errno == EINTR)
    *n = 0;
  else if (*n <= 0)
    return false;
  return true;
}

static enum status refused(int error) {
  if (error == ENOMEM || error == ENOSPC || error == EFBIG)
    return STATUS_INSUFFICIENT_MEMORY;
  return error == EPERM ? STATUS_CONFLICT : STATUS_INTERNAL_ERROR;
}

enum status os_bytes_read(const struct share *share, uint64_t offset, void *out, size_t n) {
  for (size_t at = 0; at < n;) {
    ssize_t got = pread((int)share->value, (char *)out + at, n - at, (off_t)(offset + at));
    if (!got)
      return STATUS_NOT_FOUND;
    if (!went_on(&got))
      return STATUS_INTERNAL_ERROR;
    at += (size_t)got;
  }
  return STATUS_OK;
}

enum status os_bytes_write(const struct share *share, uint64_t offset, const void *bytes,
                           size_t n) {
  for (size_t at = 0; at < n;) {
    ssize_t put = pwrite((int)share->value, (const char *)bytes + at, n - at, (off_t)(offset + at));
    if (!went_on(&put))
      return refused(errno);
    at += (size_t)put;
  }
  return STATUS_OK;
}

enum status os_bytes_fill(const struct share *share, uint64_t offset, uint8_t value, uint64_t n) {
  char bytes[FILL];
  enum status status = STATUS_OK;
  memset(bytes, value, sizeof bytes);
  for (uint64_t at = 0; !status && at < n; at += sizeof bytes)
    status = os_bytes_write(share, offset + at, bytes, units_min(n - at, sizeof bytes));
  return status;
}

enum status os_bytes_say(const struct share *share, const void *bytes, size_t n) {
  for (size_t at = 0; at < n;) {
    ssize_t put = write((int)share->value, (const char *)bytes + at, n - at);
    if (!went_on(&put))
      return STATUS_INTERNAL_ERROR;
    at += (size_t)put;
  }
  return STATUS_OK;
}
