/*
 * hold: what this process has attached, so that one allocation has one handle, one segment one
 * mapping, and a daemon that comes back can be told all of it. Thread-safe; never asks the daemon.
 *
 * A handle's life: hold_new or hold_begin, the daemon's answer, hold_fill (else hold_remove); then
 * hold_leave, the daemon's answer, hold_remove; or hold_freeing, the answer, hold_freed.
 *
 * Each connection has a generation. What was answered on an old one is not known to the new one
 * unless it was among its claims; hold_fill tells, and the question must then be put again.
 */
#ifndef CLIENT_HOLD_H
#define CLIENT_HOLD_H

#include "base/buf.h"
#include "base/id.h"
#include "base/lock.h"
#include "client/mapping.h"

#define HOLD_DEVICE 64 /* longest device id, with its NUL */

struct mk_client;

/* A handle. Constant while it is held but for the last four, which hold's lock guards. */
struct mk_allocation {
  struct mk_client *client;
  uint64_t id;
  char id_text[ID_SIZE], device[HOLD_DEVICE];
  uint64_t size_bytes, offset_bytes; /* offset in its segment */
  struct mapping *mapping;           /* NULL: it is not attached */
  bool writable;
  unsigned references;
  int state;
  struct mk_allocation *next, *previous;
};

struct hold;

enum status hold_create(struct mk_client *client, struct hold **out);
/* Unmaps and closes everything. NULL is fine. */
void hold_free(struct hold *hold);

/* An empty handle; NULL: no memory. */
struct mk_allocation *hold_new(struct hold *hold);
/* Before an attach. OK: *out is a handle to fill. CONFLICT: it is attached, *out has one reference
 * more. INTERNAL_ERROR: no memory. Waits while the same id is being attached, left or freed. */
enum status hold_begin(struct hold *hold, uint64_t id, struct mk_allocation **out);

struct hold_place {
  uint64_t id, segment; /* segment 0: not attached */
  char device[HOLD_DEVICE];
  uint64_t size_bytes, offset_bytes;
  enum share_kind kind;
  bool writable;
};
/* Takes the share, closes it on failure too. CONFLICT: the generation is over; ask again. Else as
 * mapping_take. */
enum status hold_fill(struct hold *hold, struct mk_allocation *allocation,
                      const struct hold_place *place, struct share *share, uint64_t generation);

/* Gives a reference back. True: it was the last, the memory is unmapped, and the daemon is to be
 * told before hold_remove. */
bool hold_leave(struct hold *hold, struct mk_allocation *allocation);
/* Ends a handle that was not filled or is left. */
void hold_remove(struct hold *hold, struct mk_allocation *allocation);
/* False: it was freed before, and the reference is given back. */
bool hold_freeing(struct hold *hold, struct mk_allocation *allocation);
/* With `freed` the reference is given back, else all is as before. */
void hold_freed(struct hold *hold, struct mk_allocation *allocation, bool freed);

/* What a new connection has to say: the data of `count` memory.resume, none if nothing is held. */
struct hold_claims {
  struct buf *texts;
  size_t count;
};
/* Begins a generation, its number into *generation. INTERNAL_ERROR: no memory; the old one is over
 * all the same. */
enum status hold_claim(struct hold *hold, struct hold_claims *claims, uint64_t *generation);
void hold_claims_done(struct hold_claims *claims);

#endif
