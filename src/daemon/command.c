/*
 * command: strtok_r, and what can be wrong.
 */
#include "daemon/command.h"

#include <string.h>

#include "daemon/workers.h"

enum status command_split(struct workers_command *command, const char **words,
                          struct problem *problem) {
  unsigned count = 0;
  char *rest = command->command;
  for (char *word; (word = strtok_r(rest, " \t", &rest));) {
    if (count == COMMAND_WORDS)
      return problem_set(problem, STATUS_INVALID_ARGUMENT, "worker %s: more than %d words",
                         command->name, COMMAND_WORDS);
    words[count++] = word;
  }
  return count ? STATUS_OK
               : problem_set(problem, STATUS_INVALID_ARGUMENT, "worker %s has no command",
                             command->name);
}
