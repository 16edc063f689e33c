#include "gguf_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"

/* ---- a writer ---- */

void gguf_fixture_put(struct buf *file, unsigned size, uint64_t value) {
  for (unsigned i = 0; i < size; i++)
    buf_add(file, &(uint8_t){(uint8_t)(value >> 8 * i)}, 1);
}

void gguf_fixture_put_text(struct buf *file, const char *text) {
  gguf_fixture_put(file, 8, strlen(text));
  buf_add(file, text, strlen(text));
}

void gguf_fixture_begin(struct buf *file, uint64_t tensors, uint64_t pairs) {
  buf_init(file, 64 * MIB);
  buf_add(file, "GGUF", 4);
  gguf_fixture_put(file, 4, 3);
  gguf_fixture_put(file, 8, tensors);
  gguf_fixture_put(file, 8, pairs);
}

void gguf_fixture_put_key(struct buf *file, const char *key, enum gguf_fixture_value type) {
  gguf_fixture_put_text(file, key);
  gguf_fixture_put(file, 4, type);
}

void gguf_fixture_put_u32(struct buf *file, const char *key, uint32_t value) {
  gguf_fixture_put_key(file, key, U32);
  gguf_fixture_put(file, 4, value);
}

void gguf_fixture_put_string(struct buf *file, const char *key, const char *value) {
  gguf_fixture_put_key(file, key, STRING);
  gguf_fixture_put_text(file, value);
}

void gguf_fixture_put_array(struct buf *file, enum gguf_fixture_value type, uint64_t count) {
  gguf_fixture_put(file, 4, type);
  gguf_fixture_put(file, 8, count);
}

void gguf_fixture_put_tensor(struct buf *file, const struct gguf_fixture_tensor *tensor) {
  gguf_fixture_put_text(file, tensor->name);
  gguf_fixture_put(file, 4, tensor->rank);
  for (uint32_t i = 0; i < tensor->rank; i++)
    gguf_fixture_put(file, 8, tensor->dims[i]);
  gguf_fixture_put(file, 4, tensor->type);
  gguf_fixture_put(file, 8, tensor->offset);
}

void gguf_fixture_put_weights(struct buf *file, uint64_t alignment, size_t bytes) {
  size_t n = (size_t)units_up(file->size, alignment) - file->size + bytes;
  memset(buf_reserve(file, n), 0, n);
  file->size += n;
}

/* ---- a reader ---- */

enum status gguf_fixture_read_part(const struct buf *file, size_t n, uint64_t file_size,
                                   struct gguf_fixture_reading *out) {
  /* At the end of an allocation, so that a byte too far is seen. */
  uint8_t *copy = malloc(n + 1), *bytes = copy + 1;
  struct gguf_input in = {bytes, n, file_size, "m.gguf", 6};
  struct card_builder *builder;
  size_t size;
  memset(out, 0, sizeof *out);
  memcpy(bytes, file->data, n);
  assert_int_equal(STATUS_OK, card_begin(CARD_GGUF, &builder));
  enum status status = gguf_parse(&in, builder, &out->found, &out->problem);
  if (!status)
    status = card_end(builder, &out->image, &size, &out->problem);
  if (!status)
    assert_int_equal(STATUS_OK, card_check(out->image, size, &out->card, &out->problem));
  card_free(builder);
  free(copy);
  return status;
}

enum status gguf_fixture_read(const struct buf *file, struct gguf_fixture_reading *out) {
  return gguf_fixture_read_part(file, file->size, file->size, out);
}

void gguf_fixture_is_refused(struct buf *file, const char *because) {
  struct gguf_fixture_reading reading;
  assert_int_equal(STATUS_MODEL_FORMAT_INVALID, gguf_fixture_read(file, &reading));
  if (!strstr(reading.problem.text, because))
    fail_msg("\"%s\" is not in \"%s\"", because, reading.problem.text);
  buf_done(file);
}

void gguf_fixture_finish(struct buf *file) {
  gguf_fixture_put_tensor(file, &(struct gguf_fixture_tensor){"a", 1, {8}, GGML_F32, 0});
  gguf_fixture_put_weights(file, 32, 32);
}
