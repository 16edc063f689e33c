/*
 * absent: the owner half of a device whose driver cannot be had now, but on which there is memory.
 * What was made stays with who has its descriptors; nothing new is made, and no figure is known.
 */
#ifndef DEVICE_ABSENT_H
#define DEVICE_ABSENT_H

#include "device/backend.h"

/* Replaces the owner half of a backend's table. Every call but those that give back answers
 * DEVICE_UNAVAILABLE. */
void absent_table(struct backend *table);

#endif
