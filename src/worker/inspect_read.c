/*
 * inspect_read: three kinds of files. An index names its shards, a part of a split GGUF file says
 * how many there are; of those that were not given the names are answered, and whoever asked comes
 * again with all of them. So nothing is kept here between two questions.
 */
#include "worker/inspect_read.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os_bytes.h"
#include "base/units.h"
#include "model/gguf.h"
#include "model/safetensors.h"
#include "model/shards.h"

#define START (SAFETENSORS_START + 1) /* bytes that say what a file is */
#define GGUF_FIRST MIB                /* most headers are larger than 64 KiB and less than this */
#define MISSING_BYTES ((size_t)CARD_FILES * (CARD_NAME + 1))

enum kind { KIND_SAFETENSORS, KIND_INDEX, KIND_GGUF };

struct reading {
  const struct inspect_read_set *set;
  struct inspect_read_answer *answer;
  struct card_builder *builder;
  struct problem *problem;
};

static enum status refuse(const struct reading *r, const char *reason) {
  problem_set(r->problem, STATUS_MODEL_FORMAT_INVALID, "%s", reason);
  return STATUS_MODEL_FORMAT_INVALID;
}

/* Of several files the reason says which. */
static enum status blame(const struct reading *r, const struct inspect_read_file *file,
                         enum status status) {
  char name[TEXT_SHORT], reason[sizeof r->problem->text];
  if (!status || r->set->count == 1 || status == STATUS_INTERNAL_ERROR)
    return status;
  snprintf(reason, sizeof reason, "%s", r->problem->text);
  problem_set(r->problem, status, "%s: %.180s", text_shorten(file->name, strlen(file->name), name),
              reason);
  return status;
}

static enum status no_memory(const struct reading *r) {
  problem_set(r->problem, STATUS_INTERNAL_ERROR, "not enough memory");
  return STATUS_INTERNAL_ERROR;
}

/* The first n bytes behind `offset`, malloced. */
static enum status load(const struct reading *r, const struct inspect_read_file *file,
                        uint64_t offset, uint64_t n, char **out) {
  char *bytes = malloc(n ? n : 1);
  if (!bytes)
    return no_memory(r);
  enum status status = os_bytes_read(&file->share, offset, bytes, n);
  if (!status) {
    *out = bytes;
    return STATUS_OK;
  }
  free(bytes);
  return refuse(r, status == STATUS_NOT_FOUND ? "the file is shorter than it was when it was opened"
                                              : "the file cannot be read");
}

/* ---- what it is ---- */

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static uint64_t length_of(const char start[SAFETENSORS_START]) {
  uint64_t length = 0;
  for (unsigned i = SAFETENSORS_START; i-- > 0;)
    length = length << 8 | (unsigned char)start[i];
  return length;
}

/* A length that a safetensors file can have ends in NULs, which no JSON has. */
static enum status kind_of(const struct reading *r, const struct inspect_read_file *file,
                           enum kind *out) {
  char start[START] = {0};
  size_t n = units_min(file->size, START), blank = 0;
  if (os_bytes_read(&file->share, 0, start, n))
    return refuse(r, "the file cannot be read, or is shorter than it was when it was opened");
  while (blank < n && is_space(start[blank]))
    blank++;
  bool text = !memchr(start, '\0', n);
  if (n >= 4 && !memcmp(start, "GGUF", 4))
    *out = KIND_GGUF;
  else if (text && blank < n && start[blank] == '{')
    *out = KIND_INDEX;
  else if (n == START && (start[n - 1] == '{' || length_of(start) <= SAFETENSORS_HEADER))
    *out = KIND_SAFETENSORS;
  else
    return refuse(r, n ? "the file is neither safetensors, nor an index of them, nor GGUF"
                       : "the file is empty");
  return STATUS_OK;
}

/* ---- sets of names ---- */

static const struct inspect_read_file *find(const struct inspect_read_set *set, const char *name) {
  for (uint32_t i = 0; i < set->count; i++)
    if (!strcmp(set->files[i].name, name))
      return &set->files[i];
  return NULL;
}

static void miss(const struct reading *r, const char *name) {
  buf_add(&r->answer->missing, name, strlen(name) + 1);
  r->answer->missing_count++;
}

static enum status finish(const struct reading *r) {
  return card_end(r->builder, &r->answer->image, &r->answer->image_bytes, r->problem);
}

/* ---- safetensors ---- */

static enum status add_safetensors(const struct reading *r, const struct inspect_read_file *file) {
  char start[SAFETENSORS_START], *header;
  size_t n = units_min(file->size, sizeof start);
  uint64_t need;
  if (os_bytes_read(&file->share, 0, start, n))
    return refuse(r, "the file cannot be read");
  enum status status = safetensors_header(start, n, file->size, &need, r->problem);
  if (!status)
    status = load(r, file, SAFETENSORS_START, need - SAFETENSORS_START, &header);
  if (status)
    return blame(r, file, status);
  const struct card_file_new part = {
      .name = file->name, .name_bytes = strlen(file->name), .size = file->size};
  status = safetensors_parse(header, need - SAFETENSORS_START, &part, r->builder, r->problem);
  free(header);
  return blame(r, file, status);
}

static enum status read_safetensors(const struct reading *r) {
  enum status status = STATUS_OK;
  for (uint32_t i = 0; !status && i < r->set->count; i++) {
    enum kind kind = KIND_SAFETENSORS;
    status = kind_of(r, &r->set->files[i], &kind);
    if (!status && kind != KIND_SAFETENSORS)
      status = refuse(r, "it is not safetensors as the first file is");
    status = status ? blame(r, &r->set->files[i], status) : add_safetensors(r, &r->set->files[i]);
  }
  return status ? status : finish(r);
}

static enum status read_shards(const struct reading *r, const struct shards *shards) {
  enum status status = STATUS_OK;
  struct card card;
  uint32_t count = shards_count(shards);
  for (uint32_t i = 0; i < count; i++)
    if (!find(r->set, shards_name(shards, i)))
      miss(r, shards_name(shards, i));
  if (r->answer->missing_count)
    return r->answer->missing.failed ? no_memory(r) : STATUS_OK;
  if (r->set->count != count + 1)
    return refuse(r, "there are files that the index does not name");
  for (uint32_t i = 0; !status && i < count; i++)
    status = add_safetensors(r, find(r->set, shards_name(shards, i)));
  if (!status)
    status = finish(r);
  if (!status)
    status = card_check(r->answer->image, r->answer->image_bytes, &card, r->problem);
  return status ? status : shards_check(shards, &card, r->problem);
}

static enum status read_index(const struct reading *r) {
  const struct inspect_read_file *index = r->set->files;
  struct shards *shards = NULL;
  char *text;
  if (index->size > SHARDS_INDEX)
    return blame(r, index, refuse(r, "the index is over 100 MB long"));
  enum status status = load(r, index, 0, index->size, &text);
  if (status)
    return blame(r, index, status);
  status = blame(r, index, shards_parse(text, index->size, &shards, r->problem));
  if (!status)
    status = read_shards(r, shards);
  shards_free(shards);
  free(text);
  return status;
}

/* ---- GGUF ---- */

/* How long the header is, nobody knows before it was read. */
static enum status add_gguf(const struct reading *r, const struct inspect_read_file *file,
                            struct card_builder *builder, struct gguf_found *found) {
  uint64_t most = units_min(file->size, GGUF_HEADER_BYTES), n = units_min(most, GGUF_FIRST);
  enum status status = STATUS_PENDING;
  while (status == STATUS_PENDING) {
    char *bytes;
    status = load(r, file, 0, n, &bytes);
    if (status)
      break;
    const struct gguf_input in = {.bytes = bytes,
                                  .n = n,
                                  .file_size = file->size,
                                  .name = file->name,
                                  .name_bytes = strlen(file->name)};
    status = gguf_parse(&in, builder, found, r->problem);
    free(bytes);
    if (status == STATUS_PENDING)
      n = units_min(most, units_max(found->need, 2 * n));
  }
  return blame(r, file, status);
}

/* What the first file says of its set. */
static enum status look_at_first(const struct reading *r, struct gguf_split *split) {
  struct card_builder *builder;
  struct gguf_found found;
  if (card_begin(CARD_GGUF, &builder))
    return no_memory(r);
  enum status status = add_gguf(r, r->set->files, builder, &found);
  card_free(builder);
  if (!status)
    *split = found.split;
  return status;
}

/* In the order of the set, whatever the order in which they came. */
static enum status read_parts(const struct reading *r, struct gguf_split *splits, uint32_t count) {
  const struct inspect_read_file *first = r->set->files;
  enum status status = STATUS_OK;
  for (uint32_t i = 0; !status && i < count; i++) {
    char name[TEXT_FILE_NAME + 1];
    struct gguf_found found = {.need = 0};
    (void)gguf_split_name(first->name, strlen(first->name), i, name);
    const struct inspect_read_file *file = find(r->set, name);
    status = add_gguf(r, file, r->builder, &found);
    splits[i] = found.split;
    if (!status && (found.split.no != i || found.split.count != count))
      status = blame(r, file, refuse(r, "its name and what it says of its place do not agree"));
  }
  if (!status)
    status = gguf_split_check(splits, count, r->problem);
  return status ? status : finish(r);
}

static enum status read_split(const struct reading *r, const struct gguf_split *split) {
  const struct inspect_read_file *first = r->set->files;
  size_t n = strlen(first->name);
  uint32_t no, count;
  if (!gguf_split_place(first->name, n, &no, &count) || count != split->count || no != split->no)
    return problem_set(r->problem, STATUS_MODEL_FORMAT_INVALID,
                       "the file is part %" PRIu64 " of %" PRIu64
                       ", but its name does not end in that, so the other parts are not known",
                       split->no + 1, split->count);
  for (uint32_t i = 0; i < count; i++) {
    char name[TEXT_FILE_NAME + 1];
    if (!gguf_split_name(first->name, n, i, name))
      return refuse(r, "the names of the file's other parts are too long");
    if (!find(r->set, name))
      miss(r, name);
  }
  if (r->answer->missing_count)
    return r->answer->missing.failed ? no_memory(r) : STATUS_OK;
  if (r->set->count != count)
    return refuse(r, "there are files that are no part of the first one's set");
  assert(count);
  struct gguf_split *splits = calloc(count, sizeof *splits);
  enum status status = splits ? read_parts(r, splits, count) : no_memory(r);
  free(splits);
  return status;
}

static enum status read_gguf(const struct reading *r) {
  struct gguf_split split = {.count = 0};
  struct gguf_found found;
  enum status status = look_at_first(r, &split);
  if (status)
    return status;
  if (split.count > 1)
    return read_split(r, &split);
  if (r->set->count > 1)
    return refuse(r, "there are several GGUF files, which are no parts of one");
  status = add_gguf(r, r->set->files, r->builder, &found);
  return status ? status : finish(r);
}

/* ---- all of them ---- */

static enum status read_all(struct reading *r) {
  static enum status (*const readers[])(const struct reading *r) = {
      [KIND_SAFETENSORS] = read_safetensors, [KIND_INDEX] = read_index, [KIND_GGUF] = read_gguf};
  enum kind kind = KIND_SAFETENSORS;
  for (uint32_t i = 0; i < r->set->count; i++)
    if (!text_is_file_name(r->set->files[i].name, strlen(r->set->files[i].name)))
      return refuse(r, "a file's name is not UTF-8, or has control characters");
  enum status status = kind_of(r, r->set->files, &kind);
  if (status)
    return blame(r, r->set->files, status);
  if (card_begin(kind == KIND_GGUF ? CARD_GGUF : CARD_SAFETENSORS, &r->builder))
    return no_memory(r);
  status = readers[kind](r);
  card_free(r->builder);
  return status;
}

enum status inspect_read(const struct inspect_read_set *set, struct inspect_read_answer *out,
                         struct problem *problem) {
  struct inspect_read_answer answer = {.image = NULL};
  struct reading reading = {.set = set, .answer = &answer, .problem = problem};
  buf_init(&answer.missing, MISSING_BYTES);
  enum status status = read_all(&reading);
  if (!status) {
    *out = answer;
    return STATUS_OK;
  }
  free(answer.image);
  buf_done(&answer.missing);
  return status == STATUS_INTERNAL_ERROR
             ? problem_set(problem, STATUS_MODEL_FORMAT_INVALID,
                           "the headers need more than 512 MiB to be read")
             : status;
}
