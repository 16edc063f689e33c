/*
 * page: the dashboard at `/`: the files of web/, built into the program (tools/embed.py). Anybody
 * may read them: they hold nothing of this host.
 */
#ifndef HTTP_PAGE_H
#define HTTP_PAGE_H

#include "http/path.h"
#include "http/server.h"

struct page {
  const char *path, *type, *tag; /* tag: an ETag of its bytes, with its quotes */
  const char *data;
  size_t size;
};

/* In order of paths; from the generated source. */
extern const struct page page_files[];
extern const size_t page_file_count;

/* The file at a path; NULL: none. */
const struct page *page_find(const struct path *path);
/* Adds a file and its headers to an answer; 304 without it where `seen` (If-None-Match, NULL:
 * absent) names it. */
void page_fill(const struct page *page, const char *seen, struct server_answer *answer);

#endif
