/*
 * instructor: the wire: lines in, lines out. Any thread may send; whole lines only.
 */
#ifndef WORKER_INSTRUCTOR_H
#define WORKER_INSTRUCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/problem.h"
#include "base/status.h"

struct instructor;
struct manager;

#define INSTRUCTOR_LINE (4u << 20) /* contract 5 */

enum status instructor_create(struct manager *manager, struct instructor **out);
void instructor_free(struct instructor *instructor);
/* Says hello, then reads until stdin ends. Returns the exit code. */
int instructor_run(struct instructor *instructor);

/* `data` is a JSON object. */
void instructor_reply(struct instructor *instructor, const char *id, const char *data, size_t n);
void instructor_refuse(struct instructor *instructor, const char *id,
                       const struct problem *problem);
void instructor_progress(struct instructor *instructor, const char *id, uint64_t done,
                         uint64_t total);

#endif
