/*
 * draw: the whole screen: who is asked, the devices, the lists, and what the keys do.
 */
#ifndef CLI_TOP_DRAW_H
#define CLI_TOP_DRAW_H

#include "cli/top/view.h"

struct top_scene {
  const struct top_snapshot *snapshot; /* the last there was; NULL: none yet */
  const char *trouble;                 /* why there is no newer one; "" when there is */
};

/* Any size of canvas will do; in a small one less is shown. Scrolls what has to be. */
void top_draw(struct top_canvas *canvas, const struct top_scene *scene, struct top_view *view);

#endif
