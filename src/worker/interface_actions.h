/*
 * interface_actions: the table of actions (contract 5), and what they use of the interface.
 */
#ifndef WORKER_INTERFACE_ACTIONS_H
#define WORKER_INTERFACE_ACTIONS_H

#include "worker/interface.h"

struct interface_action {
  const char *name, *alias;
  bool slow; /* moves bytes or may wait: on a job thread */
  void (*run)(struct interface_call *call,
              struct writer *data); /* writes members of data, or sets call->problem */
};

const struct interface_action *interface_actions_find(const char *name);
void interface_actions_names(struct writer *writer);

#endif
