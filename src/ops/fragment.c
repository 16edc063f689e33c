/*
 * fragment: what was written last stands beside what it was made of; a report that brings the same
 * again gets the same text. Nobody has to say when something changed.
 */
#include "ops/fragment.h"

#include <stdlib.h>
#include <string.h>

#include "base/lock.h"

#define FRAGMENT_CAP                                                                               \
  ((size_t)8 << 10)      /* 16 processes with names of 31 bytes, every one escaped                 \
                          */
#define FRAGMENT_NAMES 2 /* camelCase and snake_case */

struct kept {
  struct view_process processes[VIEW_PROCESSES];
  uint32_t count;
  bool made;
  struct buf text;
};

struct fragment {
  struct lock lock;
  struct kept kept[VIEW_DEVICES][FRAGMENT_NAMES];
};

struct fragment *fragment_create(void) {
  struct fragment *fragment = calloc(1, sizeof *fragment);
  if (!fragment)
    return NULL;
  lock_init(&fragment->lock, LOCK_RANK_LEAF, "fragment");
  for (unsigned i = 0; i < VIEW_DEVICES; i++)
    for (unsigned names = 0; names < FRAGMENT_NAMES; names++)
      buf_init(&fragment->kept[i][names].text, FRAGMENT_CAP);
  return fragment;
}

void fragment_free(struct fragment *fragment) {
  if (!fragment)
    return;
  for (unsigned i = 0; i < VIEW_DEVICES; i++)
    for (unsigned names = 0; names < FRAGMENT_NAMES; names++)
      buf_done(&fragment->kept[i][names].text);
  lock_done(&fragment->lock);
  free(fragment);
}

static void write_process(struct writer *w, const struct view_process *one) {
  writer_object(w, NULL);
  writer_int(w, "pid", one->process.pid);
  writer_text_or_null(w, "name", one->process.name);
  writer_uint(w, "usedBytes", one->process.used_bytes);
  writer_bool(w, "managed", one->managed);
  writer_bool(w, "deadPid", one->process.dead);
  writer_end(w);
}

/* An array as a text of its own. */
static void make(struct kept *kept, const struct view_device *device, enum writer_names names) {
  struct writer w;
  buf_reset(&kept->text);
  writer_init(&w, &kept->text, names);
  writer_array(&w, NULL);
  for (uint32_t i = 0; i < device->process_count; i++)
    write_process(&w, &device->processes[i]);
  writer_end(&w);
  kept->count = device->process_count;
  memcpy(kept->processes, device->processes, kept->count * sizeof *kept->processes);
  kept->made = !kept->text.failed;
}

static bool are_equal(const struct view_process *a, const struct view_process *b) {
  return a->process.pid == b->process.pid && a->process.used_bytes == b->process.used_bytes &&
         a->process.dead == b->process.dead && a->managed == b->managed &&
         strcmp(a->process.name, b->process.name) == 0;
}

static bool is_the_same(const struct kept *kept, const struct view_device *device) {
  bool same = kept->made && kept->count == device->process_count;
  for (uint32_t i = 0; same && i < kept->count; i++)
    same = are_equal(&kept->processes[i], &device->processes[i]);
  return same;
}

void fragment_processes(struct fragment *fragment, uint32_t index, const struct view_device *device,
                        struct writer *w) {
  struct kept *kept = &fragment->kept[index][w->names == WRITER_SNAKE];
  LOCK_SCOPE(&fragment->lock);
  if (!is_the_same(kept, device))
    make(kept, device, w->names);
  if (kept->made)
    writer_raw(w, "processes", kept->text.data, kept->text.size);
  else
    writer_null(w, "processes");
}
