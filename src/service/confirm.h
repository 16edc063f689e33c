/*
 * confirm: whether a card's driver has what was given back (design 4, Freed). Its figure is read
 * before, and afterwards until it fell by three quarters of that, for CONFIRM_SECONDS at most: a
 * process that Memkeep does not know of may hold on to it. What Memkeep itself has given out on the
 * card meanwhile is no sign of that. Private to this room.
 */
#ifndef SERVICE_CONFIRM_H
#define SERVICE_CONFIRM_H

#include "service/state.h"

#define CONFIRM_SECONDS 5

struct confirm {
  struct device_call call; /* first */
  struct task again;
  struct service *service;
  uint32_t device;
  uint64_t before, made; /* the driver's figure, and ours then */
  uint64_t bytes, deadline, nap_ns;
  bool known; /* the driver told what is in use */
  /* The result of confirm_wait; true also where the driver tells nothing. */
  bool confirmed;
  void (*done)(struct confirm *confirm);
};

/* The figure as it is now. `done` comes on the device's own thread; the caller keeps `confirm` till
 * then. No lock held. */
void confirm_begin(struct confirm *confirm, struct service *s, uint32_t device,
                   void (*done)(struct confirm *confirm));
/* After that, when so many bytes were given back. */
void confirm_wait(struct confirm *confirm, uint64_t bytes, void (*done)(struct confirm *confirm));

#endif
