/*
 * attach_model: a whole model handed to a client of the socket: the segments of its files, and
 * where in them each tensor is. The table of tensors stands in the line while it is short; else it
 * is a file of its own, in anonymous memory, the last of those that come with the line.
 */
#include "ops/op/attach_model.h"

#include <string.h>

#include "base/buf.h"
#include "base/os_memfd.h"
#include "ops/op/models.h"
#include "ops/reply.h"

#define LINE_BYTES ((size_t)256 << 10) /* of the table in the line: contract 5 */
/* A million tensors of 200 bytes, and names for what a card's text may hold besides. */
#define TABLE_BYTES ((size_t)512 << 20)

/* ---- the table ---- */

static void write_tensor(struct writer *w, const struct card *card,
                         const struct card_tensor *tensor) {
  writer_object(w, NULL);
  writer_text_n(w, "name", card->text + tensor->name, tensor->name_bytes);
  writer_text(w, "dtype", card_dtype_name(tensor->dtype));
  writer_array(w, "shape");
  for (uint8_t i = 0; i < tensor->rank; i++)
    writer_uint(w, NULL, card->dimensions[tensor->shape + i]);
  writer_end(w);
  writer_uint(w, "segment", tensor->file);
  writer_uint(w, "offsetBytes", tensor->offset);
  writer_uint(w, "sizeBytes", tensor->size);
  writer_end(w);
}

/* The parts of an image that was judged when it was made. */
static struct card parts_of(const void *image) {
  const struct card_head *head = image;
  struct card card = {.head = head};
  card.files = (const void *)(head + 1);
  card.tensors = (const void *)(card.files + head->files);
  card.dimensions = (const void *)(card.tensors + head->tensors);
  card.text = (const char *)(card.dimensions + head->dimensions);
  return card;
}

static void write_table(const struct model_attached *made, enum writer_names names,
                        struct buf *out) {
  const struct card card = parts_of(made->image);
  struct writer w;
  writer_init(&w, out, names);
  writer_array(&w, NULL);
  for (uint32_t i = 0; i < card.head->tensors; i++)
    write_tensor(&w, &card, &card.tensors[i]);
  writer_end(&w);
}

static enum status fill(const struct share *share, const struct buf *text) {
  void *map;
  enum status status = os_memfd_commit(share, 0, text->size);
  if (!status)
    status = os_memfd_map(share, text->size, true, &map);
  if (status)
    return status;
  memcpy(map, text->data, text->size);
  os_memfd_unmap(map, text->size);
  return os_memfd_seal(share, OS_MEMFD_SEAL_SIZE | OS_MEMFD_SEAL_WRITE | OS_MEMFD_SEAL_FINAL);
}

static enum status make_file(const struct buf *text, struct share *out) {
  struct share share;
  enum status status = os_memfd_create("memkeep-tensors", text->size, &share);
  if (status)
    return status;
  status = fill(&share, text);
  if (!status)
    status = os_memfd_read_only(&share, out);
  share_close(&share);
  return status;
}

/* ---- attach ---- */

static void write_segments(struct writer *w, const struct model_attached *made) {
  writer_array(w, "segments");
  for (uint32_t i = 0; i < made->count; i++) {
    const struct model_piece *piece = &made->pieces[i];
    writer_object(w, NULL);
    writer_id(w, "segmentId", ID_SEGMENT, piece->segment);
    writer_text(w, "file", piece->name);
    writer_uint(w, "offsetBytes", piece->offset_bytes);
    writer_uint(w, "sizeBytes", piece->size_bytes);
    writer_text(w, "handleType", share_kind_name(piece->kind));
    writer_end(w);
  }
  writer_end(w);
}

/* `table` is in the line unless its file goes with it. */
static void write_made(struct writer *w, const struct model_attached *made, const struct buf *table,
                       bool in_line) {
  const struct model_piece *first = made->pieces;
  writer_id(w, "modelId", ID_MODEL, made->id);
  writer_text(w, "deviceId", made->device_id);
  writer_id(w, "segmentId", ID_SEGMENT, first->segment);
  writer_uint(w, "offsetBytes", first->offset_bytes);
  writer_uint(w, "sizeBytes", first->size_bytes);
  writer_text(w, "handleType", share_kind_name(first->kind));
  write_segments(w, made);
  if (in_line)
    writer_raw(w, "tensors", table->data, table->size);
  writer_bool(w, "tensorsInFd", !in_line);
}

static enum status share_all(struct ops_call *call, struct model_attached *made,
                             const struct buf *table, struct problem *problem) {
  bool in_line = table->size <= LINE_BYTES;
  struct share file = {.kind = SHARE_NONE};
  if (table->failed)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the table of tensors is too large");
  if (!made->count || made->count + !in_line > OPS_SHARES)
    return problem_set(problem, STATUS_CONFLICT,
                       "the model has %u files, and one answer carries %d descriptors", made->count,
                       OPS_SHARES);
  if (!in_line && make_file(table, &file))
    return problem_set(problem, STATUS_INTERNAL_ERROR, "no memory for the table of tensors");
  for (uint32_t i = 0; i < made->count; i++)
    reply_share(call, &made->pieces[i].share);
  if (!in_line)
    reply_share(call, &file);
  return STATUS_OK;
}

/* What is not handed out is not attached. */
static void undo(struct ops_call *call, const struct model_attached *made) {
  char text[ID_SIZE];
  struct model_detached left;
  struct problem ignored;
  (void)model_attach_end(ops_service(call->ops), &call->caller, id_format(ID_MODEL, made->id, text),
                         &left, &ignored);
}

static enum ops_progress hand_out(struct ops_call *call, struct model_attached *made) {
  struct buf table BUF_CLEANUP;
  struct problem problem;
  struct writer w;
  buf_init(&table, TABLE_BYTES);
  write_table(made, call->names, &table);
  if (share_all(call, made, &table, &problem)) {
    undo(call, made);
    return reply_fail(call, &problem);
  }
  reply_begin(call, &w);
  write_made(&w, made, &table, table.size <= LINE_BYTES);
  reply_end(call, &w);
  if (!call->share_count)
    undo(call, made);
  return OPS_DONE;
}

enum ops_progress op_attach_model(struct ops_call *call, const char *said, bool ram) {
  char name[MODEL_NAME];
  struct model_attached made = {0};
  struct problem problem;
  enum status status = op_models_name(said, name, &problem);
  if (!status)
    status = (ram ? model_attach_ram : model_attach)(ops_service(call->ops), &call->caller, name,
                                                     &made, &problem);
  if (status)
    return reply_fail(call, &problem);
  enum ops_progress progress = hand_out(call, &made);
  model_attach_free(&made);
  return progress;
}

enum ops_progress op_attach_model_end(struct ops_call *call, const char *said) {
  char name[MODEL_NAME];
  struct problem problem;
  struct writer w;
  struct model_detached detached;
  if (op_models_name(said, name, &problem) ||
      model_attach_end(ops_service(call->ops), &call->caller, name, &detached, &problem))
    return reply_fail(call, &problem);
  reply_begin(call, &w);
  writer_id(&w, "modelId", ID_MODEL, detached.model);
  writer_uint(&w, "attachments", detached.attachments);
  return reply_end(call, &w);
}
