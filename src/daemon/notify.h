/*
 * notify: what systemd wants to know (Type=notify), in one datagram each.
 */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

/* "READY=1", "STOPPING=1", … ; nothing happens where nobody asked ($NOTIFY_SOCKET). */
void notify_send(const char *state);

#endif
