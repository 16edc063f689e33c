/*
 * moves: the list of a defragmentation's moves, as the daemon hands it to a worker: rows in a memfd
 * whose descriptor goes ahead of the request. As numbers in its JSON they took a worker longer to
 * read, 0.3 ms for 500, than a card to copy.
 */
#ifndef BASE_MOVES_H
#define BASE_MOVES_H

#include <stdint.h>

#define MOVES_MOST 65536 /* of a list */

struct moves_row {
  uint32_t from, to; /* which of the segments that the request names */
  uint64_t from_offset, to_offset, size;
};
_Static_assert(sizeof(struct moves_row) == 32, "two programs speak it");

#endif
