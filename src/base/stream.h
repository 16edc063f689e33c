/*
 * stream: copies of what is larger than the caches. Any thread.
 */
#ifndef BASE_STREAM_H
#define BASE_STREAM_H

#include <stddef.h>

/* memcpy, but the lines of the target are neither read first nor kept in the caches: for two bytes
 * over the memory's bus instead of three. What is read again soon is better copied by memcpy. */
void stream_copy(void *to, const void *from, size_t n);

#endif
