#include "worker/find.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/packet.h"
#include "base/writer.h"
#include "device/probe.h"

#define FIND_CARDS 32
#define FIND_SECONDS 10 /* whoever asked has given up long before */

/* With an end: a message; without: a line. */
static void tell(const struct share *end, const struct buf *out) {
  if (end->kind == SHARE_NONE)
    printf("%.*s\n", (int)out->size, out->data);
  else
    (void)packet_send(end, out->data, out->size, NULL);
}

static void tell_card(const struct share *end, const struct spec *spec) {
  struct buf out BUF_CLEANUP;
  struct writer w;
  char text[256];
  buf_init(&out, PACKET_TEXT);
  writer_init(&w, &out, WRITER_SNAKE);
  writer_object(&w, NULL);
  writer_text(&w, "device", spec_format(spec, text, sizeof text));
  writer_text(&w, "pci", spec->pci);
  writer_end(&w);
  if (!out.failed)
    tell(end, &out);
}

static void tell_end(const struct share *end, unsigned count) {
  struct buf out BUF_CLEANUP;
  struct writer w;
  buf_init(&out, PACKET_TEXT);
  writer_init(&w, &out, WRITER_SNAKE);
  writer_object(&w, NULL);
  writer_uint(&w, "found", count);
  writer_end(&w);
  tell(end, &out);
}

int find_run(void) {
  struct share end = {SHARE_NONE, 0};
  struct spec found[FIND_CARDS];
  alarm(FIND_SECONDS);
  (void)packet_inherited(getenv("MEMKEEP_FD"), &end);
  unsigned count = probe_cards(found, FIND_CARDS);
  for (unsigned i = 0; i < count; i++)
    tell_card(&end, &found[i]);
  tell_end(&end, count);
  fflush(stdout);
  _exit(0); /* without what the drivers may have to do at the end */
}
