/*
 * main: what is true of the whole program.
 */
#ifndef DAEMON_MAIN_H
#define DAEMON_MAIN_H

#include "base/version.h"

#define MAIN_VERSION VERSION_TEXT

#endif
