/*
 * card: the builder keeps the four parts of an image in arrays of their own and puts them one
 * behind the other at the end; card_check then judges what it would judge from anybody else.
 *
 * What an image can cost its judge is bounded by the image: the bytes of all names together are
 * those of the text, the ranks together those of the dimensions, so that no two tensors can make
 * it read one place twice. Names are compared by their 128-bit hashes and places by their offsets,
 * both sorted by order.c.
 */
#include "model/card.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "model/order.h"
#include "model/text.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "an image is little-endian");
_Static_assert(sizeof(struct card_head) == 40 && sizeof(struct card_file) == 24 &&
                   sizeof(struct card_tensor) == 32,
               "an image has no padding");

#define CARD_MAGIC "MKCARD01"
#define CARD_MOST (UINT64_C(1) << 62) /* bytes of a tensor: sums of two still fit */
#define CARD_FIRST 4096               /* bytes of an array at first */

/* ---- words ---- */

struct dtype {
  const char *name;
  uint32_t elements, bytes;
};

static const struct dtype dtypes[] = {
#define X(name, elements, bytes) {#name, elements, bytes},
    CARD_DTYPES(X)
#undef X
};

const char *card_dtype_name(uint8_t dtype) {
  return dtype < CARD_DTYPE_COUNT ? dtypes[dtype].name : NULL;
}

const char *card_format_name(uint32_t format) {
  static const char *const names[] = {"safetensors", "gguf"};
  return format < CARD_FORMATS ? names[format] : NULL;
}

bool card_dtype_bytes(uint8_t dtype, uint64_t elements, uint64_t *out) {
  uint64_t bytes;
  if (dtype >= CARD_DTYPE_COUNT || elements % dtypes[dtype].elements)
    return false;
  if (!units_mul(elements / dtypes[dtype].elements, dtypes[dtype].bytes, &bytes) ||
      bytes > CARD_MOST)
    return false;
  *out = bytes;
  return true;
}

bool card_shape_bytes(uint8_t dtype, const uint64_t *shape, uint32_t rank, uint64_t *out) {
  uint64_t elements = 1;
  for (uint32_t i = 0; i < rank; i++)
    if (!units_mul(elements, shape[i], &elements))
      return false;
  return card_dtype_bytes(dtype, elements, out);
}

/* ---- judging ---- */

static const char uneven[] = "the card's parts do not add up";

struct judge {
  struct card card;
  struct order_key *keys, *spare;                /* one each for every tensor or file */
  uint64_t text_bytes, dimensions, weight_bytes; /* of those judged so far */
  struct problem *problem;
};

static enum status refuse(struct problem *problem, const char *what) {
  return problem_set(problem, STATUS_MODEL_FORMAT_INVALID, "%s", what);
}

static enum status refuse_file(struct judge *judge, uint32_t index, const char *what) {
  char name[TEXT_SHORT];
  const struct card_file *file = &judge->card.files[index];
  text_shorten(judge->card.text + file->name, file->name_bytes, name);
  return problem_set(judge->problem, STATUS_MODEL_FORMAT_INVALID, "file \"%s\" %s", name, what);
}

static enum status refuse_tensor(struct judge *judge, uint32_t index, const char *what) {
  char name[TEXT_SHORT];
  const struct card_tensor *tensor = &judge->card.tensors[index];
  text_shorten(judge->card.text + tensor->name, tensor->name_bytes, name);
  return problem_set(judge->problem, STATUS_MODEL_FORMAT_INVALID, "tensor \"%s\" %s", name, what);
}

/* Of the names whose keys were set: one that was there before; UINT32_MAX: none. */
static uint32_t find_twice(const struct judge *judge, size_t n) {
  return order_find_twice(order_sort(judge->keys, judge->spare, n), n);
}

static bool is_in_text(const struct card *card, uint64_t name, uint64_t bytes) {
  return name + bytes <= card->head->text_bytes;
}

static enum status check_files(struct judge *judge) {
  const struct card *card = &judge->card;
  for (uint32_t i = 0; i < card->head->files; i++) {
    const struct card_file *file = &card->files[i];
    if (!is_in_text(card, file->name, file->name_bytes))
      return refuse(judge->problem, "a file's name lies outside of the card's text");
    if (!text_is_file_name(card->text + file->name, file->name_bytes))
      return refuse_file(judge, i, "has a name that is no plain file name");
    if (file->data_offset > file->size)
      return refuse_file(judge, i, "ends before its weights begin");
    judge->keys[i] = order_name(card->text + file->name, file->name_bytes, i);
    judge->text_bytes += file->name_bytes;
  }
  uint32_t twice = find_twice(judge, card->head->files);
  return twice == UINT32_MAX ? STATUS_OK : refuse_file(judge, twice, "is there twice");
}

/* False: more than the head says, which is more than the caller should look at. */
static bool count(struct judge *judge, const struct card_tensor *tensor) {
  const struct card_head *head = judge->card.head;
  judge->text_bytes += tensor->name_bytes;
  judge->dimensions += tensor->rank;
  return units_add(judge->weight_bytes, tensor->size, &judge->weight_bytes) &&
         judge->text_bytes <= head->text_bytes && judge->dimensions <= head->dimensions;
}

static enum status check_tensor(struct judge *judge, uint32_t index) {
  const struct card *card = &judge->card;
  const struct card_tensor *tensor = &card->tensors[index];
  uint64_t size, end;
  if (!is_in_text(card, tensor->name, tensor->name_bytes))
    return refuse(judge->problem, "a tensor's name lies outside of the card's text");
  if (!text_is_valid(card->text + tensor->name, tensor->name_bytes))
    return refuse_tensor(judge, index, "has a name that is not UTF-8 or has a NUL");
  if (tensor->file >= card->head->files)
    return refuse_tensor(judge, index, "is in no file");
  if (tensor->rank > CARD_RANK || tensor->shape > card->head->dimensions ||
      tensor->rank > card->head->dimensions - tensor->shape)
    return refuse_tensor(judge, index, "has a shape outside of the card's dimensions");
  if (tensor->dtype >= CARD_DTYPE_COUNT)
    return refuse_tensor(judge, index, "has no known dtype");
  if (!card_shape_bytes(tensor->dtype, card->dimensions + tensor->shape, tensor->rank, &size))
    return refuse_tensor(judge, index, "has a shape that is too large or no whole blocks");
  if (size != tensor->size)
    return refuse_tensor(judge, index, "has not the size that its dtype and shape give");
  const struct card_file *file = &card->files[tensor->file];
  if (!units_add(tensor->offset, size, &end) || tensor->offset < file->data_offset ||
      end > file->size)
    return refuse_tensor(judge, index, "lies outside of its file's data");
  judge->keys[index] = order_name(card->text + tensor->name, tensor->name_bytes, index);
  return STATUS_OK;
}

static enum status check_overlap(struct judge *judge) {
  const struct card *card = &judge->card;
  size_t n = 0;
  for (uint32_t i = 0; i < card->head->tensors; i++)
    if (card->tensors[i].size)
      judge->keys[n++] = (struct order_key){card->tensors[i].file, card->tensors[i].offset, i};
  const struct order_key *keys = order_sort(judge->keys, judge->spare, n);
  for (size_t i = 1; i < n; i++) {
    const struct card_tensor *before = &card->tensors[keys[i - 1].index];
    const struct card_tensor *tensor = &card->tensors[keys[i].index];
    if (before->file == tensor->file && before->offset + before->size > tensor->offset)
      return refuse_tensor(judge, keys[i].index, "overlaps another tensor");
  }
  return STATUS_OK;
}

static enum status check_all(struct judge *judge) {
  const struct card_head *head = judge->card.head;
  enum status status = check_files(judge);
  for (uint32_t i = 0; !status && i < head->tensors; i++)
    status = count(judge, &judge->card.tensors[i]) ? check_tensor(judge, i)
                                                   : refuse(judge->problem, uneven);
  if (status)
    return status;
  if (judge->text_bytes != head->text_bytes || judge->dimensions != head->dimensions ||
      judge->weight_bytes != head->weight_bytes)
    return refuse(judge->problem, uneven);
  uint32_t twice = find_twice(judge, head->tensors);
  if (twice != UINT32_MAX)
    return refuse_tensor(judge, twice, "is there twice");
  return check_overlap(judge);
}

/* The bytes of the image that the head announces, which is within the caps. */
static size_t image_size(const struct card_head *head) {
  return sizeof *head + head->files * sizeof(struct card_file) +
         head->tensors * sizeof(struct card_tensor) + head->dimensions * sizeof(uint64_t) +
         head->text_bytes;
}

static bool is_head(const struct card_head *head) {
  return !memcmp(head->magic, CARD_MAGIC, sizeof head->magic) && head->format < CARD_FORMATS &&
         head->files && head->files <= CARD_FILES && head->tensors <= CARD_TENSORS &&
         head->dimensions <= (uint32_t)CARD_TENSORS * CARD_RANK && head->text_bytes <= CARD_TEXT;
}

static struct card view(const void *image) {
  struct card card = {.head = image};
  card.files = (const void *)(card.head + 1);
  card.tensors = (const void *)(card.files + card.head->files);
  card.dimensions = (const void *)(card.tensors + card.head->tensors);
  card.text = (const void *)(card.dimensions + card.head->dimensions);
  return card;
}

enum status card_check(const void *image, size_t n, struct card *out, struct problem *problem) {
  const struct card_head *head = image;
  if (n < sizeof *head || !is_head(head))
    return refuse(problem, "the card has no head, or one with counts over the caps");
  if (n != image_size(head))
    return refuse(problem, uneven);
  size_t most = units_max(head->files, head->tensors);
  struct order_key *keys = calloc(2 * most, sizeof *keys);
  if (!keys)
    return problem_set(problem, STATUS_INTERNAL_ERROR, "no memory to check a model's card");
  struct judge judge = {
      .card = view(image), .keys = keys, .spare = keys + most, .problem = problem};
  enum status status = check_all(&judge);
  free(keys);
  if (!status)
    *out = judge.card;
  return status;
}

/* ---- building ---- */

struct part {
  char *data;
  size_t size, space, cap;
};

struct card_builder {
  enum card_format format;
  uint64_t weight_bytes; /* an overflow is seen by card_check: it is no sum then */
  struct part files, tensors, dimensions, text;
};

enum status card_begin(enum card_format format, struct card_builder **out) {
  struct card_builder *builder = calloc(1, sizeof *builder);
  if (!builder)
    return STATUS_INTERNAL_ERROR;
  builder->format = format;
  builder->files.cap = CARD_FILES * sizeof(struct card_file);
  builder->tensors.cap = CARD_TENSORS * sizeof(struct card_tensor);
  builder->dimensions.cap = (size_t)CARD_TENSORS * CARD_RANK * sizeof(uint64_t);
  builder->text.cap = CARD_TEXT;
  *out = builder;
  return STATUS_OK;
}

static void drop(struct part *part) {
  free(part->data);
  *part = (struct part){.cap = part->cap};
}

void card_free(struct card_builder *builder) {
  if (!builder)
    return;
  drop(&builder->files);
  drop(&builder->tensors);
  drop(&builder->dimensions);
  drop(&builder->text);
  free(builder);
}

static bool fits(const struct part *part, size_t n) { return n <= part->cap - part->size; }

/* Room for n more bytes, which fit. */
static bool reserve(struct part *part, size_t n) {
  size_t need = part->size + n;
  if (need <= part->space)
    return true;
  size_t space = units_max(part->space + part->space / 2, CARD_FIRST);
  space = units_min(units_max(space, need), part->cap);
  char *data = realloc(part->data, space);
  if (!data)
    return false;
  part->data = data;
  part->space = space;
  return true;
}

static uint32_t put(struct part *part, const void *bytes, size_t n) {
  size_t at = part->size;
  if (n)
    memcpy(part->data + at, bytes, n);
  part->size += n;
  return (uint32_t)at;
}

static enum status no_memory(struct problem *problem) {
  return problem_set(problem, STATUS_INTERNAL_ERROR, "no memory to build a model's card");
}

enum status card_add_file(struct card_builder *builder, const struct card_file_new *file,
                          struct problem *problem) {
  struct card_file entry = {.size = file->size, .data_offset = file->data_offset};
  if (!fits(&builder->files, sizeof entry))
    return problem_set(problem, STATUS_MODEL_FORMAT_INVALID, "the model has over %d files",
                       CARD_FILES);
  if (file->name_bytes > CARD_NAME)
    return refuse(problem, "a file's name is too long");
  if (!fits(&builder->text, file->name_bytes))
    return refuse(problem, "the model's names are too long together");
  if (!reserve(&builder->files, sizeof entry) || !reserve(&builder->text, file->name_bytes))
    return no_memory(problem);
  entry.name_bytes = (uint32_t)file->name_bytes;
  entry.name = put(&builder->text, file->name, file->name_bytes);
  put(&builder->files, &entry, sizeof entry);
  return STATUS_OK;
}

enum status card_add_tensor(struct card_builder *builder, const struct card_tensor_new *tensor,
                            struct problem *problem) {
  struct card_tensor entry = {.offset = tensor->offset, .size = tensor->size};
  char name[TEXT_SHORT];
  assert(builder->files.size);
  if (!fits(&builder->tensors, sizeof entry))
    return problem_set(problem, STATUS_MODEL_FORMAT_INVALID, "the model has over %d tensors",
                       CARD_TENSORS);
  text_shorten(tensor->name, tensor->name_bytes, name);
  if (tensor->name_bytes > CARD_TENSOR_NAME || !fits(&builder->text, tensor->name_bytes))
    return problem_set(problem, STATUS_MODEL_FORMAT_INVALID,
                       "tensor \"%s\": the name, or all names together, are too long", name);
  if (tensor->rank > CARD_RANK)
    return problem_set(problem, STATUS_MODEL_FORMAT_INVALID, "tensor \"%s\" has over %d dimensions",
                       name, CARD_RANK);
  size_t shape_bytes = tensor->rank * sizeof *tensor->shape;
  if (!reserve(&builder->tensors, sizeof entry) || !reserve(&builder->dimensions, shape_bytes) ||
      !reserve(&builder->text, tensor->name_bytes))
    return no_memory(problem);
  entry.name_bytes = (uint16_t)tensor->name_bytes;
  entry.dtype = tensor->dtype;
  entry.rank = (uint8_t)tensor->rank;
  entry.file = (uint32_t)(builder->files.size / sizeof(struct card_file)) - 1;
  entry.name = put(&builder->text, tensor->name, tensor->name_bytes);
  entry.shape = put(&builder->dimensions, tensor->shape, shape_bytes) / sizeof(uint64_t);
  put(&builder->tensors, &entry, sizeof entry);
  builder->weight_bytes += tensor->size;
  return STATUS_OK;
}

static char *move_part(struct part *part, char *at) {
  if (part->size)
    memcpy(at, part->data, part->size);
  at += part->size;
  drop(part);
  return at;
}

/* Gives back what an array grew beyond its contents: the image stands beside them for a moment. */
static void trim(struct part *part) {
  char *data = part->size ? realloc(part->data, part->size) : NULL;
  if (!data)
    return;
  part->data = data;
  part->space = part->size;
}

enum status card_end(struct card_builder *builder, void **image, size_t *n,
                     struct problem *problem) {
  struct card_head head = {.format = builder->format,
                           .files = (uint32_t)(builder->files.size / sizeof(struct card_file)),
                           .tensors =
                               (uint32_t)(builder->tensors.size / sizeof(struct card_tensor)),
                           .dimensions = (uint32_t)(builder->dimensions.size / sizeof(uint64_t)),
                           .text_bytes = builder->text.size,
                           .weight_bytes = builder->weight_bytes};
  struct card card;
  trim(&builder->tensors);
  trim(&builder->dimensions);
  trim(&builder->text);
  size_t size = image_size(&head);
  char *whole = malloc(size);
  if (!whole)
    return no_memory(problem);
  memcpy(head.magic, CARD_MAGIC, sizeof head.magic);
  memcpy(whole, &head, sizeof head);
  char *at = move_part(&builder->files, whole + sizeof head);
  at = move_part(&builder->tensors, at);
  at = move_part(&builder->dimensions, at);
  move_part(&builder->text, at);
  enum status status = card_check(whole, size, &card, problem);
  if (status) {
    free(whole);
    return status;
  }
  *image = whole;
  *n = size;
  return STATUS_OK;
}
