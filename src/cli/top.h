/*
 * top: `memkeep top`: memory as it is now, on a terminal.
 */
#ifndef CLI_TOP_H
#define CLI_TOP_H

#include "base/reader.h"
#include "cli/globals.h"

/* Runs until it is quit, or ended by a signal (then this process is too). `said`: its arguments. */
int top_run(const struct globals *globals, struct reader_value said);

#endif
