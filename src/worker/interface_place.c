/*
 * interface_place: see interface_place.h.
 */
#include "worker/interface_place.h"

#include "base/id.h"
#include "base/units.h"
#include "worker/manager.h"

bool interface_place_holds(const struct device_place *place, uint64_t size) {
  uint64_t last;
  return place->segment && size && units_add(place->offset, size, &last) &&
         last <= device_segment_size(place->segment);
}

enum status interface_place_take(struct interface_call *call, struct reader_value value,
                                 uint64_t size, struct interface_place_end *out) {
  uint64_t id = id_parse(ID_SEGMENT, reader_text(reader_get(value, "segment_id"), ""));
  if (!id)
    return problem_set(&call->problem, STATUS_INVALID_ARGUMENT, "a place without a segment_id");
  enum status status =
      manager_use(interface_manager(call), id, &out->place.segment, &call->problem);
  if (status)
    return status;
  out->segment = id;
  out->place.offset = reader_uint(reader_get(value, "offset_bytes"), 0);
  if (interface_place_holds(&out->place, size))
    return STATUS_OK;
  manager_done(interface_manager(call), id);
  out->segment = 0;
  return problem_set(&call->problem, STATUS_INVALID_ARGUMENT, "a range that leaves its segment");
}

void interface_place_give(struct interface_call *call, const struct interface_place_end *end) {
  if (end->segment)
    manager_done(interface_manager(call), end->segment);
}
