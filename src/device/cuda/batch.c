/*
 * cuda/batch: moves are cut into pieces, so that every block of threads has as much to do as the
 * others. A list of pieces goes to the card, the kernel goes over it, and it comes back with a mark
 * at each piece that differs. There are two lists, so that one is written while the card is at work
 * on the other. Their host memory is pinned with the first look at the kernel: the first time,
 * that takes a driver 2 ms. Memory of the card is taken by the first run.
 */
#include "device/cuda/batch.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/units.h"
#include "device/cuda/batch_kernels.h"

#define BATCH_PIECE (64 * KIB) /* of a move: some 16 rounds of a block of threads */
#define BATCH_PIECES 32768     /* of a list: 1 MiB, for up to 2 GiB of moves */
#define BATCH_LISTS 2
#define BATCH_THREADS 256 /* of a block */
#define BATCH_BLOCKS 2048 /* as many as the largest cards hold at once, and some */

struct piece { /* as the kernels know it */
  api_pointer from, to;
  uint32_t size, differs;
  uint64_t move; /* the host's: index of the move */
};
_Static_assert(sizeof(struct piece) == 32, "as in batch_kernels.h");
#define LIST_BYTES (BATCH_PIECES * sizeof(struct piece))

struct list {
  bool taken, made;     /* under the lock; the rest is his who took it */
  api_stream stream;    /* NULL, like the pieces, before the first */
  struct piece *pieces; /* pinned */
  api_pointer on_card;  /* the same there */
};

struct cuda_batch {
  const struct cuda_load *load;
  pthread_mutex_t lock;
  pthread_cond_t given;
  api_module module;
  api_function move;
  struct list lists[BATCH_LISTS];
};

static void free_list(const struct cuda_load *load, const struct list *list) {
  if (list->on_card)
    (void)load->memory_free(list->on_card);
  if (list->pieces)
    (void)load->host_free(list->pieces);
  if (list->stream)
    (void)load->stream_destroy(list->stream);
}

void cuda_batch_free(struct cuda_batch *batch) {
  if (!batch)
    return;
  const struct cuda_load *load = batch->load;
  for (unsigned i = 0; i < BATCH_LISTS; i++)
    free_list(load, &batch->lists[i]);
  if (batch->module)
    (void)load->module_unload(batch->module);
  pthread_cond_destroy(&batch->given);
  pthread_mutex_destroy(&batch->lock);
  free(batch);
}

static enum status make_kernel(struct cuda_batch *batch) {
  const struct cuda_load *load = batch->load;
  enum status status =
      cuda_load_check(load, "load its kernel", load->module_load(&batch->module, BATCH_KERNELS));
  if (!status)
    status = cuda_load_check(load, "find its kernel",
                             load->module_function(&batch->move, batch->module, "move"));
  return status;
}

/* What is there stays; the rest may be tried again. */
static enum status pin_list(const struct cuda_load *load, struct list *list) {
  void *pieces = list->pieces;
  enum status status = STATUS_OK;
  if (!list->stream)
    status = cuda_load_check(load, "make a stream",
                             load->stream_create(&list->stream, API_STREAM_NON_BLOCKING));
  if (!status && !pieces)
    status = cuda_load_check(load, "pin memory",
                             load->host_alloc(&pieces, LIST_BYTES, API_HOST_PORTABLE));
  list->pieces = pieces;
  return status;
}

static enum status make_list(const struct cuda_load *load, struct list *list) {
  enum status status = pin_list(load, list);
  return status
             ? status
             : cuda_load_check(load, "make a list", load->memory_alloc(&list->on_card, LIST_BYTES));
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
  pthread_cond_init(&batch->given, NULL);
  enum status status = make_kernel(batch);
  if (status) {
    cuda_batch_free(batch);
    return status;
  }
  for (unsigned i = 0; i < BATCH_LISTS; i++)
    (void)pin_list(load, &batch->lists[i]);
  *out = batch;
  return STATUS_OK;
}

/* ---- a list ---- */

/* Under the lock. NULL: none that is made, or none at all, is free. */
static struct list *free_one(struct cuda_batch *batch, bool made) {
  for (unsigned i = 0; i < BATCH_LISTS; i++)
    if (!batch->lists[i].taken && (batch->lists[i].made || !made))
      return &batch->lists[i];
  return NULL;
}

static bool any_taken(const struct cuda_batch *batch) {
  bool any = false;
  for (unsigned i = 0; i < BATCH_LISTS; i++)
    any |= batch->lists[i].taken;
  return any;
}

/* NULL: nobody has made one that could be waited for. */
static struct list *take_list(struct cuda_batch *batch, bool made) {
  struct list *list;
  pthread_mutex_lock(&batch->lock);
  while (!(list = free_one(batch, made)) && any_taken(batch))
    pthread_cond_wait(&batch->given, &batch->lock);
  if (list)
    list->taken = true;
  pthread_mutex_unlock(&batch->lock);
  return list;
}

static void give_list(struct cuda_batch *batch, struct list *list) {
  pthread_mutex_lock(&batch->lock);
  list->taken = false;
  list->made = list->on_card;
  pthread_cond_broadcast(&batch->given);
  pthread_mutex_unlock(&batch->lock);
}

/* A card may have no room for the second one. */
static enum status get_list(struct cuda_batch *batch, struct list **out) {
  struct list *list = take_list(batch, false);
  enum status status = list->on_card ? STATUS_OK : make_list(batch->load, list);
  if (status) {
    give_list(batch, list);
    list = take_list(batch, true);
  }
  *out = list;
  return list ? STATUS_OK : status;
}

static enum status launch(const struct cuda_batch *batch, struct list *list, uint32_t count) {
  struct api_launch how = {.grid = {(unsigned)units_min(count, BATCH_BLOCKS), 1, 1},
                           .block = {BATCH_THREADS, 1, 1},
                           .stream = list->stream};
  void *arguments[] = {&list->on_card, &count};
  return cuda_load_check(batch->load, "start a kernel",
                         batch->load->launch(&how, batch->move, arguments, NULL));
}

static enum status run_list(const struct cuda_batch *batch, struct list *list, uint32_t count) {
  const struct cuda_load *load = batch->load;
  const size_t size = count * sizeof(struct piece);
  enum status status = cuda_load_check(
      load, "send a list", load->copy_in(list->on_card, list->pieces, size, list->stream));
  if (!status)
    status = launch(batch, list, count);
  if (!status)
    status = cuda_load_check(load, "fetch a list",
                             load->copy_out(list->pieces, list->on_card, size, list->stream));
  enum status ended = cuda_load_check(load, "copy inside a card", load->stream_wait(list->stream));
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

static uint32_t fill_list(struct list *list, struct cursor *cursor) {
  uint32_t count = 0;
  while (count < BATCH_PIECES && next_piece(cursor, &list->pieces[count]))
    count++;
  return count;
}

enum status cuda_batch_run(struct cuda_batch *batch, struct cuda_batch_move *moves,
                           uint32_t count) {
  struct cursor cursor = {.moves = moves, .count = count};
  for (uint32_t i = 0; i < count; i++)
    moves[i].same = true;
  struct list *list;
  enum status status = get_list(batch, &list);
  if (status)
    return status;
  for (uint32_t pieces; !status && (pieces = fill_list(list, &cursor));) {
    status = run_list(batch, list, pieces);
    for (uint32_t i = 0; i < pieces; i++)
      if (list->pieces[i].differs)
        moves[list->pieces[i].move].same = false;
  }
  give_list(batch, list);
  return status;
}
