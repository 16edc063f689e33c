/*
 * fragment: JSON that was written before, kept beside the very bytes it was made of: what is made
 * of the same again gets the same text. Most of a status changes when something happens or was
 * sampled, a few times a second, while it may be asked 100,000 times a second.
 */
#ifndef OPS_FRAGMENT_H
#define OPS_FRAGMENT_H

#include "base/writer.h"
#include "service/view.h"

struct fragment;

#define FRAGMENT_HOST VIEW_DEVICES

/* What a text is made of, padding included. Pointers in it lead to what never changes. */
struct fragment_source {
  unsigned place; /* where its text is kept: FRAGMENT_HOST, or a device's index */
  const void *data;
  size_t size;
};

/* NULL: no memory. */
struct fragment *fragment_create(void);
void fragment_free(struct fragment *fragment);
/* Adds the members that are kept for the source's place, if they were made of the same. False:
 * there are none. Any thread, and so is fragment_keep. */
bool fragment_recall(struct fragment *fragment, const struct fragment_source *source,
                     struct writer *w);
/* Keeps the members that w has written since its buffer was `start` bytes long. */
void fragment_keep(struct fragment *fragment, const struct fragment_source *source,
                   const struct writer *w, size_t start);

#endif
