/*
 * os_view: uses are counted in granules, one byte each. At the OFTEN-th use the granule's page
 * tables are filled in one call (a fault for each page costs ten times as much), later uses are
 * memcpy. The mapping spans the whole memfd and is made when the first granule needs it: addresses
 * cost nothing.
 *
 * Pages that several threads make are made at once, each thread its own: written by system calls
 * they would come one after the other, for a memfd is locked meanwhile.
 *
 * Why not at once: filling the tables costs a third of what reading by system calls does, and
 * taking them down again delays the end of the memory. `make bench` (transfer) shows the first copy
 * beside the later ones.
 */
#include "base/os_view.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/os_bytes.h"
#include "base/os_memfd.h"
#include "base/os_pages.h"
#include "base/stream.h"
#include "base/units.h"

#define GRANULE                                                                                    \
  (256 * KIB)           /* no larger than what movers take at once, else a pass counts twice       \
                         */
#define PAGE (4 * KIB)  /* the smallest there is */
#define COPY (64 * KIB) /* through the stack, where nothing is mapped; stays in the cache */
#define FAR (8 * MIB)   /* a copy so large leaves nothing in the caches anyway */
#define OFTEN 3         /* a load that is verified uses its memory twice */

enum { TABLED = OFTEN }; /* of uses: its page tables have been filled */

struct os_view {
  struct share share;
  uint64_t size;
  pthread_mutex_t lock; /* of making the mapping */
  _Atomic(char *) bytes;
  atomic_bool plain; /* it cannot be mapped */
  bool writable;     /* the mapping; set before bytes */
  atomic_uchar uses[];
};

enum status os_view_open(const struct share *share, uint64_t size, struct os_view **out) {
  uint64_t granules = units_up(size, GRANULE) / GRANULE, held;
  struct os_view *view = calloc(1, sizeof *view + granules);
  enum status status = view ? share_copy(share, &view->share) : STATUS_INTERNAL_ERROR;
  if (status) {
    free(view);
    return status;
  }
  view->size = size;
  pthread_mutex_init(&view->lock, NULL);
  atomic_store(&view->plain, os_memfd_size(share, &held) || held < size ||
                                 !os_memfd_is_sealed(share, OS_MEMFD_SEAL_SHRINK));
  *out = view;
  return STATUS_OK;
}

void os_view_close(struct os_view *view) {
  if (!view)
    return;
  os_memfd_unmap(atomic_load(&view->bytes), view->size);
  share_close(&view->share);
  pthread_mutex_destroy(&view->lock);
  free(view);
}

/* ---- what is mapped ---- */

static void map(struct os_view *view) {
  void *bytes = NULL;
  pthread_mutex_lock(&view->lock);
  if (!atomic_load(&view->bytes) && !atomic_load(&view->plain)) {
    view->writable = !os_memfd_map(&view->share, view->size, true, &bytes);
    if (!view->writable && os_memfd_map(&view->share, view->size, false, &bytes))
      atomic_store(&view->plain, true);
    if (view->writable)
      os_pages_prefer_huge(bytes, view->size);
    atomic_store(&view->bytes, bytes);
  }
  pthread_mutex_unlock(&view->lock);
}

/* Pages that were never touched, or given back, would be made by a look at them. */
static bool is_there(const char *place, uint64_t n) {
  unsigned char pages[GRANULE / PAGE + 1];
  uint64_t before = (uintptr_t)place % PAGE, count = units_up(before + n, PAGE) / PAGE;
  if (mincore((char *)(uintptr_t)(place - before), before + n, pages))
    return false;
  unsigned all = 1;
  for (uint64_t i = 0; i < count; i++)
    all &= pages[i];
  return all;
}

static bool fill_tables(struct os_view *view, uint64_t granule) {
  uint64_t start = granule * GRANULE, n = units_min(GRANULE, view->size - start);
  if (!atomic_load(&view->bytes))
    map(view);
  char *bytes = atomic_load(&view->bytes);
  if (!bytes || !is_there(bytes + start, n) || !os_pages_touch(bytes + start, n))
    return false;
  atomic_store(&view->uses[granule], TABLED);
  return true;
}

/* Whether the granule's tables are filled. A use counts where a granule begins. */
static bool is_tabled(struct os_view *view, uint64_t offset, bool counts) {
  uint64_t granule = offset / GRANULE;
  unsigned uses = atomic_load(&view->uses[granule]);
  if (uses == TABLED || !counts || offset % GRANULE || atomic_load(&view->plain))
    return uses == TABLED;
  if (uses + 1 == OFTEN)
    return fill_tables(view, granule);
  atomic_store(&view->uses[granule], (unsigned char)(uses + 1));
  return false;
}

/* Where a range that lies in one granule can be touched; NULL: by system calls. */
static char *place_of(struct os_view *view, uint64_t offset, uint64_t n, bool counts) {
  if (!is_tabled(view, offset, counts))
    return NULL;
  char *place = atomic_load(&view->bytes) + offset;
  return is_there(place, n) ? place : NULL;
}

static const char *place_to_read(struct os_view *view, uint64_t offset, uint64_t n) {
  return place_of(view, offset, n, true);
}

static char *place_to_write(struct os_view *view, uint64_t offset, uint64_t n) {
  char *place = place_of(view, offset, n, true);
  return place && view->writable ? place : NULL;
}

/* Of n bytes from here, those that lie in one granule. */
static uint64_t piece_of(uint64_t offset, uint64_t n) {
  return units_min(n, GRANULE - offset % GRANULE);
}

/* ---- uses ---- */

static char *where(struct os_view *view, uint64_t offset, size_t n) {
  for (uint64_t at = 0, piece; at < n; at += piece) {
    piece = piece_of(offset + at, n - at);
    if (!place_of(view, offset + at, piece, false))
      return NULL;
  }
  return atomic_load(&view->bytes) + offset;
}

const void *os_view_peek(struct os_view *view, uint64_t offset, size_t n) {
  return where(view, offset, n);
}

void *os_view_poke(struct os_view *view, uint64_t offset, size_t n) {
  char *place = where(view, offset, n);
  return place && view->writable ? place : NULL;
}

/* Its granules are tabled as far as the range goes; beyond it, what is there comes by faults. */
void os_view_bring(struct os_view *view, uint64_t offset, uint64_t n) {
  uint64_t start = offset / PAGE * PAGE, end = offset + n;
  if (!n || where(view, offset, n))
    return;
  if (!atomic_load(&view->bytes))
    map(view);
  char *bytes = atomic_load(&view->bytes);
  if (!bytes || !view->writable || !os_pages_make(bytes + start, end - start))
    return;
  for (uint64_t granule = offset / GRANULE; granule * GRANULE < end; granule++)
    atomic_store(&view->uses[granule], TABLED);
}

enum status os_view_read(struct os_view *view, uint64_t offset, void *out, size_t n) {
  enum status status = STATUS_OK;
  for (uint64_t at = 0, piece; !status && at < n; at += piece) {
    piece = piece_of(offset + at, n - at);
    const char *place = place_to_read(view, offset + at, piece);
    if (place)
      memcpy((char *)out + at, place, piece);
    else
      status = os_bytes_read(&view->share, offset + at, (char *)out + at, piece);
  }
  return status;
}

enum status os_view_write(struct os_view *view, uint64_t offset, const void *bytes, size_t n) {
  enum status status = STATUS_OK;
  for (uint64_t at = 0, piece; !status && at < n; at += piece) {
    piece = piece_of(offset + at, n - at);
    char *place = place_to_write(view, offset + at, piece);
    if (place)
      memcpy(place, (const char *)bytes + at, piece);
    else
      status = os_bytes_write(&view->share, offset + at, (const char *)bytes + at, piece);
  }
  return status;
}

enum status os_view_fill(struct os_view *view, uint64_t offset, uint8_t value, uint64_t n) {
  enum status status = STATUS_OK;
  for (uint64_t at = 0, piece; !status && at < n; at += piece) {
    piece = piece_of(offset + at, n - at);
    char *place = place_to_write(view, offset + at, piece);
    if (place)
      memset(place, value, piece);
    else
      status = os_bytes_fill(&view->share, offset + at, value, piece);
  }
  return status;
}

/* Each end lies in one granule. */
static enum status copy_piece(const struct os_view_range *from, const struct os_view_range *to,
                              uint64_t n, bool far) {
  const char *source = place_to_read(from->view, from->offset, n);
  char *target = place_to_write(to->view, to->offset, n), bytes[COPY];
  if (source && target && far)
    stream_copy(target, source, n);
  else if (source && target)
    memcpy(target, source, n);
  if (source)
    return target ? STATUS_OK : os_bytes_write(&to->view->share, to->offset, source, n);
  if (target)
    return os_bytes_read(&from->view->share, from->offset, target, n);
  enum status status = STATUS_OK;
  for (uint64_t at = 0, step; !status && at < n; at += step) {
    step = units_min(COPY, n - at);
    status = os_bytes_read(&from->view->share, from->offset + at, bytes, step);
    if (!status)
      status = os_bytes_write(&to->view->share, to->offset + at, bytes, step);
  }
  return status;
}

enum status os_view_copy(const struct os_view_range *from, const struct os_view_range *to,
                         uint64_t n) {
  struct os_view_range source = *from, target = *to;
  enum status status = STATUS_OK;
  bool far = n >= FAR;
  for (uint64_t piece; !status && n; n -= piece) {
    piece = units_min(piece_of(source.offset, n), piece_of(target.offset, n));
    status = copy_piece(&source, &target, piece, far);
    source.offset += piece;
    target.offset += piece;
  }
  return status;
}
