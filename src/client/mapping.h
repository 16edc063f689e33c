/*
 * mapping: a segment as this process has it: one descriptor and, of host memory, one mapping,
 * however many blocks of it are used. Read-only and writable use of one segment are two, so that a
 * reader cannot write by mistake. Not thread-safe: hold locks.
 *
 * The last slab that nobody uses any more stays as it is, for the next block will most likely be of
 * it again: that saves a map, a page fault and an unmap. The daemon may give it back to the kernel
 * all the same, for it punches the memory empty.
 */
#ifndef CLIENT_MAPPING_H
#define CLIENT_MAPPING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/share.h"

struct mapping {
  uint64_t segment;
  bool writable;
  struct share share;
  uint64_t size_bytes; /* of the map */
  void *map;           /* NULL: no host memory */
  unsigned references;
  bool slab; /* of several blocks */
};

struct mapping_table {
  void *root;            /* zeroed at first; of tsearch */
  struct mapping *spare; /* without a reference; in the tree too */
};

struct mapping_request {
  uint64_t segment;
  enum share_kind kind;
  bool writable;
  uint64_t end_bytes; /* of the block in the segment */
};

/* A reference; takes the share, which is closed if the segment is there already, and on failure.
 * INVALID_ARGUMENT: the block reaches beyond the segment, or there is no share where one is needed.
 * INTERNAL_ERROR: no memory or address space. */
enum status mapping_take(struct mapping_table *table, const struct mapping_request *request,
                         struct share *share, struct mapping **out);
/* Drops a reference. Returns what is out of the table then, for mapping_close without a lock; NULL
 * else. */
struct mapping *mapping_drop(struct mapping_table *table, struct mapping *mapping);
/* The spare one, out of the table, for mapping_close; NULL: there is none. */
struct mapping *mapping_spare(struct mapping_table *table);
/* NULL is fine. May take long for large memory. */
void mapping_close(struct mapping *mapping);

#endif
