/*
 * openapi: the table of operations as an OpenAPI 3.1 document.
 */
#ifndef OPS_OPENAPI_H
#define OPS_OPENAPI_H

#include "base/buf.h"

void openapi_write(struct buf *out);

#endif
