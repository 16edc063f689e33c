/*
 * steward: two threads look after the cards: libmemkeep's, on which the daemon's questions come,
 * and one that ticks. Which cards are short is a bit for each.
 */
#include "torch/steward.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/reader.h"
#include "torch/vram.h"

#define STEWARD_CARDS 64
#define SHORT_NS (50 * CLOCK_MS)   /* two of them: what was not needed meanwhile goes */
#define LONG_NS (5 * CLOCK_SECOND) /* the same while there is enough */

struct steward {
  mk_client *client;
  struct vram *cards[STEWARD_CARDS];
  atomic_uint count;
  atomic_ulong pressed; /* a bit for each card */
  pthread_t thread;
  pthread_mutex_t lock; /* over the end */
  pthread_cond_t wake;
  bool ends;
};

/* ---- what the daemon says ---- */

static bool is_meant(const struct vram *card, const char *device) {
  return !device || !strcmp(vram_name(card), device);
}

static uint64_t trim(const struct steward *steward, const char *device) {
  uint64_t went = 0;
  for (unsigned i = 0; i < atomic_load(&steward->count); i++)
    if (is_meant(steward->cards[i], device))
      went += vram_trim(steward->cards[i], UINT64_MAX);
  return went;
}

static uint64_t empty(const struct steward *steward) {
  struct vram_figures figures;
  uint64_t bytes = 0;
  for (unsigned i = 0; i < atomic_load(&steward->count); i++) {
    vram_look(steward->cards[i], &figures);
    bytes += figures.empty;
  }
  return bytes;
}

static void press(struct steward *steward, const char *device, bool pressed) {
  for (unsigned i = 0; i < atomic_load(&steward->count); i++) {
    unsigned long bit = 1ul << i;
    if (!is_meant(steward->cards[i], device))
      continue;
    if (pressed)
      atomic_fetch_or(&steward->pressed, bit);
    else
      atomic_fetch_and(&steward->pressed, ~bit);
  }
  if (!pressed)
    return;
  (void)trim(steward, device);
  pthread_mutex_lock(&steward->lock);
  pthread_cond_signal(&steward->wake);
  pthread_mutex_unlock(&steward->lock);
}

/* {beginning, bytes}: the answers differ in what stands before their one number. */
static enum mk_code say(char **answer, const char *beginning, uint64_t bytes) {
  size_t size = strlen(beginning) + 24;
  *answer = malloc(size);
  if (!*answer)
    return MK_INTERNAL_ERROR;
  snprintf(*answer, size, "%s%llu}", beginning, (unsigned long long)bytes);
  return MK_OK;
}

static enum mk_code answer_question(const struct steward *steward, const char *action,
                                    const char *device, char **answer) {
  if (!strcmp(action, "memory.optimize"))
    return say(answer,
               "{\"optimized\":true,\"unloaded_models\":[],\"freed_bytes\":", trim(steward, NULL));
  if (!strcmp(action, "memory.clear"))
    return say(answer, "{\"cleared_bytes\":", trim(steward, device));
  if (!strcmp(action, "memory.get_status"))
    return say(answer,
               "{\"initialized\":true,\"loaded_models\":[],\"memory_usage_bytes\":0,"
               "\"reclaimable_bytes\":",
               empty(steward));
  return MK_NOT_FOUND;
}

static enum mk_code on_question(void *arg, const struct mk_question *question, char **answer) {
  struct steward *steward = arg;
  struct reader_doc *doc = NULL;
  struct problem problem;
  enum mk_code code = MK_OK;
  if (reader_parse(question->data, strlen(question->data), &doc, &problem))
    return MK_INVALID_ARGUMENT;
  struct reader_value data = reader_root(doc);
  const char *device = reader_text(reader_get(data, "device_id"), NULL);
  if (!question->told)
    code = answer_question(steward, question->action, device, answer);
  else if (!strcmp(question->action, "memory.pressure"))
    press(steward, device, strcmp(reader_text(reader_get(data, "level"), "low"), "low") != 0);
  reader_free(doc);
  return code;
}

/* ---- ticking ---- */

/* False: it ends. */
static bool wait(struct steward *steward) {
  const struct timespec until =
      clock_timespec(clock_now() + (atomic_load(&steward->pressed) ? SHORT_NS : LONG_NS));
  pthread_mutex_lock(&steward->lock);
  if (!steward->ends)
    (void)pthread_cond_timedwait(&steward->wake, &steward->lock, &until);
  bool goes_on = !steward->ends;
  pthread_mutex_unlock(&steward->lock);
  return goes_on;
}

static void *run(void *arg) {
  struct steward *steward = arg;
  uint64_t long_ago = clock_now();
  while (wait(steward)) {
    bool late = clock_now() - long_ago >= LONG_NS;
    for (unsigned i = 0; i < atomic_load(&steward->count); i++)
      if (late || atomic_load(&steward->pressed) >> i & 1)
        vram_tick(steward->cards[i]);
    long_ago = late ? clock_now() : long_ago;
  }
  return NULL;
}

/* ---- the whole of it ---- */

struct steward *steward_start(mk_client *client) {
  struct steward *steward = calloc(1, sizeof *steward);
  if (!steward)
    return NULL;
  steward->client = client;
  pthread_mutex_init(&steward->lock, NULL);
  lock_cond_init(&steward->wake);
  if (pthread_create(&steward->thread, NULL, run, steward)) {
    free(steward);
    return NULL;
  }
  /* One that is refused (there are many workers already) is not told, and gives back slowly. */
  (void)mk_on_request(client, "memory.get_status,memory.optimize,memory.clear", on_question,
                      steward);
  return steward;
}

void steward_add(struct steward *steward, struct vram *card) {
  struct mk_status status;
  unsigned count = steward ? atomic_load(&steward->count) : STEWARD_CARDS;
  if (count == STEWARD_CARDS)
    return;
  steward->cards[count] = card;
  atomic_store(&steward->count, count + 1);
  if (!mk_status(steward->client, vram_name(card), &status) && status.pressure > MK_LOW)
    press(steward, vram_name(card), true);
}

void steward_stop(struct steward *steward) {
  if (!steward)
    return;
  pthread_mutex_lock(&steward->lock);
  steward->ends = true;
  pthread_cond_signal(&steward->wake);
  pthread_mutex_unlock(&steward->lock);
  pthread_join(steward->thread, NULL);
  (void)mk_on_request(steward->client, NULL, NULL, NULL);
}
