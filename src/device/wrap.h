/*
 * wrap: any device with behaviour around it: a quota, a delay before each call, every nth call
 * failing, a trace. It is a backend made of another one.
 */
#ifndef DEVICE_WRAP_H
#define DEVICE_WRAP_H

#include "device/backend.h"

/* The table to use in place of the inner one; its open and start find the inner one by the spec. */
void wrap_table(const struct backend *inner, struct backend *out);

#endif
