/*
 * page: built in, without script or style, so that the strictest policy holds.
 */
#include "http/page.h"

static const char text[] =
    "<!doctype html>\n"
    "<html lang=\"en\">\n"
    "<meta charset=\"utf-8\">\n"
    "<title>Memkeep</title>\n"
    "<h1>Memkeep</h1>\n"
    "<p>This is memkeepd, the keeper of this host's device memory.</p>\n"
    "<ul>\n"
    "<li><a href=\"/api/memory/status\">/api/memory/status</a>: the whole host</li>\n"
    "<li><a href=\"/openapi.json\">/openapi.json</a>: everything that can be asked</li>\n"
    "<li><a href=\"/health\">/health</a></li>\n"
    "</ul>\n"
    "</html>\n";

static const struct server_header headers[] = {
    {"Content-Type", "text/html; charset=utf-8"},
    {"Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'"},
    {"X-Content-Type-Options", "nosniff"},
    {"Cache-Control", "no-cache"},
};

void page_fill(struct server_answer *answer) {
  answer->status = 200;
  answer->body = text;
  answer->size = sizeof text - 1;
  for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
    answer->headers[answer->header_count++] = headers[i];
}
