/* fuzz_gguf: any bytes as a GGUF file, all at once and in growing pieces. Both come to the same
 * end; a piece that is not enough asks for more, never for more than there is; a card's tensors lie
 * in the file, behind the header; and the header alone makes the same card. The same bytes as the
 * beginning of a larger file, too. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "model/card.h"
#include "model/gguf.h"

#define MORE MIB /* of the larger file */

struct reading {
  enum status status;
  struct gguf_found found;
  void *image;
  size_t image_bytes;
};

static void must(bool holds) {
  if (!holds)
    abort();
}

static struct reading read_part(const uint8_t *data, size_t n, uint64_t file_size) {
  const struct gguf_input in = {data, n, file_size, "m.gguf", 6};
  struct reading out = {.status = STATUS_OK};
  struct problem problem = {0};
  struct card_builder *builder;
  must(!card_begin(CARD_GGUF, &builder));
  out.status = gguf_parse(&in, builder, &out.found, &problem);
  if (out.status == STATUS_PENDING)
    must(out.found.need > n && out.found.need <= file_size);
  if (!out.status)
    out.status = card_end(builder, &out.image, &out.image_bytes, &problem);
  if (out.status == STATUS_MODEL_FORMAT_INVALID)
    must(problem.status == out.status && problem.text[0]);
  must(out.status != STATUS_INTERNAL_ERROR);
  card_free(builder);
  return out;
}

static void judge_card(const struct reading *got, uint64_t file_size) {
  struct problem problem;
  struct card card;
  must(!card_check(got->image, got->image_bytes, &card, &problem));
  must(card.head->tensors == got->found.split.own_tensors && card.head->files == 1);
  must(memchr(got->found.name, 0, sizeof got->found.name));
  for (uint32_t i = 0; i < card.head->tensors; i++) {
    const struct card_tensor *tensor = &card.tensors[i];
    must(tensor->offset >= got->found.header_bytes && tensor->offset <= file_size);
    must(tensor->size <= file_size - tensor->offset);
    must(tensor->offset % 8 == 0);
  }
}

static void judge_pieces(const uint8_t *data, size_t size, const struct reading *whole) {
  size_t n = 0;
  struct reading got = read_part(data, 0, size);
  while (got.status == STATUS_PENDING) {
    n = units_min(size, units_max(got.found.need, 2 * n));
    got = read_part(data, n, size);
  }
  must(got.status == whole->status && got.image_bytes == whole->image_bytes);
  must(!got.image || !memcmp(got.image, whole->image, got.image_bytes));
  free(got.image);
}

static void judge_header(const uint8_t *data, uint64_t file_size, const struct reading *whole) {
  size_t n = (size_t)whole->found.header_bytes;
  struct reading got = read_part(data, n, file_size);
  must(!got.status && got.image_bytes == whole->image_bytes);
  must(!memcmp(got.image, whole->image, got.image_bytes));
  free(got.image);
  must(read_part(data, n - 1, file_size).status == STATUS_PENDING);
}

static void judge(const uint8_t *data, size_t size, uint64_t file_size) {
  struct reading whole = read_part(data, size, file_size);
  if (!whole.status) {
    judge_card(&whole, file_size);
    judge_header(data, file_size, &whole);
  }
  if (file_size == size) {
    must(whole.status != STATUS_PENDING);
    judge_pieces(data, size, &whole);
  }
  free(whole.image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  judge(data, size, size);
  judge(data, size, size + MORE);
  return 0;
}
