/*
 * shards: the index of a safetensors model that is several files, `model.safetensors.index.json`.
 * Pure: the caller reads, and opens the files by the names that are given here.
 *
 *   {"metadata": {...}, "weight_map": {TENSOR: FILE, ...}}
 *
 * Other members say nothing about weights and are skipped.
 */
#ifndef MODEL_SHARDS_H
#define MODEL_SHARDS_H

#include "model/card.h"

#define SHARDS_INDEX 100000000 /* bytes, as a header's */

struct shards;
/* MODEL_FORMAT_INVALID: the text is over SHARDS_INDEX or no such index, names a tensor twice, over
 * CARD_TENSORS tensors or CARD_FILES files, none, or a file that is no plain name. INTERNAL_ERROR:
 * no memory; 64 bytes a tensor. Borrows the text until shards_free. */
enum status shards_parse(const char *text, size_t n, struct shards **out, struct problem *problem);
void shards_free(struct shards *shards);

uint32_t shards_count(const struct shards *shards);
/* 0 … count - 1, ordered by their bytes; NUL-terminated. */
const char *shards_name(const struct shards *shards, uint32_t index);

/* MODEL_FORMAT_INVALID: a tensor that one knows and the other does not, or that is in another file;
 * a file that only one names. `card` passed card_check. INTERNAL_ERROR: no memory. */
enum status shards_check(const struct shards *shards, const struct card *card,
                         struct problem *problem);

#endif
