/*
 * os_bytes: bytes of an open file or a memfd at a place of it, or into a pipe: all of them, or a
 * failure. Waits as long as the file's system does. Any thread.
 */
#ifndef BASE_OS_BYTES_H
#define BASE_OS_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "base/share.h"
#include "base/status.h"

/* NOT_FOUND: the file ends before. INTERNAL_ERROR: it cannot be read. */
enum status os_bytes_read(const struct share *share, uint64_t offset, void *out, size_t n);
/* INSUFFICIENT_MEMORY: no room. CONFLICT: sealed. INTERNAL_ERROR: it cannot be written. After a
 * failure some of the bytes may be there. */
enum status os_bytes_write(const struct share *share, uint64_t offset, const void *bytes, size_t n);
/* n times the same byte; fails as os_bytes_write does. */
enum status os_bytes_fill(const struct share *share, uint64_t offset, uint8_t value, uint64_t n);
/* To the end of a pipe. INTERNAL_ERROR: nobody reads it. */
enum status os_bytes_say(const struct share *share, const void *bytes, size_t n);

#endif
