/*
 * gguf_split: a set is judged by what its files say of themselves; names serve to find the others.
 */
#include "model/gguf_split.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "model/card.h"

#define PLACE_BYTES (sizeof "-00001-of-00005.gguf" - 1)
#define PLACE_DIGITS 5

enum status gguf_split_check(const struct gguf_split *splits, uint32_t n, struct problem *problem) {
  bool there[CARD_FILES] = {false};
  uint64_t tensors = 0, count = units_max(n ? splits->count : 0, 1);
  if (n != count)
    return problem_set(problem, STATUS_MODEL_FORMAT_INVALID,
                       "the model is split into %" PRIu64 " files, %" PRIu32 " are here", count, n);
  for (uint32_t i = 0; i < n; i++) {
    const struct gguf_split *split = &splits[i];
    if (split->count != splits->count || split->said_tensors != splits->said_tensors)
      return problem_set(problem, STATUS_MODEL_FORMAT_INVALID,
                         "file %" PRIu32 " of %" PRIu32 " is of another set", i + 1, n);
    if (split->no >= n || there[split->no])
      return problem_set(problem, STATUS_MODEL_FORMAT_INVALID,
                         "two of the model's files say split.no %" PRIu64, split->no);
    there[split->no] = true;
    tensors += split->own_tensors;
  }
  if (splits->said_tensors && splits->said_tensors != tensors)
    return problem_set(problem, STATUS_MODEL_FORMAT_INVALID,
                       "the model has %" PRIu64 " tensors, in its files are %" PRIu64,
                       splits->said_tensors, tensors);
  return STATUS_OK;
}

static bool digits(const char *at, uint32_t *out) {
  uint32_t value = 0;
  for (unsigned i = 0; i < PLACE_DIGITS; i++) {
    if (at[i] < '0' || at[i] > '9')
      return false;
    value = value * 10 + (uint32_t)(at[i] - '0');
  }
  *out = value;
  return true;
}

bool gguf_split_place(const char *name, size_t name_bytes, uint32_t *no, uint32_t *count) {
  if (name_bytes <= PLACE_BYTES)
    return false;
  const char *tail = name + name_bytes - PLACE_BYTES;
  uint32_t place, all;
  if (tail[0] != '-' || memcmp(tail + 6, "-of-", 4) != 0 || memcmp(tail + 15, ".gguf", 5) != 0)
    return false;
  if (!digits(tail + 1, &place) || !digits(tail + 10, &all))
    return false;
  if (!place || place > all || all > CARD_FILES)
    return false;
  *no = place - 1;
  *count = all;
  return true;
}

bool gguf_split_name(const char *name, size_t name_bytes, uint32_t no,
                     char out[TEXT_FILE_NAME + 1]) {
  uint32_t own, count;
  char place[PLACE_DIGITS + 1];
  if (name_bytes > TEXT_FILE_NAME || !gguf_split_place(name, name_bytes, &own, &count) ||
      no >= count)
    return false;
  snprintf(place, sizeof place, "%05" PRIu32, (no + 1) % 100000);
  memcpy(out, name, name_bytes);
  memcpy(out + name_bytes - PLACE_BYTES + 1, place, PLACE_DIGITS);
  out[name_bytes] = 0;
  return true;
}
