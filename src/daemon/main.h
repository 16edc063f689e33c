/*
 * main: what is true of the whole program.
 */
#ifndef DAEMON_MAIN_H
#define DAEMON_MAIN_H

#define MAIN_VERSION "0.1.0"

#endif
