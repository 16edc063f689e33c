/*
 * schema: what answers look like, for the OpenAPI document. Written once, as a list of "name:type".
 */
#ifndef OPS_SCHEMA_H
#define OPS_SCHEMA_H

#include "base/writer.h"

/* All schemas as members of an open object (components.schemas). */
void schema_write_all(struct writer *w);
/* {"$ref":"#/components/schemas/NAME"} as the member `key`. */
void schema_write_ref(struct writer *w, const char *key, const char *name);

#endif
