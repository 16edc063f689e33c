/*
 * defragment_figures: what a defragmentation tells of its devices, before and after. All but the
 * last under the state lock.
 */
#ifndef SERVICE_DEFRAGMENT_FIGURES_H
#define SERVICE_DEFRAGMENT_FIGURES_H

#include "service/job.h"
#include "service/state.h"

void defragment_figures_before(const struct service *s, uint32_t device,
                               struct job_defrag_device *row);
void defragment_figures_after(const struct service *s, uint32_t device,
                              struct job_defrag_device *row);
/* Fragmentation of all these devices (indices) together, weighted by what is committed; hundredths
 * of a percent. */
uint32_t defragment_figures_overall(const struct service *s, const uint32_t *devices,
                                    uint32_t count);
/* What all figures will be afterwards: the rows say what will be moved and given back. */
void defragment_figures_foretell(const struct service *s, const uint32_t *devices,
                                 struct job_defrag *result);
/* The devices' rows into the total, but for its fragmentation. */
void defragment_figures_add_up(struct job_defrag *result);

#endif
