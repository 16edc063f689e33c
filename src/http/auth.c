/*
 * auth: of a secret only its digest is kept. What a client sends is digested too and compared with
 * all of them, in a time that tells neither which one it was nor how far it agreed.
 *
 * A domain is a digest of the token's name: tokens that come and go, also over restarts, keep their
 * memory and never inherit another's.
 */
#include "http/auth.h"

#include <nettle/memops.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/lock.h"

#define FIRST_TOKEN_DOMAIN ((uint32_t)1 << 31)

/* What a caller becomes. */
struct who {
  enum caller_role role;
  uint32_t domain;
  char domain_name[sizeof(((struct caller *)0)->domain_name)];
};

struct entry {
  uint8_t digest[SHA256_DIGEST_SIZE];
  struct who who;
};

struct auth {
  struct lock lock;
  bool loopback;
  struct who own; /* without tokens */
  struct entry entries[HTTP_TOKENS];
  unsigned count;
};

enum status auth_create(bool loopback, struct auth **out) {
  struct auth *auth = calloc(1, sizeof *auth);
  if (!auth)
    return STATUS_INTERNAL_ERROR;
  auth->loopback = loopback;
  auth->own = (struct who){.role = CALLER_ADMIN, .domain = geteuid()};
  snprintf(auth->own.domain_name, sizeof auth->own.domain_name, "uid:%u", auth->own.domain);
  lock_init(&auth->lock, LOCK_RANK_LEAF, "auth");
  *out = auth;
  return STATUS_OK;
}

void auth_free(struct auth *auth) {
  if (!auth)
    return;
  lock_done(&auth->lock);
  explicit_bzero(auth->entries, sizeof auth->entries);
  free(auth);
}

static void digest(const char *secret, size_t n, uint8_t out[SHA256_DIGEST_SIZE]) {
  struct sha256_ctx state;
  sha256_init(&state);
  sha256_update(&state, n, (const uint8_t *)secret);
  sha256_digest(&state, SHA256_DIGEST_SIZE, out);
}

/* -1: it is none. */
static int hex_digit(char c) {
  static const char digits[] = "0123456789abcdef";
  const char *at = c ? strchr(digits, c | 0x20) : NULL;
  return at ? (int)(at - digits) : -1;
}

static bool parse_digest(const char *hex, uint8_t out[SHA256_DIGEST_SIZE]) {
  for (size_t i = 0; i < SHA256_DIGEST_SIZE; i++) {
    int high = hex_digit(hex[2 * i]), low = high < 0 ? -1 : hex_digit(hex[2 * i + 1]);
    if (low < 0)
      return false;
    out[i] = (uint8_t)(high << 4 | low);
  }
  return !hex[(size_t)2 * SHA256_DIGEST_SIZE];
}

static bool has_end(const char *text, size_t size) { return strnlen(text, size) < size; }

static enum status check_one(const struct http_token *token, unsigned number,
                             struct problem *problem) {
  uint8_t unused[SHA256_DIGEST_SIZE];
  if (!has_end(token->name, sizeof token->name) || !*token->name ||
      !has_end(token->secret, sizeof token->secret) || !*token->secret == !*token->sha256)
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "token %u needs a name of at most %zu bytes and a secret of at most %zu, or "
                       "the SHA-256 of one",
                       number, sizeof token->name - 1, sizeof token->secret - 1);
  if (*token->sha256 && !parse_digest(token->sha256, unused))
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "the SHA-256 of token %s is not 64 hexadecimal digits", token->name);
  return STATUS_OK;
}

static enum status check(const struct auth *auth, const struct http_token *tokens, unsigned count,
                         struct problem *problem) {
  if (!count && !auth->loopback)
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "an address that is not loopback needs tokens: configure some, or listen on "
                       "127.0.0.1");
  if (count > HTTP_TOKENS)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "%u tokens, at most %d", count,
                       HTTP_TOKENS);
  for (unsigned i = 0; i < count; i++) {
    const struct http_token *token = &tokens[i];
    enum status status = check_one(token, i + 1, problem);
    if (status)
      return status;
    for (unsigned j = 0; j < i; j++)
      if (strcmp(tokens[j].name, token->name) == 0)
        return problem_set(problem, STATUS_INVALID_ARGUMENT, "two tokens are named %s",
                           token->name);
  }
  return STATUS_OK;
}

/* 31 bits of its digest above the uids. */
static uint32_t domain_of(const char *name) {
  uint8_t bytes[SHA256_DIGEST_SIZE];
  uint32_t domain;
  digest(name, strlen(name), bytes);
  memcpy(&domain, bytes, sizeof domain);
  return domain | FIRST_TOKEN_DOMAIN;
}

enum status auth_set(struct auth *auth, const struct http_token *tokens, unsigned count,
                     struct problem *problem) {
  struct entry entries[HTTP_TOKENS];
  enum status status = check(auth, tokens, count, problem);
  if (status)
    return status;
  LOCK_SCOPE(&auth->lock);
  for (unsigned i = 0; i < count; i++) {
    struct who *who = &entries[i].who;
    *who = (struct who){.role = tokens[i].role, .domain = domain_of(tokens[i].name)};
    snprintf(who->domain_name, sizeof who->domain_name, "token:%s", tokens[i].name);
    if (!parse_digest(tokens[i].sha256, entries[i].digest))
      digest(tokens[i].secret, strlen(tokens[i].secret), entries[i].digest);
    for (unsigned j = 0; j < i; j++) {
      if (entries[j].who.domain == who->domain)
        return problem_set(problem, STATUS_INVALID_ARGUMENT,
                           "tokens %s and %s have one digest: rename one", tokens[j].name,
                           tokens[i].name);
      if (memeql_sec(entries[j].digest, entries[i].digest, SHA256_DIGEST_SIZE))
        return problem_set(problem, STATUS_INVALID_ARGUMENT, "tokens %s and %s have one secret",
                           tokens[j].name, tokens[i].name);
    }
  }
  memcpy(auth->entries, entries, count * sizeof *entries);
  auth->count = count;
  explicit_bzero(entries, sizeof entries);
  return STATUS_OK;
}

bool auth_wants_peer(struct auth *auth) {
  LOCK_SCOPE(&auth->lock);
  return auth->count == 0;
}

static void become(struct caller *caller, const struct who *who) {
  caller->role = who->role;
  caller->domain = who->domain;
  memcpy(caller->domain_name, who->domain_name, sizeof caller->domain_name);
}

static const char *trust_peer(const struct auth *auth, const struct peer *peer,
                              struct caller *caller) {
  if (!peer->known)
    return peer->reason;
  if (peer->uid != auth->own.domain && peer->uid != 0)
    return "the other end belongs to another user than the daemon";
  become(caller, &auth->own);
  caller->uid = peer->uid;
  return NULL;
}

/* The text behind "Bearer ", NULL if it is another scheme. */
static const char *bearer(const char *authorization) {
  if (strncasecmp(authorization, "Bearer ", 7) != 0)
    return NULL;
  return authorization + 7 + strspn(authorization + 7, " ");
}

static const char *trust_token(const struct auth *auth, const char *authorization,
                               struct caller *caller) {
  uint8_t sent[SHA256_DIGEST_SIZE];
  const char *secret = authorization ? bearer(authorization) : NULL;
  const struct entry *found = NULL;
  if (!secret)
    return "no bearer token was sent";
  size_t n = strlen(secret);
  while (n && (secret[n - 1] == ' ' || secret[n - 1] == '\t'))
    n--;
  digest(secret, n, sent);
  for (unsigned i = 0; i < auth->count; i++)
    if (memeql_sec(auth->entries[i].digest, sent, sizeof sent))
      found = &auth->entries[i];
  if (!found)
    return "the bearer token is not known";
  become(caller, &found->who);
  return NULL;
}

const char *auth_identify(struct auth *auth, const char *authorization, const struct peer *peer,
                          struct caller *caller) {
  LOCK_SCOPE(&auth->lock);
  caller->role = CALLER_NONE;
  return auth->count ? trust_token(auth, authorization, caller) : trust_peer(auth, peer, caller);
}
