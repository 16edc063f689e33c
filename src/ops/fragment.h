/*
 * fragment: a device's processes as JSON, kept until they change. They are half of what a status
 * says, and they are sampled once a second, while a status may be asked 100,000 times a second.
 */
#ifndef OPS_FRAGMENT_H
#define OPS_FRAGMENT_H

#include "base/writer.h"
#include "service/view.h"

struct fragment;

/* NULL: no memory. */
struct fragment *fragment_create(void);
void fragment_free(struct fragment *fragment);
/* The array of device `index` of a report, as the member "processes". Any thread. */
void fragment_processes(struct fragment *fragment, uint32_t index, const struct view_device *device,
                        struct writer *w);

#endif
