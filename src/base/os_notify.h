/*
 * os_notify: what systemd wants to know (Type=notify), in one datagram each.
 */
#ifndef BASE_OS_NOTIFY_H
#define BASE_OS_NOTIFY_H

/* "READY=1", "STOPPING=1", … ; nothing happens where nobody asked ($NOTIFY_SOCKET). */
void os_notify(const char *state);

#endif
