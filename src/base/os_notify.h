/*
 * os_notify: what systemd wants to know (Type=notify), in one datagram each, and the socket that it
 * may have opened before we were started.
 */
#ifndef BASE_OS_NOTIFY_H
#define BASE_OS_NOTIFY_H

#include "base/share.h"

/* "READY=1", "STOPPING=1", … ; nothing happens where nobody asked ($NOTIFY_SOCKET). */
void os_notify(const char *state);

/* The first Unix stream socket that listens among the descriptors that were passed to this process
 * ($LISTEN_PID, $LISTEN_FDS); the caller's to close. SHARE_NONE: there is none. All others are
 * closed, and the variables are gone afterwards: call it once, before there are threads and before
 * anything is opened. */
struct share os_notify_socket(void);

#endif
