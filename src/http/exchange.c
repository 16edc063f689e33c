/*
 * exchange: all that can be said against a request is found when its headers are there, and kept as
 * a problem; what is left of the body is then read and thrown away, and the problem is the answer.
 * Only who sends too much, cannot be read in one way, or may not ask at all, is refused before.
 *
 * An exchange is some 20 KiB, most of it ops' params, so ended ones are kept for the next request.
 * What ops gives back on another thread meets the server's thread under one lock: it finds the
 * exchange parked (and resumes it), or not parked yet (then it never will be), or abandoned.
 */
#include "http/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "http/page.h"
#include "http/path.h"

#define BODY_MAX ((uint64_t)1 << 20)
#define DISCARD_MAX ((uint64_t)16 << 20) /* of a body nobody wants; more ends the connection */
#define BODIES_MAX ((size_t)64 << 20)    /* of all requests that are being received */
#define OUT_CAP ((size_t)16 << 20)       /* of an answer; the largest page of a list is 1 MiB */
#define TEXT_CAP ((size_t)128 << 10)     /* twice the longest target */
#define KEPT 64
#define LOOK_MS 1000 /* for who has left: a system call for each that waits */

struct exchange {
  struct server_request request; /* first */
  struct exchanges *all;
  struct exchange *next, *previous; /* kept, or parked */
  struct path path;
  struct buf text, body; /* text: the target as it was sent and again, to be cut up */
  struct problem problem;
  struct state {
    enum status status; /* of problem */
    uint64_t received;
    struct stream *stream;
    const struct page *page;
    const char *last_event_id, *seen;
    char allow[80];
    bool run;
    bool lent, parked, finished, abandoned, deserted; /* under the lock */
  } is;
  struct ops_call call; /* its params are not zeroed here, so it stands last */
};

struct exchanges {
  struct exchange_params params;
  size_t bodies; /* bytes; the server's thread only, and so are the kept */
  struct exchange *kept;
  unsigned kept_count;
  atomic_uint holders; /* the door itself and every exchange that is under way */
  struct lock lock;
  struct exchange *parked;
  uint64_t looked_ms;
  bool ending;
};

static void free_exchange(struct exchange *x) {
  buf_done(&x->text);
  buf_done(&x->body);
  buf_done(&x->call.out);
  free(x);
}

static void destroy(struct exchanges *all) {
  while (all->kept) {
    struct exchange *x = all->kept;
    all->kept = x->next;
    free_exchange(x);
  }
  lock_done(&all->lock);
  free(all);
}

static void release(struct exchanges *all) {
  if (atomic_fetch_sub(&all->holders, 1) == 1)
    destroy(all);
}

static void link_parked(struct exchange *x) {
  x->next = x->all->parked;
  x->previous = NULL;
  if (x->next)
    x->next->previous = x;
  x->all->parked = x;
  x->is.parked = true;
}

static void wake(struct exchange *x) {
  if (x->next)
    x->next->previous = x->previous;
  if (x->previous)
    x->previous->next = x->next;
  else
    x->all->parked = x->next;
  x->is.parked = false;
  server_resume(&x->request);
}

/* The server's thread. */
static void keep(struct exchange *x) {
  struct exchanges *all = x->all;
  ops_end(&x->call);
  if (all->kept_count == KEPT) {
    free_exchange(x);
  } else {
    buf_reset(&x->text);
    buf_reset(&x->body);
    buf_reset(&x->call.out);
    x->next = all->kept;
    all->kept = x;
    all->kept_count++;
  }
  release(all);
}

/* ops is done with a call that it had kept; any thread. */
static void on_done(struct ops_call *call) {
  struct exchange *x = (struct exchange *)((char *)call - offsetof(struct exchange, call));
  struct exchanges *all = x->all;
  lock_take(&all->lock);
  x->is.finished = true;
  bool abandoned = x->is.abandoned;
  if (x->is.parked)
    wake(x);
  lock_give(&all->lock);
  if (!abandoned)
    return;
  ops_end(call);
  free_exchange(x);
  release(all);
}

static struct exchange *make(struct exchanges *all) {
  struct exchange *x = malloc(sizeof *x);
  if (!x)
    return NULL;
  x->all = all;
  buf_init(&x->text, TEXT_CAP);
  buf_init(&x->body, BODY_MAX);
  buf_init(&x->call.out, OUT_CAP);
  return x;
}

static struct exchange *take(struct exchanges *all) {
  struct exchange *x = all->kept;
  if (x) {
    all->kept = x->next;
    all->kept_count--;
  } else {
    x = make(all);
  }
  if (!x)
    return NULL;
  atomic_fetch_add(&all->holders, 1);
  struct buf out = x->call.out;
  memset(&x->call, 0, offsetof(struct ops_call, params));
  x->call.out = out;
  x->is = (struct state){.status = STATUS_OK};
  return x;
}

/* ---- answers ---- */

static void add_header(struct server_answer *answer, const char *name, const char *value) {
  answer->headers[answer->header_count++] = (struct server_header){name, value};
}

static bool respond(struct exchange *x, bool refuse) {
  const struct ops_call *call = &x->call;
  char retry[12];
  struct server_answer answer = {
      .status = call->http_status, .body = call->out.data, .size = call->out.size};
  bool text = call->http_status == 200 && call->row && call->row->type;
  add_header(&answer, "Content-Type", text ? call->row->type : "application/json");
  add_header(&answer, "X-Correlation-ID", call->caller.correlation);
  if (answer.status == 401)
    add_header(&answer, "WWW-Authenticate", "Bearer");
  if (*x->is.allow)
    add_header(&answer, "Allow", x->is.allow);
  if (call->retry_after) {
    snprintf(retry, sizeof retry, "%u", call->retry_after);
    add_header(&answer, "Retry-After", retry);
  }
  if (!refuse)
    return server_answer(&x->request, &answer);
  server_refuse(&x->request, &answer);
  return true;
}

static bool fail(struct exchange *x) {
  ops_fail(&x->call, &x->problem);
  return respond(x, false);
}

static bool show_page(struct exchange *x) {
  struct server_answer answer = {.status = 200};
  add_header(&answer, "X-Correlation-ID", x->call.caller.correlation);
  page_fill(x->is.page, x->is.seen, &answer);
  return server_answer(&x->request, &answer);
}

static ssize_t on_read(struct server_request *request, char *out, size_t max) {
  struct exchange *x = (struct exchange *)request;
  return stream_read(x->is.stream, request, out, max);
}

static bool open_stream(struct exchange *x) {
  if (stream_open(x->all->params.streams, &x->call, x->is.last_event_id, &x->is.stream,
                  &x->problem))
    return fail(x);
  struct server_answer answer = {.status = 200};
  add_header(&answer, "Content-Type", "text/event-stream");
  add_header(&answer, "Cache-Control", "no-store");
  add_header(&answer, "X-Correlation-ID", x->call.caller.correlation);
  return server_stream(&x->request, &answer, on_read);
}

/* ---- what can be said against a request ---- */

static void find(struct exchange *x, const char *method, struct ops_match *out) {
  const char *asked = strcmp(method, "HEAD") == 0 ? "GET" : method;
  ops_match(asked, x->path.segments, x->path.count, out);
  const struct page *page = out->status ? page_find(&x->path) : NULL;
  if (!page)
    return;
  x->is.page = strcmp(asked, "GET") == 0 ? page : NULL;
  out->status = x->is.page ? STATUS_OK : STATUS_METHOD_NOT_ALLOWED;
  snprintf(out->allow, sizeof out->allow, "GET");
}

static enum status route(struct exchange *x, const char *method) {
  struct ops_match match;
  find(x, method, &match);
  if (match.status == STATUS_METHOD_NOT_ALLOWED) {
    snprintf(x->is.allow, sizeof x->is.allow, "%s%s", match.allow,
             strstr(match.allow, "GET") ? ", HEAD" : "");
    return problem_set(&x->problem, match.status, "%.20s is not known here; %s is", method,
                       x->is.allow);
  }
  if (match.status && x->path.broken)
    return problem_set(&x->problem, STATUS_INVALID_ARGUMENT,
                       "the path has an escape that cannot be decoded");
  if (match.status)
    return problem_set(&x->problem, match.status, "there is nothing at this path");
  x->call.row = match.row;
  memcpy(x->call.path_values, match.values, sizeof match.values);
  return STATUS_OK;
}

static enum status identify(struct exchange *x, const struct head *head) {
  const char *why = auth_identify(x->all->params.auth, head->fields[HEAD_AUTHORIZATION],
                                  &x->request.link->peer, &x->call.caller);
  if (x->is.page || x->call.row->role == CALLER_NONE)
    return STATUS_OK;
  if (!rate_take(x->all->params.rate, why ? RATE_STRANGERS : x->call.caller.domain, clock_now()))
    return problem_set(&x->problem, STATUS_RATE_LIMITED, "more requests than rate_limit allows");
  if (!why)
    return STATUS_OK;
  return problem_set(&x->problem, STATUS_UNAUTHORIZED,
                     "%s: send a token of the configuration as \"Authorization: Bearer\", or use "
                     "the Unix socket",
                     why);
}

static enum status take_key(struct exchange *x, const char *key) {
  if (!key)
    return STATUS_OK;
  if (!id_is_token(key))
    return problem_field(&x->problem, STATUS_INVALID_ARGUMENT, "Idempotency-Key",
                         "Idempotency-Key must be 1 to 64 of A-Z, a-z, 0-9, '.', '_', '-'");
  snprintf(x->call.caller.key, sizeof x->call.caller.key, "%s", key);
  return STATUS_OK;
}

static enum status check(struct exchange *x, const struct head *head) {
  char *target = x->text.data + strlen(x->text.data) + 1;
  enum status status = guard_check(x->all->params.guard, head, &x->problem);
  if (!status)
    status = path_split(target, &x->path, &x->problem);
  if (!status)
    status = route(x, head->method);
  if (!status)
    status = identify(x, head);
  return status ? status : take_key(x, head->fields[HEAD_KEY]);
}

/* True: it is answered already. */
static bool refuse_unread(struct exchange *x, const struct head *head) {
  uint64_t announced = head->flaw ? 0 : head_announced(head);
  if (head->flaw)
    x->is.status = problem_set(
        &x->problem, head->too_large ? head->too_large : STATUS_INVALID_ARGUMENT, "%s", head->flaw);
  else if (announced > BODY_MAX && announced != UINT64_MAX)
    x->is.status = problem_set(&x->problem, STATUS_BODY_TOO_LARGE,
                               "a body of %llu bytes; at most %llu are read",
                               (unsigned long long)announced, (unsigned long long)BODY_MAX);
  else
    x->is.status = check(x, head);
  if (!head->flaw && x->is.status != STATUS_BODY_TOO_LARGE &&
      !(x->is.status == STATUS_UNAUTHORIZED && announced))
    return false;
  ops_fail(&x->call, &x->problem);
  respond(x, true);
  return true;
}

/* ---- what the server calls ---- */

static void take_correlation(struct caller *caller, const char *sent) {
  if (sent && id_is_token(sent))
    snprintf(caller->correlation, sizeof caller->correlation, "%s", sent);
  else
    id_correlation(caller->correlation);
}

static const char *on_query(void *door, const char *name) {
  const struct exchange *x = door;
  return path_query(&x->path, name);
}

static bool on_query_each(void *door, bool (*fn)(void *arg, const char *name), void *arg) {
  const struct exchange *x = door;
  for (size_t i = 0; i < x->path.pair_count; i++)
    if (!fn(arg, x->path.pairs[i].name))
      return false;
  return true;
}

static struct server_request *on_begin(void *arg, const char *target) {
  struct exchange *x = take(arg);
  if (!x)
    return NULL;
  buf_add(&x->text, target, strcspn(target, "?"));
  buf_add(&x->text, "", 1);
  buf_add(&x->text, target, strlen(target) + 1);
  if (x->text.failed) {
    keep(x);
    return NULL;
  }
  return &x->request;
}

static void on_head(struct server_request *request, struct head *head) {
  struct exchange *x = (struct exchange *)request;
  struct ops_call *call = &x->call;
  call->ops = x->all->params.ops;
  call->names = WRITER_CAMEL;
  call->http_envelope = true;
  call->path = x->text.data;
  call->door = x;
  call->done = on_done;
  take_correlation(&call->caller, head->fields[HEAD_CORRELATION]);
  x->is.last_event_id = head->fields[HEAD_LAST_EVENT];
  x->is.seen = head->fields[HEAD_IF_NONE_MATCH];
  if (refuse_unread(x, head) || x->is.status)
    return;
  if (x->path.pair_count) {
    call->query = on_query;
    call->query_each = on_query_each;
  }
}

static void forget_body(struct exchange *x) {
  x->all->bodies -= x->body.size;
  buf_reset(&x->body);
}

static enum status keep_body(struct exchange *x, const char *data, size_t n) {
  if (x->is.received > BODY_MAX)
    return problem_set(&x->problem, STATUS_BODY_TOO_LARGE, "the body is over %llu bytes",
                       (unsigned long long)BODY_MAX);
  if (x->all->bodies + n > BODIES_MAX)
    return problem_set(&x->problem, STATUS_RATE_LIMITED,
                       "too many large requests are being received at once");
  buf_add(&x->body, data, n);
  if (x->body.failed)
    return problem_set(&x->problem, STATUS_INTERNAL_ERROR, "out of memory");
  x->all->bodies += n;
  return STATUS_OK;
}

static bool on_body(struct server_request *request, const char *data, size_t n) {
  struct exchange *x = (struct exchange *)request;
  x->is.received += n;
  if (x->is.status)
    return x->is.received <= DISCARD_MAX;
  x->is.status = keep_body(x, data, n);
  if (x->is.status)
    forget_body(x);
  return true;
}

/* False: this connection is to be closed. */
static bool park(struct exchange *x, bool *finished) {
  LOCK_SCOPE(&x->all->lock);
  x->is.lent = true;
  *finished = x->is.finished;
  if (*finished)
    return true;
  if (x->all->ending)
    return false;
  link_parked(x);
  server_suspend(&x->request);
  return true;
}

static bool is_finished(struct exchange *x) {
  LOCK_SCOPE(&x->all->lock);
  return x->is.finished;
}

static bool start(struct exchange *x) {
  bool reads = x->call.row->method == OPS_GET;
  bool finished = true;
  if (ops_run(&x->call, reads ? NULL : x->body.data, reads ? 0 : x->body.size) == OPS_LATER) {
    if (!park(x, &finished))
      return false;
    return !finished || respond(x, false);
  }
  bool streams = x->call.row->streams && !x->call.out.size &&
                 (!x->call.http_status || x->call.http_status == 200);
  return streams ? open_stream(x) : respond(x, false);
}

static bool on_run(struct server_request *request) {
  struct exchange *x = (struct exchange *)request;
  if (x->is.run)
    return is_finished(x) && respond(x, false);
  x->is.run = true;
  if (x->is.status)
    return fail(x);
  return x->is.page ? show_page(x) : start(x);
}

/* Whether ops still has it, and gives it back itself. Only this thread lends. */
static bool abandon(struct exchange *x) {
  if (!x->is.lent || (x->is.deserted && ops_abandon(&x->call)))
    return false;
  LOCK_SCOPE(&x->all->lock);
  x->is.abandoned = !x->is.finished;
  return x->is.abandoned;
}

static void on_end(struct server_request *request) {
  struct exchange *x = (struct exchange *)request;
  stream_close(x->is.stream);
  x->all->bodies -= x->body.size;
  if (!abandon(x))
    keep(x);
}

/* ---- life ---- */

void exchange_tend(struct exchanges *exchanges, uint64_t now_ms) {
  LOCK_SCOPE(&exchanges->lock);
  if (now_ms - exchanges->looked_ms < LOOK_MS)
    return;
  exchanges->looked_ms = now_ms;
  for (struct exchange *x = exchanges->parked, *next; x; x = next) {
    next = x->next;
    x->is.deserted = atomic_load(&x->call.held) && link_has_hung_up(x->request.link);
    if (!x->is.deserted)
      continue;
    wake(x);
  }
}

enum status exchange_create(const struct exchange_params *params, struct exchanges **out) {
  struct exchanges *all = calloc(1, sizeof *all);
  if (!all)
    return STATUS_INTERNAL_ERROR;
  all->params = *params;
  atomic_init(&all->holders, 1);
  lock_init(&all->lock, LOCK_RANK_DOOR, "exchanges");
  *out = all;
  return STATUS_OK;
}

struct server_calls exchange_calls(struct exchanges *exchanges) {
  return (struct server_calls){exchanges, on_begin, on_head, on_body, on_run, on_end};
}

void exchange_stop(struct exchanges *exchanges) {
  LOCK_SCOPE(&exchanges->lock);
  exchanges->ending = true;
  while (exchanges->parked) {
    struct exchange *x = exchanges->parked;
    wake(x);
  }
}

void exchange_free(struct exchanges *exchanges) {
  if (exchanges)
    release(exchanges);
}
