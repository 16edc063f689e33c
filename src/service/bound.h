/*
 * bound: ids are those of cards, not of places in a list. While memory lies on a card the ledger
 * knows its UUID, and the card keeps its id over a restart, wherever a driver lists it then.
 * Private to this room; at start, before any other thread.
 */
#ifndef SERVICE_BOUND_H
#define SERVICE_BOUND_H

#include "service/state.h"

/* The 128 bits of a UUID, as drivers write it ("GPU-…" too, and what follows a '/' apart); zeros:
 * that is none. */
void bound_card(const char *uuid, uint64_t card[2]);
/* Whether a limit record is of the card with this UUID; what is not known does not differ. */
bool bound_is_card(const struct ledger_limit *limit, const char *uuid);
/* As UUIDs are written; "" for zeros. */
void bound_format(const uint64_t card[2], char out[SPEC_UUID]);
/* Of cards that were found, those that the ledger knows get the id that it has for them, and give
 * theirs to whoever had that one; a card that is new gets no id under which another's memory is. */
void bound_rename(const struct service *s, struct spec *specs, unsigned count);
/* Whether memory lies on the device of a limit record. */
bool bound_holds_memory(const struct service *s, uint64_t device);

#endif
