/*
 * gguf: the header of a GGUF file (version 2 or 3, little-endian) read into a card. Pure: bytes in,
 * tensors out. The file is hostile: every length is held against the bytes that are left before
 * anything is done with it.
 *
 * How long the header is stands nowhere; one reads it until it ends. So the caller gives what it
 * has of the file's beginning, and is told when that is not enough.
 */
#ifndef MODEL_GGUF_H
#define MODEL_GGUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/problem.h"
#include "model/card.h"
#include "model/gguf_split.h"

#define GGUF_HEADER_BYTES 100000000 /* up to the weights; what safetensors allows */
#define GGUF_PAIRS 1000000          /* of metadata */
#define GGUF_ARRAY_DEPTH 4          /* arrays in arrays; ggml itself reads and writes 1 */
#define GGUF_DIMENSIONS 4
#define GGUF_ALIGNMENT 1048576 /* the largest general.alignment; written are 32 and 64 */

struct gguf_input {
  const void *bytes; /* the file's first n; no alignment needed */
  size_t n;
  uint64_t file_size; /* of the whole file; n may be less, what n is more is not looked at */
  const char *name;   /* a plain file name, for the card; not NUL-terminated */
  size_t name_bytes;
};

struct gguf_found {
  uint64_t need;         /* STATUS_PENDING: n must be at least this; then all else is 0 */
  uint64_t header_bytes; /* of the input that were used */
  uint64_t alignment;
  uint32_t version;
  struct gguf_split split;
  /* general.architecture and general.name, "" if absent; UTF-8, cut to fit. */
  char architecture[64];
  char name[256];
};

/* Adds the file and its tensors to the builder (made for CARD_GGUF; card_end has the last word on
 * names that are twice and tensors that overlap). O(n log keys).
 *
 * OK. PENDING: n bytes are not enough, found->need are the fewest that can get any further (read
 * more than that: at least twice as many as before, at most file_size or GGUF_HEADER_BYTES); the
 * builder is untouched. MODEL_FORMAT_INVALID: the problem names the key or the tensor and what is
 * wrong, not the file. INTERNAL_ERROR: no memory. After these two the builder can only be freed.
 * Never PENDING when n >= min(file_size, GGUF_HEADER_BYTES). */
enum status gguf_parse(const struct gguf_input *in, struct card_builder *builder,
                       struct gguf_found *found, struct problem *problem);

#endif
