/*
 * os_view: the bytes of a memfd, for a process that reads and writes them again and again. Any
 * thread; different ranges at the same time. Waits as long as memory does: never under a lock.
 *
 * The first uses are system calls: a fresh page is not cleared before it is written, and what is
 * used once needs no page tables. What is used often and is all there is mapped, which halves the
 * work for each byte. No access is a signal: only pages that are there are touched, and only of a
 * memfd that nobody can shrink. (Who punches a range while it is read gets zeros, as ever.)
 */
#ifndef BASE_OS_VIEW_H
#define BASE_OS_VIEW_H

#include <stddef.h>
#include <stdint.h>

#include "base/share.h"
#include "base/status.h"

struct os_view;

/* Of the first `size` bytes; keeps a copy of the share. INTERNAL_ERROR: no memory or descriptor. */
enum status os_view_open(const struct share *share, uint64_t size, struct os_view **out);
/* No call is under way. NULL is fine. */
void os_view_close(struct os_view *view);

/* The errors are os_bytes'; ranges lie within the size. */
enum status os_view_read(struct os_view *view, uint64_t offset, void *out, size_t n);
enum status os_view_write(struct os_view *view, uint64_t offset, const void *bytes, size_t n);
/* n times the same byte. */
enum status os_view_fill(struct os_view *view, uint64_t offset, uint8_t value, uint64_t n);
/* The bytes where they are, to be read before the view is closed; NULL: read them. */
const void *os_view_peek(struct os_view *view, uint64_t offset, size_t n);
/* The same, to be written there; NULL: write them. */
void *os_view_poke(struct os_view *view, uint64_t offset, size_t n);
/* Several threads are about to write different ranges: makes the pages of this one and maps them,
 * so that it can be written in place. A memfd takes written bytes from one thread after the other,
 * but pages from all at once. Without effect where it cannot be. */
void os_view_bring(struct os_view *view, uint64_t offset, uint64_t n);

struct os_view_range {
  struct os_view *view;
  uint64_t offset;
};
/* From one to another, or within one where the ranges do not overlap. */
enum status os_view_copy(const struct os_view_range *from, const struct os_view_range *to,
                         uint64_t n);

#endif
