/*
 * vram: a device's memory as PyTorch wants it: pieces of any size at once, from segments that the
 * daemon owns. Small ones have an arena of their own, so that what lives long does not lie among
 * what is large.
 *
 * Any thread may call all of it. What finds a free piece takes one lock and makes no system call;
 * what needs a segment, or gives some back, is done by one thread at a time and waits for the
 * daemon and the driver.
 */
#ifndef TORCH_VRAM_H
#define TORCH_VRAM_H

#include <memkeep/memkeep.h>

#include "base/units.h"
#include "torch/driver.h"

#define VRAM_SMALL MIB /* up to this a piece is small */
#define VRAM_WHY 512   /* bytes of a reason */

/* How large a segment is asked for when something of `size` has no room, with so much reserved for
 * its kind: a part of that, so that some three hundred segments fill any card. */
static inline uint64_t vram_wish(uint64_t size, uint64_t reserved) {
  return units_max(size > VRAM_SMALL ? 8 * MIB : 2 * MIB, reserved / 32);
}

struct vram;

struct vram_params {
  const struct driver *driver; /* borrowed for good, as is the client */
  mk_client *client;
  int number;     /* as this process counts */
  uint32_t flags; /* of enum mk_flags, for every segment */
};

struct vram_figures {
  uint64_t reserved, used, empty; /* see struct arena_figures */
  uint64_t pieces, segments;
  uint64_t peak_reserved, peak_used; /* since it was opened */
};

/* NULL, with a sentence in `why`: no such card here or at the daemon. It lives as long as the
 * process: pieces of it may be anywhere. */
struct vram *vram_open(const struct vram_params *params, char *why);
/* The daemon's word for it. */
const char *vram_name(const struct vram *card);

/* The address; 0, with a sentence in `why`: there is no memory. Size 1 …. */
uint64_t vram_take(struct vram *card, uint64_t size, driver_stream stream, char *why);
/* False: nothing of this card was taken at that address. */
bool vram_give(struct vram *card, uint64_t start);
/* The stream uses it too: it is given to nobody before that has done what it is told until
 * vram_give. False: as above. */
bool vram_share(struct vram *card, uint64_t start, driver_stream stream);

/* Gives empty segments of `most` bytes in all back, once the card has done what it was told.
 * Returns what went. */
uint64_t vram_trim(struct vram *card, uint64_t most);
/* Gives back what the program did not need since the call before the last. */
void vram_tick(struct vram *card);
/* No driver call from now on: the process ends. Waits for one that is under way. */
void vram_end(struct vram *card);
void vram_look(struct vram *card, struct vram_figures *out);

#endif
