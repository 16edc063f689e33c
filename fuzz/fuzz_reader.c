/* fuzz_reader: any bytes as a document. What is accepted can be decoded by a table without harm,
 * and dumped; the dump is a document again, and dumps to itself. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/id.h"
#include "base/reader.h"

#define DUMP (4U << 20)

struct target {
  uint64_t size, id;
  int64_t offset;
  bool flag;
  char text[16];
  int word;
  double real;
  struct reader_value raw;
};

static const char *const words[] = {"fifo", "lru", NULL};
static const struct reader_field fields[] = {
    {"sizeBytes", .type = READER_UINT, .offset = offsetof(struct target, size), .min = 1,
     .power_of_two = true},
    {"ownId", .type = READER_ID, .offset = offsetof(struct target, id), .prefix = ID_ALLOCATION},
    {"offset", .type = READER_INT, .offset = offsetof(struct target, offset), .min = (uint64_t)-9,
     .max = 9},
    {"flag", .type = READER_BOOL, .offset = offsetof(struct target, flag), .required = true},
    {"text", .type = READER_TEXT, .offset = offsetof(struct target, text), .size = 16},
    {"word", .type = READER_WORD, .offset = offsetof(struct target, word), .words = words},
    {"real", .type = READER_DOUBLE, .offset = offsetof(struct target, real), .otherwise = "1"},
    {"raw", .type = READER_RAW, .offset = offsetof(struct target, raw), .otherwise = "null"},
};

static void decode(struct reader_value root) {
  for (int names = READER_CAMEL; names <= READER_SNAKE; names++) {
    const struct reader_table table = {.fields = fields,
                                       .count = sizeof fields / sizeof *fields,
                                       .names = (enum reader_names)names};
    struct target target = {0};
    struct problem problem = {0};
    enum status status = reader_decode(root, &table, &target, NULL, &problem);
    if (status != problem.status || memchr(target.text, 0, sizeof target.text) == NULL)
      abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct reader_doc *doc, *again;
  struct problem problem = {0};
  if (reader_parse((const char *)data, size, &doc, &problem))
    return 0;
  decode(reader_root(doc));
  struct buf first BUF_CLEANUP, second BUF_CLEANUP;
  buf_init(&first, DUMP);
  buf_init(&second, DUMP);
  reader_dump(reader_root(doc), &first);
  reader_free(doc);
  if (first.failed)
    return 0;
  if (reader_parse(first.data, first.size, &again, &problem))
    abort();
  reader_dump(reader_root(again), &second);
  reader_free(again);
  if (first.size != second.size || memcmp(first.data, second.data, first.size) != 0)
    abort();
  return 0;
}
