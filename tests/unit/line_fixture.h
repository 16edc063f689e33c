/*
 * line_fixture: a line on one end of a socket pair, what it told, and a peer that writes what it
 * likes to the other end.
 */
#ifndef LINE_FIXTURE_H
#define LINE_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/line.h"

#define MAX_LINE 1000
#define MAX_QUEUE 4000
#define LINES 600

struct line_fixture {
  int ends[2]; /* 0 is the line's */
  struct line *line;
  struct share memory;
  unsigned open;
  /* What was told. */
  char *lines[LINES];
  size_t sizes[LINES];
  int count, stop_at, take; /* take: shares to take at each line */
  struct share taken[LINES];
  int taken_count;
  bool frees;
};

int line_fixture_setup(void **state);
/* Fails when a descriptor was lost. */
int line_fixture_teardown(void **state);
void line_fixture_make(struct line_fixture *f, size_t max_line, size_t max_queue);
void line_fixture_close_end(struct line_fixture *f, int end);
/* line_read; what is told is kept in the fixture. */
enum status line_fixture_read_all(struct line_fixture *f);
/* A line on the other end. */
struct line *line_fixture_other_end(struct line_fixture *f);

void line_fixture_peer_writes(const struct line_fixture *f, const char *text, size_t n);
#define LINE_FIXTURE_WRITES(f, literal) line_fixture_peer_writes(f, literal, sizeof(literal) - 1)
/* `n` bytes and `fds` descriptors in one message. */
void line_fixture_peer_sends(const struct line_fixture *f, const char *text, size_t n, int fds);

void line_fixture_assert_told(const struct line_fixture *f, int at, const char *expected);
void line_fixture_assert_memory(const struct line_fixture *f, const struct share *share);

#endif
