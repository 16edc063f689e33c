/*
 * gguf_split: a model may be split over files NAME-00001-of-00005.gguf ... (llama.cpp's
 * gguf-split). Each is a GGUF file of its own with tensors of its own; its place in the set,
 * counted from 0, is said in its metadata. Pure.
 */
#ifndef MODEL_GGUF_SPLIT_H
#define MODEL_GGUF_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/problem.h"
#include "model/text.h"

struct gguf_split {
  uint64_t no, count;    /* 0-based; count 0: the file is no part of a set */
  uint64_t own_tensors;  /* in this file; may be 0 */
  uint64_t said_tensors; /* in the whole set, as this file says; 0: it does not */
};

/* Whether these are all files of one set, each once, in any order, with all of its tensors. One
 * file that is no part of a set is complete. MODEL_FORMAT_INVALID: what is missing or differs. */
enum status gguf_split_check(const struct gguf_split *splits, uint32_t n, struct problem *problem);

/* The place that a file's name gives: "x-00002-of-00005.gguf" is no 1 of 5. False: it gives none,
 * or more than CARD_FILES. */
bool gguf_split_place(const char *name, size_t name_bytes, uint32_t *no, uint32_t *count);
/* The name of the file `no` of the set that the named file belongs to; it is as long. False: the
 * name gives no place, is over TEXT_FILE_NAME, or the set is smaller. */
bool gguf_split_name(const char *name, size_t name_bytes, uint32_t no,
                     char out[TEXT_FILE_NAME + 1]);

#endif
