/*
 * ledger: the table of everything that must survive: a memfd of 128-byte records, crash-consistent
 * against SIGKILL at any instruction (not against power loss; neither is the memory). Design 4a.
 *
 *  - `state` is one aligned byte, stored last with release order. The crc (the lower half of
 * XXH3-64) covers all that recovery relies on: kind, version, id and contents.
 *  - A live record is never changed in place: ledger_replace writes a second record with the same
 * id and version + 1, makes it live, then frees the first. At start, of two live records with one
 * id the one with version + 1 wins; two of one id in any other relation are refused.
 *  - Advisory words (last access, count) are single aligned 8-byte stores outside the crc.
 *  - The header's fixed part (magic, format, record size, identity) has a crc of its own.
 *  - Ids: 16 bits drawn per ledger, 48 counted; the header's next id moves ahead in steps of 4,096
 * before the first of a step is given out; it is outside of the header's crc. No id is ever used
 * twice.
 *
 * What names another record is put after it and dropped before it, with one exception, so that the
 * records of every moment are a legal ledger:
 *  - put: segment, owner, texts, then the allocation; allocation and owner, then an attachment.
 *  - drop: the allocation, then in any order its texts, its attachments and its segment; an owner
 * behind all that names it. An attachment may so name an allocation that is gone.
 *  - A text belongs to the one record that names it. ledger_put_text makes its pieces, the last
 * one first; they are dropped from the first to the last.
 * Segments, owners and texts that nobody names are legal, and stay until they are dropped. What
 * segments, jobs and models name is the caller's to check.
 *
 * Not thread-safe: callers hold the state lock. No call but create, adopt, check, settle, grow and
 * free makes a system call.
 */
#ifndef LEDGER_LEDGER_H
#define LEDGER_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/idmap.h"
#include "base/problem.h"
#include "base/share.h"
#include "base/status.h"

#define LEDGER_VERSION 1
#define LEDGER_RECORD 128
#define LEDGER_MAX_RECORDS (UINT32_C(1) << 24)      /* 2 GiB of address space, reserved at once */
#define LEDGER_TEXT 64                              /* text bytes per chained text record */
#define LEDGER_ID_COUNTED ((UINT64_C(1) << 48) - 1) /* of an id; the rest is the ledger's */

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
  uint64_t device; /* id of a limit record, whose text names it */
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
struct ledger_attachment {
  uint64_t allocation;
  uint64_t owner, pid_start; /* the owner record of the process that is attached */
  uint32_t pid;
  uint8_t writable;
  uint8_t pad[3];
};
struct ledger_owner {
  uint64_t pid_start, created_real_ns, text;
  uint32_t pid, uid;
  uint8_t kind; /* api process worker model */
  uint8_t pad[7];
};
/* What is known of a device, or of a domain's quota. */
struct ledger_limit {
  uint64_t max_bytes, reserved_bytes; /* a domain's: bytes, allocations */
  uint64_t text;                      /* the device's id, or the domain's name */
  uint64_t total_bytes;               /* of a device when it was last seen, 0: the whole RAM */
  uint32_t domain;                    /* its number */
  uint8_t of_domain;                  /* else of a device */
  uint8_t changed;                    /* at run time: holds over a restart */
  uint8_t pad[2];
  uint64_t card[2]; /* a device's UUID, zeros: not known */
};
/* A job that is listed. Its advisory words: when it started, how many bytes were done. */
struct ledger_job {
  uint64_t created_real_ns, completed_real_ns; /* completed 0: under way */
  uint64_t key_hash[2];                        /* idempotency key and domain; both 0: none */
  uint64_t allocation, target_allocation;      /* of a transfer, 0: none; of a load: its model */
  uint64_t size_bytes : 48, waited : 8, evicted : 8; /* the two of a transfer */
  uint64_t checksum;
  uint64_t source : 48, flags : 16;           /* source, target: the counted part of a limit */
  uint64_t target : 48, kind : 8, status : 8; /* record's id, 0: none */
  uint32_t domain, key_args;
};
/* A model: a name for the bytes of some files. Its advisory words: when it was used last, how
 * often.
 */
struct ledger_model {
  uint64_t text;       /* name, NUL, path */
  uint64_t weights;    /* the number of the owner of its bytes, 0: none are in memory */
  uint64_t size_bytes; /* of its files */
  uint64_t weight_bytes, fingerprint;
  uint64_t load_ns, loaded_real_ns, created_real_ns;
  uint64_t keep_alive_seconds : 48, priority : 8, flags : 8; /* flags: the service's bits */
  uint64_t home : 48, format : 4, files : 12; /* home: the counted part of a limit record's id */
  uint32_t domain, tensors;
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
    struct ledger_attachment attachment;
    struct ledger_limit limit;
    struct ledger_job job;
    struct ledger_model model;
    struct ledger_text text;
    uint8_t bytes[88];
  } u;
  uint64_t last_access_real_ns; /* advisory, outside the crc */
  uint64_t access_count;        /* advisory, outside the crc */
};
_Static_assert(sizeof(struct ledger_record) == LEDGER_RECORD, "the format's record size");
_Static_assert(sizeof(struct ledger_job) == 88, "it fills the record");
_Static_assert(sizeof(struct ledger_model) == 88, "it fills the record");

struct ledger;

/* A new, empty ledger with room for `records` (grown later by ledger_grow). */
enum status ledger_create(uint32_t records, struct ledger **out);
/* Takes a memfd that an earlier daemon left. Validates the header, every live record's kind, crc,
 * id and version, and that what it names is there: an allocation's segment, owner and text, an
 * attachment's allocation and owner, an owner's and a limit's text, a text's next piece. Then frees
 * the older of two live versions, and attachments whose allocation is gone. CONFLICT with the
 * reason in the problem when anything does not add up: nothing was changed then. The share stays
 * the caller's either way. Overlap of allocations is checked by ledger_check_overlaps. What both
 * found out on the way is kept until ledger_settle, as it was then. */
enum status ledger_adopt(const struct share *share, struct ledger **out, struct problem *problem);
/* All live records by rising ids: `value` is the slot, `note` the kind. Borrowed, until
 * ledger_settle. */
const struct idmap_entry *ledger_by_id(const struct ledger *ledger, uint32_t *count);
/* All allocations by segment and offset, after ledger_check_overlaps has found them good: `value`
 * is the slot. Borrowed, until ledger_settle. */
const struct idmap_entry *ledger_by_place(const struct ledger *ledger, uint32_t *count);
void ledger_settle(struct ledger *ledger);
/* Unmaps and closes; the memfd lives on if someone else holds it. */
void ledger_free(struct ledger *ledger);
const struct share *ledger_share(const struct ledger *ledger);
/* 128 random bits, drawn when it was created; never both 0. */
void ledger_identity(const struct ledger *ledger, uint64_t out[2]);

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
/* Two live allocations overlap, or one is empty, leaves its segment, or has none: CONFLICT with the
 * reason in the problem. O(n). Of an adopted ledger before it is changed, or after ledger_settle.
 */
enum status ledger_check_overlaps(struct ledger *ledger, struct problem *problem);

/* Texts longer than one record are chained. Returns the id of the first piece in *id. */
enum status ledger_put_text(struct ledger *ledger, const char *text, size_t n, uint64_t *id,
                            uint32_t *slot);
/* The slot of the piece after the one in `slot`, 0 at the end. Kept in an advisory word. */
uint32_t ledger_next_text(const struct ledger *ledger, uint32_t slot);

#endif
