/*
 * handle: allocations and their way in and out: what is asked, and what is made of the answer.
 * Thread-safe.
 */
#ifndef CLIENT_HANDLE_H
#define CLIENT_HANDLE_H

#include "client/session.h"

struct handle_place {
  struct session *session;
  struct hold *hold;
};

/* As mk_allocate, mk_attach, mk_detach, mk_free; `how` SESSION_SOON: as mk_try_free. */
enum mk_code handle_allocate(const struct handle_place *place, const struct mk_request *request,
                             struct mk_allocation **out, struct failure *failure);
enum mk_code handle_attach(const struct handle_place *place, uint64_t id, bool read_only,
                           struct mk_allocation **out, struct failure *failure);
void handle_detach(const struct handle_place *place, struct mk_allocation *allocation);
enum mk_code handle_free(const struct handle_place *place, struct mk_allocation *allocation,
                         enum session_how how, struct failure *failure);

#endif
