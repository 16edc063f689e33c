/*
 * gguf: the header is walked to its end before the builder sees any of it, for a file's data offset
 * is known only then; the tensor table, checked, is walked once more to add it. Of the metadata
 * only the keys of the table `wanted` are kept. Keys that are twice are found by sorting their
 * hashes.
 *
 * The numbers of types and values are those of ggml's docs/gguf.md and ggml.h.
 */
#define XXH_INLINE_ALL
#include "model/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/units.h"
#include "model/cursor.h"
#include "model/text.h"

#define PAIR_LEAST 14        /* length and one byte of key, type, one byte of value */
#define TENSOR_LEAST 24      /* length of an empty name, rank 0, type, offset */
#define STRING_LEAST 8       /* its length */
#define ARRAY_LEAST 12       /* type and count of an empty one */
#define NAME_MAX_BYTES 65535 /* of a key, by the specification; a tensor's likewise */
#define DEFAULT_ALIGNMENT 32

/* By ggml's number; 0: there is none, or it was removed. */
#define AT(number, name) [number] = (CARD_DTYPE_##name + 1)
static const uint8_t dtypes[] = {
    AT(0, F32),     AT(1, F16),    AT(2, Q4_0),     AT(3, Q4_1),    AT(6, Q5_0),     AT(7, Q5_1),
    AT(8, Q8_0),    AT(9, Q8_1),   AT(10, Q2_K),    AT(11, Q3_K),   AT(12, Q4_K),    AT(13, Q5_K),
    AT(14, Q6_K),   AT(15, Q8_K),  AT(16, IQ2_XXS), AT(17, IQ2_XS), AT(18, IQ3_XXS), AT(19, IQ1_S),
    AT(20, IQ4_NL), AT(21, IQ3_S), AT(22, IQ2_S),   AT(23, IQ4_XS), AT(24, I8),      AT(25, I16),
    AT(26, I32),    AT(27, I64),   AT(28, F64),     AT(29, IQ1_M),  AT(30, BF16),    AT(34, TQ1_0),
    AT(35, TQ2_0),  AT(39, MXFP4), AT(40, NVFP4),   AT(41, Q1_0),   AT(42, Q2_0),
};

enum kind { UNSIGNED, SIGNED, OTHER };
enum { STRING = 8, ARRAY = 9, VALUES = 13 };

struct value {
  uint8_t bytes, kind; /* bytes 0: as long as it says */
};

/* U8 I8 U16 I16 U32 I32 F32 BOOL STRING ARRAY U64 I64 F64 */
static const struct value values[VALUES] = {{1, UNSIGNED}, {1, SIGNED}, {2, UNSIGNED}, {2, SIGNED},
                                            {4, UNSIGNED}, {4, SIGNED}, {4, OTHER},    {1, OTHER},
                                            {0, OTHER},    {0, OTHER},  {8, UNSIGNED}, {8, SIGNED},
                                            {8, OTHER}};

struct wanted {
  const char *key;
  size_t offset, size; /* in struct gguf_found; size 0: a number */
  uint64_t max;
};

static const struct wanted wanted[] = {
    {"general.alignment", offsetof(struct gguf_found, alignment), 0, GGUF_ALIGNMENT},
    {"split.no", offsetof(struct gguf_found, split.no), 0, CARD_FILES - 1},
    {"split.count", offsetof(struct gguf_found, split.count), 0, CARD_FILES},
    {"split.tensors.count", offsetof(struct gguf_found, split.said_tensors), 0, CARD_TENSORS},
    {"general.architecture", offsetof(struct gguf_found, architecture),
     sizeof((struct gguf_found *)0)->architecture, 0},
    {"general.name", offsetof(struct gguf_found, name), sizeof((struct gguf_found *)0)->name, 0},
};

struct key {
  uint64_t hash;
  struct cursor_text text;
};

struct parser {
  struct cursor cursor;
  uint64_t tensors, pairs;
  struct key *keys; /* the pairs read so far */
  struct gguf_found found;
};

struct tensor {
  struct cursor_text name;
  uint64_t shape[GGUF_DIMENSIONS], offset, size;
  uint32_t rank;
  uint8_t dtype;
};

/* ---- metadata ---- */

static enum status take_type(struct parser *p, uint64_t *type) {
  enum status status = cursor_take(&p->cursor, 4, type);
  if (!status && *type >= VALUES)
    return cursor_refuse(&p->cursor, "has values of the type %" PRIu64 ", which there is not",
                         *type);
  return status;
}

static enum status skip_array(struct parser *p, unsigned depth) {
  uint64_t type, count;
  enum status status = take_type(p, &type);
  if (!status)
    status = cursor_take(&p->cursor, 8, &count);
  if (status)
    return status;
  if (depth > GGUF_ARRAY_DEPTH)
    return cursor_refuse(&p->cursor, "has arrays in arrays over %d deep", GGUF_ARRAY_DEPTH);
  unsigned fixed = values[type].bytes;
  unsigned least = fixed ? fixed : type == STRING ? STRING_LEAST : ARRAY_LEAST;
  status = cursor_room_for(&p->cursor, count, least, "values");
  if (status)
    return status;
  if (fixed) {
    p->cursor.at += count * fixed;
    return STATUS_OK;
  }
  struct cursor_text text;
  for (uint64_t i = 0; i < count && !status; i++)
    status =
        type == STRING ? cursor_take_text(&p->cursor, UINT64_MAX, &text) : skip_array(p, depth + 1);
  return status;
}

static enum status skip_value(struct parser *p, uint64_t type) {
  struct cursor_text text;
  uint64_t value;
  if (type == ARRAY)
    return skip_array(p, 1);
  return type == STRING ? cursor_take_text(&p->cursor, UINT64_MAX, &text)
                        : cursor_take(&p->cursor, values[type].bytes, &value);
}

static enum status keep_number(struct parser *p, const struct wanted *want, uint64_t type) {
  uint64_t value;
  if (values[type].kind == OTHER)
    return cursor_refuse(&p->cursor, "must be an integer");
  unsigned size = values[type].bytes;
  enum status status = cursor_take(&p->cursor, size, &value);
  if (status)
    return status;
  if (values[type].kind == SIGNED && value >> (8 * size - 1))
    return cursor_refuse(&p->cursor, "is negative");
  if (value > want->max)
    return cursor_refuse(&p->cursor, "is %" PRIu64 ", at most %" PRIu64, value, want->max);
  memcpy((char *)&p->found + want->offset, &value, sizeof value);
  return STATUS_OK;
}

/* A character is not cut in its middle. */
static enum status keep_text(struct parser *p, const struct wanted *want, uint64_t type) {
  struct cursor_text text;
  if (type != STRING)
    return cursor_refuse(&p->cursor, "must be a string");
  enum status status = cursor_take_text(&p->cursor, UINT64_MAX, &text);
  if (status)
    return status;
  if (!text_is_valid(text.at, text.n))
    return cursor_refuse(&p->cursor, "is not UTF-8");
  char *out = (char *)&p->found + want->offset;
  size_t n = text.n < want->size ? text.n : want->size - 1;
  while (n < text.n && (text.at[n] & 0xc0) == 0x80)
    n--;
  memcpy(out, text.at, n);
  out[n] = 0;
  return STATUS_OK;
}

static const struct wanted *wanted_of(struct cursor_text key) {
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
    if (key.n == strlen(wanted[i].key) && !memcmp(wanted[i].key, key.at, key.n))
      return &wanted[i];
  return NULL;
}

static enum status take_key(struct parser *p, struct key *key) {
  enum status status = cursor_take_text(&p->cursor, NAME_MAX_BYTES, &key->text);
  if (status)
    return status;
  if (!key->text.n)
    return cursor_refuse(&p->cursor, "has an empty key");
  cursor_about(&p->cursor, "key", 0);
  p->cursor.name = key->text;
  if (!text_is_valid(key->text.at, key->text.n))
    return cursor_refuse(&p->cursor, "is not UTF-8");
  key->hash = XXH3_64bits(key->text.at, key->text.n);
  return STATUS_OK;
}

static int by_key(const void *left, const void *right) {
  const struct key *a = left, *b = right;
  if (a->hash != b->hash)
    return a->hash < b->hash ? -1 : 1;
  if (a->text.n != b->text.n)
    return a->text.n < b->text.n ? -1 : 1;
  return memcmp(a->text.at, b->text.at, a->text.n);
}

static enum status keys_are_apart(struct parser *p) {
  if (p->pairs)
    qsort(p->keys, p->pairs, sizeof *p->keys, by_key);
  for (uint64_t i = 1; i < p->pairs; i++)
    if (!by_key(&p->keys[i - 1], &p->keys[i])) {
      cursor_about(&p->cursor, "key", 0);
      p->cursor.name = p->keys[i].text;
      return cursor_refuse(&p->cursor, "is there twice");
    }
  return STATUS_OK;
}

static enum status take_pairs(struct parser *p) {
  p->keys = malloc((p->pairs + 1) * sizeof *p->keys);
  if (!p->keys)
    return problem_set(p->cursor.problem, STATUS_INTERNAL_ERROR,
                       "no memory for the keys of a header");
  for (uint64_t i = 0; i < p->pairs; i++) {
    uint64_t type;
    cursor_about(&p->cursor, "metadata pair", i + 1);
    enum status status = take_key(p, &p->keys[i]);
    if (!status)
      status = take_type(p, &type);
    if (status)
      return status;
    const struct wanted *want = wanted_of(p->keys[i].text);
    if (!want)
      status = skip_value(p, type);
    else
      status = want->size ? keep_text(p, want, type) : keep_number(p, want, type);
    if (status)
      return status;
  }
  return keys_are_apart(p);
}

static enum status judge_metadata(struct parser *p) {
  uint64_t alignment = p->found.alignment;
  const struct gguf_split *split = &p->found.split;
  if (!units_is_power(alignment) || alignment % 8) {
    cursor_about(&p->cursor, "key \"general.alignment\"", 0);
    return cursor_refuse(&p->cursor, "is %" PRIu64 ", not a power of two from 8 on", alignment);
  }
  if (split->no && split->no >= split->count) {
    cursor_about(&p->cursor, "key \"split.no\"", 0);
    return cursor_refuse(&p->cursor, "is %" PRIu64 " of %" PRIu64 " files (it counts from 0)",
                         split->no, split->count);
  }
  return STATUS_OK;
}

/* ---- tensors ---- */

/* The file has the innermost dimension first, the card the outermost. */
static enum status take_shape(struct parser *p, struct tensor *tensor) {
  uint64_t rank, size;
  enum status status = cursor_take(&p->cursor, 4, &rank);
  if (status)
    return status;
  if (rank > GGUF_DIMENSIONS)
    return cursor_refuse(&p->cursor, "has %" PRIu64 " dimensions, at most %d", rank,
                         GGUF_DIMENSIONS);
  tensor->rank = (uint32_t)rank;
  for (uint64_t i = rank; i-- > 0;) {
    status = cursor_take(&p->cursor, 8, &size);
    if (status)
      return status;
    if (size > INT64_MAX)
      return cursor_refuse(&p->cursor, "has a dimension of %" PRIu64, size);
    tensor->shape[i] = size;
  }
  return STATUS_OK;
}

static enum status take_dtype(struct parser *p, struct tensor *tensor) {
  uint64_t type, row = tensor->rank ? tensor->shape[tensor->rank - 1] : 1, bytes;
  enum status status = cursor_take(&p->cursor, 4, &type);
  if (status)
    return status;
  if (type >= sizeof dtypes || !dtypes[type])
    return cursor_refuse(&p->cursor,
                         "has the ggml type %" PRIu64 ", which is not known or was removed", type);
  tensor->dtype = dtypes[type] - 1;
  if (!card_dtype_bytes(tensor->dtype, row, &bytes))
    return cursor_refuse(&p->cursor, "has rows of %" PRIu64 " elements, no whole blocks of %s", row,
                         card_dtype_name(tensor->dtype));
  if (!card_shape_bytes(tensor->dtype, tensor->shape, tensor->rank, &tensor->size))
    return cursor_refuse(&p->cursor, "has a shape of more bytes than a file can have");
  return STATUS_OK;
}

static enum status take_tensor(struct parser *p, uint64_t number, struct tensor *tensor) {
  cursor_about(&p->cursor, "tensor", number);
  enum status status = cursor_take_text(&p->cursor, NAME_MAX_BYTES, &tensor->name);
  if (status)
    return status;
  p->cursor.name = tensor->name;
  status = take_shape(p, tensor);
  if (!status)
    status = take_dtype(p, tensor);
  if (!status)
    status = cursor_take(&p->cursor, 8, &tensor->offset);
  if (status)
    return status;
  if (tensor->offset % p->found.alignment)
    return cursor_refuse(&p->cursor, "begins at %" PRIu64 ", no multiple of the alignment %" PRIu64,
                         tensor->offset, p->found.alignment);
  return STATUS_OK;
}

static enum status add_tensor(struct parser *p, const struct tensor *tensor, uint64_t data,
                              struct card_builder *builder) {
  uint64_t begin, end;
  if (!units_add(data, tensor->offset, &begin) || !units_add(begin, tensor->size, &end) ||
      end > p->cursor.file_size)
    return cursor_refuse(&p->cursor,
                         "of %" PRIu64 " bytes at %" PRIu64 " + %" PRIu64
                         " goes beyond the file's %" PRIu64,
                         tensor->size, data, tensor->offset, p->cursor.file_size);
  const struct card_tensor_new added = {.name = tensor->name.at,
                                        .name_bytes = tensor->name.n,
                                        .offset = begin,
                                        .size = tensor->size,
                                        .shape = tensor->shape,
                                        .rank = tensor->rank,
                                        .dtype = tensor->dtype};
  return card_add_tensor(builder, &added, p->cursor.problem);
}

/* ---- the file ---- */

static enum status take_version(struct parser *p) {
  uint64_t version;
  cursor_about(&p->cursor, "the file", 0);
  if (p->cursor.n && memcmp(p->cursor.bytes, "GGUF", (size_t)units_min(p->cursor.n, 4)) != 0)
    return cursor_refuse(&p->cursor, "does not begin with GGUF");
  enum status status = cursor_room(&p->cursor, 8);
  if (status)
    return status;
  p->cursor.at = 4;
  status = cursor_take(&p->cursor, 4, &version);
  if (status)
    return status;
  if (version && !(version & 0xffff))
    return cursor_refuse(&p->cursor, "is big-endian GGUF; little-endian is read");
  if (version != 2 && version != 3)
    return cursor_refuse(&p->cursor, "is GGUF version %" PRIu64 "; 2 and 3 are read", version);
  p->found.version = (uint32_t)version;
  return STATUS_OK;
}

static enum status take_counts(struct parser *p) {
  enum status status = cursor_take(&p->cursor, 8, &p->tensors);
  if (!status)
    status = cursor_take(&p->cursor, 8, &p->pairs);
  if (status)
    return status;
  if (p->tensors > CARD_TENSORS)
    return cursor_refuse(&p->cursor, "has %" PRIu64 " tensors, at most %d", p->tensors,
                         CARD_TENSORS);
  if (p->pairs > GGUF_PAIRS)
    return cursor_refuse(&p->cursor, "has %" PRIu64 " metadata pairs, at most %d", p->pairs,
                         GGUF_PAIRS);
  status = cursor_room_for(&p->cursor, p->tensors, TENSOR_LEAST, "tensors");
  return status ? status : cursor_room_for(&p->cursor, p->pairs, PAIR_LEAST, "metadata pairs");
}

/* From magic to the last tensor; *table is where the first one stands. */
static enum status walk(struct parser *p, uint64_t *table) {
  struct tensor tensor;
  enum status status = take_version(p);
  if (!status)
    status = take_counts(p);
  if (!status)
    status = take_pairs(p);
  if (!status)
    status = judge_metadata(p);
  if (status)
    return status;
  *table = p->cursor.at;
  cursor_about(&p->cursor, "the tensor table", 0);
  status = cursor_room_for(&p->cursor, p->tensors, TENSOR_LEAST, "tensors");
  for (uint64_t i = 0; i < p->tensors && !status; i++)
    status = take_tensor(p, i + 1, &tensor);
  p->found.header_bytes = p->cursor.at;
  p->found.split.own_tensors = p->tensors;
  return status;
}

/* A file without tensors may end before the padding. */
static enum status add(struct parser *p, const struct gguf_input *in, uint64_t table,
                       struct card_builder *builder) {
  struct tensor tensor;
  uint64_t data = units_up(p->cursor.at, p->found.alignment);
  cursor_about(&p->cursor, "the file", 0);
  if (p->tensors && data > p->cursor.file_size)
    return cursor_refuse(&p->cursor, "is cut off: it ends before its weights");
  const struct card_file_new file = {.name = in->name,
                                     .name_bytes = in->name_bytes,
                                     .size = p->cursor.file_size,
                                     .data_offset = units_min(data, p->cursor.file_size)};
  enum status status = card_add_file(builder, &file, p->cursor.problem);
  p->cursor.at = table;
  for (uint64_t i = 0; i < p->tensors && !status; i++) {
    status = take_tensor(p, i + 1, &tensor);
    if (!status)
      status = add_tensor(p, &tensor, data, builder);
  }
  return status;
}

enum status gguf_parse(const struct gguf_input *in, struct card_builder *builder,
                       struct gguf_found *found, struct problem *problem) {
  uint64_t table, end = units_min(in->file_size, GGUF_HEADER_BYTES);
  struct parser p = {.cursor = {.bytes = in->bytes,
                                .n = units_min(in->n, end),
                                .end = end,
                                .file_size = in->file_size,
                                .problem = problem},
                     .found = {.alignment = DEFAULT_ALIGNMENT}};
  enum status status = walk(&p, &table);
  if (!status)
    status = add(&p, in, table, builder);
  free(p.keys);
  if (status == STATUS_OK)
    *found = p.found;
  if (status == STATUS_PENDING)
    *found = (struct gguf_found){.need = p.cursor.need};
  return status;
}
