/*
 * os_pages: huge pages, where the kernel has them, are for what is large: a fault brings 2 MiB
 * then. All of it is advice that a kernel may refuse.
 */
#include "base/os_pages.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *os_pages_reserve(size_t bytes) {
  char *pages =
      mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED)
    return NULL;
  if (bytes > 2 * OS_PAGES_HUGE)
    (void)madvise(pages + OS_PAGES_HUGE, bytes - OS_PAGES_HUGE, MADV_HUGEPAGE);
  return pages;
}

void os_pages_expect(void *pages, size_t used) {
  if (used > OS_PAGES_HUGE / 2)
    (void)madvise(pages, used < OS_PAGES_HUGE ? used : OS_PAGES_HUGE, MADV_HUGEPAGE);
}

void os_pages_prefer_huge(void *pages, size_t bytes) { (void)madvise(pages, bytes, MADV_HUGEPAGE); }

bool os_pages_huge_if_asked(void) {
  char words[128];
  int fd = open("/sys/kernel/mm/transparent_hugepage/shmem_enabled", O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, words, sizeof words - 1);
  if (fd >= 0)
    close(fd);
  words[n > 0 ? n : 0] = '\0';
  return strstr(words, "[advise]");
}

bool os_pages_touch(void *pages, size_t bytes) {
  return !madvise(pages, bytes, MADV_POPULATE_READ);
}

bool os_pages_make(void *pages, size_t bytes) {
  return !madvise(pages, bytes, MADV_POPULATE_WRITE);
}

void os_pages_release(void *pages, size_t bytes) {
  if (pages)
    munmap(pages, bytes);
}
