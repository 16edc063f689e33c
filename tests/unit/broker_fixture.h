/*
 * broker_fixture: devices that a memkeep-worker of this build owns.
 */
#ifndef TESTS_BROKER_FIXTURE_H
#define TESTS_BROKER_FIXTURE_H

#include <sys/types.h>

#include "device/spec.h"

/* So that the device is owned by a process with this environment; "": by ours. */
void broker_fixture_set(struct spec *spec, const char *environment);
/* As memkeepd opens it: with the environment in which it was found. */
void broker_fixture_place(struct spec *spec);
/* The only child that we have; 0: none. */
pid_t broker_fixture_child(void);

#endif
