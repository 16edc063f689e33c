/*
 * page: no script, style or picture but its own, so that the strictest policy holds. A browser asks
 * each time whether its copy is still good: another version of the daemon has other files.
 */
#include "http/page.h"

#include <string.h>

static bool is_at(const struct page *page, const struct path *path) {
  const char *rest = page->path;
  for (size_t i = 0; i < path->count; i++) {
    size_t n = strlen(path->segments[i]);
    if (*rest != '/' || strncmp(rest + 1, path->segments[i], n) != 0)
      return false;
    rest += 1 + n;
  }
  return !*rest;
}

const struct page *page_find(const struct path *path) {
  for (size_t i = 0; i < page_file_count; i++)
    if (is_at(&page_files[i], path))
      return &page_files[i];
  return NULL;
}

void page_fill(const struct page *page, const char *seen, struct server_answer *answer) {
  const struct server_header headers[] = {
      {"Content-Type", page->type},
      {"Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'"},
      {"X-Content-Type-Options", "nosniff"},
      {"Cache-Control", "no-cache"},
      {"ETag", page->tag},
  };
  bool same = seen && strstr(seen, page->tag);
  answer->status = same ? 304 : 200;
  answer->body = same ? "" : page->data;
  answer->size = same ? 0 : page->size;
  for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
    answer->headers[answer->header_count++] = headers[i];
}
