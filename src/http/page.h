/*
 * page: what stands at `/`: a few lines for whoever opens the address in a browser.
 */
#ifndef HTTP_PAGE_H
#define HTTP_PAGE_H

#include "http/server.h"

/* Adds the page and its headers to an answer. */
void page_fill(struct server_answer *answer);

#endif
