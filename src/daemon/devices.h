/*
 * devices: which devices the daemon has: those that were named and the cards that are found;
 * without a name also the host. Start-up only, one thread.
 */
#ifndef DAEMON_DEVICES_H
#define DAEMON_DEVICES_H

#include "base/os_drm.h"
#include "daemon/config.h"
#include "daemon/finder.h"

#define DEVICES_CARDS 32
#define DEVICES_UNSERVED 160

struct devices {
  struct spec all[VIEW_DEVICES]; /* the answer */
  unsigned count;
  char unseen[FINDER_WHY];         /* why cards may be missing, "" when none are */
  char unserved[DEVICES_UNSERVED]; /* which cards no driver offers, "": none */

  /* On the way to it. */
  struct finder finder;
  const char *worker; /* path of memkeep-worker; borrowed, of the answer too */
  struct spec found[VIEW_DEVICES];
  unsigned found_count;
  struct os_drm_card cards[DEVICES_CARDS]; /* that the kernel has */
  uint32_t card_count;
};

/* Starts looking; what takes long goes on beside what else there is to do. */
void devices_look(struct devices *devices, const struct config *config, const char *worker);
/* Waits for the rest, two seconds from then on at most, and chooses. */
void devices_choose(struct devices *devices, const struct config *config);

#endif
