/*
 * inspector_fixture: reads the card of a safetensors file without a process; its ctx is the loop.
 */
#ifndef INSPECTOR_FIXTURE_H
#define INSPECTOR_FIXTURE_H

#include "service/inspector.h"

extern const struct inspector_table inspector_fixture;

#endif
