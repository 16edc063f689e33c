/*
 * log: one line per fact on stderr: "<6>room: text correlation=…" (the <N> is journald's priority;
 * left out on a terminal, where time and level stand instead). The level is the only process-wide
 * state of the program and set before threads start (and by SIGHUP, atomically).
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_set_level(enum log_level level);
bool log_parse_level(const char *word, enum log_level *out); /* error warning info debug */
bool log_wants(enum log_level level);
/* `room` is a literal. Control characters in the text are escaped, lines cut at 2 KiB. */
void log_write(enum log_level level, const char *room, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(room, ...) log_write(LOG_LEVEL_ERROR, room, __VA_ARGS__)
#define log_warning(room, ...) log_write(LOG_LEVEL_WARNING, room, __VA_ARGS__)
#define log_info(room, ...) log_write(LOG_LEVEL_INFO, room, __VA_ARGS__)
#define log_debug(room, ...)                                                                       \
  ((void)(log_wants(LOG_LEVEL_DEBUG) && (log_write(LOG_LEVEL_DEBUG, room, __VA_ARGS__), 1)))

#endif
