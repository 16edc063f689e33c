/* fuzz_ops: the first byte picks an operation, the rest is its body over HTTP and its data over the
 * socket. What is refused names its reason; what is accepted lies within the fields' own ranges. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ops/decode.h"
#include "ops/table.h"

static void check_field(const struct ops_call *call, const struct reader_field *field) {
  const char *at = call->params + field->offset;
  if (field->type == READER_TEXT && !memchr(at, 0, field->size))
    abort();
}

static void check(const struct ops_call *call, enum status status, const struct problem *problem) {
  if (status != problem->status && status)
    abort();
  if (status && !problem->text[0])
    abort();
  for (size_t i = 0; !status && i < call->row->field_count; i++)
    check_field(call, &call->row->fields[i]);
}

static void as_http(struct ops_call *call, const char *text, size_t size) {
  struct decode_body body = {.text = text, .size = size};
  struct problem problem = {.status = STATUS_OK};
  enum status status = decode_http(call, &body, &problem);
  check(call, status, &problem);
  reader_free(body.doc);
}

static void as_wire(struct ops_call *call, const char *text, size_t size) {
  struct reader_doc *doc;
  struct problem problem = {.status = STATUS_OK};
  if (reader_parse(text, size, &doc, &problem))
    return;
  enum status status = decode_wire(call, reader_root(doc), &problem);
  check(call, status, &problem);
  reader_free(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct ops_call call; /* 16 KiB of params: not for every run anew */
  size_t count;
  const struct ops_row *const *rows = table_rows(&count);
  if (!size)
    return 0;
  const struct ops_row *row = rows[data[0] % count];
  call = (struct ops_call){.row = row, .path_values = {"host:0", "a-1"}};
  as_http(&call, (const char *)data + 1, size - 1);
  call.names = WRITER_SNAKE;
  as_wire(&call, (const char *)data + 1, size - 1);
  return 0;
}
