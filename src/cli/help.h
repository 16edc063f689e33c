/*
 * help: what --help prints, to stdout.
 */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include <stdio.h>

#include "cli/globals.h"
#include "cli/table.h"
#include "cli/verbs.h"

void help_program(FILE *out);
/* The verbs whose first word this is; of the program where there are none. */
void help_group(const char *word);
/* Whether it is the first word of verbs. */
bool help_is_group(const char *word);
void help_verb(const struct verb *verb);
void help_exec(void);
/* A line for who used a verb wrongly: where its help is. */
void help_hint(FILE *out, const struct globals *globals);
void help_operation(const struct cli_operation *operation);

#endif
