/*
 * card: what is known of a model's files without reading their weights: the format, the files, and
 * the exact table of tensors. One flat image, so that a parser in a process of its own can write
 * it, the daemon can check it, the vault can hold it and any client can read it.
 *
 * Image, little-endian, every part 8-aligned, in this order, nothing between or after:
 *   struct card_head, card_file[files], card_tensor[tensors], uint64_t[dimensions], char[text]
 *
 * card_check is the only judge: builder and reader both go through it, so an image from a process
 * that was taken over can name nothing outside of its files.
 */
#ifndef MODEL_CARD_H
#define MODEL_CARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/problem.h"
#include "model/text.h"

#define CARD_TENSORS 1000000     /* contract: issue 4; more is MODEL_FORMAT_INVALID */
#define CARD_FILES 1024          /* shards of one model */
#define CARD_RANK 8              /* dimensions of one tensor; GGUF has 4, safetensors no limit */
#define CARD_NAME TEXT_FILE_NAME /* bytes of a file's name; of a tensor's: CARD_TENSOR_NAME */
#define CARD_TENSOR_NAME 65535
#define CARD_TEXT (UINT32_C(128) << 20) /* bytes of all names: a header of 100 MB holds fewer */

enum card_format { CARD_SAFETENSORS, CARD_GGUF, CARD_FORMATS };

/* Name as printed, elements and bytes of one block: a tensor has a whole number of blocks.
 * From the specifications of safetensors and of GGUF. */
#define CARD_DTYPES_PLAIN(X)                                                                       \
  X(BOOL, 1, 1)                                                                                    \
  X(F4, 2, 1)                                                                                      \
  X(F6_E2M3, 4, 3)                                                                                 \
  X(F6_E3M2, 4, 3)                                                                                 \
  X(U8, 1, 1)                                                                                      \
  X(I8, 1, 1)                                                                                      \
  X(F8_E5M2, 1, 1)                                                                                 \
  X(F8_E4M3, 1, 1)                                                                                 \
  X(F8_E8M0, 1, 1)                                                                                 \
  X(F8_E4M3FNUZ, 1, 1)                                                                             \
  X(F8_E5M2FNUZ, 1, 1)                                                                             \
  X(I16, 1, 2)                                                                                     \
  X(U16, 1, 2)                                                                                     \
  X(F16, 1, 2)                                                                                     \
  X(BF16, 1, 2)                                                                                    \
  X(I32, 1, 4)                                                                                     \
  X(U32, 1, 4)                                                                                     \
  X(F32, 1, 4)                                                                                     \
  X(C64, 1, 8)                                                                                     \
  X(F64, 1, 8)                                                                                     \
  X(I64, 1, 8)                                                                                     \
  X(U64, 1, 8)
#define CARD_DTYPES_GGUF(X)                                                                        \
  X(Q1_0, 128, 18)                                                                                 \
  X(Q2_0, 64, 18)                                                                                  \
  X(Q4_0, 32, 18)                                                                                  \
  X(Q4_1, 32, 20)                                                                                  \
  X(Q5_0, 32, 22)                                                                                  \
  X(Q5_1, 32, 24)                                                                                  \
  X(Q8_0, 32, 34)                                                                                  \
  X(Q8_1, 32, 36)                                                                                  \
  X(MXFP4, 32, 17)                                                                                 \
  X(NVFP4, 64, 36)                                                                                 \
  X(Q2_K, 256, 84)                                                                                 \
  X(Q3_K, 256, 110)                                                                                \
  X(Q4_K, 256, 144)                                                                                \
  X(Q5_K, 256, 176)                                                                                \
  X(Q6_K, 256, 210)                                                                                \
  X(Q8_K, 256, 292)                                                                                \
  X(IQ1_S, 256, 50)                                                                                \
  X(IQ1_M, 256, 56)                                                                                \
  X(IQ2_XXS, 256, 66)                                                                              \
  X(IQ2_XS, 256, 74)                                                                               \
  X(IQ2_S, 256, 82)                                                                                \
  X(IQ3_XXS, 256, 98)                                                                              \
  X(IQ3_S, 256, 110)                                                                               \
  X(IQ4_NL, 32, 18)                                                                                \
  X(IQ4_XS, 256, 136)                                                                              \
  X(TQ1_0, 256, 54)                                                                                \
  X(TQ2_0, 256, 66)
#define CARD_DTYPES(X) CARD_DTYPES_PLAIN(X) CARD_DTYPES_GGUF(X)

enum card_dtype {
#define X(name, elements, bytes) CARD_DTYPE_##name,
  CARD_DTYPES(X)
#undef X
      CARD_DTYPE_COUNT
};

struct card_head {
  char magic[8]; /* "MKCARD01" */
  uint32_t format, files, tensors, dimensions;
  uint64_t text_bytes;
  uint64_t weight_bytes; /* sum over the tensors */
};
struct card_file {
  uint64_t size;        /* of the whole file */
  uint64_t data_offset; /* where the weights begin */
  uint32_t name;        /* in the text; a plain file name */
  uint32_t name_bytes;
};
struct card_tensor {
  uint64_t offset, size; /* in its file, from the file's first byte */
  uint32_t name;         /* in the text */
  uint16_t name_bytes;
  uint8_t dtype, rank;
  uint32_t file;
  uint32_t shape; /* index of its first dimension; outermost first, as safetensors writes it */
};

/* No image is larger. */
#define CARD_BYTES                                                                                 \
  (sizeof(struct card_head) + CARD_FILES * sizeof(struct card_file) +                              \
   (uint64_t)CARD_TENSORS * (sizeof(struct card_tensor) + CARD_RANK * sizeof(uint64_t)) +          \
   CARD_TEXT)

/* Views into an image that passed card_check; borrowed from it. */
struct card {
  const struct card_head *head;
  const struct card_file *files;
  const struct card_tensor *tensors;
  const uint64_t *dimensions;
  const char *text;
};

/* MODEL_FORMAT_INVALID with the reason: counts over the caps, parts that do not add up to n, text
 * out of range or not UTF-8 or with a NUL, file names that are no plain names or twice, tensor
 * names twice in the model, a size that dtype and shape do not give, a tensor outside of its file's
 * data, two that overlap. Holes are the formats' business. INTERNAL_ERROR: no memory. O(n log n)
 * whatever the image says; 48 bytes a tensor meanwhile. `image` is 8-aligned and must not change.
 */
enum status card_check(const void *image, size_t n, struct card *out, struct problem *problem);

const char *card_dtype_name(uint8_t dtype);    /* NULL: there is none */
const char *card_format_name(uint32_t format); /* "safetensors", "gguf"; NULL: there is none */
/* Bytes of `elements` of a dtype. False: no whole blocks, or over 2^62. */
bool card_dtype_bytes(uint8_t dtype, uint64_t elements, uint64_t *out);
/* The same for a shape. False also where the product of its dimensions, taken from the left, is
 * over 2^64. */
bool card_shape_bytes(uint8_t dtype, const uint64_t *shape, uint32_t rank, uint64_t *out);

/* ---- building one ---- */

struct card_builder;
enum status card_begin(enum card_format format, struct card_builder **out);
void card_free(struct card_builder *builder);
struct card_file_new {
  const char *name; /* not NUL-terminated: name_bytes */
  size_t name_bytes;
  uint64_t size, data_offset;
};
struct card_tensor_new {
  const char *name;
  size_t name_bytes;
  uint64_t offset, size; /* in the file added last, which there is; from its first byte */
  const uint64_t *shape;
  uint32_t rank;
  uint8_t dtype;
};
/* MODEL_FORMAT_INVALID: over a cap (at once, so that a hostile header costs no more than its caps);
 * all else is card_end's. INTERNAL_ERROR: no memory. */
enum status card_add_file(struct card_builder *builder, const struct card_file_new *file,
                          struct problem *problem);
enum status card_add_tensor(struct card_builder *builder, const struct card_tensor_new *tensor,
                            struct problem *problem);
/* The checked image, malloced. The builder stays the caller's to free, and is spent, whatever the
 * answer: the image takes the place of its parts. */
enum status card_end(struct card_builder *builder, void **image, size_t *n,
                     struct problem *problem);

#endif
