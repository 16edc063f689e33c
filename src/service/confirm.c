/*
 * confirm: readings on the device's own thread, with naps between them on the decision thread's
 * clock: a driver is asked a dozen times, not a thousand.
 */
#include "service/confirm.h"

#include "base/clock.h"
#include "base/units.h"

#define CONFIRM_NAP_NS CLOCK_MS /* the first; each is twice as long as the one before */
#define CONFIRM_NAP_MOST_NS (250 * CLOCK_MS)

static void read_figure(struct confirm *confirm, void (*read)(struct device_call *call)) {
  confirm->call = (struct device_call){.action = DEVICE_BUDGET, .done = read};
  device_start(confirm->service->devices[confirm->device].device, &confirm->call);
}

static uint64_t made(const struct confirm *confirm) {
  LOCK_SCOPE(&confirm->service->lock);
  return state_made_on(confirm->service, confirm->device);
}

static void read_before(struct device_call *call) {
  struct confirm *confirm = (struct confirm *)call;
  confirm->known = !call->status && call->budget.used_bytes != DEVICE_BYTES_UNKNOWN;
  confirm->before = call->budget.used_bytes;
  confirm->made = made(confirm);
  confirm->done(confirm);
}

void confirm_begin(struct confirm *confirm, struct service *s, uint32_t device,
                   void (*done)(struct confirm *confirm)) {
  *confirm = (struct confirm){.service = s, .device = device, .done = done};
  read_figure(confirm, read_before);
}

static void read_after(struct device_call *call);

static void read_again(struct task *task) {
  struct confirm *confirm = (struct confirm *)((char *)task - offsetof(struct confirm, again));
  read_figure(confirm, read_after);
}

/* A daemon that stops waits for no figure. */
static bool is_over(const struct confirm *confirm) {
  struct service *s = confirm->service;
  LOCK_SCOPE(&s->lock);
  return s->stopping || clock_now() >= confirm->deadline;
}

static void read_after(struct device_call *call) {
  struct confirm *confirm = (struct confirm *)call;
  uint64_t least = confirm->bytes - confirm->bytes / 4;
  uint64_t came = made(confirm) - confirm->made;
  confirm->confirmed =
      call->status || units_minus(confirm->before + came, call->budget.used_bytes) >= least;
  if (confirm->confirmed || is_over(confirm)) {
    confirm->done(confirm);
    return;
  }
  confirm->again = (struct task){.run = read_again};
  queue_post_at(confirm->service->decision, &confirm->again, clock_now() + confirm->nap_ns);
  confirm->nap_ns = units_min(2 * confirm->nap_ns, CONFIRM_NAP_MOST_NS);
}

void confirm_wait(struct confirm *confirm, uint64_t bytes, void (*done)(struct confirm *confirm)) {
  confirm->bytes = bytes;
  confirm->done = done;
  confirm->confirmed = true;
  confirm->nap_ns = CONFIRM_NAP_NS;
  confirm->deadline = clock_now() + CONFIRM_SECONDS * CLOCK_SECOND;
  if (confirm->known)
    read_figure(confirm, read_after);
  else
    done(confirm);
}
