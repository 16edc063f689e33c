/*
 * work_impact: what a transfer would do to both devices and to models, for a dry run. Private to
 * this room; under the state lock.
 */
#ifndef SERVICE_WORK_IMPACT_H
#define SERVICE_WORK_IMPACT_H

#include "service/models.h"
#include "service/work.h"

struct work_impact_of {
  uint32_t source, target;              /* devices */
  uint64_t size, comes, goes;           /* bytes on the way; committed there, given back here */
  int priority;                         /* VIEW_PRIORITY_… */
  const struct models_weights *weights; /* NULL: not of a model */
  bool moves_model;
};
/* All but the attachments. */
struct work_impact work_impact_foretell(const struct service *s, const struct work_impact_of *of);

#endif
