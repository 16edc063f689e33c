/*
 * socket: the door itself: connections, and what each may cost. A client that does not read its
 * answers is dropped when they are OUT_QUEUE; one that asks faster than it is answered is read no
 * further until it has fewer than CALLS_MAX calls under way, and answers with descriptors waiting.
 * What waits in its socket then is the kernel's business, and the client's.
 *
 * A client that sends no more may still read: what it asked is answered before its connection is
 * closed. The kernel cannot be asked to report only that such a client left, so it is looked at.
 */
#include "socket/socket.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/line.h"
#include "base/log.h"
#include "base/rate.h"
#include "base/spawn.h"
#include "socket/feed.h"
#include "socket/listener.h"
#include "socket/request.h"

#define LINE_MAX_BYTES ((size_t)4 << 20)
#define OUT_QUEUE ((size_t)16 << 20)
#define CALLS_MAX 256
#define SOCKET_CLIENTS 4096 /* connections at once; more are closed at once */
#define FEEDS_MAX 1024      /* connections to which events are told */
#define REST_MS 100         /* of the listener, when no descriptor is left */
#define LOOK_MS 500         /* between two looks at clients that send no more */
#define STOP_MS 1000        /* what those under way have when the door closes */

struct connection {
  struct socket *door;
  struct connection *next, *previous;
  struct share share;
  struct line *line;
  struct loop_watch *watch;
  struct request *requests; /* under way */
  struct feed *feed;        /* NULL: it did not ask for events */
  void *worker;             /* NULL: it did not say hello */
  unsigned calls;
  uint64_t lines; /* read */
  struct caller caller;
  bool broken; /* to be closed as soon as nobody stands on it */
  bool ended;  /* nothing more is read: to be closed when all is answered */
  bool reading;
  bool held; /* lines were left in `line`, for too many calls are under way */
};

struct socket {
  struct socket_params params;
  struct listener listener;
  struct loop_watch *watch;
  struct loop_timer *limit, *rest, *look;
  struct feeds *feeds;
  struct rate rate;
  struct connection *connections;
  unsigned count;
  uint64_t next_number;
  bool stopping;
  bool told;    /* that new clients wait */
  bool looking; /* at clients that send no more */
  void (*stopped)(void *arg);
  void *stopped_arg;
};

/* ---- a connection ---- */

static void lose_worker(struct connection *connection) {
  void *worker = connection->worker;
  connection->worker = NULL;
  if (worker)
    connection->door->params.workers->left(worker);
}

static void stop_feed(struct connection *connection) {
  feed_close(connection->feed);
  connection->feed = NULL;
}

static void close_connection(struct connection *connection) {
  struct socket *door = connection->door;
  lose_worker(connection);
  stop_feed(connection);
  while (connection->requests) {
    struct request *request = connection->requests;
    connection->requests = *request_link(request);
    request_let_go(request, !door->stopping);
  }
  if (!door->stopping)
    ops_connection_closed(door->params.ops, connection->caller.connection);
  loop_unwatch(connection->watch);
  line_free(connection->line);
  share_close(&connection->share);
  if (connection->next)
    connection->next->previous = connection->previous;
  if (connection->previous)
    connection->previous->next = connection->next;
  else
    door->connections = connection->next;
  door->count--;
  free(connection);
}

static void close_all(struct socket *door) {
  for (struct connection *one = door->connections, *next; one; one = next) {
    next = one->next;
    close_connection(one);
  }
}

/* A call under way may come to an answer with a descriptor, and of those only so many may wait. */
static bool has_room(const struct connection *connection) {
  return connection->calls + line_shares_waiting(connection->line) < CALLS_MAX;
}

static void update_watch(struct connection *connection) {
  bool read = has_room(connection) && !connection->ended && !connection->door->stopping;
  bool write = line_wants_write(connection->line);
  loop_watch_events(connection->watch, (read ? LOOP_READ : 0) | (write ? LOOP_WRITE : 0));
}

static void finish_stop(struct socket *door) {
  if (!door->stopped)
    return;
  for (struct connection *one = door->connections; one; one = one->next)
    if (one->calls || line_wants_write(one->line))
      return;
  void (*stopped)(void *arg) = door->stopped;
  door->stopped = NULL;
  loop_timer_stop(door->limit);
  stopped(door->stopped_arg);
}

static void read_lines(struct connection *connection);

static void feed(struct connection *connection) {
  enum status status = connection->feed ? feed_tell(connection->feed) : STATUS_OK;
  if (status)
    connection->broken = true;
  if (status == STATUS_RATE_LIMITED)
    log_info("socket", "client %d does not read its events: dropped", (int)connection->caller.pid);
}

/* After each visit: closes what broke, reads and writes on where it did not. Lines that were held
 * are here already, so no event of the descriptor would bring them. */
static void settle(struct connection *connection) {
  struct socket *door = connection->door;
  if (connection->reading)
    return;
  bool room = connection->held && has_room(connection);
  if (room && !connection->broken && !door->stopping)
    read_lines(connection);
  if (!connection->broken)
    feed(connection);
  bool over = connection->ended && !connection->calls && !connection->feed &&
              !line_wants_write(connection->line);
  if (connection->broken || over)
    close_connection(connection);
  else
    update_watch(connection);
  finish_stop(door);
}

static void forget(struct connection *connection, const struct request *request) {
  struct request **link = &connection->requests;
  while (*link && *link != request)
    link = request_link(*link);
  if (!*link)
    return;
  *link = *request_link(*link);
  connection->calls--;
}

static struct ops_call *on_cancel(void *arg, const char *id) {
  return request_find(((struct connection *)arg)->requests, id);
}

static void on_answer(void *arg, struct request *request, const struct request_answer *answer) {
  struct connection *connection = arg;
  forget(connection, request);
  if (!connection->broken && line_send(connection->line, answer->text, answer->size, answer->shares,
                                       answer->share_count)) {
    log_info("socket", "client %d does not read its answers: dropped", (int)connection->caller.pid);
    connection->broken = true;
  }
  settle(connection);
}

static void on_news(void *arg) { settle(arg); }

/* ---- workers ---- */

static void look_soon(struct socket *door) {
  door->looking = true;
  loop_timer_start(door->look, 0, LOOK_MS);
}

bool socket_say(struct connection *connection, const char *text, size_t n) {
  if (connection->broken)
    return false;
  if (line_waiting(connection->line) + n >= SOCKET_SAID ||
      line_send(connection->line, text, n, NULL, 0)) {
    log_info("socket", "worker %d does not read its requests: dropped",
             (int)connection->caller.pid);
    socket_hang_up(connection);
    return false;
  }
  if (!connection->reading)
    update_watch(connection);
  return true;
}

void socket_hang_up(struct connection *connection) {
  connection->broken = true;
  look_soon(connection->door);
}

/* ---- lines ---- */

static void end(struct connection *connection) {
  struct socket *door = connection->door;
  connection->ended = true;
  lose_worker(connection);
  if (!door->looking)
    loop_timer_start(door->look, LOOK_MS, LOOK_MS);
  door->looking = true;
}

static bool on_unasked(void *arg, struct reader_value line, struct problem *problem) {
  struct connection *connection = arg;
  const struct socket_params *params = &connection->door->params;
  const char *event = reader_text(reader_get(line, "event"), "");
  if (connection->worker) {
    params->workers->heard(connection->worker, line);
    return true;
  }
  if (!params->workers || strcmp(event, "hello") != 0)
    return false;
  const struct socket_hello hello = {connection, connection->caller.pid, line};
  if (params->workers->hello(params->workers_ctx, &hello, &connection->worker, problem))
    end(connection);
  return true;
}

static enum status on_follow(void *arg, struct request *request, struct problem *problem) {
  struct connection *connection = arg;
  const struct feed_reader reader = {request, connection->line, connection};
  struct feed *made;
  enum status status = feed_open(connection->door->feeds, &reader, &made, problem);
  if (status)
    return status;
  stop_feed(connection);
  connection->feed = made;
  return STATUS_OK;
}

/* Any other number than a line announced ends the connection. */
static bool on_shares(void *arg, uint64_t announced, struct share *out) {
  struct connection *connection = arg;
  connection->broken |= announced > OPS_SHARES;
  for (uint64_t i = 0; i < announced && !connection->broken; i++) {
    connection->broken = !line_take_share(connection->line, SHARE_FILE, &out[i]);
    while (connection->broken && i)
      share_close(&out[--i]);
  }
  return !connection->broken;
}

static struct request_params ask_for(struct connection *connection, uint64_t number) {
  struct socket *door = connection->door;
  return (struct request_params){.ops = door->params.ops,
                                 .caller = &connection->caller,
                                 .rate = &door->rate,
                                 .take_shares = on_shares,
                                 .unasked = on_unasked,
                                 .follow = on_follow,
                                 .under_way = on_cancel,
                                 .answer = on_answer,
                                 .arg = connection,
                                 .loop = door->params.loop,
                                 .number = number};
}

static bool on_line(void *arg, char *text, size_t n) {
  struct connection *connection = arg;
  const struct request_params params = ask_for(connection, ++connection->lines);
  struct request *request;
  if (!request_run(&params, text, n, &request))
    connection->broken = true;
  if (request) {
    *request_link(request) = connection->requests;
    connection->requests = request;
    connection->calls++;
  }
  if (connection->broken || connection->ended)
    return false;
  connection->held = !has_room(connection);
  return !connection->held;
}

static void refuse_length(struct connection *connection) {
  const struct request_params params = ask_for(connection, ++connection->lines);
  struct problem problem;
  problem_set(&problem, STATUS_BODY_TOO_LARGE, "line %" PRIu64 " is longer than %zu bytes",
              connection->lines, LINE_MAX_BYTES);
  request_refuse(&params, &problem);
}

static void read_lines(struct connection *connection) {
  connection->reading = true;
  connection->held = false;
  enum status status = line_read(connection->line, on_line, connection);
  if (status == STATUS_BODY_TOO_LARGE)
    refuse_length(connection);
  if (status == STATUS_BODY_TOO_LARGE ||
      (status == STATUS_NOT_FOUND && !listener_client_left(&connection->share)))
    end(connection);
  else if (status)
    connection->broken = true;
  connection->reading = false;
}

static void on_ready(void *arg, int events) {
  struct connection *connection = arg;
  if (events & LOOP_WRITE && line_flush(connection->line))
    connection->broken = true;
  if (events & LOOP_READ && !connection->broken)
    read_lines(connection);
  settle(connection);
}

static struct caller caller_of(struct socket *door, const struct listener_peer *peer) {
  bool admin = peer->uid == 0 || peer->uid == (uint32_t)geteuid();
  struct caller caller = {.role = admin ? CALLER_ADMIN : CALLER_WRITE,
                          .domain = peer->uid,
                          .uid = peer->uid,
                          .pid = peer->pid,
                          .pid_start = peer->pid ? spawn_start_time(peer->pid) : 0,
                          .connection = ++door->next_number};
  snprintf(caller.domain_name, sizeof caller.domain_name, "uid:%u", peer->uid);
  if (!caller.pid_start)
    caller.pid = 0;
  return caller;
}

/* False: no memory; the share is closed. */
static bool greet(struct socket *door, struct share *share, const struct listener_peer *peer) {
  struct connection *connection = calloc(1, sizeof *connection);
  const struct line_params params = {.in = (int)share->value,
                                     .out = (int)share->value,
                                     .shares = true,
                                     .max_line = LINE_MAX_BYTES,
                                     .max_queue = OUT_QUEUE};
  bool made = connection && !line_create(&params, &connection->line);
  if (made &&
      loop_watch(door->params.loop, (int)share->value, on_ready, connection, &connection->watch)) {
    line_free(connection->line);
    made = false;
  }
  if (!made) {
    free(connection);
    share_close(share);
    return false;
  }
  connection->door = door;
  connection->share = *share;
  connection->caller = caller_of(door, peer);
  connection->next = door->connections;
  if (door->connections)
    door->connections->previous = connection;
  door->connections = connection;
  door->count++;
  update_watch(connection);
  return true;
}

/* ---- the door ---- */

static void on_rested(void *arg) {
  struct socket *door = arg;
  loop_watch_events(door->watch, door->stopping ? 0 : LOOP_READ);
}

/* Whoever waits to be accepted keeps the listener readable, and would keep the loop busy. */
static void rest(struct socket *door) {
  if (!door->told)
    log_warning("socket", "out of descriptors or memory: new clients wait");
  door->told = true;
  loop_watch_events(door->watch, 0);
  loop_timer_start(door->rest, REST_MS, 0);
}

static void on_client(void *arg, int events) {
  struct socket *door = arg;
  struct share share;
  struct listener_peer peer;
  (void)events;
  while (listener_accept(&door->listener, &share, &peer)) {
    door->told = false;
    if (door->count >= SOCKET_CLIENTS) {
      log_warning("socket", "%u clients are connected: another one is refused", door->count);
      share_close(&share);
    } else if (!greet(door, &share, &peer)) {
      log_error("socket", "no memory for another client");
    }
  }
  if (errno != EAGAIN)
    rest(door);
}

/* Those that broke while nobody stood on them; and those that send no more, whose descriptors would
 * be readable for ever, or tell nothing. */
static void on_look(void *arg) {
  struct socket *door = arg;
  unsigned count = 0;
  for (struct connection *one = door->connections, *next; one; one = next) {
    next = one->next;
    if (one->broken || (one->ended && listener_client_left(&one->share)))
      close_connection(one);
    else
      count += one->ended;
  }
  door->looking = count;
  if (!count)
    loop_timer_stop(door->look);
  finish_stop(door);
}

static void on_limit(void *arg) {
  struct socket *door = arg;
  close_all(door);
  finish_stop(door);
}

enum status socket_create(const struct socket_params *params, struct socket **out,
                          struct problem *problem) {
  struct socket *door = calloc(1, sizeof *door);
  if (!door)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  door->params = *params;
  rate_init(&door->rate, params->rate);
  const struct feed_params feeds = {
      .loop = params->loop, .ops = params->ops, .cap = FEEDS_MAX, .news = on_news};
  const struct listener_params listener = {params->path, params->mode, params->group,
                                           params->given};
  enum status status = listener_open(&listener, &door->listener, problem);
  if (!status &&
      (feed_create(&feeds, &door->feeds) ||
       loop_timer(params->loop, on_limit, door, &door->limit) ||
       loop_timer(params->loop, on_rested, door, &door->rest) ||
       loop_timer(params->loop, on_look, door, &door->look) ||
       loop_watch(params->loop, (int)door->listener.share.value, on_client, door, &door->watch)))
    status = problem_set(problem, STATUS_INTERNAL_ERROR, "not enough memory to start");
  if (status)
    socket_free(door);
  else
    *out = door;
  return status;
}

enum status socket_start(struct socket *door) {
  enum status status = feed_listen(door->feeds);
  if (!status)
    loop_watch_events(door->watch, LOOP_READ);
  return status;
}

void socket_stop(struct socket *door, void (*done)(void *arg), void *arg) {
  door->stopping = true;
  door->stopped = done;
  door->stopped_arg = arg;
  loop_watch_events(door->watch, 0);
  for (struct connection *one = door->connections; one; one = one->next) {
    lose_worker(one);
    stop_feed(one);
    update_watch(one);
  }
  loop_timer_start(door->limit, STOP_MS, 0);
  finish_stop(door);
}

void socket_free(struct socket *door) {
  if (!door)
    return;
  door->stopping = true;
  close_all(door);
  loop_unwatch(door->watch);
  loop_timer_free(door->limit);
  loop_timer_free(door->rest);
  loop_timer_free(door->look);
  feed_free(door->feeds);
  listener_close(&door->listener, door->params.path);
  free(door);
}
