/*
 * hold: every handle is in a list, for the claims and for the end; those whose id others may ask
 * for are in a tree as well. A handle that is on its way in or out keeps its place in the tree, so
 * that a second thread with the same id waits and two messages about one allocation never cross.
 *
 * A freed allocation whose handle was given out twice keeps its memory mapped until the second one
 * is detached, but is no longer claimed.
 */
#include "client/hold.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/writer.h"

#define CLAIMS_MAX 16384 /* in one line: about 1.5 MiB */
#define CLAIMS_TEXT ((size_t)3 << 20)

enum state { COMING, HELD, LEAVING, FREEING, GONE };

struct hold {
  struct mk_client *client;
  struct lock lock;
  pthread_cond_t changed; /* a handle is no longer on its way */
  uint64_t generation;
  struct mapping_table mappings;
  void *by_id; /* of tsearch: HELD and on their way */
  struct mk_allocation *all;
};

enum status hold_create(struct mk_client *client, struct hold **out) {
  struct hold *hold = calloc(1, sizeof *hold);
  if (!hold)
    return STATUS_INTERNAL_ERROR;
  hold->client = client;
  lock_init(&hold->lock, LOCK_RANK_QUEUE, "client hold");
  pthread_cond_init(&hold->changed, NULL);
  *out = hold;
  return STATUS_OK;
}

/* ---- list and tree ---- */

static int compare(const void *left, const void *right) {
  const struct mk_allocation *a = left, *b = right;
  return (a->id > b->id) - (a->id < b->id);
}

static struct mk_allocation *find(const struct hold *hold, uint64_t id) {
  const struct mk_allocation key = {.id = id};
  struct mk_allocation *const *found = tfind(&key, &hold->by_id, compare);
  return found ? *found : NULL;
}

static void enlist(struct hold *hold, struct mk_allocation *allocation) {
  allocation->next = hold->all;
  if (hold->all)
    hold->all->previous = allocation;
  hold->all = allocation;
}

static void leave_tree(struct hold *hold, const struct mk_allocation *allocation) {
  if (find(hold, allocation->id) == allocation)
    tdelete(allocation, &hold->by_id, compare);
  pthread_cond_broadcast(&hold->changed);
}

static void delist(struct hold *hold, struct mk_allocation *allocation) {
  if (allocation->next)
    allocation->next->previous = allocation->previous;
  if (allocation->previous)
    allocation->previous->next = allocation->next;
  else
    hold->all = allocation->next;
}

/* Its mapping, to be closed without the lock, if nobody else uses it. */
static struct mapping *unmap(struct hold *hold, struct mk_allocation *allocation) {
  struct mapping *mapping = allocation->mapping;
  allocation->mapping = NULL;
  return mapping ? mapping_drop(&hold->mappings, mapping) : NULL;
}

void hold_free(struct hold *hold) {
  if (!hold)
    return;
  while (hold->all) {
    struct mk_allocation *allocation = hold->all;
    leave_tree(hold, allocation);
    delist(hold, allocation);
    mapping_close(unmap(hold, allocation));
    free(allocation);
  }
  mapping_close(mapping_spare(&hold->mappings));
  pthread_cond_destroy(&hold->changed);
  lock_done(&hold->lock);
  free(hold);
}

/* ---- in ---- */

static struct mk_allocation *make(struct hold *hold) {
  struct mk_allocation *allocation = calloc(1, sizeof *allocation);
  if (!allocation)
    return NULL;
  allocation->client = hold->client;
  allocation->references = 1;
  allocation->state = COMING;
  enlist(hold, allocation);
  return allocation;
}

struct mk_allocation *hold_new(struct hold *hold) {
  LOCK_SCOPE(&hold->lock);
  return make(hold);
}

static bool enter_tree(struct hold *hold, struct mk_allocation *allocation) {
  return tsearch(allocation, &hold->by_id, compare) != NULL;
}

enum status hold_begin(struct hold *hold, uint64_t id, struct mk_allocation **out) {
  LOCK_SCOPE(&hold->lock);
  struct mk_allocation *there;
  while ((there = find(hold, id)) && there->state != HELD)
    pthread_cond_wait(&hold->changed, &hold->lock.mutex);
  if (there) {
    there->references++;
    *out = there;
    return STATUS_CONFLICT;
  }
  struct mk_allocation *allocation = make(hold);
  if (!allocation)
    return STATUS_INTERNAL_ERROR;
  allocation->id = id;
  if (!enter_tree(hold, allocation)) {
    delist(hold, allocation);
    free(allocation);
    return STATUS_INTERNAL_ERROR;
  }
  *out = allocation;
  return STATUS_OK;
}

static void describe(struct mk_allocation *allocation, const struct hold_place *place) {
  allocation->id = place->id;
  id_format(ID_ALLOCATION, place->id, allocation->id_text);
  snprintf(allocation->device, sizeof allocation->device, "%s", place->device);
  allocation->size_bytes = place->size_bytes;
  allocation->offset_bytes = place->offset_bytes;
  allocation->writable = place->writable;
}

static enum status map(struct hold *hold, struct mk_allocation *allocation,
                       const struct hold_place *place, struct share *share) {
  const struct mapping_request request = {.segment = place->segment,
                                          .kind = place->kind,
                                          .writable = place->writable,
                                          .end_bytes = place->offset_bytes + place->size_bytes};
  if (!place->segment) {
    share_close(share);
    return STATUS_OK;
  }
  return mapping_take(&hold->mappings, &request, share, &allocation->mapping);
}

enum status hold_fill(struct hold *hold, struct mk_allocation *allocation,
                      const struct hold_place *place, struct share *share, uint64_t generation) {
  LOCK_SCOPE(&hold->lock);
  if (generation != hold->generation) {
    share_close(share);
    return STATUS_CONFLICT;
  }
  enum status status = map(hold, allocation, place, share);
  if (status)
    return status;
  describe(allocation, place);
  if (!enter_tree(hold, allocation)) {
    mapping_close(unmap(hold, allocation));
    return STATUS_INTERNAL_ERROR;
  }
  allocation->state = HELD;
  pthread_cond_broadcast(&hold->changed);
  return STATUS_OK;
}

/* ---- out ---- */

bool hold_leave(struct hold *hold, struct mk_allocation *allocation) {
  lock_take(&hold->lock);
  bool last = !--allocation->references;
  bool told = allocation->state == GONE || !allocation->mapping;
  struct mapping *mapping = last ? unmap(hold, allocation) : NULL;
  if (last)
    allocation->state = LEAVING;
  lock_give(&hold->lock);
  mapping_close(mapping);
  if (last && told)
    hold_remove(hold, allocation);
  return last && !told;
}

void hold_remove(struct hold *hold, struct mk_allocation *allocation) {
  lock_take(&hold->lock);
  leave_tree(hold, allocation);
  delist(hold, allocation);
  struct mapping *mapping = unmap(hold, allocation);
  lock_give(&hold->lock);
  mapping_close(mapping);
  free(allocation);
}

bool hold_freeing(struct hold *hold, struct mk_allocation *allocation) {
  lock_take(&hold->lock);
  while (allocation->state == FREEING)
    pthread_cond_wait(&hold->changed, &hold->lock.mutex);
  bool there = allocation->state == HELD;
  if (there)
    allocation->state = FREEING;
  lock_give(&hold->lock);
  if (!there)
    hold_leave(hold, allocation);
  return there;
}

void hold_freed(struct hold *hold, struct mk_allocation *allocation, bool freed) {
  lock_take(&hold->lock);
  allocation->state = freed ? GONE : HELD;
  if (freed)
    leave_tree(hold, allocation);
  else
    pthread_cond_broadcast(&hold->changed);
  lock_give(&hold->lock);
  if (freed)
    hold_leave(hold, allocation);
}

/* ---- claims ---- */

static const struct mk_allocation *next_claim(const struct mk_allocation *from) {
  while (from && (!from->mapping || (from->state != HELD && from->state != FREEING)))
    from = from->next;
  return from;
}

/* Writes one line's worth; returns the first that it left. */
static const struct mk_allocation *write_claims(const struct mk_allocation *from,
                                                struct buf *text) {
  struct writer w;
  unsigned count = 0;
  writer_init(&w, text, WRITER_SNAKE);
  writer_object(&w, NULL);
  writer_array(&w, "attachments");
  for (; from && count < CLAIMS_MAX; from = next_claim(from->next), count++) {
    writer_object(&w, NULL);
    writer_text(&w, "allocationId", from->id_text);
    writer_id(&w, "segmentId", ID_SEGMENT, from->mapping->segment);
    writer_bool(&w, "writable", from->writable);
    writer_end(&w);
  }
  writer_end(&w);
  if (from)
    writer_bool(&w, "more", true);
  writer_end(&w);
  buf_text(text);
  return from;
}

static struct buf *add_text(struct hold_claims *claims) {
  struct buf *texts = reallocarray(claims->texts, claims->count + 1, sizeof *texts);
  if (!texts)
    return NULL;
  claims->texts = texts;
  struct buf *text = &texts[claims->count++];
  buf_init(text, CLAIMS_TEXT);
  return text;
}

enum status hold_claim(struct hold *hold, struct hold_claims *claims, uint64_t *generation) {
  LOCK_SCOPE(&hold->lock);
  const struct mk_allocation *from = next_claim(hold->all);
  *claims = (struct hold_claims){.texts = NULL};
  *generation = ++hold->generation;
  while (from) {
    struct buf *text = add_text(claims);
    if (text)
      from = write_claims(from, text);
    if (!text || text->failed)
      return STATUS_INTERNAL_ERROR;
  }
  return STATUS_OK;
}

void hold_claims_done(struct hold_claims *claims) {
  for (size_t i = 0; i < claims->count; i++)
    buf_done(&claims->texts[i]);
  free(claims->texts);
  *claims = (struct hold_claims){.texts = NULL};
}
