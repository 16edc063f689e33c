/*
 * vault: one that was killed lets go of its listener and its lock a moment after its connection;
 * where we know which it was, its end is waited for before another one is looked for.
 */
#include "daemon/vault.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/vaultwire.h"

#define VAULT_PATIENCE_MS 5000 /* for one that is there to answer */
#define VAULT_RELEASE_MS 1000  /* of the 5 s that a stop may take */
#define VAULT_DYING_MS 1000    /* for a killed one to be gone */
#define VAULT_WAIT_MS 50
#define VAULT_NAP_NS (4 * CLOCK_MS)

static enum status reach(struct vault *vault, struct problem *problem) {
  const struct vaultwire_reach reach = {vault->runtime_dir, vault->program, VAULT_PATIENCE_MS};
  enum status status = vaultwire_reach(&reach, &vault->wire, &vault->started);
  if (!status)
    return STATUS_OK;
  return problem_set(problem, status == STATUS_RATE_LIMITED ? STATUS_CONFLICT : status,
                     status == STATUS_INVALID_ARGUMENT ? "%s is too long for a socket in it"
                     : status == STATUS_NOT_FOUND
                         ? "there is no memkeep-vault beside memkeepd (runtime directory %s)"
                         : "memkeep-vault does not answer in %s",
                     vault->runtime_dir);
}

static enum status greet(struct vault *vault, struct problem *problem) {
  struct share shares[VAULTWIRE_BATCH];
  struct vaultwire hello = {.kind = VAULTWIRE_HELLO};
  unsigned count = 0;
  enum status status = reach(vault, problem);
  if (status)
    return status;
  vaultwire_peer(&vault->wire, &vault->process); /* which is it for certain, if it answers */
  status = vaultwire_ask(&vault->wire, &hello, shares, &count);
  if (status || hello.kind != VAULTWIRE_HELLO || count) {
    share_close(&vault->wire);
    return problem_set(problem, STATUS_CONFLICT,
                       "memkeep-vault (pid %d) does not answer: is somebody else connected to it?",
                       (int)vault->process.pid);
  }
  vault->total = hello.total;
  vault->bytes = hello.bytes;
  memcpy(vault->ledger, hello.ledger, sizeof hello.ledger);
  return STATUS_OK;
}

/* Again for a while, if there may just be one that dies: it answers nobody, and another one can
 * only be started when its lock is free. One that hangs, or is busy with another daemon, takes
 * longer to say so. */
enum status vault_find(struct vault *vault, struct problem *problem) {
  const struct timespec nap = {.tv_nsec = VAULT_NAP_NS};
  uint64_t deadline = clock_now() + VAULT_DYING_MS * CLOCK_MS;
  enum status status = greet(vault, problem);
  while (status == STATUS_CONFLICT && clock_now() < deadline) {
    nanosleep(&nap, NULL);
    vault_forget(vault, 0);
    status = greet(vault, problem);
  }
  if (status == STATUS_CONFLICT && vaultwire_is_locked(vault->runtime_dir))
    log_error("daemon", "the vault was left alone, for it may hold memory that nobody else has: "
                        "SIGCONT wakes one that is stopped, SIGKILL gives up what it holds");
  return status;
}

/* One that only hung up on us still has what we gave it, and perhaps what we took back since. */
enum status vault_replace(struct vault *vault, struct problem *problem) {
  vault_forget(vault, VAULT_DYING_MS);
  enum status status = greet(vault, problem);
  if (status || !vault->total)
    return status;
  (void)vault_release(vault);
  vault_forget(vault, VAULT_DYING_MS);
  return greet(vault, problem);
}

/* Obeyed only while we are connected, so what it says is read up to that answer. */
bool vault_release(const struct vault *vault) {
  struct vaultwire message = {.kind = VAULTWIRE_RELEASE};
  struct share shares[VAULTWIRE_BATCH];
  uint64_t deadline = clock_now() + VAULT_RELEASE_MS * CLOCK_MS;
  enum status status = vaultwire_send(&vault->wire, &message, NULL, 0);
  while (!status && message.kind != VAULTWIRE_RELEASED && clock_now() < deadline) {
    unsigned count = 0;
    vaultwire_wait(&vault->wire, VAULTWIRE_ANSWER, VAULT_WAIT_MS);
    status = vaultwire_receive(&vault->wire, &message, shares, &count);
    while (count)
      share_close(&shares[--count]);
    if (status == STATUS_RATE_LIMITED)
      status = STATUS_OK;
  }
  return status == STATUS_NOT_FOUND || message.kind == VAULTWIRE_RELEASED;
}

void vault_kill(const struct vault *vault) {
  spawn_kill(&vault->process);
  spawn_kill(&vault->started);
}

void vault_forget(struct vault *vault, unsigned dying_ms) {
  share_close(&vault->wire);
  spawn_done(&vault->process, dying_ms);
  spawn_done(&vault->started, 0);
}
