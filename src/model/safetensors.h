/*
 * safetensors: what a file of that format says of its tensors. Pure: the caller reads.
 *
 *   8 bytes: N, little-endian · N bytes: a JSON object, padded with spaces · the weights
 *   {"__metadata__": {string: string}, NAME: {"dtype", "shape", "data_offsets": [begin, end]}, ...}
 *
 * Offsets count from behind the header; the tensors cover all the weights, without holes. Stricter
 * than others, so that a file means one thing: no member twice, none that is unknown.
 */
#ifndef MODEL_SAFETENSORS_H
#define MODEL_SAFETENSORS_H

#include "model/card.h"

#define SAFETENSORS_START 8
#define SAFETENSORS_HEADER 100000000 /* bytes of JSON: the cap of the format's own library */

/* How many of the file's first bytes hold its header: 8 + N. `start`: its first n,
 * SAFETENSORS_START or the whole file. MODEL_FORMAT_INVALID: the file is too short, or N over the
 * cap. */
enum status safetensors_header(const void *start, size_t n, uint64_t file_size, uint64_t *need,
                               struct problem *problem);
/* Adds the file and its tensors. `header`: the n = N bytes of JSON; file->data_offset is not looked
 * at, it is 8 + N. Borrows until it returns; one allocation of 64 KiB. MODEL_FORMAT_INVALID: names
 * the tensor and what is wrong; what the builder has then is worth nothing. What concerns several
 * tensors (names twice, overlaps) is card_end's to see. INTERNAL_ERROR: no memory. */
enum status safetensors_parse(const char *header, size_t n, const struct card_file_new *file,
                              struct card_builder *builder, struct problem *problem);

#endif
