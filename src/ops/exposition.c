/* exposition: values are printed so that whole numbers up to 10^15 come out as such. */
#include "ops/exposition.h"

#include <string.h>

static const char *const kinds[] = {"gauge", "counter", "histogram"};

void exposition_family(struct buf *out, const char *name, enum exposition_kind kind,
                       const char *help) {
  buf_print(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kinds[kind]);
}

static void add_escaped(struct buf *out, const char *text) {
  for (size_t n; *text; text += n) {
    n = strcspn(text, "\\\"\n");
    buf_add(out, text, n);
    if (!text[n])
      return;
    buf_add(out, text[n] == '\n' ? "\\n" : text[n] == '"' ? "\\\"" : "\\\\", 2);
    n++;
  }
}

void exposition_add(struct buf *out, const struct exposition_sample *sample, double value) {
  buf_print(out, "%s%s", sample->name, sample->suffix);
  for (unsigned i = 0; i < sample->label_count; i++) {
    buf_print(out, "%c%s=\"", i ? ',' : '{', sample->labels[i].name);
    add_escaped(out, sample->labels[i].value);
    buf_add(out, "\"", 1);
  }
  buf_print(out, "%s %.15g\n", sample->label_count ? "}" : "", value);
}
