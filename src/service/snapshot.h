/*
 * snapshot: one owner's slabs on one device, as the defragmentation planner wants them. Private to
 * this room.
 */
#ifndef SERVICE_SNAPSHOT_H
#define SERVICE_SNAPSHOT_H

#include "memory/defrag.h"
#include "service/state.h"

struct snapshot {
  struct defrag_segment *segments;
  struct defrag_block *blocks;
  uint64_t *segment_ids,
      *block_ids; /* behind the planner's indices; block id 0: its allocation is still being made */
  uint32_t segments_count, blocks_count, segments_space, blocks_space;
  struct defrag_snapshot view; /* snapshot_planner's */
};

/* Without the state lock: it is taken for some blocks at a time, so the picture may be older than
 * the present. Whoever acts on it looks again. Runs short when there is no memory. */
void snapshot_make(struct service *s, uint32_t device, uint64_t owner, struct snapshot *out);
/* A planner on it, which goes before it. INTERNAL_ERROR: no memory. */
enum status snapshot_planner(struct snapshot *snapshot, enum defrag_strategy strategy,
                             struct defrag_planner **out);
void snapshot_free(struct snapshot *snapshot);

#endif
