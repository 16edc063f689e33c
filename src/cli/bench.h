/*
 * bench: `memkeep bench`: how fast this host's memory is through its daemon, against memcpy in the
 * same run.
 */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "base/reader.h"
#include "cli/globals.h"

/* What it allocates is freed at its end, and by the daemon if it dies. After a signal it ends with
 * the measurement that is under way. `said`: its arguments. */
int bench_run(const struct globals *globals, struct reader_value said);

#endif
