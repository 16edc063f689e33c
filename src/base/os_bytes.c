/*
 * os_bytes: pread, pwrite and write, again until all is done. A file that was cut meanwhile is a
 * short read here, where a mapping of it would be a signal.
 */
#include "base/os_bytes.h"

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

/* Whether to go on: *n are the bytes that were done, 0 when it was only interrupted. */
static bool went_on(ssize_t *n) {
  if (*n < 0 && errno == EINTR)
    *n = 0;
  else if (*n <= 0)
    return false;
  return true;
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
      return STATUS_INTERNAL_ERROR;
    at += (size_t)put;
  }
  return STATUS_OK;
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
