/*
 * handle: an answer that came on a connection which was replaced before it was noted is as good as
 * lost: the question is put again, with the same key, and attaches on the new connection.
 */
#include "client/handle.h"

#include <stdio.h>

#include "base/writer.h"

#define TEXT_MAX                                                                                   \
  ((size_t)64 << 10) /* of a question; the daemon limits labels and ids to far less */
#define TRIES 4      /* connections replaced between answer and note */

struct ask {
  struct wire_question question;
  bool writable;
};

/* ---- questions ---- */

static void write_said(struct writer *w, const char *key, const char *text) {
  if (text)
    writer_text(w, key, text);
}

static void write_number(struct writer *w, const char *key, uint64_t value) {
  if (value)
    writer_uint(w, key, value);
}

static void write_flags(struct writer *w, uint32_t flags) {
  static const struct {
    uint32_t flag;
    const char *key;
  } names[] = {{MK_PERSISTENT, "persistent"},
               {MK_PINNED, "pinned"},
               {MK_ZERO, "zero"},
               {MK_COMMIT, "commit"},
               {MK_EVICT, "evict"}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (flags & names[i].flag)
      writer_bool(w, names[i].key, true);
}

static void write_request(struct buf *text, const struct mk_request *request) {
  struct writer w;
  writer_init(&w, text, WRITER_SNAKE);
  writer_object(&w, NULL);
  writer_uint(&w, "sizeBytes", request->size);
  write_said(&w, "deviceId", request->device);
  write_said(&w, "memoryType", request->memory);
  write_said(&w, "label", request->label);
  write_said(&w, "purpose", request->purpose);
  write_said(&w, "priority", request->priority);
  write_said(&w, "share", request->share);
  write_said(&w, "strategy", request->strategy);
  write_number(&w, "alignmentBytes", request->alignment);
  write_number(&w, "ttlSeconds", request->ttl_seconds);
  write_number(&w, "waitMs", request->wait_ms);
  write_flags(&w, request->flags);
  writer_end(&w);
}

static void write_id(struct buf *text, uint64_t id, const bool *read_only) {
  struct writer w;
  writer_init(&w, text, WRITER_SNAKE);
  writer_object(&w, NULL);
  writer_id(&w, "allocationId", ID_ALLOCATION, id);
  if (read_only)
    writer_bool(&w, "readOnly", *read_only);
  writer_end(&w);
}

/* ---- answers ---- */

/* `from` is the answer's attachment, or null where nothing was attached. */
static void read_place(struct reader_value from, struct hold_place *place) {
  const char *device = reader_text(reader_get(from, "device_id"), "");
  snprintf(place->device, sizeof place->device, "%s", device);
  place->segment = id_parse(ID_SEGMENT, reader_text(reader_get(from, "segment_id"), ""));
  place->offset_bytes = reader_uint(reader_get(from, "offset_bytes"), 0);
  place->size_bytes = reader_uint(reader_get(from, "size_bytes"), 0);
  place->kind = share_kind_parse(reader_text(reader_get(from, "handle_type"), ""));
}

static enum mk_code explain_fill(enum status status, struct failure *failure) {
  if (status == STATUS_INVALID_ARGUMENT)
    return failure_set(failure, MK_INTERNAL_ERROR, "the daemon's answer does not fit its memory");
  return failure_set(failure, MK_INTERNAL_ERROR,
                     "this process is out of memory, descriptors or address space");
}

/* Asks, and fills the handle with what `read` finds in the answer. */
static enum mk_code ask_and_fill(const struct handle_place *where, const struct ask *ask,
                                 void (*read)(struct reader_value data, struct hold_place *place),
                                 struct mk_allocation *allocation, struct failure *failure) {
  enum status status = STATUS_CONFLICT;
  for (int i = 0; i < TRIES && status == STATUS_CONFLICT; i++) {
    struct session_answer answer;
    struct hold_place place = {.id = allocation->id, .writable = ask->writable};
    enum mk_code code =
        session_ask(where->session, &ask->question, SESSION_AGAIN, &answer, failure);
    if (code)
      return code;
    read(answer.data, &place);
    if (!allocation->id)
      allocation->id = place.id;
    if (place.id)
      status = hold_fill(where->hold, allocation, &place, &answer.wire.share, answer.generation);
    else
      status = STATUS_INVALID_ARGUMENT;
    session_answer_done(&answer);
  }
  if (status == STATUS_CONFLICT)
    return failure_set(failure, MK_DAEMON_RESTARTED, "the daemon restarts again and again");
  return status ? explain_fill(status, failure) : MK_OK;
}

static enum mk_code ask_about(const struct handle_place *where, const char *action, uint64_t id,
                              enum session_how how, struct failure *failure) {
  struct session_answer answer;
  struct buf text BUF_CLEANUP;
  buf_init(&text, TEXT_MAX);
  write_id(&text, id, NULL);
  const struct wire_question question = {.action = action, .data = buf_text(&text), .brief = true};
  enum mk_code code = session_ask(where->session, &question, how, &answer, failure);
  if (!code)
    session_answer_done(&answer);
  return code;
}

/* ---- in ---- */

static void read_allocated(struct reader_value data, struct hold_place *place) {
  struct reader_value allocation = reader_get(data, "allocation");
  place->id = id_parse(ID_ALLOCATION, reader_text(reader_get(allocation, "allocation_id"), ""));
  read_place(reader_get(data, "attachment"), place);
}

/* What was made without being attached: the daemon says why when it is asked for that alone. */
static enum mk_code attach_made(const struct handle_place *place, struct mk_allocation *allocation,
                                struct failure *failure) {
  const bool read_only = false;
  struct buf text BUF_CLEANUP;
  buf_init(&text, TEXT_MAX);
  if (allocation->mapping)
    return MK_OK;
  write_id(&text, allocation->id, &read_only);
  const struct ask ask = {{.action = "memory.attach", .data = buf_text(&text)}, .writable = true};
  return ask_and_fill(place, &ask, read_place, allocation, failure);
}

enum mk_code handle_allocate(const struct handle_place *place, const struct mk_request *request,
                             struct mk_allocation **out, struct failure *failure) {
  char key[SESSION_KEY];
  struct buf text BUF_CLEANUP;
  struct failure ignored;
  buf_init(&text, TEXT_MAX);
  write_request(&text, request);
  if (text.failed)
    return failure_set(failure, MK_INVALID_ARGUMENT, "the request's texts are too long");
  struct mk_allocation *allocation = hold_new(place->hold);
  if (!allocation)
    return failure_no_memory(failure);
  session_make_key(place->session, key);
  const struct ask ask = {{"memory.allocate", buf_text(&text), key, .brief = true},
                          .writable = true};
  enum mk_code code = ask_and_fill(place, &ask, read_allocated, allocation, failure);
  if (!code)
    code = attach_made(place, allocation, failure);
  if (!code) {
    *out = allocation;
    return MK_OK;
  }
  if (allocation->id) /* it is there, and of no use here */
    ask_about(place, "memory.free", allocation->id, SESSION_IF_THERE, &ignored);
  hold_remove(place->hold, allocation);
  return code;
}

enum mk_code handle_attach(const struct handle_place *place, uint64_t id, bool read_only,
                           struct mk_allocation **out, struct failure *failure) {
  struct buf text BUF_CLEANUP;
  struct mk_allocation *allocation = NULL;
  struct failure ignored;
  buf_init(&text, TEXT_MAX);
  write_id(&text, id, &read_only);
  const struct ask ask = {{.action = "memory.attach", .data = buf_text(&text)},
                          .writable = !read_only};
  enum status status = hold_begin(place->hold, id, &allocation);
  if (status == STATUS_CONFLICT && (read_only || allocation->writable)) {
    *out = allocation;
    return MK_OK;
  }
  if (status == STATUS_CONFLICT) {
    handle_detach(place, allocation);
    return failure_set(failure, MK_CONFLICT, "it is attached read-only here: detach it first");
  }
  if (status)
    return failure_no_memory(failure);
  enum mk_code code = ask_and_fill(place, &ask, read_place, allocation, failure);
  if (!code) {
    *out = allocation;
    return MK_OK;
  }
  if (code == MK_INTERNAL_ERROR) /* it may be attached there, and is of no use here */
    ask_about(place, "memory.detach", id, SESSION_IF_THERE, &ignored);
  hold_remove(place->hold, allocation);
  return code;
}

/* ---- out ---- */

void handle_detach(const struct handle_place *place, struct mk_allocation *allocation) {
  struct failure ignored; /* a daemon that is not there will not hear it claimed any more */
  if (!hold_leave(place->hold, allocation))
    return;
  ask_about(place, "memory.detach", allocation->id, SESSION_IF_THERE, &ignored);
  hold_remove(place->hold, allocation);
}

enum mk_code handle_free(const struct handle_place *place, struct mk_allocation *allocation,
                         enum session_how how, struct failure *failure) {
  if (!hold_freeing(place->hold, allocation))
    return MK_OK;
  enum mk_code code = ask_about(place, "memory.free", allocation->id, how, failure);
  if (code == MK_ALLOCATION_NOT_FOUND)
    code = MK_OK;
  hold_freed(place->hold, allocation, code == MK_OK);
  return code;
}
