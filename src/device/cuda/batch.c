/*
 * cuda/batch: moves are cut into pieces, so that every block of threads has as much to do as the
 * others. A list of pieces goes to the card, the kernels go over it, and it comes back with a mark
 * at each piece that differs.
 */
#include "device/cuda/batch.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/units.h"
#include "device/cuda/batch_kernels.h"

#define BATCH_PIECE (64 * KIB) /* of a move: some 16 rounds of a block of threads */
#define BATCH_PIECES 32768     /* of a list: 1 MiB, for up to 2 GiB of moves */
#define BATCH_THREADS 256      /* of a block */
#define BATCH_BLOCKS 2048      /* as many as the largest cards hold at once, and some */

struct piece { /* as the kernels know it */
  api_pointer from, to;
  uint32_t size, differs;
  uint64_t move; /* the host's: index of the move */
};
_Static_assert(sizeof(struct piece) == 32, "as in batch_kernels.h");

struct cuda_batch {
  const struct cuda_load *load;
  pthread_mutex_t lock; /* over a list */
  api_stream stream;    /* NULL, like the list, before the first */
  api_module module;
  api_function copy, compare;
  struct piece *list;  /* pinned */
  api_pointer on_card; /* the same there */
};

void cuda_batch_free(struct cuda_batch *batch) {
  if (!batch)
    return;
  const struct cuda_load *load = batch->load;
  if (batch->on_card)
    (void)load->memory_free(batch->on_card);
  if (batch->list)
    (void)load->host_free(batch->list);
  if (batch->module)
    (void)load->module_unload(batch->module);
  if (batch->stream)
    (void)load->stream_destroy(batch->stream);
  pthread_mutex_destroy(&batch->lock);
  free(batch);
}

static enum status make_kernels(struct cuda_batch *batch) {
  const struct cuda_load *load = batch->load;
  enum status status =
      cuda_load_check(load, "load its kernels", load->module_load(&batch->module, BATCH_KERNELS));
  if (!status)
    status = cuda_load_check(load, "find a kernel",
                             load->module_function(&batch->copy, batch->module, "copy"));
  if (!status)
    status = cuda_load_check(load, "find a kernel",
                             load->module_function(&batch->compare, batch->module, "compare"));
  return status;
}

/* What is there stays; the rest may be tried again. */
static enum status make_list(struct cuda_batch *batch) {
  const struct cuda_load *load = batch->load;
  const size_t size = BATCH_PIECES * sizeof(struct piece);
  void *list = batch->list;
  enum status status = STATUS_OK;
  if (!batch->stream)
    status = cuda_load_check(load, "make a stream",
                             load->stream_create(&batch->stream, API_STREAM_NON_BLOCKING));
  if (!status && !list)
    status = cuda_load_check(load, "pin memory", load->host_alloc(&list, size, API_HOST_PORTABLE));
  batch->list = list;
  if (!status)
    status = cuda_load_check(load, "make a list", load->memory_alloc(&batch->on_card, size));
  return status;
}

enum status cuda_batch_create(const struct cuda_load *load, struct cuda_batch **out) {
  if (!load->module_load || !load->module_unload || !load->module_function || !load->launch ||
      !load->memory_alloc || !load->memory_free)
    return STATUS_DEVICE_NOT_FOUND;
  struct cuda_batch *batch = calloc(1, sizeof *batch);
  if (!batch)
    return STATUS_INTERNAL_ERROR;
  batch->load = load;
  pthread_mutex_init(&batch->lock, NULL);
  enum status status = make_kernels(batch);
  if (status)
    cuda_batch_free(batch);
  else
    *out = batch;
  return status;
}

/* ---- a list ---- */

static enum status launch(struct cuda_batch *batch, api_function kernel, uint32_t count) {
  struct api_launch how = {.grid = {(unsigned)units_min(count, BATCH_BLOCKS), 1, 1},
                           .block = {BATCH_THREADS, 1, 1},
                           .stream = batch->stream};
  void *arguments[] = {&batch->on_card, &count};
  return cuda_load_check(batch->load, "start a kernel",
                         batch->load->launch(&how, kernel, arguments, NULL));
}

static enum status run_list(struct cuda_batch *batch, uint32_t count) {
  const struct cuda_load *load = batch->load;
  const size_t size = count * sizeof(struct piece);
  enum status status = cuda_load_check(
      load, "send a list", load->copy_in(batch->on_card, batch->list, size, batch->stream));
  if (!status)
    status = launch(batch, batch->copy, count);
  if (!status)
    status = launch(batch, batch->compare, count);
  if (!status)
    status = cuda_load_check(load, "fetch a list",
                             load->copy_out(batch->list, batch->on_card, size, batch->stream));
  enum status ended = cuda_load_check(load, "copy inside a card", load->stream_wait(batch->stream));
  return status ? status : ended;
}

struct cursor {
  struct cuda_batch_move *moves;
  uint32_t count, at;
  uint64_t done; /* of moves[at] */
};

static bool next_piece(struct cursor *cursor, struct piece *out) {
  while (cursor->at < cursor->count && cursor->done == cursor->moves[cursor->at].size) {
    cursor->at++;
    cursor->done = 0;
  }
  if (cursor->at == cursor->count)
    return false;
  const struct cuda_batch_move *move = &cursor->moves[cursor->at];
  uint32_t size = (uint32_t)units_min(BATCH_PIECE, move->size - cursor->done);
  *out = (struct piece){.from = move->from + cursor->done,
                        .to = move->to + cursor->done,
                        .size = size,
                        .move = cursor->at};
  cursor->done += size;
  return true;
}

static uint32_t fill_list(struct cuda_batch *batch, struct cursor *cursor) {
  uint32_t count = 0;
  while (count < BATCH_PIECES && next_piece(cursor, &batch->list[count]))
    count++;
  return count;
}

enum status cuda_batch_run(struct cuda_batch *batch, struct cuda_batch_move *moves,
                           uint32_t count) {
  struct cursor cursor = {.moves = moves, .count = count};
  for (uint32_t i = 0; i < count; i++)
    moves[i].same = true;
  pthread_mutex_lock(&batch->lock);
  enum status status = batch->on_card ? STATUS_OK : make_list(batch);
  for (uint32_t pieces; !status && (pieces = fill_list(batch, &cursor));) {
    status = run_list(batch, pieces);
    for (uint32_t i = 0; i < pieces; i++)
      if (batch->list[i].differs)
        moves[batch->list[i].move].same = false;
  }
  pthread_mutex_unlock(&batch->lock);
  return status;
}
