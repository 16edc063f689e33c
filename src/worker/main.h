/*
 * main: what the layers share about the process.
 */
#ifndef WORKER_MAIN_H
#define WORKER_MAIN_H

#define MAIN_WIRE_IN 0   /* stdin */
#define MAIN_WIRE_OUT 10 /* where stdout was moved to; fd 1 is stderr's from then on */

#endif
