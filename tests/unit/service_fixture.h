/*
 * service_fixture: the real service over the real rooms below it, with a loop in a thread of its
 * own and a mover that copies over plain memory and does what the test says.
 */
#ifndef SERVICE_FIXTURE_H
#define SERVICE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/units.h"
#include "service/alloc.h"
#include "service/events.h"
#include "service/limits.h"
#include "service/report.h"
#include "service/service.h"
#include "service/work.h"

enum fixture_mover {
  FIXTURE_WORKS,
  FIXTURE_FAILS, /* every task ends with WORKER_UNAVAILABLE, untouched */
  FIXTURE_HOLDS, /* tasks wait for fixture_mover(FIXTURE_WORKS or FIXTURE_FAILS), or a cancel */
  FIXTURE_HOLDS_FILLS, /* the same with fills, all else works */
  FIXTURE_DIFFERS,     /* copies, and finds other bytes when it reads again */
  FIXTURE_HALF,        /* copies the first half of the moves, then fails */
};

struct fixture;

extern const struct caller fixture_admin; /* domain 0, no process */

/* Devices as --device says them, NULL-terminated. */
struct fixture *fixture_start(const char *const *devices);
/* The whole stop: service_stop, service_free, loop. */
void fixture_stop(struct fixture *fixture);
struct service *fixture_service(const struct fixture *fixture);
void fixture_mover(struct fixture *fixture, enum fixture_mover mode);
/* The tasks that are held tell that they have done so much. */
void fixture_progress(struct fixture *fixture, uint64_t bytes);
/* Returns when that many tasks are held. */
void fixture_until_held(struct fixture *fixture, unsigned count);
/* Looks again and again until it is true; fails the test after 20 s. */
void fixture_until(struct fixture *fixture, bool (*is_true)(struct fixture *fixture, void *arg),
                   void *arg);

/* Waits for the job's end, copies it and gives the reference back. */
void fixture_end(struct job *job, struct job_view *out);
/* Allocate and wait for the answer; the status, and the problem if asked for. */
enum status fixture_allocate(struct fixture *fixture, const struct caller *caller,
                             const struct alloc_params *params, struct view_alloc *out,
                             struct problem *problem);
/* The defaults. */
struct alloc_params fixture_params(const char *device, uint64_t size);
/* By the admin; must succeed. */
struct view_alloc fixture_made(struct fixture *fixture, const struct alloc_params *params);
/* The same with the defaults. */
struct view_alloc fixture_make(struct fixture *fixture, const char *device, uint64_t size);
enum status fixture_free(struct fixture *fixture, uint64_t id, bool force);
bool fixture_is_there(struct fixture *fixture, uint64_t id);
struct view_alloc fixture_look(struct fixture *fixture, uint64_t id);
struct view_figures fixture_figures(struct fixture *fixture, const char *device);
/* All bytes of an allocation compared with (or set to) a pattern that the seed tells. */
void fixture_write(struct fixture *fixture, uint64_t id, unsigned seed);
bool fixture_holds(struct fixture *fixture, uint64_t id, unsigned seed);
bool fixture_is_all(struct fixture *fixture, uint64_t id, uint8_t value);

#endif
