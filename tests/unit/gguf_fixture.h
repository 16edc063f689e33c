/*
 * gguf_fixture: a small writer of GGUF files, right ones and wrong ones, and what the parser says
 * of them.
 */
#ifndef TESTS_GGUF_FIXTURE_H
#define TESTS_GGUF_FIXTURE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "model/card.h"
#include "model/gguf.h"

enum gguf_fixture_value {
  U8,
  I8,
  U16,
  I16,
  U32,
  I32,
  F32,
  BOOL,
  STRING,
  ARRAY,
  U64,
  I64,
  F64,
  VALUES
};
enum gguf_fixture_ggml {
  GGML_F32 = 0,
  GGML_F16 = 1,
  GGML_Q4_0 = 2,
  GGML_REMOVED = 4,
  GGML_Q6_K = 14
};

struct gguf_fixture_tensor {
  const char *name;
  uint32_t rank;
  uint64_t dims[4]; /* innermost first */
  uint32_t type;
  uint64_t offset;
};

/* Magic, version 3 and the counts; what follows is the caller's. */
void gguf_fixture_begin(struct buf *file, uint64_t tensors, uint64_t pairs);
void gguf_fixture_put(struct buf *file, unsigned size, uint64_t value);
void gguf_fixture_put_text(struct buf *file, const char *text);
/* The value is still to come. */
void gguf_fixture_put_key(struct buf *file, const char *key, enum gguf_fixture_value type);
void gguf_fixture_put_u32(struct buf *file, const char *key, uint32_t value);
void gguf_fixture_put_string(struct buf *file, const char *key, const char *value);
/* What comes after the key of an array, or where one is in an array. */
void gguf_fixture_put_array(struct buf *file, enum gguf_fixture_value type, uint64_t count);
void gguf_fixture_put_tensor(struct buf *file, const struct gguf_fixture_tensor *tensor);
/* Padding and so many bytes. */
void gguf_fixture_put_weights(struct buf *file, uint64_t alignment, size_t bytes);
/* One tensor of 32 bytes, and its weights. */
void gguf_fixture_finish(struct buf *file);

struct gguf_fixture_reading {
  struct gguf_found found;
  struct problem problem;
  void *image; /* of an OK */
  struct card card;
};

/* The first n bytes of a file of that size, through parser, builder and check. */
enum status gguf_fixture_read_part(const struct buf *file, size_t n, uint64_t file_size,
                                   struct gguf_fixture_reading *out);
enum status gguf_fixture_read(const struct buf *file, struct gguf_fixture_reading *out);
/* As MODEL_FORMAT_INVALID, with these words. The file is gone then. */
void gguf_fixture_is_refused(struct buf *file, const char *because);

#endif
