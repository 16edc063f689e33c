/*
 * wiring: built from below, ended from above. The end goes step by step on the loop, each step
 * starting the next: no more requests, no more jobs, no more workers.
 */
#include "daemon/wiring.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/os_notify.h"
#include "base/units.h"
#include "base/version.h"
#include "daemon/bulletin.h"
#include "daemon/devices.h"
#include "daemon/guests.h"
#include "daemon/inspect.h"
#include "daemon/keeper.h"
#include "daemon/model_dirs.h"
#include "daemon/reload.h"
#include "daemon/stalls.h"
#include "daemon/tally.h"
#include "http/http.h"
#include "ops/ops.h"
#include "service/report.h"
#include "service/service.h"
#include "socket/socket.h"

#define WORKER "memkeep-worker"
#define VAULT "memkeep-vault"
#define WIRING_GRACE_MS 1000   /* of a worker, from the end of its stdin to SIGKILL */
#define WIRING_LIMIT_US 900000 /* and 4 s: a stop takes at most 5 s (contract 7) */
#define WIRING_LIMIT_S 4
#define DOOR_NAP_NS (4 * CLOCK_MS)
#define DOOR_DYING_NS CLOCK_SECOND /* for a killed daemon to be gone */

struct wiring {
  struct task shutdown; /* first: a request's, posted to the loop */
  struct wiring_params params;
  struct devices devices;
  char worker[CONFIG_PATH], vault[CONFIG_PATH];
  struct loop *loop;
  struct keeper *keeper;
  struct restore_found *found; /* the keeper's; NULL: the vault was empty */
  struct service *service;
  struct workers *workers;
  struct bulletin *bulletin;
  struct inspect *inspect;
  struct ops *ops;
  struct http *http;
  struct socket *socket;
  struct stalls *stalls;
  struct tally *tally;
  bool running, stopping, release_all, ran;
  uint64_t held_bytes;
  uint32_t held_allocations;
};

/* ---- the end ---- */

/* What the vault keeps. */
static void count_held(struct wiring *wiring) {
  struct view_host *host = calloc(1, sizeof *host);
  if (!host)
    return;
  report_host(wiring->service, host);
  wiring->held_allocations = host->figures.active_allocations;
  wiring->held_bytes = host->figures.allocated_bytes;
  free(host);
}

static void all_stopped(void *arg) {
  struct wiring *wiring = arg;
  loop_stop(wiring->loop);
}

static void service_stopped(void *arg) {
  struct wiring *wiring = arg;
  count_held(wiring);
  keeper_stop(wiring->keeper, wiring->release_all);
  workers_stop(wiring->workers, WIRING_GRACE_MS, all_stopped, wiring);
}

static void doors_stopped(void *arg) {
  struct wiring *wiring = arg;
  inspect_stop(wiring->inspect);
  service_stop(wiring->service, &(struct service_stop_params){.release_all = wiring->release_all,
                                                              .done = service_stopped,
                                                              .arg = wiring});
}

/* Something hangs, most likely a driver. The kernel takes the memory back all the same. */
static void give_up(int signal_number) {
  (void)signal_number;
  static const char text[] = "memkeepd: could not end in time, giving up\n";
  ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
  (void)ignored;
  _exit(1);
}

static void set_limit(void) {
  struct itimerval limit = {.it_value = {WIRING_LIMIT_S, WIRING_LIMIT_US}};
  signal(SIGALRM, give_up);
  setitimer(ITIMER_REAL, &limit, NULL);
}

/* In time; and the vault stays as it is, unless it has to give all back. */
static void begin_end(struct wiring *wiring) {
  wiring->stopping = true;
  set_limit();
  if (!wiring->release_all)
    keeper_hold(wiring->keeper);
}

static void stop(struct wiring *wiring, const char *why) {
  if (wiring->stopping)
    return;
  log_info("daemon", "%s: stopping", why);
  begin_end(wiring);
  os_notify("STOPPING=1");
  runtime_withdraw(wiring->params.runtime);
  http_stop(wiring->http);
  socket_stop(wiring->socket, doors_stopped, wiring);
}

static void on_signal(void *arg, int signal_number) { stop(arg, strsignal(signal_number)); }

static void on_shutdown_task(struct task *task) {
  stop((struct wiring *)task, "shut down by request");
}

/* Any thread. */
static void on_shutdown(void *arg, bool release_all) {
  struct wiring *wiring = arg;
  wiring->release_all = release_all;
  loop_post(wiring->loop, &wiring->shutdown);
}

static void on_reload(void *arg, int signal_number) {
  (void)signal_number;
  struct wiring *wiring = arg;
  if (wiring->stopping)
    return;
  struct config *config = wiring->params.reload(wiring->params.arg);
  if (!config)
    return;
  os_notify("RELOADING=1");
  reload_apply(config, wiring->service, wiring->http);
  os_notify("READY=1");
  config_free(config);
}

/* ---- parts ---- */

/* Beside us, else in libexec. If it is in neither, it is missed beside us. */
static void find_program(const char *name, char out[CONFIG_PATH]) {
  char self[CONFIG_PATH / 2], elsewhere[CONFIG_PATH];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self);
  while (n > 0 && self[n - 1] != '/')
    n--;
  int folder = n > 0 ? (int)n : 0;
  snprintf(out, CONFIG_PATH, "%.*s%s", folder, self, name);
  snprintf(elsewhere, sizeof elsewhere, "%.*s../libexec/memkeep/%s", folder, self, name);
  if (access(out, X_OK) && !access(elsewhere, X_OK))
    memcpy(out, elsewhere, sizeof elsewhere);
}

static enum status write_facts(struct wiring *wiring, struct problem *problem) {
  const struct config *config = wiring->params.config;
  struct keeper_state vault;
  service_keeper_state(wiring->service, &vault);
  struct runtime_facts facts = {.address = config->address,
                                .socket = config->socket,
                                .version = VERSION_TEXT,
                                .vault_pid = vault.pid,
                                .port = (uint16_t)http_port(wiring->http)};
  return runtime_announce(wiring->params.runtime, &facts, problem);
}

/* Another vault: on the loop, so not before all is announced for the first time. */
static void on_vault(void *arg) {
  struct wiring *wiring = arg;
  struct problem problem;
  if (!wiring->running || wiring->stopping)
    return;
  if (write_facts(wiring, &problem))
    log_warning("daemon", "%s", problem.text);
}

/* What the vault holds is touched by nobody who does not understand it. The reason stays the
 * problem's; what is held and the ways out go before it. */
static enum status refuse(const struct wiring *wiring, enum status status) {
  char held[200];
  keeper_describe(wiring->keeper, held, sizeof held);
  log_error("daemon", "%s; nothing of it was touched", held);
  log_error("daemon",
            "start the version of memkeepd that wrote it, or give all of it back: "
            "%s --runtime-dir %s --release-all",
            wiring->vault, wiring->params.config->runtime_dir);
  return status;
}

static enum status open_keeper(struct wiring *wiring, struct problem *problem) {
  const struct config *config = wiring->params.config;
  struct keeper_params params = {.loop = wiring->loop,
                                 .program = config->no_vault ? NULL : wiring->vault,
                                 .runtime_dir = config->runtime_dir,
                                 .replaced = on_vault,
                                 .arg = wiring};
  enum status status = keeper_open(&params, &wiring->keeper, problem);
  if (status)
    return status;
  status = keeper_take(wiring->keeper, &wiring->found, problem);
  return status == STATUS_CONFLICT ? refuse(wiring, status) : status;
}

static enum status create_service(struct wiring *wiring, struct problem *problem) {
  const struct config *config = wiring->params.config;
  struct model_dirs dirs;
  if (model_dirs_init(&dirs, config))
    return problem_set(problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  struct service_params service = {.devices = wiring->devices.all,
                                   .device_count = wiring->devices.count,
                                   .unseen = wiring->devices.unseen,
                                   .unserved = wiring->devices.unserved,
                                   .loop = wiring->loop,
                                   .thresholds = config->thresholds,
                                   .cache_ttl_ns = config->cache_ttl_ns,
                                   .found = wiring->found,
                                   .state_dir = config->state_dir,
                                   .model_dirs = (const char *const *)dirs.paths};
  enum status status = service_create(&service, &wiring->service, problem);
  model_dirs_done(&dirs);
  return status;
}

static bool limits_of(void *arg, const char *device, struct wire_limits *out) {
  const struct wiring *wiring = arg;
  struct view_device view;
  struct problem problem;
  if (report_device(wiring->service, device, &view, &problem))
    return false;
  *out = (struct wire_limits){view.limit_max_bytes, view.limit_reserved_bytes, view.pressure};
  return true;
}

static void tell_workers(void *arg, const struct buf *line) {
  workers_tell(((struct wiring *)arg)->workers, line);
}

/* What an owner shares, no mover may take for another card's: it is told which one it is. */
static void bind_devices(struct wiring *wiring) {
  struct view_device view;
  struct problem problem;
  for (unsigned i = 0; i < wiring->devices.count; i++) {
    struct spec *spec = &wiring->devices.all[i];
    if (!report_device(wiring->service, spec->id, &view, &problem))
      spec_bind(spec, view.info->uuid, view.info->driver_uuid);
  }
}

/* Those who work for the service. */
static enum status make_hands(struct wiring *wiring, struct problem *problem) {
  const struct config *config = wiring->params.config;
  const struct inspect_params inspect = {.loop = wiring->loop, .program = wiring->worker};
  struct workers_params workers = {.loop = wiring->loop,
                                   .events = service_events(wiring->service),
                                   .own = config->no_worker ? NULL : wiring->worker,
                                   .mover_idle_ns = config->mover_idle_ns,
                                   .socket = config->socket,
                                   .commands = config->workers,
                                   .command_count = config->worker_count,
                                   .devices = wiring->devices.all,
                                   .device_count = wiring->devices.count,
                                   .numbers = {config->thresholds, config->relief_trigger,
                                               config->relief_target, config->policy},
                                   .limits = limits_of,
                                   .limits_arg = wiring};
  bind_devices(wiring);
  const struct bulletin_params bulletin = {
      .loop = wiring->loop, .service = wiring->service, .tell = tell_workers, .arg = wiring};
  enum status status = workers_create(&workers, &wiring->workers, problem);
  if (status)
    return status;
  service_set_mover(wiring->service, workers_table(), wiring->workers);
  if (inspect_create(&inspect, &wiring->inspect) || bulletin_create(&bulletin, &wiring->bulletin))
    return problem_set(problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  service_set_inspector(wiring->service, inspect_table(), wiring->inspect);
  return STATUS_OK;
}

static enum status make_service(struct wiring *wiring, struct problem *problem) {
  const struct config *config = wiring->params.config;
  enum status status = create_service(wiring, problem);
  if (status)
    return status == STATUS_CONFLICT && wiring->found ? refuse(wiring, status) : status;
  service_set_relief(wiring->service,
                     &(struct service_relief){config->relief_trigger, config->relief_target,
                                              config->policy, config->last_resort});
  service_set_predict(wiring->service,
                      &(struct service_predict){config->predict, config->predict_ns});
  service_set_keeper(wiring->service, keeper_table(), wiring->keeper);
  service_on_shutdown(wiring->service, on_shutdown, wiring);
  return make_hands(wiring, problem);
}

static enum status open_http(struct wiring *wiring, struct problem *problem) {
  const struct config *config = wiring->params.config;
  const char *hosts[CONFIG_HOSTS];
  for (uint32_t i = 0; i < config->host_count; i++)
    hosts[i] = config->hosts[i];
  struct http_params http = {.ops = wiring->ops,
                             .address = config->address,
                             .port = config->port,
                             .tokens = config->tokens,
                             .token_count = config->token_count,
                             .hosts = hosts,
                             .host_count = config->host_count,
                             .certificate = config->certificate,
                             .key = config->key,
                             .limits = {.rate = config->rate_limit}};
  return http_create(&http, &wiring->http, problem);
}

static enum status open_socket(struct wiring *wiring, struct problem *problem) {
  const struct config *config = wiring->params.config;
  struct socket_params socket = {.loop = wiring->loop,
                                 .ops = wiring->ops,
                                 .path = config->socket,
                                 .mode = config->socket_mode,
                                 .group = config->socket_group,
                                 .given = wiring->params.socket,
                                 .rate = config->rate_limit,
                                 .workers = guests_table(),
                                 .workers_ctx = workers_guests(wiring->workers)};
  return socket_create(&socket, &wiring->socket, problem);
}

/* Again for a while if somebody is there: a daemon that was killed while it started a process
 * lives on in that one, with all that it listened on, until its exec. */
static enum status open_at_last(enum status (*open)(struct wiring *, struct problem *),
                                struct wiring *wiring, struct problem *problem) {
  const struct timespec nap = {.tv_nsec = DOOR_NAP_NS};
  uint64_t deadline = clock_now() + DOOR_DYING_NS;
  enum status status = open(wiring, problem);
  while (status == STATUS_CONFLICT && clock_now() < deadline) {
    nanosleep(&nap, NULL);
    status = open(wiring, problem);
  }
  return status;
}

static enum status make_doors(struct wiring *wiring, struct problem *problem) {
  if (ops_create(wiring->service, &wiring->ops))
    return problem_set(problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  enum status status = open_at_last(open_http, wiring, problem);
  return status ? status : open_at_last(open_socket, wiring, problem);
}

static enum status start(struct wiring *wiring, struct problem *problem) {
  enum status status = keeper_start(wiring->keeper, wiring->service);
  if (!status)
    status = service_start(wiring->service);
  if (status)
    return problem_set(problem, status, "the service cannot be started");
  wiring->running = true;
  wiring->stalls = stalls_watch(wiring->loop, wiring->service);
  wiring->tally = tally_start(wiring->loop, wiring->ops);
  status = reload_limits(wiring->params.config, wiring->service, problem);
  if (status)
    return status;
  workers_start(wiring->workers);
  status = http_start(wiring->http);
  if (!status)
    status = socket_start(wiring->socket);
  return status
             ? problem_set(problem, status, "the doors cannot be opened: %s", status_text(status))
             : STATUS_OK;
}

static enum status announce(struct wiring *wiring, struct problem *problem) {
  const struct config *config = wiring->params.config;
  bool six = strchr(config->address, ':');
  char url[128];
  snprintf(url, sizeof url, "http%s://%s%s%s:%u", config->certificate[0] ? "s" : "", six ? "[" : "",
           config->address, six ? "]" : "", http_port(wiring->http));
  enum status status = write_facts(wiring, problem);
  if (status)
    return status;
  os_notify("READY=1");
  log_info("daemon", "memkeepd " VERSION_TEXT " is ready on %s and %s", url, config->socket);
  log_info("daemon", "try: memkeep status, or: curl %s/api/memory/status", url);
  return STATUS_OK;
}

static enum status make(struct wiring *wiring, struct problem *problem) {
  if (loop_create(&wiring->loop) || loop_signal(wiring->loop, SIGTERM, on_signal, wiring) ||
      loop_signal(wiring->loop, SIGINT, on_signal, wiring) ||
      loop_signal(wiring->loop, SIGHUP, on_reload, wiring))
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the event loop cannot be made");
  find_program(WORKER, wiring->worker);
  find_program(VAULT, wiring->vault);
  devices_look(&wiring->devices, wiring->params.config, wiring->worker);
  enum status status = open_keeper(wiring, problem);
  devices_choose(&wiring->devices, wiring->params.config);
  if (!status)
    status = make_service(wiring, problem);
  if (!status)
    status = make_doors(wiring, problem);
  if (!status)
    status = start(wiring, problem);
  return status ? status : announce(wiring, problem);
}

/* A start that failed half way is ended as any other, but for the words. */
static void undo(struct wiring *wiring) {
  if (!wiring->running)
    return;
  begin_end(wiring);
  http_stop(wiring->http);
  doors_stopped(wiring);
  loop_run(wiring->loop);
}

enum status wiring_create(const struct wiring_params *params, struct wiring **out,
                          struct problem *problem) {
  struct wiring *wiring = calloc(1, sizeof *wiring);
  if (!wiring)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  wiring->params = *params;
  wiring->shutdown.run = on_shutdown_task;
  enum status status = make(wiring, problem);
  if (status) {
    undo(wiring);
    wiring_free(wiring);
    return status;
  }
  *out = wiring;
  return STATUS_OK;
}

void wiring_run(struct wiring *wiring) {
  loop_run(wiring->loop);
  wiring->ran = true;
}

/* The last line of the log: all threads that may say something have ended. */
static void say_goodbye(const struct wiring *wiring) {
  char bytes[32];
  units_format(wiring->held_bytes, bytes, sizeof bytes);
  if (wiring->held_allocations)
    log_info(
        "daemon",
        "stopped: %u allocations, %s, stay with the vault; memkeep shutdown --release-all gives "
        "them back and ends it",
        wiring->held_allocations, bytes);
  else
    log_info("daemon", "stopped: nothing stays");
}

void wiring_free(struct wiring *wiring) {
  if (!wiring)
    return;
  socket_free(wiring->socket);
  http_free(wiring->http);
  if (wiring->loop)
    loop_drop(wiring->loop);
  tally_free(wiring->tally);
  ops_free(wiring->ops);
  workers_free(wiring->workers);
  inspect_free(wiring->inspect);
  keeper_close(wiring->keeper);
  stalls_free(wiring->stalls);
  service_free(wiring->service);
  bulletin_free(wiring->bulletin);
  loop_free(wiring->loop);
  if (wiring->ran)
    say_goodbye(wiring);
  free(wiring);
}
