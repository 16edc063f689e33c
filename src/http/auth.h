/*
 * auth: who a request comes from. With tokens, whoever sends one of them; without, whoever is at
 * the other end of a loopback connection, if that is the daemon's user or root. Thread-safe.
 */
#ifndef HTTP_AUTH_H
#define HTTP_AUTH_H

#include "http/http.h"
#include "http/peer.h"

struct auth;

/* `loopback`: the address that is listened on is one, so that no tokens are needed. */
enum status auth_create(bool loopback, struct auth **out);
/* Secrets are forgotten; NULL is fine. */
void auth_free(struct auth *auth);
/* All of them in place of those before. INVALID_ARGUMENT, and nothing changes: too many, a name
 * twice, a secret twice, an empty name, not one of secret and digest, none where they are needed. A
 * name keeps its domain. */
enum status auth_set(struct auth *auth, const struct http_token *tokens, unsigned count,
                     struct problem *problem);
bool auth_wants_peer(struct auth *auth);
/* Fills role, domain and uid. NULL, or a sentence that says why the role is CALLER_NONE. The
 * Authorization header may be NULL. */
const char *auth_identify(struct auth *auth, const char *authorization, const struct peer *peer,
                          struct caller *caller);

#endif
