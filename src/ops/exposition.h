/*
 * exposition: Prometheus' text format, version 0.0.4, into a buf. Failure is the buffer's.
 * Source: prometheus.io/docs/instrumenting/exposition_formats.
 */
#ifndef OPS_EXPOSITION_H
#define OPS_EXPOSITION_H

#include "base/buf.h"

#define EXPOSITION_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum exposition_kind { EXPOSITION_GAUGE, EXPOSITION_COUNTER, EXPOSITION_HISTOGRAM };

/* Before the first sample of a name; `help`: one sentence without backslash or newline. */
void exposition_family(struct buf *out, const char *name, enum exposition_kind kind,
                       const char *help);

struct exposition_label {
  const char *name, *value; /* value: any text */
};
/* `suffix` stands behind the name: "" or "_bucket" … */
struct exposition_sample {
  const char *name, *suffix;
  struct exposition_label labels[2];
  unsigned label_count;
};
void exposition_add(struct buf *out, const struct exposition_sample *sample, double value);

#endif
