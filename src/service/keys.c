/*
 * keys: a hash table whose chains run through the allocations themselves, so that an allocation
 * without a key pays 4 bytes.
 */
#include "service/keys.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define KEYS_BUCKETS (UINT32_C(1) << 18) /* 1 MiB: it stays in a core's cache */
#define KEYS_PENDING 256                 /* buckets of those that are being made: few */

struct keys {
  uint32_t buckets[KEYS_BUCKETS]; /* the kernel gives pages at first touch */
  struct keys_pending *pending[KEYS_PENDING];
};

enum status keys_create(struct service *s) {
  s->keys = calloc(1, sizeof *s->keys);
  return s->keys ? STATUS_OK : STATUS_INTERNAL_ERROR;
}

void keys_free(struct service *s) { free(s->keys); }

void keys_hash(const struct caller *caller, uint64_t out[2]) {
  out[0] = out[1] = 0;
  if (!caller->key[0])
    return;
  XXH128_hash_t hash = XXH3_128bits_withSeed(caller->key, strlen(caller->key), caller->domain);
  out[0] = hash.low64 | 1; /* never {0, 0}, which means none */
  out[1] = hash.high64;
}

static uint32_t *bucket(const struct service *s, const uint64_t key[2]) {
  return &s->keys->buckets[key[1] % KEYS_BUCKETS];
}

uint32_t keys_find(const struct service *s, const uint64_t key[2]) {
  if (!key[0])
    return 0;
  uint32_t index = *bucket(s, key);
  for (; index; index = state_alloc(s, index)->key_next) {
    const struct ledger_allocation *facts = state_record(s, state_alloc(s, index));
    if (facts->key_hash[0] == key[0] && facts->key_hash[1] == key[1])
      return index;
  }
  return 0;
}

void keys_add(struct service *s, uint32_t index) {
  struct state_alloc *alloc = state_alloc(s, index);
  const uint64_t *key = state_record(s, alloc)->key_hash;
  if (!key[0])
    return;
  uint32_t *head = bucket(s, key);
  alloc->key_next = *head;
  *head = index;
}

void keys_remove(struct service *s, uint32_t index) {
  const uint64_t *key = state_record(s, state_alloc(s, index))->key_hash;
  if (!key[0])
    return;
  for (uint32_t *link = bucket(s, key); *link; link = &state_alloc(s, *link)->key_next) {
    if (*link != index)
      continue;
    *link = state_alloc(s, index)->key_next;
    return;
  }
}

static struct keys_pending **pending_bucket(const struct service *s, const uint64_t key[2]) {
  return &s->keys->pending[key[1] % KEYS_PENDING];
}

struct keys_pending *keys_find_pending(const struct service *s, const uint64_t key[2]) {
  if (!key[0])
    return NULL;
  struct keys_pending *pending = *pending_bucket(s, key);
  while (pending && (pending->key[0] != key[0] || pending->key[1] != key[1]))
    pending = pending->next;
  return pending;
}

void keys_add_pending(struct service *s, struct keys_pending *pending) {
  if (!pending->key[0])
    return;
  struct keys_pending **head = pending_bucket(s, pending->key);
  pending->next = *head;
  *head = pending;
}

void keys_remove_pending(struct service *s, struct keys_pending *pending) {
  if (!pending->key[0])
    return;
  struct keys_pending **link = pending_bucket(s, pending->key);
  while (*link != pending)
    link = &(*link)->next;
  *link = pending->next;
}
