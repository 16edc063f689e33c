/*
 * successor: which model is asked for after which: a table of successors with counts, learned from
 * the order of requests alone. Pure: the caller keeps it and its lock.
 *
 * It is the first-order Markov predictor of D. Joseph and D. Grunwald, "Prefetching Using Markov
 * Predictors", ISCA 1997 (of files: J. Griffioen and R. Appleton, USENIX 1994). What a count is
 * worth is said by the lower end of the interval of E. B. Wilson, "Probable Inference, the Law of
 * Succession, and Statistical Inference", JASA 22 (1927): three times out of three is enough to be
 * SUCCESSOR_SURE, two of two is chance.
 *
 * All of it has a size that is known before: of what comes when it is full, the oldest makes room.
 */
#ifndef MODEL_SUCCESSOR_H
#define MODEL_SUCCESSOR_H

#include <stdint.h>

#define SUCCESSOR_SETS 128 /* of eight models each: 1,024 are followed at most, in 80 KiB */
#define SUCCESSOR_WAYS 8
#define SUCCESSOR_NEXT 4   /* of one model */
#define SUCCESSOR_MOST 32  /* then all counts of a model are halved: what was, fades */
#define SUCCESSOR_SURE 0.6 /* a confidence that is worth acting on */

struct successor_row {
  uint64_t id, seen_at; /* id 0: none */
  uint32_t total;       /* how often anybody came after it */
  uint32_t counts[SUCCESSOR_NEXT];
  uint64_t next[SUCCESSOR_NEXT];
};
/* {0} at the start. */
struct successor_table {
  struct successor_row rows[SUCCESSOR_SETS][SUCCESSOR_WAYS];
  uint64_t last, seen; /* who was asked for last, and how many requests there were */
};

/* A request for a model (id > 0). The same one twice in a row is one. */
void successor_add(struct successor_table *table, uint64_t id);

struct successor {
  uint64_t id;           /* 0: nobody is known to come */
  uint32_t count, total; /* so often, of so many requests after this one */
  double confidence;     /* at least this share of the time, with a certainty of 90 % */
};
/* Who comes most often after the model. */
struct successor successor_after(const struct successor_table *table, uint64_t id);

#endif
