/* fuzz_safetensors: two bytes that say how many bytes of weights there are, then any bytes as a
 * header, and as an index of shards. What is accepted covers its weights once, judged here one
 * tensor against the other, and is JSON for another parser too. The whole input is also the
 * beginning of a file. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/reader.h"
#include "model/card.h"
#include "model/safetensors.h"
#include "model/shards.h"

static void must(bool holds) {
  if (!holds)
    abort();
}

static void must_say_why(enum status status, const struct problem *problem) {
  must(status == STATUS_MODEL_FORMAT_INVALID && problem->status == status);
  must(memchr(problem->text, 0, sizeof problem->text) != NULL && problem->text[0]);
}

/* ---- the other parser ---- */

/* What it refuses and we take: integers over 2^63 - 1, \u0000, a member of the metadata twice. */
static bool is_for_both(const char *text, size_t n) {
  size_t digits = 0;
  for (size_t i = 0; i < n && digits < 19; i++)
    digits = text[i] >= '0' && text[i] <= '9' ? digits + 1 : 0;
  return digits < 19 && !memmem(text, n, "\\u", 2) && !memmem(text, n, "__metadata__", 12);
}

static void compare(const char *text, size_t n) {
  struct reader_doc *doc;
  struct problem problem = {0};
  if (!is_for_both(text, n))
    return;
  must(reader_parse(text, n, &doc, &problem) == STATUS_OK);
  reader_free(doc);
}

/* ---- the card ---- */

static bool is_apart(const struct card_tensor *a, const struct card_tensor *b) {
  return !a->size || !b->size || a->offset + a->size <= b->offset ||
         b->offset + b->size <= a->offset;
}

static void judge(const struct card *card) {
  const struct card_file *file = &card->files[0];
  uint64_t sum = 0;
  must(card->head->files == 1);
  for (uint32_t i = 0; i < card->head->tensors; i++) {
    const struct card_tensor *tensor = &card->tensors[i];
    uint64_t bytes;
    must(tensor->offset >= file->data_offset && tensor->offset + tensor->size <= file->size);
    must(card_shape_bytes(tensor->dtype, card->dimensions + tensor->shape, tensor->rank, &bytes));
    must(bytes == tensor->size);
    sum += bytes;
    for (uint32_t j = 0; j < i; j++) {
      const struct card_tensor *other = &card->tensors[j];
      must(is_apart(tensor, other));
      must(tensor->name_bytes != other->name_bytes ||
           memcmp(card->text + tensor->name, card->text + other->name, tensor->name_bytes) != 0);
    }
  }
  must(sum == card->head->weight_bytes && sum == file->size - file->data_offset);
}

/* The image of a header's card; NULL: it is refused. */
static void *read_header(const char *text, size_t n, uint64_t weights, struct card *card) {
  const struct card_file_new file = {"f", 1, SAFETENSORS_START + n + weights, 0};
  struct card_builder *builder = NULL;
  struct problem problem = {0};
  void *image = NULL;
  size_t size = 0;
  must(card_begin(CARD_SAFETENSORS, &builder) == STATUS_OK);
  enum status status = safetensors_parse(text, n, &file, builder, &problem);
  if (!status)
    status = card_end(builder, &image, &size, &problem);
  if (!status)
    must(card_check(image, size, card, &problem) == STATUS_OK);
  else
    must_say_why(status, &problem);
  card_free(builder);
  return image;
}

static void read_index(const char *text, size_t n, const struct card *card) {
  struct shards *shards = NULL;
  struct problem problem = {0};
  enum status status = shards_parse(text, n, &shards, &problem);
  if (status) {
    must_say_why(status, &problem);
    return;
  }
  for (uint32_t i = 0; i < shards_count(shards); i++) {
    const char *name = shards_name(shards, i);
    must(text_is_file_name(name, strlen(name)));
    must(!i || strcmp(shards_name(shards, i - 1), name) < 0);
  }
  status = card ? shards_check(shards, card, &problem) : STATUS_OK;
  if (status)
    must_say_why(status, &problem);
  shards_free(shards);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct card card;
  struct problem problem = {0};
  uint64_t need = 0;
  enum status status = safetensors_header(data, size, size, &need, &problem);
  if (status)
    must_say_why(status, &problem);
  else
    must(need >= SAFETENSORS_START && need <= size);
  if (size < 2)
    return 0;
  const char *text = (const char *)data + 2;
  size_t n = size - 2;
  void *image = read_header(text, n, data[0] | (uint64_t)data[1] << 8, &card);
  if (image) {
    judge(&card);
    compare(text, n);
  }
  read_index(text, n, image ? &card : NULL);
  free(image);
  return 0;
}
