/*
 * reserve: jansson 2.14 does not look whether its buffer for the word that it reads could grow. The
 * character is lost then, and if it was a closing quote it reads and writes beyond the buffer. So
 * what malloc does not give comes from here; only when this is used up as well does jansson hear of
 * it.
 *
 * Pieces are taken one behind the other, and all are free again when the last one is given back.
 * The state is one word, changed in one step: bytes taken, and above them how many pieces there
 * are. It is global because jansson's allocator is.
 */
#include "base/reserve.h"

#include <errno.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#define RESERVE_BYTES ((size_t)256 << 10) /* some requests and answers of the usual size */
#define ALIGNMENT 16
#define ONE_PIECE (UINT64_C(1) << 32)
#define BYTES_MASK (ONE_PIECE - 1)

static _Alignas(ALIGNMENT) char reserve[RESERVE_BYTES];
static _Atomic uint64_t state;

static void *from_reserve(size_t n) {
  if (n > RESERVE_BYTES)
    return NULL;
  uint64_t size = (n + ALIGNMENT) / ALIGNMENT * ALIGNMENT; /* a place of its own even for none */
  uint64_t old = atomic_load(&state);
  do {
    if ((old & BYTES_MASK) + size > RESERVE_BYTES)
      return NULL;
  } while (!atomic_compare_exchange_weak(&state, &old, old + ONE_PIECE + size));
  return reserve + (old & BYTES_MASK);
}

static void *get(size_t n) {
  int saved = errno;
  void *block = malloc(n);
  if (block)
    return block;
  block = from_reserve(n);
  errno = block ? saved : ENOMEM;
  return block;
}

static void give(void *block) {
  if ((uintptr_t)block - (uintptr_t)reserve >= RESERVE_BYTES) {
    free(block);
    return;
  }
  uint64_t old = atomic_load(&state), left;
  do
    left = old - ONE_PIECE;
  while (!atomic_compare_exchange_weak(&state, &old, left < ONE_PIECE ? 0 : left));
}

void reserve_install(void) { json_set_alloc_funcs(get, give); }
