/*
 * decode: a request's fields into the params of its row, strictly: from the path, the query and the
 * body over HTTP, from `data` on the socket.
 */
#ifndef OPS_DECODE_H
#define OPS_DECODE_H

#include "ops/ops.h"

/* Fills call->params. `body` may be NULL; a document that was parsed is *doc: free it after the
 * handler, which may borrow raw values from it. */
struct decode_body {
  const char *text;
  size_t size;
  struct reader_doc *doc; /* result, NULL: none */
};
enum status decode_http(struct ops_call *call, struct decode_body *body, struct problem *problem);
/* data.json NULL: absent, the same as {}. */
enum status decode_wire(struct ops_call *call, struct reader_value data, struct problem *problem);

#endif
