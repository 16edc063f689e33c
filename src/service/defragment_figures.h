/*
 * defragment_figures: what a defragmentation tells of its devices, before and after: a row for each
 * (`devices`: their indices, result->device_count of them) and the total, in which fragmentation is
 * weighted by what is committed. Under the state lock.
 */
#ifndef SERVICE_DEFRAGMENT_FIGURES_H
#define SERVICE_DEFRAGMENT_FIGURES_H

#include "service/job.h"
#include "service/state.h"

void defragment_figures_before(const struct service *s, const uint32_t *devices,
                               struct job_defrag *result);
/* The rows say what was moved and given back. */
void defragment_figures_after(const struct service *s, const uint32_t *devices,
                              struct job_defrag *result);
/* What all figures will be afterwards: the rows say what will be moved and given back. */
void defragment_figures_foretell(const struct service *s, const uint32_t *devices,
                                 struct job_defrag *result);

#endif
