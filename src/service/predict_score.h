/*
 * predict_score: how many acts of one kind of prediction were needed, and whether it may go on.
 * Pure. Private to this room.
 */
#ifndef SERVICE_PREDICT_SCORE_H
#define SERVICE_PREDICT_SCORE_H

#include <stdbool.h>
#include <stdint.h>

#define PREDICT_SCORE_LEAST 10 /* judged acts, before anything is made of them */
#define PREDICT_SCORE_RECENT                                                                       \
  20                             /* judged acts that count: what was right last week is no excuse  \
                                  */
#define PREDICT_SCORE_SHARE 6000 /* hundredths of a percent that are to be needed: contract 8 */

/* {0} at the start. */
struct predict_score {
  uint64_t made, judged, needed; /* in all */
  uint32_t recent;               /* a bit for each of the last ones, the newest first; 1: needed */
  bool off;
};

void predict_score_judge(struct predict_score *score, bool needed);
/* Of the recent ones: how many were judged, and which share of them was needed, in hundredths of a
 * percent. 0 of none. */
uint32_t predict_score_recent(const struct predict_score *score, uint32_t *share);

#endif
