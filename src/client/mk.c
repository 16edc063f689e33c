/*
 * mk: the public functions. Each checks what it was given and whether this is the process that
 * connected, lets the rooms behind it work, and keeps the reason of a failure for its thread.
 */
#include <memkeep/memkeep.h>

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/writer.h"
#include "client/client.h"
#include "client/figures.h"
#include "client/handle.h"
#include "client/inbox.h"

#define RECONNECT_MS 10000
#define REQUEST_FLAGS (MK_PERSISTENT | MK_PINNED | MK_ZERO | MK_COMMIT | MK_EVICT)

struct mk_client {
  struct hold *hold;
  struct session *session;
  struct lock lock; /* of the inboxes */
  struct inbox *events, *questions;
};

static _Thread_local struct failure last;

enum mk_code mk_error_code(void) { return last.code; }
const char *mk_error_text(void) { return last.text; }
const char *mk_code_name(enum mk_code code) { return failure_word(code); }

static bool is_zero(const uint64_t *words, size_t count) {
  uint64_t sum = 0;
  for (size_t i = 0; i < count; i++)
    sum |= words[i];
  return sum == 0;
}

static enum mk_code refuse(const char *what) {
  return failure_set(&last, MK_INVALID_ARGUMENT, "%s", what);
}

static struct handle_place place_of(const struct mk_client *client) {
  return (struct handle_place){.session = client->session, .hold = client->hold};
}

/* ---- connecting ---- */

static enum mk_code check_options(const struct mk_options *options) {
  if (options->flags || !is_zero(options->reserved, 4))
    return refuse("flags and reserved of the options must be 0");
  return MK_OK;
}

static enum mk_code open_client(struct mk_client *client, const struct mk_options *options) {
  uint64_t patience = options->reconnect_ms ? options->reconnect_ms : RECONNECT_MS;
  if (hold_create(client, &client->hold))
    return failure_no_memory(&last);
  return session_create(options->socket, patience * CLOCK_MS, client->hold, &client->session,
                        &last);
}

enum mk_code mk_connect(const struct mk_options *options, mk_client **out) {
  static const struct mk_options defaults = {.socket = NULL};
  if (!out)
    return refuse("there is no place for the client");
  enum mk_code code = check_options(options ? options : &defaults);
  if (code)
    return code;
  struct mk_client *client = calloc(1, sizeof *client);
  if (!client)
    return failure_no_memory(&last);
  lock_init(&client->lock, LOCK_RANK_LEAF, "client inboxes");
  code = open_client(client, options ? options : &defaults);
  if (code)
    mk_close(client);
  else
    *out = client;
  return code;
}

void mk_close(mk_client *client) {
  struct failure ignored;
  if (!client || (client->session && session_check(client->session, &ignored)))
    return;
  inbox_close(client->events);
  inbox_close(client->questions);
  session_free(client->session);
  hold_free(client->hold);
  lock_done(&client->lock);
  free(client);
}

static enum mk_code check(const struct mk_client *client) {
  if (!client)
    return refuse("there is no client");
  return session_check(client->session, &last);
}

/* ---- memory ---- */

static enum mk_code check_request(const struct mk_request *request) {
  if (!request)
    return refuse("there is no request");
  if (request->flags & ~(uint32_t)REQUEST_FLAGS)
    return refuse("flags holds one that a request does not know");
  if ((request->size | request->alignment | request->ttl_seconds | request->wait_ms) > INT64_MAX)
    return refuse("a number of the request is larger than 2^63 - 1");
  if (request->reserved_too || !is_zero(request->reserved, 4))
    return refuse("reserved of the request must be 0");
  return MK_OK;
}

enum mk_code mk_allocate(mk_client *client, const struct mk_request *request, mk_allocation **out) {
  enum mk_code code = check(client);
  if (!code)
    code = out ? check_request(request) : refuse("there is no place for the allocation");
  if (code)
    return code;
  const struct handle_place place = place_of(client);
  return handle_allocate(&place, request, out, &last);
}

enum mk_code mk_attach(mk_client *client, const char *id, uint32_t flags, mk_allocation **out) {
  enum mk_code code = check(client);
  if (code)
    return code;
  uint64_t number = id ? id_parse(ID_ALLOCATION, id) : 0;
  if (!out || flags & ~(uint32_t)MK_READ_ONLY)
    return refuse("flags may hold MK_READ_ONLY, and there must be a place for the allocation");
  if (!number)
    return failure_set(&last, MK_ALLOCATION_NOT_FOUND, "\"%.40s\" is no allocation's id",
                       id ? id : "");
  const struct handle_place place = place_of(client);
  return handle_attach(&place, number, (flags & MK_READ_ONLY) != 0, out, &last);
}

enum mk_code mk_detach(mk_allocation *allocation) {
  if (!allocation)
    return MK_OK;
  enum mk_code code = check(allocation->client);
  if (code)
    return code;
  const struct handle_place place = place_of(allocation->client);
  handle_detach(&place, allocation);
  return MK_OK;
}

static enum mk_code give(mk_allocation *allocation, enum session_how how) {
  if (!allocation)
    return MK_OK;
  enum mk_code code = check(allocation->client);
  if (code)
    return code;
  const struct handle_place place = place_of(allocation->client);
  return handle_free(&place, allocation, how, &last);
}

enum mk_code mk_free(mk_allocation *allocation) { return give(allocation, SESSION_AGAIN); }
enum mk_code mk_try_free(mk_allocation *allocation) { return give(allocation, SESSION_SOON); }

const char *mk_id(const mk_allocation *allocation) { return allocation->id_text; }
const char *mk_device(const mk_allocation *allocation) { return allocation->device; }
uint64_t mk_size(const mk_allocation *allocation) { return allocation->size_bytes; }
uint64_t mk_offset(const mk_allocation *allocation) { return allocation->offset_bytes; }

void *mk_pointer(const mk_allocation *allocation) {
  const struct mapping *mapping = allocation->mapping;
  return mapping && mapping->map ? (char *)mapping->map + allocation->offset_bytes : NULL;
}

int mk_fd(const mk_allocation *allocation) {
  return allocation->mapping ? (int)allocation->mapping->share.value : -1;
}

const char *mk_handle(const mk_allocation *allocation) {
  return share_kind_name(allocation->mapping ? allocation->mapping->share.kind : SHARE_NONE);
}

/* ---- figures ---- */

enum mk_code mk_status(mk_client *client, const char *device, struct mk_status *out) {
  enum mk_code code = check(client);
  if (!code && !out)
    code = refuse("there is no place for the status");
  if (code)
    return code;
  struct session_answer answer;
  struct buf data BUF_CLEANUP;
  struct writer w;
  buf_init(&data, CLIENT_LINE_MAX);
  writer_init(&w, &data, WRITER_SNAKE);
  writer_object(&w, NULL);
  if (device)
    writer_text(&w, "deviceId", device);
  writer_end(&w);
  const struct wire_question question = {.action = "memory.get_status", .data = buf_text(&data)};
  code = session_ask(client->session, &question, SESSION_AGAIN, &answer, &last);
  if (code)
    return code;
  figures_read(answer.data, out);
  session_answer_done(&answer);
  return MK_OK;
}

/* ---- everything else ---- */

/* How actions are asked; the first row that the name begins with. Others are asked once. */
static const struct {
  const char *begin;
  enum session_how how;
  bool keyed, refused;
} manners[] = {
    {.begin = "memory.get_", .how = SESSION_AGAIN},
    {.begin = "memory.list_", .how = SESSION_AGAIN},
    {.begin = "memory.pressure_check", .how = SESSION_AGAIN},
    {.begin = "memory.model_status", .how = SESSION_AGAIN},
    {.begin = "memory.free", .how = SESSION_AGAIN},
    {.begin = "memory.transfer", .how = SESSION_AGAIN, .keyed = true},
    {.begin = "memory.load_model", .how = SESSION_AGAIN, .keyed = true},
    {.begin = "ping", .how = SESSION_AGAIN},
    {.begin = "memory.allocate", .refused = true},
    {.begin = "memory.attach", .refused = true},
    {.begin = "memory.detach", .refused = true},
    {.begin = "memory.resume", .refused = true},
    {.begin = "", .how = SESSION_ONCE},
};

static size_t manner_of(const char *action) {
  size_t i = 0;
  while (strncmp(action, manners[i].begin, strlen(manners[i].begin)) != 0)
    i++;
  return i;
}

/* Compact and on one line; checked here, because broken JSON would break the connection. */
static enum mk_code compact(const char *data, struct buf *out) {
  struct reader_doc *doc = NULL;
  struct problem problem;
  if (reader_parse(data, strlen(data), &doc, &problem))
    return failure_of(&last, &problem);
  reader_dump(reader_root(doc), out);
  reader_free(doc);
  return out->failed ? refuse("the data is longer than 4 MiB") : MK_OK;
}

static enum mk_code hand_out(struct session_answer *answer, char **result) {
  struct buf text BUF_CLEANUP;
  buf_init(&text, CLIENT_LINE_MAX);
  if (result && answer->data.json)
    reader_dump(answer->data, &text);
  else
    buf_add(&text, "{}", 2);
  session_answer_done(answer);
  char *taken = text.failed ? NULL : buf_take(&text, &(size_t){0});
  if (!taken)
    return failure_no_memory(&last);
  if (result)
    *result = taken;
  else
    free(taken);
  return MK_OK;
}

enum mk_code mk_call(mk_client *client, const char *action, const char *data, char **result) {
  enum mk_code code = check(client);
  struct session_answer answer;
  struct buf text BUF_CLEANUP;
  char key[SESSION_KEY];
  buf_init(&text, CLIENT_LINE_MAX);
  if (!code && !action)
    code = refuse("there is no action");
  if (!code)
    code = compact(data ? data : "", &text);
  if (code)
    return code;
  size_t manner = manner_of(action);
  if (manners[manner].refused)
    return refuse("this action hands over memory: mk_allocate, mk_attach and mk_detach ask it");
  session_make_key(client->session, key);
  const struct wire_question question = {
      .action = action, .data = buf_text(&text), .key = manners[manner].keyed ? key : NULL};
  code = session_ask(client->session, &question, manners[manner].how, &answer, &last);
  return code ? code : hand_out(&answer, result);
}

/* ---- callbacks ---- */

static enum mk_code check_callback(const struct mk_client *client) {
  enum mk_code code = check(client);
  if (!code && listener_is_here())
    code = failure_set(&last, MK_CONFLICT, "a callback cannot change callbacks");
  return code;
}

static struct inbox *exchange(struct mk_client *client, struct inbox **at, struct inbox *with) {
  LOCK_SCOPE(&client->lock);
  struct inbox *former = *at;
  *at = with;
  return former;
}

enum mk_code mk_events(mk_client *client, const char *types, mk_event_fn *fn, void *arg) {
  struct inbox *inbox = NULL;
  enum mk_code code = check_callback(client);
  if (code)
    return code;
  inbox_close(exchange(client, &client->events, NULL));
  if (!fn)
    return MK_OK;
  const struct inbox_events params = {session_path(client->session), types, fn, arg};
  code = inbox_open_events(&params, &inbox, &last);
  if (!code)
    inbox_close(exchange(client, &client->events, inbox));
  return code;
}

enum mk_code mk_on_request(mk_client *client, const char *actions, mk_question_fn *fn, void *arg) {
  struct inbox *inbox = NULL;
  enum mk_code code = check_callback(client);
  if (code)
    return code;
  inbox_close(exchange(client, &client->questions, NULL));
  if (!fn)
    return MK_OK;
  const struct inbox_questions params = {session_path(client->session), actions, fn, arg};
  code = inbox_open_questions(&params, &inbox, &last);
  if (!code)
    inbox_close(exchange(client, &client->questions, inbox));
  return code;
}
