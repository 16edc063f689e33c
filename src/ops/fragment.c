/*
 * fragment: a source that brings the same bytes again gets the same text, so nobody has to say when
 * something changed. Padding that differs costs a text, never its truth.
 */
#include "ops/fragment.h"

#include <stdlib.h>
#include <string.h>

#include "base/lock.h"

#define FRAGMENT_PLACES (FRAGMENT_HOST + 1)
#define FRAGMENT_NAMES 2 /* camelCase and snake_case */
#define FRAGMENT_CAP                                                                               \
  ((size_t)64 << 10) /* 16 devices with 16 processes each; what is more is written anew */

struct kept {
  struct buf source, text;
};

struct fragment {
  struct lock lock;
  struct kept kept[FRAGMENT_PLACES][FRAGMENT_NAMES];
};

struct fragment *fragment_create(void) {
  struct fragment *fragment = calloc(1, sizeof *fragment);
  if (!fragment)
    return NULL;
  lock_init(&fragment->lock, LOCK_RANK_LEAF, "fragment");
  for (unsigned i = 0; i < FRAGMENT_PLACES; i++)
    for (unsigned names = 0; names < FRAGMENT_NAMES; names++) {
      buf_init(&fragment->kept[i][names].source, sizeof(struct view_host));
      buf_init(&fragment->kept[i][names].text, FRAGMENT_CAP);
    }
  return fragment;
}

void fragment_free(struct fragment *fragment) {
  if (!fragment)
    return;
  for (unsigned i = 0; i < FRAGMENT_PLACES; i++)
    for (unsigned names = 0; names < FRAGMENT_NAMES; names++) {
      buf_done(&fragment->kept[i][names].source);
      buf_done(&fragment->kept[i][names].text);
    }
  lock_done(&fragment->lock);
  free(fragment);
}

static struct kept *place_of(struct fragment *fragment, const struct fragment_source *source,
                             const struct writer *w) {
  return &fragment->kept[source->place][w->names == WRITER_SNAKE];
}

bool fragment_recall(struct fragment *fragment, const struct fragment_source *source,
                     struct writer *w) {
  const struct kept *kept = place_of(fragment, source, w);
  LOCK_SCOPE(&fragment->lock);
  if (!kept->text.size || kept->source.size != source->size ||
      (source->size && memcmp(kept->source.data, source->data, source->size) != 0))
    return false;
  writer_raw(w, NULL, kept->text.data, kept->text.size);
  return true;
}

void fragment_keep(struct fragment *fragment, const struct fragment_source *source,
                   const struct writer *w, size_t start) {
  if (w->out->failed)
    return;
  start += w->out->data[start] == ',';
  struct kept *kept = place_of(fragment, source, w);
  LOCK_SCOPE(&fragment->lock);
  buf_reset(&kept->source);
  buf_reset(&kept->text);
  buf_add(&kept->source, source->data, source->size);
  buf_add(&kept->text, w->out->data + start, w->out->size - start);
  if (kept->source.failed)
    buf_reset(&kept->text);
}
