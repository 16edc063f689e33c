/*
 * exec: `memkeep exec --model NAME -- PROGRAM {}`: a program that takes models from files takes
 * this one from memory.
 */
#ifndef CLI_EXEC_H
#define CLI_EXEC_H

#include "cli/globals.h"

/* The other `memkeep exec` puts an operation by its name; this one has "--" or a flag behind the
 * verb. */
bool exec_is_meant(const struct globals *globals);
/* Runs the program to its end; what it left is the result. Else what went wrong was said. */
int exec_run(const struct globals *globals);
void exec_help(void);

#endif
