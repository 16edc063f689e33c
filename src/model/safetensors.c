/*
 * safetensors: one pass over the header, tensor by tensor, with nothing kept but where the tensor
 * is and how many bytes all have until now. That sum is how holes are seen: tensors that lie in the
 * weights, do not overlap (card_check) and have as many bytes as the weights leave none.
 */
#include "model/safetensors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "model/pull.h"

#define METADATA "__metadata__"

enum member { DTYPE, SHAPE, OFFSETS, MEMBERS };

struct parse {
  struct pull json;
  const struct card_file_new *file;
  struct card_builder *builder;
  struct problem *problem;
  uint64_t data_bytes, data_offset;
  uint64_t sum, last;         /* of the tensors' sizes; the end of the one that ends last */
  struct pull_text last_name; /* that one's, as written */
  bool has_metadata;
  struct pull_text key;          /* of the member under way */
  struct card_tensor_new tensor; /* its name is NULL while none is under way */
  uint64_t shape[CARD_RANK];
  char name[CARD_TENSOR_NAME]; /* if it has escapes */
};

enum status safetensors_header(const void *start, size_t n, uint64_t file_size, uint64_t *need,
                               struct problem *problem) {
  uint64_t length = 0;
  if (n < SAFETENSORS_START || file_size < SAFETENSORS_START)
    return problem_set(problem, STATUS_MODEL_FORMAT_INVALID,
                       "the file has no 8 bytes for the length of a safetensors header");
  for (size_t i = SAFETENSORS_START; i--;)
    length = length << 8 | ((const unsigned char *)start)[i];
  if (length > SAFETENSORS_HEADER)
    return problem_set(problem, STATUS_MODEL_FORMAT_INVALID,
                       "the header should have %llu bytes, at most %d are allowed",
                       (unsigned long long)length, SAFETENSORS_HEADER);
  if (length > file_size - SAFETENSORS_START)
    return problem_set(
        problem, STATUS_MODEL_FORMAT_INVALID,
        "the header should have %llu bytes, the file has only %llu behind its length",
        (unsigned long long)length, (unsigned long long)(file_size - SAFETENSORS_START));
  *need = SAFETENSORS_START + length;
  return STATUS_OK;
}

/* ---- refusing ---- */

/* Says what json expected and did not find. */
static enum status refuse_json(struct parse *p) {
  char name[TEXT_SHORT];
  size_t at = (size_t)(p->json.at - p->json.start);
  if (!p->tensor.name)
    return problem_set(p->problem, STATUS_MODEL_FORMAT_INVALID,
                       "expected %s at byte %zu of the header", p->json.wrong, at);
  text_shorten(p->tensor.name, p->tensor.name_bytes, name);
  return problem_set(p->problem, STATUS_MODEL_FORMAT_INVALID,
                     "tensor \"%s\": expected %s at byte %zu of the header", name, p->json.wrong,
                     at);
}

__attribute__((format(printf, 2, 3))) static enum status refuse(struct parse *p, const char *format,
                                                                ...) {
  char name[TEXT_SHORT], what[sizeof p->problem->text];
  va_list args;
  va_start(args, format);
  vsnprintf(what, sizeof what, format, args);
  va_end(args);
  text_shorten(p->tensor.name, p->tensor.name_bytes, name);
  return problem_set(p->problem, STATUS_MODEL_FORMAT_INVALID, "tensor \"%s\" %.160s", name, what);
}

/* ---- one tensor ---- */

static bool read_dtype(struct parse *p) {
  static const char *const names[] = {
#define X(name, elements, bytes) [CARD_DTYPE_##name] = #name,
      CARD_DTYPES_PLAIN(X)
#undef X
  };
  struct pull_text text;
  if (!pull_string(&p->json, &text))
    return false;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i] && pull_is(&text, names[i])) {
      p->tensor.dtype = (uint8_t)i;
      return true;
    }
  return pull_refuse(&p->json, "a known dtype");
}

static bool read_shape(struct parse *p) {
  uint32_t rank = 0;
  if (!pull_open(&p->json, '['))
    return false;
  while (pull_more(&p->json, ']')) {
    if (rank == CARD_RANK)
      return pull_refuse(&p->json, "the end of a shape of at most 8 dimensions");
    if (!pull_uint(&p->json, &p->shape[rank++]))
      return false;
  }
  p->tensor.rank = rank;
  return !p->json.wrong;
}

static bool read_offsets(struct parse *p) {
  struct pull *json = &p->json;
  bool all = pull_open(json, '[') && pull_more(json, ']') && pull_uint(json, &p->tensor.offset) &&
             pull_more(json, ']') && pull_uint(json, &p->tensor.size);
  if (!all || pull_more(json, ']') || json->wrong)
    return pull_refuse(json, "two offsets");
  return true;
}

static bool read_member(struct parse *p, unsigned *seen) {
  static const struct {
    const char *name;
    bool (*read)(struct parse *);
  } members[MEMBERS] = {
      {"dtype", read_dtype}, {"shape", read_shape}, {"data_offsets", read_offsets}};
  struct pull_text key;
  if (!pull_key(&p->json, &key))
    return false;
  for (unsigned i = 0; i < MEMBERS; i++) {
    if (!pull_is(&key, members[i].name))
      continue;
    if (*seen & 1U << i)
      return pull_refuse(&p->json, "each member once");
    *seen |= 1U << i;
    return members[i].read(p);
  }
  return pull_refuse(&p->json, "dtype, shape and data_offsets only");
}

/* tensor.offset and .size are still the two data_offsets. */
static enum status add_tensor(struct parse *p) {
  uint64_t begin = p->tensor.offset, end = p->tensor.size, size;
  const char *dtype = card_dtype_name(p->tensor.dtype);
  if (begin > end)
    return refuse(p, "begins behind its end");
  if (end > p->data_bytes)
    return refuse(p, "ends %llu bytes behind the file's end",
                  (unsigned long long)(end - p->data_bytes));
  if (!card_shape_bytes(p->tensor.dtype, p->shape, p->tensor.rank, &size))
    return refuse(p, "has a shape that is too large, or no whole bytes of %s", dtype);
  if (size != end - begin)
    return refuse(p, "has %llu bytes, but its dtype %s and its shape give %llu",
                  (unsigned long long)(end - begin), dtype, (unsigned long long)size);
  if (size > p->data_bytes - p->sum)
    return refuse(p, "and those before it have more bytes than there are weights: two overlap");
  p->sum += size;
  if (end >= p->last)
    p->last_name = p->key;
  p->last = units_max(p->last, end);
  p->tensor.offset = p->data_offset + begin;
  p->tensor.size = size;
  return card_add_tensor(p->builder, &p->tensor, p->problem);
}

static enum status read_tensor(struct parse *p) {
  unsigned seen = 0;
  if (!pull_open(&p->json, '{'))
    return refuse_json(p);
  while (pull_more(&p->json, '}'))
    if (!read_member(p, &seen))
      return refuse_json(p);
  if (!p->json.wrong && seen != (1U << MEMBERS) - 1)
    pull_refuse(&p->json, "all of dtype, shape and data_offsets");
  return p->json.wrong ? refuse_json(p) : add_tensor(p);
}

/* ---- the header ---- */

static enum status read_metadata(struct parse *p) {
  struct pull_text text;
  if (p->has_metadata)
    pull_refuse(&p->json, METADATA " once only");
  p->has_metadata = true;
  pull_open(&p->json, '{');
  while (pull_more(&p->json, '}'))
    if (!pull_key(&p->json, &text) || !pull_string(&p->json, &text))
      break;
  return p->json.wrong ? refuse_json(p) : STATUS_OK;
}

static enum status read_name(struct parse *p) {
  size_t n;
  p->tensor = (struct card_tensor_new){.shape = p->shape};
  if (!pull_key(&p->json, &p->key))
    return refuse_json(p);
  p->tensor.name = p->key.at;
  p->tensor.name_bytes = p->key.n;
  if (!p->key.has_escapes)
    return STATUS_OK;
  if (!pull_decode(&p->key, p->name, sizeof p->name, &n))
    return refuse(p, "has a name over %d bytes", CARD_TENSOR_NAME);
  p->tensor.name = p->name;
  p->tensor.name_bytes = n;
  return STATUS_OK;
}

static enum status read_entry(struct parse *p) {
  enum status status = read_name(p);
  if (status)
    return status;
  if (p->tensor.name_bytes != strlen(METADATA) ||
      memcmp(p->tensor.name, METADATA, p->tensor.name_bytes) != 0)
    return read_tensor(p);
  p->tensor.name = NULL;
  return read_metadata(p);
}

static enum status check_cover(struct parse *p) {
  p->tensor.name = p->last_name.at;
  p->tensor.name_bytes = p->last_name.n;
  if (p->last < p->data_bytes)
    return refuse(p, "is the last one, but %llu bytes of weights follow",
                  (unsigned long long)(p->data_bytes - p->last));
  if (p->sum < p->data_bytes)
    return refuse(p, "or one before it has a hole in front: %llu bytes belong to no tensor",
                  (unsigned long long)(p->data_bytes - p->sum));
  return STATUS_OK;
}

static enum status read_all(struct parse *p) {
  pull_open(&p->json, '{');
  while (pull_more(&p->json, '}')) {
    enum status status = read_entry(p);
    if (status)
      return status;
  }
  p->tensor.name = NULL;
  return pull_end(&p->json) ? check_cover(p) : refuse_json(p);
}

enum status safetensors_parse(const char *header, size_t n, const struct card_file_new *file,
                              struct card_builder *builder, struct problem *problem) {
  struct card_file_new whole = *file;
  whole.data_offset = SAFETENSORS_START + n;
  if (whole.data_offset > file->size)
    return problem_set(problem, STATUS_MODEL_FORMAT_INVALID, "the header is longer than its file");
  if (!n || *header != '{' || !text_is_valid(header, n))
    return problem_set(problem, STATUS_MODEL_FORMAT_INVALID,
                       "the header is no UTF-8 text that begins with '{'");
  enum status status = card_add_file(builder, &whole, problem);
  if (status)
    return status;
  struct parse *p = calloc(1, sizeof *p);
  if (!p)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "no memory to read a header");
  p->file = file;
  p->builder = builder;
  p->problem = problem;
  p->data_offset = whole.data_offset;
  p->data_bytes = file->size - whole.data_offset;
  pull_begin(&p->json, header, n);
  status = read_all(p);
  free(p);
  return status;
}
