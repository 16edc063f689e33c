/*
 * serve: what the vault does with a connection. One thread.
 */
#ifndef VAULT_SERVE_H
#define VAULT_SERVE_H

#include <stdbool.h>

#include "base/share.h"
#include "vault/table.h"

struct serve {
  struct table table;
  struct share peer; /* SHARE_NONE: nobody is connected */
  bool stays;        /* also while it is empty and orphaned */
  bool released;     /* it was told to end */
};

/* Waits for one message of the peer and obeys it. False: the connection is over, everything that
 * had been sent over it is kept. */
bool serve_hear(struct serve *serve);
/* Serves one connection after the other until it is told to end, or is empty and orphaned. */
void serve_run(struct serve *serve, const struct share *listener);

#endif
