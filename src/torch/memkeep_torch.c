/*
 * memkeep_torch: the one allocator of the process: its connection, its cards, and what ends it.
 * What is asked of it often goes by an atomic pointer to the card and takes no lock here.
 */
#include "torch/memkeep_torch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/lock.h"
#include "base/units.h"
#include "torch/raise.h"
#include "torch/steward.h"
#include "torch/vram.h"

static struct {
  pthread_mutex_t lock; /* over opening */
  mk_client *client;
  struct driver driver;
  uint32_t flags;
  bool has_driver;
  struct steward *steward; /* NULL: not yet */
  _Atomic(struct vram *) cards[MEMKEEP_TORCH_CARDS];
  atomic_bool forked, ended;
  atomic_uint capturing;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local char error[VRAM_WHY + 256];

/* ---- the process ---- */

static void in_child(void) { atomic_store(&all.forked, true); }

/* Before the driver's own end, which was arranged earlier. */
static void at_end(void) {
  if (atomic_load(&all.forked) || atomic_exchange(&all.ended, true))
    return;
  steward_stop(all.steward);
  for (int i = 0; i < MEMKEEP_TORCH_CARDS; i++)
    if (atomic_load(&all.cards[i]))
      vram_end(atomic_load(&all.cards[i]));
}

/* Under the lock. */
static bool connect_daemon(const char *socket, char *why) {
  const struct mk_options options = {.socket = socket};
  if (all.client)
    return true;
  if (mk_connect(&options, &all.client)) {
    snprintf(why, VRAM_WHY, "%.400s", mk_error_text());
    return false;
  }
  pthread_atfork(NULL, NULL, in_child);
  return true;
}

int memkeep_torch_open(const char *socket, uint32_t flags) {
  pthread_mutex_lock(&all.lock);
  bool open = connect_daemon(socket, error);
  all.flags = flags;
  pthread_mutex_unlock(&all.lock);
  return open ? 0 : -1;
}

/* Under the lock. */
static struct vram *open_card(int device, char *why) {
  struct vram *card = atomic_load(&all.cards[device]);
  if (card || !connect_daemon(NULL, why))
    return card;
  all.has_driver = all.has_driver || driver_open(&all.driver, why);
  if (!all.has_driver)
    return NULL;
  card = vram_open(&(struct vram_params){&all.driver, all.client, device, all.flags}, why);
  if (!card)
    return NULL;
  if (!all.steward) {
    all.steward = steward_start(all.client);
    atexit(at_end);
  }
  steward_add(all.steward, card);
  atomic_store(&all.cards[device], card);
  return card;
}

static struct vram *card_of(int device, char *why) {
  if (device < 0 || device >= MEMKEEP_TORCH_CARDS) {
    snprintf(why, VRAM_WHY, "there is no card %d", device);
    return NULL;
  }
  struct vram *card = atomic_load_explicit(&all.cards[device], memory_order_acquire);
  if (card)
    return card;
  pthread_mutex_lock(&all.lock);
  card = open_card(device, why);
  pthread_mutex_unlock(&all.lock);
  return card;
}

/* ---- memory ---- */

static const char *refusal(void) {
  if (atomic_load_explicit(&all.forked, memory_order_relaxed))
    return "this process was forked from one that uses memkeep's allocator, where neither CUDA nor "
           "the allocator works; start it with multiprocessing's \"spawn\"";
  if (atomic_load_explicit(&all.ended, memory_order_relaxed))
    return "the process ends";
  if (atomic_load_explicit(&all.capturing, memory_order_relaxed))
    return "CUDA graphs cannot be captured with memkeep's allocator; run without them";
  return NULL;
}

static void fail(uint64_t size, int device, const char *why) {
  struct memkeep_torch_figures held = {.reserved_bytes = 0};
  char text[sizeof error], wanted[32], reserved[32], used[32];
  (void)memkeep_torch_look(device, &held);
  snprintf(
      text, sizeof text,
      "CUDA out of memory. Memkeep has no %s for this process on card %d: %s. It holds %s here, "
      "%s in use. Free tensors, or see with `memkeep top` who holds the rest.",
      units_format(size, wanted, sizeof wanted), device, why,
      units_format(held.reserved_bytes, reserved, sizeof reserved),
      units_format(held.used_bytes, used, sizeof used));
  memcpy(error, text, sizeof error);
  raise_out_of_memory(text);
}

void *memkeep_torch_alloc(ssize_t size, int device, void *stream) {
  char why[VRAM_WHY];
  if (size <= 0)
    return NULL;
  const char *refused = refusal();
  struct vram *card = refused ? NULL : card_of(device, why);
  uint64_t start = card ? vram_take(card, (uint64_t)size, stream, why) : 0;
  if (!start)
    fail((uint64_t)size, device, refused ? refused : why);
  return (void *)(uintptr_t)start; /* the card's address, a number to us */
}

void memkeep_torch_free(void *memory, ssize_t size, int device, void *stream) {
  (void)size;
  (void)stream;
  if (!memory || device < 0 || device >= MEMKEEP_TORCH_CARDS || atomic_load(&all.forked))
    return;
  struct vram *card = atomic_load_explicit(&all.cards[device], memory_order_acquire);
  if (!card || !vram_give(card, (uintptr_t)memory))
    snprintf(error, sizeof error, "what was freed was not allocated here");
}

void memkeep_torch_record_stream(void *memory, void *stream) {
  if (!memory || atomic_load(&all.forked))
    return;
  for (int i = 0; i < MEMKEEP_TORCH_CARDS; i++) {
    struct vram *card = atomic_load_explicit(&all.cards[i], memory_order_acquire);
    if (card && vram_share(card, (uintptr_t)memory, stream))
      return;
  }
}

void memkeep_torch_empty_cache(void) {
  if (refusal())
    return;
  for (int i = 0; i < MEMKEEP_TORCH_CARDS; i++)
    if (atomic_load(&all.cards[i]))
      (void)vram_trim(atomic_load(&all.cards[i]), UINT64_MAX);
}

void memkeep_torch_begin_pool(int device) {
  (void)device;
  atomic_fetch_add(&all.capturing, 1);
}

void memkeep_torch_end_pool(int device) {
  (void)device;
  atomic_fetch_sub(&all.capturing, 1);
}

/* ---- looking ---- */

int memkeep_torch_look(int device, struct memkeep_torch_figures *out) {
  if (device < 0 || device >= MEMKEEP_TORCH_CARDS)
    return -1;
  struct vram *card = atomic_load(&all.forked) ? NULL : atomic_load(&all.cards[device]);
  struct vram_figures figures = {.reserved = 0};
  if (card)
    vram_look(card, &figures);
  *out = (struct memkeep_torch_figures){.reserved_bytes = figures.reserved,
                                        .used_bytes = figures.used,
                                        .empty_bytes = figures.empty,
                                        .peak_reserved_bytes = figures.peak_reserved,
                                        .peak_used_bytes = figures.peak_used,
                                        .allocations = figures.pieces,
                                        .segments = figures.segments};
  return 0;
}

const char *memkeep_torch_error(void) { return error; }
