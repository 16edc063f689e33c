/*
 * crash_fixture: a crash is a second service over a copy of the ledger as it is at some moment, and
 * what a vault would hold then; the first goes on meanwhile.
 */
#ifndef CRASH_FIXTURE_H
#define CRASH_FIXTURE_H

#include "service/keeper.h"
#include "service/restore.h"
#include "service_fixture.h"

struct crash_fixture {
  struct restore_found found;
  struct loop *loop;
  struct service *service;
};

/* What the vault would hold if `s` died now. */
void crash_fixture(struct service *s, struct crash_fixture *next);
/* The next daemon's service, on the same devices. */
struct service *crash_fixture_next(struct crash_fixture *next, const char *const *devices);
void crash_fixture_end(struct crash_fixture *next);

#endif
