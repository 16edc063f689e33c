/*
 * grid: a pane's list, drawn as a table into a part of the canvas.
 */
#ifndef CLI_TOP_GRID_H
#define CLI_TOP_GRID_H

#include "cli/top/view.h"

struct top_grid {
  const struct top_snapshot *snapshot;
  enum top_pane pane;
  int row, height; /* on the canvas; the header is the first row */
  bool marks;      /* the chosen row is shown as such */
  bool stale;      /* what is shown may not be so any more */
};

/* Scrolls so that the chosen row is in sight. */
void top_grid_draw(struct top_canvas *canvas, const struct top_grid *grid, struct top_place *place);
/* What of the chosen row has no column for want of room: "STATUS active  OWNER uid:0". */
void top_grid_rest(const struct top_canvas *canvas, const struct top_grid *grid,
                   const struct top_place *place, char out[TOP_TEXT]);
/* What a bar is made of, put into a span as far as there is room. */
void top_grid_legend(struct top_canvas *canvas, struct top_span span);

#endif
