/*
 * follow: what takes more than one question: lists of many pages, what takes long until its
 * end, and events.
 */
#ifndef CLI_FOLLOW_H
#define CLI_FOLLOW_H

#include "cli/ask.h"

/* All take the first answer, a success, and may put another one in its place. */

/* Shows this page and those behind it. `data` is what was asked for the first. */
int follow_pages(struct ask *ask, const struct ask_question *question, struct ask_answer *answer,
                 void (*show)(struct reader_value data));
/* Waits until the transfer has ended, with a bar where a person looks on; *answer is its last
 * state. EXIT_FAILED: it did not complete. */
int follow_transfer(struct ask *ask, struct ask_answer *answer);
/* The same for the job of a load; *answer is then the model, or the job when it did not complete.
 */
int follow_load(struct ask *ask, struct ask_answer *answer);
/* Shows events, a line each, until the connection ends, stdout does or the time is over. */
int follow_events(struct ask *ask, struct ask_answer *answer);

#endif
