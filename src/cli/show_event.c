/*
 * show_event: a line for each event. Where a terminal is too narrow, members go from the end on,
 * all but the first id, and then the time; what has words in it is shortened before.
 */
#include "cli/show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/paint.h"

#define TEXT 256
#define PIECE (TEXT + 64) /* with a member's name */
#define LEAST 12          /* of a value with words in it */

enum { TIME, TYPE, MEMBERS };

static bool is_member(const char *key) {
  return strcmp(key, "time") != 0 && strcmp(key, "type") != 0 && strcmp(key, "correlationId") != 0;
}

static size_t count_members(struct reader_value event) {
  struct reader_value member;
  void *iterator = NULL;
  size_t count = 0;
  for (const char *key; (key = reader_next(event, &iterator, &member));)
    count += is_member(key);
  return count;
}

static struct paint_piece piece_of(struct reader_value event, const char *key, size_t index,
                                   char out[PIECE]) {
  char text[TEXT];
  int n = snprintf(out, PIECE, "%s ", key);
  snprintf(out + n, PIECE - (size_t)n, "%s", paint_text(event, key, text, sizeof text));
  struct paint_piece piece = {.text = out, .rank = (unsigned)index + 1};
  if (!index)
    piece.rank = 0; /* whose event it is */
  if (strchr(text, ' ') && reader_text(reader_get(event, key), NULL))
    piece.least = (size_t)n + LEAST;
  return piece;
}

void show_event(struct reader_value event) {
  size_t count = MEMBERS + count_members(event), at = MEMBERS;
  struct paint_piece *pieces = calloc(count, sizeof *pieces);
  char(*texts)[PIECE] = calloc(count, sizeof *texts), text[TEXT];
  struct reader_value member;
  void *iterator = NULL;
  if (pieces && texts) {
    snprintf(texts[TIME], PIECE, "%s", paint_text(event, "time", text, sizeof text));
    snprintf(texts[TYPE], PIECE, "%-20s", paint_text(event, "type", text, sizeof text));
    pieces[TIME] = (struct paint_piece){.text = texts[TIME], .rank = 1};
    pieces[TYPE] = (struct paint_piece){.text = texts[TYPE]};
    for (const char *key; (key = reader_next(event, &iterator, &member));)
      if (is_member(key)) {
        pieces[at] = piece_of(event, key, at - MEMBERS, texts[at]);
        at++;
      }
    paint_line(pieces, count);
  }
  free(pieces);
  free(texts);
}
