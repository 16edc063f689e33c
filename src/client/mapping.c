/*
 * mapping: the whole segment is mapped at once, for the next block of it will come soon and pages
 * cost nothing before they are touched. A daemon is believed in what a segment is, not in how
 * large: beyond the end of a file an access would kill the process.
 */
#include "client/mapping.h"

#include <search.h>
#include <stdlib.h>

#include "base/os_memfd.h"
#include "base/units.h"

#define MAPPING_SPARE (64 * MIB) /* of address space, for one that nobody uses */
#define MAPPING_SLAB (64 * KIB)  /* a segment of one block is not so much longer than that */

static int compare(const void *left, const void *right) {
  const struct mapping *a = left, *b = right;
  if (a->segment != b->segment)
    return a->segment < b->segment ? -1 : 1;
  return (int)a->writable - (int)b->writable;
}

static enum status map_share(struct mapping *mapping) {
  enum status status = os_memfd_size(&mapping->share, &mapping->size_bytes);
  if (!status)
    status = os_memfd_map(&mapping->share, mapping->size_bytes, mapping->writable, &mapping->map);
  return status ? STATUS_INTERNAL_ERROR : STATUS_OK;
}

static enum status make(const struct mapping_request *request, struct share *share,
                        struct mapping **out) {
  if (share->kind == SHARE_NONE)
    return STATUS_INVALID_ARGUMENT;
  struct mapping *mapping = calloc(1, sizeof *mapping);
  if (!mapping)
    return STATUS_INTERNAL_ERROR;
  mapping->segment = request->segment;
  mapping->writable = request->writable;
  mapping->share = (struct share){.kind = request->kind, .value = share->value};
  *share = (struct share){.kind = SHARE_NONE};
  enum status status = request->kind == SHARE_MEMFD ? map_share(mapping) : STATUS_OK;
  if (status)
    mapping_close(mapping);
  else
    *out = mapping;
  return status;
}

static enum status add(struct mapping_table *table, const struct mapping_request *request,
                       struct share *share, struct mapping **out) {
  struct mapping *mapping = NULL;
  enum status status = make(request, share, &mapping);
  if (!status && !tsearch(mapping, &table->root, compare)) {
    mapping_close(mapping);
    status = STATUS_INTERNAL_ERROR;
  }
  if (!status)
    *out = mapping;
  return status;
}

enum status mapping_take(struct mapping_table *table, const struct mapping_request *request,
                         struct share *share, struct mapping **out) {
  const struct mapping key = {.segment = request->segment, .writable = request->writable};
  struct mapping *const *found = tfind(&key, &table->root, compare);
  struct mapping *mapping = found ? *found : NULL;
  enum status status = mapping ? STATUS_OK : add(table, request, share, &mapping);
  share_close(share);
  if (status)
    return status;
  mapping->references++;
  if (mapping == table->spare)
    table->spare = NULL;
  mapping->slab = mapping->slab || request->end_bytes + MAPPING_SLAB < mapping->size_bytes;
  if (mapping->map && request->end_bytes > mapping->size_bytes) {
    mapping_close(mapping_drop(table, mapping));
    return STATUS_INVALID_ARGUMENT;
  }
  *out = mapping;
  return STATUS_OK;
}

struct mapping *mapping_drop(struct mapping_table *table, struct mapping *mapping) {
  if (--mapping->references)
    return NULL;
  struct mapping *leaves = mapping;
  if (mapping->slab && mapping->size_bytes <= MAPPING_SPARE) {
    leaves = table->spare;
    table->spare = mapping;
  }
  if (leaves)
    tdelete(leaves, &table->root, compare);
  return leaves;
}

struct mapping *mapping_spare(struct mapping_table *table) {
  struct mapping *spare = table->spare;
  table->spare = NULL;
  if (spare)
    tdelete(spare, &table->root, compare);
  return spare;
}

void mapping_close(struct mapping *mapping) {
  if (!mapping)
    return;
  os_memfd_unmap(mapping->map, mapping->size_bytes);
  share_close(&mapping->share);
  free(mapping);
}
