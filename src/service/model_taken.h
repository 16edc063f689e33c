/*
 * model_taken: a load under the name of another file's model. It is refused; but whoever mistyped
 * the path as well hears of that first. Private to this room.
 */
#ifndef SERVICE_MODEL_TAKEN_H
#define SERVICE_MODEL_TAKEN_H

#include "service/models.h"

#define MODEL_TAKEN_LOOKS 64 /* at a time: a network's file system may let them wait */

/* No lock held. OK: *job (unlisted, the caller's reference) fails with what opening the path says,
 * else with *problem. Otherwise *problem's status: that is all there is to say, because too many
 * are being looked at, or there is no memory. */
enum status model_taken_start(struct service *s, const struct caller *caller, const char *path,
                              struct job **job, const struct problem *problem);

#endif
