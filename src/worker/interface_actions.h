/*
 * interface_actions: the table of actions (contract 5), and what they use of the interface.
 */
#ifndef WORKER_INTERFACE_ACTIONS_H
#define WORKER_INTERFACE_ACTIONS_H

#include "worker/interface.h"

enum interface_pace {
  INTERFACE_QUICK, /* on the reading thread */
  INTERFACE_WAITS, /* on a thread of its own */
  INTERFACE_MOVES  /* the same, and only a few at a time */
};

struct interface_action {
  const char *name, *alias;
  enum interface_pace pace;
  void (*run)(struct interface_call *call,
              struct writer *data); /* writes members of data, or sets call->problem */
};

const struct interface_action *interface_actions_find(const char *name);
void interface_actions_names(struct writer *writer);

#endif
