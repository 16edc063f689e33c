/*
 * inventory: which devices there are. Private to this room; at start, before any other thread.
 */
#ifndef SERVICE_INVENTORY_H
#define SERVICE_INVENTORY_H

#include "service/state.h"

/* One more device, the last; or none: a card that was found, not named, and that is open already
 * under another API. The problem names it. */
enum status inventory_open(struct service *s, const struct spec *spec, struct problem *problem);
/* A device named twice; a host device without a size beside another one (contract 2). */
enum status inventory_check(const struct service *s, struct problem *problem);
/* Those that the ledger does not know yet, or knows as another card, get their record. */
enum status inventory_keep(struct service *s, struct problem *problem);

#endif
