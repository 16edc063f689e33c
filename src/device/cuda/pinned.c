/*
 * cuda/pinned: pinning takes some 50 ms a GiB, so a piece is pinned by the thread that copies from
 * it first, while others copy and pin other pieces: the first copy is slower than the link, later
 * ones are not. What the driver refuses once is not asked for again.
 */
#include "device/cuda/pinned.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/os_memfd.h"
#include "base/os_pages.h"
#include "base/units.h"

#define PINNED_PIECE (32 * MIB) /* some ms; other calls into the driver wait that long */

enum state { UNTRIED, UNDER_WAY, READY, REFUSED };

struct cuda_pinned {
  const struct cuda_load *load;
  char *bytes;
  uint64_t size;
  atomic_bool refused; /* one piece was, so that no other is tried */
  pthread_mutex_t lock;
  pthread_cond_t changed;
  unsigned char states[]; /* by piece; under the lock */
};

static uint64_t pieces_of(uint64_t size) { return units_up(size, PINNED_PIECE) / PINNED_PIECE; }

enum status cuda_pinned_open(const struct cuda_load *load, const struct share *share, uint64_t size,
                             struct cuda_pinned **out) {
  uint64_t there = 0, page = (uint64_t)sysconf(_SC_PAGESIZE);
  void *bytes;
  if (os_memfd_size(share, &there) || units_up(there, page) < size)
    return STATUS_INVALID_ARGUMENT;
  struct cuda_pinned *pinned = calloc(1, sizeof *pinned + pieces_of(size));
  if (!pinned)
    return STATUS_INTERNAL_ERROR;
  enum status status = os_memfd_map(share, size, false, &bytes);
  if (status) {
    free(pinned);
    return status;
  }
  pinned->load = load;
  pinned->bytes = bytes;
  pinned->size = size;
  pthread_mutex_init(&pinned->lock, NULL);
  pthread_cond_init(&pinned->changed, NULL);
  *out = pinned;
  return STATUS_OK;
}

/* Of a context that is lost the driver answers with errors, which change nothing. */
void cuda_pinned_close(struct cuda_pinned *pinned) {
  for (uint64_t i = 0; i < pieces_of(pinned->size); i++)
    if (pinned->states[i] == READY)
      (void)pinned->load->host_unregister(pinned->bytes + i * PINNED_PIECE);
  os_memfd_unmap(pinned->bytes, pinned->size);
  pthread_cond_destroy(&pinned->changed);
  pthread_mutex_destroy(&pinned->lock);
  free(pinned);
}

const char *cuda_pinned_bytes(const struct cuda_pinned *pinned) { return pinned->bytes; }

/* The pages are brought first: that, many threads can do at once. */
static enum state pin(struct cuda_pinned *pinned, uint64_t piece) {
  char *bytes = pinned->bytes + piece * PINNED_PIECE;
  uint64_t size = units_min(PINNED_PIECE, pinned->size - piece * PINNED_PIECE);
  if (atomic_load(&pinned->refused))
    return REFUSED;
  (void)os_pages_touch(bytes, size);
  if (!cuda_load_check(pinned->load, "pin a model's memory",
                       pinned->load->host_register(bytes, size, API_REGISTER_READ_ONLY)))
    return READY;
  atomic_store(&pinned->refused, true);
  return REFUSED;
}

uint64_t cuda_pinned_ready(struct cuda_pinned *pinned, uint64_t offset, bool *ready) {
  uint64_t piece = offset / PINNED_PIECE;
  unsigned char *state = &pinned->states[piece];
  pthread_mutex_lock(&pinned->lock);
  while (*state == UNDER_WAY)
    pthread_cond_wait(&pinned->changed, &pinned->lock);
  if (*state == UNTRIED) {
    *state = UNDER_WAY;
    pthread_mutex_unlock(&pinned->lock);
    enum state now = pin(pinned, piece);
    pthread_mutex_lock(&pinned->lock);
    *state = (unsigned char)now;
    pthread_cond_broadcast(&pinned->changed);
  }
  *ready = *state == READY;
  pthread_mutex_unlock(&pinned->lock);
  return units_min((piece + 1) * PINNED_PIECE, pinned->size);
}
