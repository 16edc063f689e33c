/*
 * os_pages: address space whose memory comes, zeroed, at first touch. Any thread.
 */
#ifndef BASE_OS_PAGES_H
#define BASE_OS_PAGES_H

#include <stdbool.h>
#include <stddef.h>

/* Nothing is taken from anybody before it is touched. NULL: no address space. */
void *os_pages_reserve(size_t bytes);
/* The first `used` bytes, and with them all behind, will be touched soon: in as few faults as the
 * kernel allows. Without it that holds from the third MiB on, so that what stays small is small. */
void os_pages_expect(void *pages, size_t used);
#define OS_PAGES_HUGE ((size_t)2 << 20) /* bytes of a huge one */

/* Of a shared mapping: its pages are to be huge, where this kernel has such for shared memory
 * (/sys/kernel/mm/transparent_hugepage/shmem_enabled is `advise`; as a rule it is `never`). */
void os_pages_prefer_huge(void *pages, size_t bytes);
/* Whether that has an effect now: asked of the kernel, a read of a small file. */
bool os_pages_huge_if_asked(void);
/* Brings the pages of a mapping for reading, at once instead of at each first touch. False: not
 * all of them; who touches one brings it then, if it can be had. */
bool os_pages_touch(void *pages, size_t bytes);
/* The same for writing, on a shared mapping too: pages that were not there are made, and cleared.
 * False: not all of them; some may have been made. */
bool os_pages_make(void *pages, size_t bytes);
/* Harmless on NULL. */
void os_pages_release(void *pages, size_t bytes);

#endif
