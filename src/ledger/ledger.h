/*
 * ledger: the table of everything that must survive: a memfd of 128-byte records, crash-consistent
 * against SIGKILL at any instruction (not against power loss; neither is the memory). Design 4a.
 *
 *  - `state` is one aligned byte, stored last with release order. The crc (the lower half of
 * XXH3-64) covers all that recovery relies on: kind, version, id and contents.
 *  - A live record is never changed in place: ledger_replace writes a second record with the same
 * id and version + 1, makes it live, then frees the first. At start, of two live records with one
 * id the higher version wins.
 *  - Advisory words (last access, count) are single aligned 8-byte stores outside the crc.
 *  - Ids: 16 bits drawn per ledger, 48 counted; the header's next id moves ahead in steps of 4,096
 * before the first of a step is given out. No id is ever used twice.
 *
 * Not thread-safe: callers hold the state lock. No call but create, adopt, grow and free makes a
 * system call.
 */
#ifndef LEDGER_LEDGER_H
#define LEDGER_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/problem.h"
#include "base/share.h"
#include "base/status.h"

#define LEDGER_VERSION 1
#define LEDGER_RECORD 128
#define LEDGER_MAX_RECORDS (UINT32_C(1) << 24) /* 2 GiB of address space, reserved at once */
#define LEDGER_TEXT 64                         /* text bytes per chained text record */

enum ledger_kind {
  LEDGER_FREE,
  LEDGER_SEGMENT,
  LEDGER_ALLOCATION,
  LEDGER_OWNER,
  LEDGER_ATTACHMENT,
  LEDGER_JOB,
  LEDGER_MODEL,
  LEDGER_LIMIT,
  LEDGER_TEXT_CHAIN,
};

struct ledger_segment {
  uint64_t size_bytes, created_boot_ns, created_real_ns;
  uint32_t device; /* the hash slot of the service's device record; its text holds the name */
  uint32_t domain;
  uint8_t type;     /* 0 slab, 1 dedicated */
  uint8_t exported; /* an fd left our own processes */
  uint8_t share_kind;
  uint8_t pad[5];
  uint64_t owner; /* slabs: whose */
};
struct ledger_allocation {
  uint64_t segment, offset_bytes, size_bytes;
  uint64_t owner; /* id of an owner record */
  uint64_t created_real_ns;
  uint64_t expires_boot_ns;  /* 0: never */
  uint64_t text;             /* id of the first text record (label), 0: none */
  uint64_t key_hash[2];      /* idempotency key and domain; both 0: none */
  uint32_t domain, key_args; /* key_args: hash of the arguments that came with the key */
  uint8_t alignment_log2, purpose, priority,
      flags; /* flags: the service's bits: persistent pinned share … */
};
struct ledger_owner {
  uint64_t pid_start, created_real_ns, text;
  uint32_t pid, uid;
  uint8_t kind; /* api process worker model */
  uint8_t pad[7];
};
struct ledger_limit {
  uint64_t max_bytes, reserved_bytes, text; /* text: the device's id */
};
struct ledger_text {
  uint64_t next; /* id of the next piece, 0: last */
  uint8_t size;
  char bytes[LEDGER_TEXT];
};

struct ledger_record {
  uint8_t state; /* 0 free, 1 live; the ledger's */
  uint8_t kind;
  uint16_t reserved;
  uint32_t version; /* the ledger's */
  uint64_t id;
  uint32_t crc; /* the ledger's */
  uint32_t pad;
  union {
    struct ledger_segment segment;
    struct ledger_allocation allocation;
    struct ledger_owner owner;
    struct ledger_limit limit;
    struct ledger_text text;
    uint8_t bytes[88];
  } u;
  uint64_t last_access_real_ns; /* advisory, outside the crc */
  uint64_t access_count;        /* advisory, outside the crc */
};
_Static_assert(sizeof(struct ledger_record) == LEDGER_RECORD, "the format's record size");

struct ledger;

/* A new, empty ledger with room for `records` (grown later by ledger_grow). */
enum status ledger_create(uint32_t records, struct ledger **out);
/* Takes a memfd that an earlier daemon left. Validates magic, format version, record size, every
 * crc; frees the older of two live versions. CONFLICT with the reason in the problem when anything
 * does not add up: nothing was changed then, and the share stays the caller's. Overlap of
 * allocations is checked by ledger_check_overlaps. */
enum status ledger_adopt(const struct share *share, struct ledger **out, struct problem *problem);
/* Unmaps and closes; the memfd lives on if someone else holds it. */
void ledger_free(struct ledger *ledger);
const struct share *ledger_share(const struct ledger *ledger);
uint64_t ledger_identity(const struct ledger *ledger);

/* The next id; never 0. */
uint64_t ledger_next_id(struct ledger *ledger);
/* Writes a record (state, version, crc are filled in here) and makes it live. INSUFFICIENT_MEMORY:
 * no free slot, grow first. */
enum status ledger_put(struct ledger *ledger, const struct ledger_record *record, uint32_t *slot);
/* Replaces the live record in *slot by a new version; *slot becomes its new place. */
enum status ledger_replace(struct ledger *ledger, uint32_t *slot,
                           const struct ledger_record *record);
void ledger_drop(struct ledger *ledger, uint32_t slot);
/* Borrowed; valid until that record is replaced or dropped. Slots start at 1. */
const struct ledger_record *ledger_at(const struct ledger *ledger, uint32_t slot);
void ledger_touch(struct ledger *ledger, uint32_t slot, uint64_t real_ns);
/* Live records, in slot order: start with 0, returns 0 at the end. */
uint32_t ledger_next(const struct ledger *ledger, uint32_t slot);
uint32_t ledger_free_slots(const struct ledger *ledger);
uint32_t ledger_live(const struct ledger *ledger);
/* fallocate for `records` more (a system call: reaper thread, no state lock: the commit of the new
 * size is ledger_grow_commit under the lock). INSUFFICIENT_MEMORY when the kernel says no. */
enum status ledger_grow(struct ledger *ledger, uint32_t records);
void ledger_grow_commit(struct ledger *ledger);
/* Two live allocations overlap, or leave their segment: CONFLICT. O(n log n). */
enum status ledger_check_overlaps(const struct ledger *ledger, struct problem *problem);

/* Texts longer than one record are chained. Returns the id of the first piece in *id. */
enum status ledger_put_text(struct ledger *ledger, const char *text, size_t n, uint64_t *id,
                            uint32_t *slot);
/* The slot of the piece after the one in `slot`, 0 at the end. Kept in an advisory word. */
uint32_t ledger_next_text(const struct ledger *ledger, uint32_t slot);

#endif
