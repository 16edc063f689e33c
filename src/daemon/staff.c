/*
 * staff: a table that is filled once. Our own program is started under several names; those of
 * cards have a colon in them, which no name of --worker and none of a guest may have.
 */
#include "daemon/staff.h"

#include <stdio.h>
#include <string.h>

/* The next member's words are there. */
static enum status add(struct staff *staff, const char *name, const struct worker_params *how,
                       struct problem *problem) {
  struct worker_params params = *how;
  params.name = name;
  params.argv = staff->members[staff->count].words;
  if (worker_create(&params, &staff->members[staff->count].worker))
    return problem_set(problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  staff->count++;
  return STATUS_OK;
}

/* As everybody's, and so that it sees its card. */
static const char *const *place(struct staff *staff, const char *const *everybody,
                                const struct spec *card) {
  const char **environment = staff->members[staff->count].environment;
  environment[0] = everybody[0];
  environment[1] = card->environment[0] ? card->environment : NULL;
  return environment;
}

/* WORKERS_OWN stays; those of cards come and go with their tasks. */
static enum status add_own(struct staff *staff, const struct workers_params *params,
                           const struct worker_params *how, struct problem *problem) {
  struct worker_params rests = *how;
  rests.rests = true;
  rests.idle_ns = params->mover_idle_ns;
  staff->members[staff->count].words[0] = params->own;
  enum status status = add(staff, WORKERS_OWN, how, problem);
  for (unsigned i = 0; !status && i < staff->routing.count; i++) {
    const struct spec *card = staff->routing.cards[i];
    staff->members[staff->count].words[0] = params->own;
    rests.environment = place(staff, how->environment, card);
    status = add(staff, card->id, &rests, problem);
  }
  return status;
}

enum status staff_init(struct staff *staff, const struct workers_params *params,
                       const struct worker_params *how, struct problem *problem) {
  enum status status = STATUS_OK;
  routing_init(&staff->routing, params->devices, params->device_count);
  if (params->own)
    status = add_own(staff, params, how, problem);
  if (!status && params->command_count >= WORKERS_MAX)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "more than %d workers", WORKERS_MAX);
  for (unsigned i = 0; !status && i < params->command_count; i++) {
    struct workers_command *command = &staff->members[staff->count].command;
    *command = params->commands[i];
    status = command_split(command, staff->members[staff->count].words, problem);
    if (!status)
      status = add(staff, command->name, how, problem);
  }
  return status;
}

void staff_done(struct staff *staff) {
  for (unsigned i = 0; i < staff->count; i++)
    worker_free(staff->members[i].worker);
}

struct worker *staff_named(const struct staff *staff, const char *name) {
  for (unsigned i = 0; i < staff->count; i++)
    if (!strcmp(worker_name(staff->members[i].worker), name))
      return staff->members[i].worker;
  return NULL;
}

struct worker *staff_for(const struct staff *staff, const struct mover_task *task) {
  return staff_named(staff, task->worker[0] ? task->worker : routing_of(&staff->routing, task));
}
