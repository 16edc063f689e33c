/*
 * shards: of each tensor the key of its name, where the name stands in the text, and its file are
 * kept. Files are few: their names are kept once and found by halving, so that a hostile index can
 * make no search long. Index and card are then two sorted lists of keys that must be the same.
 */
#include "model/shards.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "model/order.h"
#include "model/pull.h"

#define SHARDS_FIRST 1024 /* tensors there is room for at first */

struct entry {
  uint32_t name, name_bytes; /* as written in the text */
  uint32_t file;
};

struct shards {
  const char *text;
  struct entry *entries;
  struct order_key *keys; /* sorted once all is read; index: of the entry */
  size_t count, space;
  uint32_t files;
  uint16_t order[CARD_FILES]; /* files by their names */
  char names[CARD_FILES][CARD_NAME + 1];
};

struct parse {
  struct pull json;
  struct shards *shards;
  struct problem *problem;
  bool has_map;
  char name[CARD_TENSOR_NAME];
};

static enum status refuse(struct problem *problem, const char *what) {
  return problem_set(problem, STATUS_MODEL_FORMAT_INVALID, "the index %s", what);
}

static enum status refuse_json(struct parse *p) {
  return problem_set(p->problem, STATUS_MODEL_FORMAT_INVALID,
                     "expected %s at byte %zu of the index", p->json.wrong,
                     (size_t)(p->json.at - p->json.start));
}

static enum status no_memory(struct problem *problem) {
  return problem_set(problem, STATUS_INTERNAL_ERROR, "no memory for a model's index");
}

/* ---- files ---- */

/* Where a file's name is in the order, or would be. */
static uint32_t place_of(const struct shards *shards, const char *name, bool *is_there) {
  uint32_t low = 0, high = shards->files;
  *is_there = false;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    int side = strcmp(name, shards->names[shards->order[middle]]);
    *is_there |= !side;
    if (side > 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static enum status read_file(struct parse *p, uint32_t *file) {
  struct shards *shards = p->shards;
  struct pull_text text;
  char name[CARD_NAME + 1], shown[TEXT_SHORT];
  size_t n;
  bool is_there;
  if (!pull_string(&p->json, &text))
    return refuse_json(p);
  if (!pull_decode(&text, name, CARD_NAME, &n) || !text_is_file_name(name, n))
    return problem_set(p->problem, STATUS_MODEL_FORMAT_INVALID,
                       "the index names a file \"%s\", which is no plain file name",
                       text_shorten(text.at, text.n, shown));
  name[n] = 0;
  uint32_t place = place_of(shards, name, &is_there);
  if (is_there) {
    *file = shards->order[place];
    return STATUS_OK;
  }
  if (shards->files == CARD_FILES)
    return problem_set(p->problem, STATUS_MODEL_FORMAT_INVALID, "the index names over %d files",
                       CARD_FILES);
  memmove(&shards->order[place + 1], &shards->order[place],
          (shards->files - place) * sizeof *shards->order);
  shards->order[place] = (uint16_t)shards->files;
  memcpy(shards->names[shards->files], name, n + 1);
  *file = shards->files++;
  return STATUS_OK;
}

/* ---- entries ---- */

static bool grow(struct shards *shards) {
  if (shards->count < shards->space)
    return true;
  size_t space = units_max(SHARDS_FIRST, shards->space + shards->space / 2);
  space = units_min(space, CARD_TENSORS);
  struct entry *entries = realloc(shards->entries, space * sizeof *entries);
  if (!entries)
    return false;
  shards->entries = entries;
  struct order_key *keys = realloc(shards->keys, space * sizeof *keys);
  if (!keys)
    return false;
  shards->keys = keys;
  shards->space = space;
  return true;
}

static enum status read_entry(struct parse *p) {
  struct shards *shards = p->shards;
  struct pull_text key;
  size_t n;
  if (!pull_key(&p->json, &key))
    return refuse_json(p);
  if (shards->count == CARD_TENSORS)
    return problem_set(p->problem, STATUS_MODEL_FORMAT_INVALID, "the index has over %d tensors",
                       CARD_TENSORS);
  if (!pull_decode(&key, p->name, sizeof p->name, &n))
    return refuse(p->problem, "has a tensor whose name is too long");
  if (!grow(shards))
    return no_memory(p->problem);
  struct entry *entry = &shards->entries[shards->count];
  entry->name = (uint32_t)(key.at - shards->text);
  entry->name_bytes = (uint32_t)key.n;
  shards->keys[shards->count] = order_name(p->name, n, (uint32_t)shards->count);
  shards->count++;
  return read_file(p, &entry->file);
}

static enum status read_map(struct parse *p) {
  if (p->has_map)
    pull_refuse(&p->json, "one weight_map only");
  p->has_map = true;
  pull_open(&p->json, '{');
  while (pull_more(&p->json, '}')) {
    enum status status = read_entry(p);
    if (status)
      return status;
  }
  return p->json.wrong ? refuse_json(p) : STATUS_OK;
}

static enum status read_all(struct parse *p) {
  struct pull_text key;
  pull_open(&p->json, '{');
  while (pull_more(&p->json, '}')) {
    if (!pull_key(&p->json, &key))
      break;
    bool is_map = pull_is(&key, "weight_map");
    enum status status = is_map ? read_map(p) : STATUS_OK;
    if (status)
      return status;
    if (!is_map && !pull_skip(&p->json))
      break;
  }
  if (!pull_end(&p->json))
    return refuse_json(p);
  return p->shards->count ? STATUS_OK : refuse(p->problem, "has no weight_map, or an empty one");
}

/* The name of the tensor of a key, for a sentence. */
static const char *show(const struct shards *shards, uint32_t index, char out[TEXT_SHORT]) {
  const struct entry *entry = &shards->entries[index];
  return text_shorten(shards->text + entry->name, entry->name_bytes, out);
}

static enum status sort(struct parse *p) {
  struct shards *shards = p->shards;
  char name[TEXT_SHORT];
  struct order_key *spare = malloc(shards->count * sizeof *spare);
  if (!spare)
    return no_memory(p->problem);
  struct order_key *sorted = order_sort(shards->keys, spare, shards->count);
  free(sorted == spare ? shards->keys : spare);
  shards->keys = sorted;
  uint32_t twice = order_find_twice(sorted, shards->count);
  if (twice == UINT32_MAX)
    return STATUS_OK;
  return problem_set(p->problem, STATUS_MODEL_FORMAT_INVALID, "the index has tensor \"%s\" twice",
                     show(shards, twice, name));
}

enum status shards_parse(const char *text, size_t n, struct shards **out, struct problem *problem) {
  if (n > SHARDS_INDEX || !text_is_valid(text, n))
    return refuse(problem, n > SHARDS_INDEX ? "is too large" : "is no UTF-8 text");
  struct shards *shards = calloc(1, sizeof *shards);
  struct parse *p = calloc(1, sizeof *p);
  enum status status = STATUS_INTERNAL_ERROR;
  if (shards && p) {
    shards->text = text;
    p->shards = shards;
    p->problem = problem;
    pull_begin(&p->json, text, n);
    status = read_all(p);
    status = status ? status : sort(p);
  } else {
    no_memory(problem);
  }
  free(p);
  if (status)
    shards_free(shards);
  else
    *out = shards;
  return status;
}

void shards_free(struct shards *shards) {
  if (!shards)
    return;
  free(shards->entries);
  free(shards->keys);
  free(shards);
}

uint32_t shards_count(const struct shards *shards) { return shards->files; }

const char *shards_name(const struct shards *shards, uint32_t index) {
  return shards->names[shards->order[index]];
}

/* ---- index and card ---- */

struct check {
  const struct shards *shards;
  const struct card *card;
  struct problem *problem;
  uint32_t files[CARD_FILES]; /* of the card: which of the index's each is */
};

static enum status check_files(struct check *check) {
  const struct card *card = check->card;
  if (card->head->files != check->shards->files)
    return problem_set(check->problem, STATUS_MODEL_FORMAT_INVALID,
                       "the index names %u files, the model has %u", check->shards->files,
                       card->head->files);
  for (uint32_t i = 0; i < card->head->files; i++) {
    char name[CARD_NAME + 1] = "", shown[TEXT_SHORT];
    bool is_there;
    memcpy(name, card->text + card->files[i].name, card->files[i].name_bytes);
    uint32_t place = place_of(check->shards, name, &is_there);
    if (!is_there)
      return problem_set(check->problem, STATUS_MODEL_FORMAT_INVALID,
                         "the index does not name file \"%s\"",
                         text_shorten(name, strlen(name), shown));
    check->files[i] = check->shards->order[place];
  }
  return STATUS_OK;
}

static enum status refuse_card(struct check *check, uint32_t index, const char *what) {
  const struct card_tensor *tensor = &check->card->tensors[index];
  char name[TEXT_SHORT];
  text_shorten(check->card->text + tensor->name, tensor->name_bytes, name);
  return problem_set(check->problem, STATUS_MODEL_FORMAT_INVALID, "tensor \"%s\" %s", name, what);
}

static enum status refuse_entry(struct check *check, uint32_t index) {
  char name[TEXT_SHORT];
  return problem_set(check->problem, STATUS_MODEL_FORMAT_INVALID,
                     "tensor \"%s\" is in the index, but in no file",
                     show(check->shards, index, name));
}

/* keys: the card's names, sorted. */
static enum status compare(struct check *check, const struct order_key *keys) {
  const struct shards *shards = check->shards;
  size_t tensors = check->card->head->tensors, both = units_min(tensors, shards->count);
  for (size_t i = 0; i < both; i++) {
    const struct order_key *ours = &shards->keys[i], *theirs = &keys[i];
    if (order_is_before(ours, theirs))
      return refuse_entry(check, ours->index);
    if (order_is_before(theirs, ours))
      return refuse_card(check, theirs->index, "is in a file, but not in the index");
    uint32_t file = check->files[check->card->tensors[theirs->index].file];
    if (file != shards->entries[ours->index].file)
      return refuse_card(check, theirs->index, "is in another file than the index says");
  }
  if (both < tensors)
    return refuse_card(check, keys[both].index, "is in a file, but not in the index");
  return both < shards->count ? refuse_entry(check, shards->keys[both].index) : STATUS_OK;
}

enum status shards_check(const struct shards *shards, const struct card *card,
                         struct problem *problem) {
  struct check check = {.shards = shards, .card = card, .problem = problem};
  size_t tensors = card->head->tensors;
  enum status status = check_files(&check);
  if (status)
    return status;
  struct order_key *keys = calloc(2 * tensors + 1, sizeof *keys);
  if (!keys)
    return no_memory(problem);
  for (size_t i = 0; i < tensors; i++)
    keys[i] =
        order_name(card->text + card->tensors[i].name, card->tensors[i].name_bytes, (uint32_t)i);
  status = compare(&check, order_sort(keys, keys + tensors, tensors));
  free(keys);
  return status;
}
