/*
 * show: what each verb's answer looks like to people.
 */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include "base/reader.h"

/* Each prints the `data` of a success to stdout. */
void show_status(struct reader_value data);
void show_allocations(struct reader_value data);
void show_allocated(struct reader_value data);
void show_freed(struct reader_value data);
void show_cleared(struct reader_value data);
void show_defragmented(struct reader_value data);
void show_transfer(struct reader_value data);
void show_transfers(struct reader_value data);
void show_devices(struct reader_value data);
void show_health(struct reader_value data);
void show_limits(struct reader_value data);
void show_workers(struct reader_value data);
void show_jobs(struct reader_value data);
void show_loaded(struct reader_value data);
void show_models(struct reader_value data);
void show_model(struct reader_value data);
void show_unloaded(struct reader_value data);
void show_optimized(struct reader_value data);
void show_usage(struct reader_value data);
void show_analytics(struct reader_value data);
void show_advice(struct reader_value data);
void show_applied(struct reader_value data);
void show_stopping(struct reader_value data);
/* A line: when, what, and all else that is said of it. */
void show_event(struct reader_value event);

#endif
