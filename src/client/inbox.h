/*
 * inbox: what listeners are for: events that the program asked for, and requests of the daemon that
 * it answers. The inbox lives as long as its listener.
 */
#ifndef CLIENT_INBOX_H
#define CLIENT_INBOX_H

#include "client/listener.h"

struct inbox;

struct inbox_events {
  const char *path, *types; /* types NULL: all */
  mk_event_fn *fn;
  void *arg;
};
/* MK_INVALID_ARGUMENT: types holds what is no name. */
enum mk_code inbox_open_events(const struct inbox_events *params, struct inbox **out,
                               struct failure *failure);

struct inbox_questions {
  const char *path, *actions; /* actions NULL: the default */
  mk_question_fn *fn;
  void *arg;
};
enum mk_code inbox_open_questions(const struct inbox_questions *params, struct inbox **out,
                                  struct failure *failure);

/* Waits for the callback that runs. NULL is fine. */
void inbox_close(struct inbox *inbox);

#endif
