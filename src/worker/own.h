/*
 * own: the other end of device/broker: the owner half of one device, in this process.
 */
#ifndef WORKER_OWN_H
#define WORKER_OWN_H

/* Answers on $MEMKEEP_FD until nobody is there to ask. Returns the exit code. */
int own_run(const char *device);

#endif
