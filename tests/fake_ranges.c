/*
 * fake_ranges: addresses that programs reserve on FAKE cards, and the memory that is mapped there,
 * in one piece or in several. See fake_libcuda.h.
 */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "fake_libcuda.h"

#define RANGES 8192

struct range {
  api_pointer start; /* 0: none */
  uint64_t size;
  int card;
  unsigned open; /* a bit for each card that may use it */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct range reserved[RANGES], mapped[RANGES];

static void *memory(api_pointer start) { return (void *)(uintptr_t)start; }

static struct range *around(struct range *ranges, api_pointer start, uint64_t size) {
  for (unsigned i = 0; i < RANGES; i++)
    if (ranges[i].start && ranges[i].start <= start &&
        start + size <= ranges[i].start + ranges[i].size)
      return &ranges[i];
  return NULL;
}

static bool touches_mapped(api_pointer start, uint64_t size) {
  for (unsigned i = 0; i < RANGES; i++)
    if (mapped[i].start && mapped[i].start < start + size &&
        start < mapped[i].start + mapped[i].size)
      return true;
  return false;
}

static bool add(struct range *ranges, struct range range) {
  for (unsigned i = 0; i < RANGES; i++)
    if (!ranges[i].start) {
      ranges[i] = range;
      return true;
    }
  return false;
}

static void *blank(void *wish, uint64_t size) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (wish ? MAP_FIXED : 0);
  return mmap(wish, size, PROT_NONE, flags, -1, 0);
}

api_pointer fake_range_reserve(uint64_t size) {
  void *place = blank(NULL, size);
  pthread_mutex_lock(&lock);
  bool added =
      place != MAP_FAILED && add(reserved, (struct range){.start = (uintptr_t)place, .size = size});
  pthread_mutex_unlock(&lock);
  return added ? (uintptr_t)place : 0;
}

bool fake_range_free(api_pointer start, uint64_t size) {
  pthread_mutex_lock(&lock);
  struct range *range = around(reserved, start, size);
  bool fits = range && range->size == size && !touches_mapped(start, size);
  if (fits) {
    munmap(memory(start), size);
    range->start = 0;
  }
  pthread_mutex_unlock(&lock);
  return fits;
}

bool fake_range_map(api_pointer start, uint64_t size, int card, int fd) {
  pthread_mutex_lock(&lock);
  bool fits = around(reserved, start, size) && !touches_mapped(start, size) &&
              mmap(memory(start), size, PROT_NONE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED &&
              add(mapped, (struct range){start, size, card, 0});
  pthread_mutex_unlock(&lock);
  return fits;
}

bool fake_range_unmap(api_pointer start, uint64_t size) {
  pthread_mutex_lock(&lock);
  struct range *range = around(mapped, start, size);
  bool fits = range && range->size == size;
  if (fits) {
    blank(memory(start), size);
    range->start = 0;
  }
  pthread_mutex_unlock(&lock);
  return fits;
}

int fake_range_card(api_pointer start, uint64_t size) {
  pthread_mutex_lock(&lock);
  const struct range *range = around(mapped, start, size);
  int card = range ? range->card : -1;
  pthread_mutex_unlock(&lock);
  return card;
}

bool fake_range_open(api_pointer start, uint64_t size, int card) {
  pthread_mutex_lock(&lock);
  struct range *range = around(mapped, start, size);
  bool opened = range && !mprotect(memory(start), size, PROT_READ | PROT_WRITE);
  if (opened)
    range->open |= 1u << card;
  pthread_mutex_unlock(&lock);
  return opened;
}

bool fake_range_is_open(api_pointer start, uint64_t size, int card) {
  api_pointer end = start + size;
  bool open = true;
  pthread_mutex_lock(&lock);
  while (open && start < end) {
    const struct range *range = around(mapped, start, 1);
    open = range && range->open >> card & 1;
    start = open ? range->start + range->size : end;
  }
  pthread_mutex_unlock(&lock);
  return open;
}
