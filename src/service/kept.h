/*
 * kept: what the ledger knows of devices and domains, so that segments find their device again and
 * limits hold over a restart. Private to this room; under the state lock.
 *
 * Both write the record, or its next version. INSUFFICIENT_MEMORY: no room in the ledger; what was
 * there before stays.
 */
#ifndef SERVICE_KEPT_H
#define SERVICE_KEPT_H

#include "service/state.h"

/* `changed`: its limits were set at run time, and hold over a restart. */
enum status kept_device(struct service *s, uint32_t index, bool changed);
enum status kept_quota(struct service *s, uint32_t index);

#endif
