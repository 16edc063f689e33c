/*
 * command: the words of --worker NAME=COMMAND. Split at blanks; no shell.
 */
#ifndef DAEMON_COMMAND_H
#define DAEMON_COMMAND_H

#include "base/problem.h"

struct workers_command;

#define COMMAND_WORDS 32

/* `words` has COMMAND_WORDS + 1 places; they point into the command, which is cut up. The last one
 * that is set is followed by NULL where the places were empty before. */
enum status command_split(struct workers_command *command, const char **words,
                          struct problem *problem);

#endif
