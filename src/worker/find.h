/*
 * find: says which cards there are that a process finds only with their drivers in itself, and
 * ends. The drivers' faults are this process's alone.
 *
 * A message for each, {"device":"vulkan:0,uuid=…","pci":"0000:03:00.0"}, and {"found":N} as the
 * last: who does not hear that does not know all.
 */
#ifndef WORKER_FIND_H
#define WORKER_FIND_H

/* Tells $MEMKEEP_FD, or stdout where there is none. Returns the exit code. */
int find_run(void);

#endif
