/*
 * cuda/lane: while one pinned piece is on the link, the other is filled, or emptied, by the
 * caller's core. One core copies some 10 GB/s and a link takes 55, so whoever wants all of it calls
 * from several threads.
 */
#include "device/cuda/lane.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define LANE_PIECE MIB /* half of it stays in the L2 cache; 20 us of the link */
#define LANE_PIECES 2
#define LANE_NUMBERS ((1U << CUDA_LANE_MOST) - 1)

struct cuda_lane {
  const struct cuda_load *load;
  api_stream stream;
  unsigned number;
  struct {
    char *bytes; /* NULL: not yet needed */
    api_event moved;
  } pieces[LANE_PIECES];
  struct cuda_lane *next;
};

struct cuda_lane_pool {
  const struct cuda_load *load;
  pthread_mutex_t lock;
  pthread_cond_t given;
  struct cuda_lane *idle;
  unsigned numbers; /* a bit for each that is a lane's */
};

/* ---- pool ---- */

enum status cuda_lane_pool_create(const struct cuda_load *load, struct cuda_lane_pool **out) {
  struct cuda_lane_pool *pool = calloc(1, sizeof *pool);
  if (!pool)
    return STATUS_INTERNAL_ERROR;
  pool->load = load;
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->given, NULL);
  *out = pool;
  return STATUS_OK;
}

/* Also of a context that is lost: then the driver answers with errors, which change nothing. */
static void lane_free(struct cuda_lane *lane) {
  for (unsigned i = 0; i < LANE_PIECES; i++) {
    if (lane->pieces[i].moved)
      (void)lane->load->event_destroy(lane->pieces[i].moved);
    if (lane->pieces[i].bytes)
      (void)lane->load->host_free(lane->pieces[i].bytes);
  }
  (void)lane->load->stream_destroy(lane->stream);
  free(lane);
}

void cuda_lane_pool_free(struct cuda_lane_pool *pool) {
  if (!pool)
    return;
  for (struct cuda_lane *lane = pool->idle, *next; lane; lane = next) {
    next = lane->next;
    lane_free(lane);
  }
  pthread_cond_destroy(&pool->given);
  pthread_mutex_destroy(&pool->lock);
  free(pool);
}

static enum status lane_create(const struct cuda_load *load, unsigned number,
                               struct cuda_lane **out) {
  struct cuda_lane *lane = calloc(1, sizeof *lane);
  if (!lane)
    return STATUS_INTERNAL_ERROR;
  lane->load = load;
  lane->number = number;
  enum status status = cuda_load_check(load, "make a stream",
                                       load->stream_create(&lane->stream, API_STREAM_NON_BLOCKING));
  if (status)
    free(lane);
  else
    *out = lane;
  return status;
}

enum status cuda_lane_take(struct cuda_lane_pool *pool, struct cuda_lane **out) {
  pthread_mutex_lock(&pool->lock);
  while (!pool->idle && pool->numbers == LANE_NUMBERS)
    pthread_cond_wait(&pool->given, &pool->lock);
  struct cuda_lane *lane = pool->idle;
  unsigned number = (unsigned)__builtin_ctz(~pool->numbers);
  if (lane)
    pool->idle = lane->next;
  else
    pool->numbers |= 1U << number;
  pthread_mutex_unlock(&pool->lock);
  enum status status = lane ? STATUS_OK : lane_create(pool->load, number, &lane);
  if (!status) {
    *out = lane;
    return STATUS_OK;
  }
  pthread_mutex_lock(&pool->lock);
  pool->numbers &= ~(1U << number);
  pthread_cond_signal(&pool->given);
  pthread_mutex_unlock(&pool->lock);
  return status;
}

void cuda_lane_give(struct cuda_lane_pool *pool, struct cuda_lane *lane) {
  pthread_mutex_lock(&pool->lock);
  lane->next = pool->idle;
  pool->idle = lane;
  pthread_cond_signal(&pool->given);
  pthread_mutex_unlock(&pool->lock);
}

api_stream cuda_lane_stream(const struct cuda_lane *lane) { return lane->stream; }

unsigned cuda_lane_number(const struct cuda_lane *lane) { return lane->number; }

/* ---- bytes ---- */

static enum status pin(struct cuda_lane *lane) {
  const struct cuda_load *load = lane->load;
  enum status status = STATUS_OK;
  for (unsigned i = 0; !status && i < LANE_PIECES; i++) {
    void *bytes = NULL;
    if (lane->pieces[i].bytes)
      continue;
    if (!lane->pieces[i].moved)
      status = cuda_load_check(load, "make an event",
                               load->event_create(&lane->pieces[i].moved, API_EVENT_NO_TIMING));
    if (!status)
      status = cuda_load_check(load, "pin memory",
                               load->host_alloc(&bytes, LANE_PIECE, API_HOST_PORTABLE));
    if (!status)
      lane->pieces[i].bytes = bytes;
  }
  return status;
}

/* The stream is always waited for, so that nothing of a call goes on behind its end. */
static enum status finish(struct cuda_lane *lane, const char *what, enum status status) {
  enum status ended = cuda_load_check(lane->load, what, lane->load->stream_wait(lane->stream));
  return status ? status : ended;
}

static enum status record(struct cuda_lane *lane, unsigned i) {
  return cuda_load_check(lane->load, "mark a copy",
                         lane->load->event_record(lane->pieces[i].moved, lane->stream));
}

/* Until what was last done with the piece is over; an event that was never recorded is. */
static enum status await(struct cuda_lane *lane, unsigned i) {
  return cuda_load_check(lane->load, "wait for a copy",
                         lane->load->event_wait(lane->pieces[i].moved));
}

enum status cuda_lane_write(struct cuda_lane *lane, api_pointer to, uint64_t size,
                            const void *from) {
  enum status status = pin(lane);
  if (status)
    return status;
  unsigned i = 0;
  for (uint64_t done = 0, n; !status && done < size; done += n, i = !i) {
    n = units_min(LANE_PIECE, size - done);
    char *piece = lane->pieces[i].bytes;
    if ((status = await(lane, i)))
      break;
    memcpy(piece, (const char *)from + done, n);
    status = cuda_load_check(lane->load, "copy to a card",
                             lane->load->copy_in(to + done, piece, n, lane->stream));
    if (!status)
      status = record(lane, i);
  }
  return finish(lane, "copy to a card", status);
}

static enum status fetch(struct cuda_lane *lane, unsigned i, api_pointer from, uint64_t size) {
  char *piece = lane->pieces[i].bytes;
  enum status status = cuda_load_check(lane->load, "copy from a card",
                                       lane->load->copy_out(piece, from, size, lane->stream));
  return status ? status : record(lane, i);
}

/* One piece is asked for ahead. */
enum status cuda_lane_read(struct cuda_lane *lane, api_pointer from, uint64_t size, void *to) {
  enum status status = pin(lane);
  if (status)
    return status;
  status = fetch(lane, 0, from, units_min(LANE_PIECE, size));
  unsigned i = 0;
  for (uint64_t done = 0, n; !status && done < size; done += n, i = !i) {
    n = units_min(LANE_PIECE, size - done);
    if (done + n < size)
      status = fetch(lane, !i, from + done + n, units_min(LANE_PIECE, size - done - n));
    if (!status)
      status = await(lane, i);
    if (!status)
      memcpy((char *)to + done, lane->pieces[i].bytes, n);
  }
  return finish(lane, "copy from a card", status);
}

enum status cuda_lane_send(struct cuda_lane *lane, api_pointer to, uint64_t size,
                           const void *from) {
  enum status status = cuda_load_check(lane->load, "copy to a card",
                                       lane->load->copy_in(to, from, size, lane->stream));
  return finish(lane, "copy to a card", status);
}

enum status cuda_lane_copy(struct cuda_lane *lane, api_pointer from, api_pointer to,
                           uint64_t size) {
  enum status status = cuda_load_check(lane->load, "copy inside a card",
                                       lane->load->copy_inside(to, from, size, lane->stream));
  return finish(lane, "copy inside a card", status);
}

enum status cuda_lane_fill(struct cuda_lane *lane, api_pointer to, uint64_t size, uint8_t value) {
  enum status status = cuda_load_check(lane->load, "fill memory of a card",
                                       lane->load->fill(to, value, size, lane->stream));
  return finish(lane, "fill memory of a card", status);
}
