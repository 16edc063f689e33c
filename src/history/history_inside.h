/*
 * history_inside: for the questions of this room. On the history's thread.
 */
#ifndef HISTORY_HISTORY_INSIDE_H
#define HISTORY_HISTORY_INSIDE_H

#include "history/history.h"
#include "history/sql.h"

#define HISTORY_VERSION 1

/* The file's connection, or that of the memory which stands for it. */
struct sql *history_sql(struct history *history);
/* After a question: an error of its own does not stay, nor does the file if it was the cause. */
void history_asked(struct history *history);

#endif
