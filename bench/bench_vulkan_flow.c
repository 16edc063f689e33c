/*
 * bench_vulkan_flow: how bytes that cores fill, or empty, get over a card's link best: how large a
 * piece, how many of them under way, how many threads; and which family of queues copies best
 * inside the card. On the first real card, or on a software driver where there is none. Talks to
 * the driver itself and shares no code with src/device/vulkan. Ends with 1 when there is no card.
 *
 *   limit     the link alone, in one copy; and what so many cores copy to and from staging alone.
 *             No flow is faster than the less of the two
 *   in, out   by threads and size of a piece: GB/s with 1, 2, 3 and 4 pieces under way in each
 *             thread. With 1, each is submitted and waited for before the next is filled
 *   inside    by family: one large copy, and two on two queues at once
 */
#include <pthread.h>

#include "vulkan_raw.h"

#define SHARE (64 * MIB) /* of a thread */
#define THREADS 8
#define ROUNDS 3
#define SLOTS 4
#define LARGEST (4 * MIB)
#define INSIDE (256 * MIB)

struct thread {
  struct raw_queue *queue;
  VkCommandBuffer commands[SLOTS];
  VkSemaphore semaphore;
  uint64_t started;
  struct memory staging, target;
  char *bytes;
  pthread_t id;
};

/* One row's question. */
struct question {
  uint64_t piece;
  unsigned threads, slots; /* slots: 0: cores alone, nothing goes over the link */
  bool in;
};

static struct thread threads[THREADS];
static struct question now;

/* ---- a thread's share ---- */

static uint64_t start(struct thread *thread, unsigned slot, uint64_t done) {
  uint64_t staged = slot * now.piece;
  struct raw_copy one = {.queue = thread->queue,
                         .commands = thread->commands[slot],
                         .from = now.in ? thread->staging.buffer : thread->target.buffer,
                         .to = now.in ? thread->target.buffer : thread->staging.buffer,
                         .what = {now.in ? staged : done, now.in ? done : staged, now.piece},
                         .semaphore = thread->semaphore,
                         .value = ++thread->started};
  submit(&one);
  return one.value;
}

static void fill_and_send(struct thread *thread) {
  uint64_t moved[SLOTS] = {0};
  unsigned slot = 0;
  for (uint64_t done = 0; done < SHARE; done += now.piece, slot = (slot + 1) % now.slots) {
    await(thread->semaphore, moved[slot]);
    memcpy(thread->staging.bytes + slot * now.piece, thread->bytes + done, now.piece);
    moved[slot] = start(thread, slot, done);
    if (now.slots == 1)
      await(thread->semaphore, moved[slot]);
  }
  await(thread->semaphore, thread->started);
}

static void fetch_and_empty(struct thread *thread) {
  uint64_t moved[SLOTS] = {0}, asked = 0;
  unsigned slot = 0;
  for (uint64_t done = 0; done < SHARE; done += now.piece, slot = (slot + 1) % now.slots) {
    for (; asked < SHARE && asked < done + now.slots * now.piece; asked += now.piece) {
      unsigned next = (unsigned)(asked / now.piece % now.slots);
      moved[next] = start(thread, next, asked);
    }
    await(thread->semaphore, moved[slot]);
    memcpy(thread->bytes + done, thread->staging.bytes + slot * now.piece, now.piece);
  }
}

static void only_copy(struct thread *thread) {
  for (uint64_t done = 0; done < SHARE; done += now.piece) {
    char *staged = thread->staging.bytes + done % LARGEST, *mine = thread->bytes + done;
    memcpy(now.in ? staged : mine, now.in ? mine : staged, now.piece);
  }
}

static void *run(void *arg) {
  if (!now.slots)
    only_copy(arg);
  else if (now.in)
    fill_and_send(arg);
  else
    fetch_and_empty(arg);
  return NULL;
}

/* GB/s, the most of some. */
static double ask(struct question question) {
  double best = 0;
  now = question;
  for (int i = 0; i < ROUNDS; i++) {
    uint64_t began = clock_now();
    for (unsigned n = 0; n < now.threads; n++)
      if (pthread_create(&threads[n].id, NULL, run, &threads[n]))
        exit(1);
    for (unsigned n = 0; n < now.threads; n++)
      pthread_join(threads[n].id, NULL);
    double one = rate(now.threads * SHARE, us(began));
    best = one > best ? one : best;
  }
  return best;
}

/* ---- questions ---- */

static void ask_limit(bool in, unsigned count) {
  const struct memory *staging = &threads[0].staging, *target = &threads[0].target;
  uint64_t size = SLOTS * LARGEST;
  double link = rate(size, in ? best_copy(card.family, staging->buffer, target->buffer, size)
                              : best_copy(card.family, target->buffer, staging->buffer, size));
  printf("limit %s, %u threads: the link alone %.1f GB/s, the cores alone %.1f GB/s\n",
         in ? "in" : "out", count, link, ask((struct question){MIB, count, 0, in}));
}

static void ask_flow(bool in, unsigned count) {
  ask_limit(in, count);
  for (uint64_t piece = 512 * KIB; piece <= LARGEST; piece *= 2) {
    printf("%s, %u threads, pieces of %4llu KiB:", in ? "in" : "out", count,
           (unsigned long long)(piece / KIB));
    for (unsigned slots = 1; slots <= SLOTS; slots++)
      printf(" %6.1f", ask((struct question){piece, count, slots, in}));
    printf(" GB/s\n");
  }
}

static double copy_two(uint32_t index, const struct memory *from, const struct memory *to) {
  struct family *family = &card.families[index];
  VkCommandBuffer commands[2];
  const VkSemaphore semaphores[2] = {make_semaphore(), make_semaphore()};
  double best = 0;
  make_commands(index, 2, commands);
  for (uint64_t round = 1; round <= RAW_ROUNDS; round++) {
    uint64_t began = clock_now();
    for (unsigned i = 0; i < 2; i++) {
      const struct raw_copy half = {.queue = &family->queues[i % family->count],
                                    .commands = commands[i],
                                    .from = from->buffer,
                                    .to = to->buffer,
                                    .what = {i * INSIDE / 2, i * INSIDE / 2, INSIDE / 2},
                                    .semaphore = semaphores[i],
                                    .value = round};
      submit(&half);
    }
    await(semaphores[0], round);
    await(semaphores[1], round);
    double one = rate(INSIDE, us(began));
    best = one > best ? one : best;
  }
  return best;
}

static void ask_inside(uint32_t own) {
  const VkQueueFlags can = VK_QUEUE_TRANSFER_BIT | VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT;
  struct memory from, to;
  if (!make_memory(INSIDE, own, &from) || !make_memory(INSIDE, own, &to))
    return;
  for (uint32_t i = 0; i < card.family_count; i++)
    if (card.properties[i].queueFlags & can)
      printf("inside, family %u (flags %#x): one copy %.0f GB/s, two at once %.0f GB/s\n", i,
             card.properties[i].queueFlags,
             rate(INSIDE, best_copy(i, from.buffer, to.buffer, INSIDE)), copy_two(i, &from, &to));
  free_memory(&from);
  free_memory(&to);
}

/* ---- threads ---- */

static bool open_thread(struct thread *thread, uint32_t own, uint32_t seen) {
  struct family *family = &card.families[card.family];
  thread->queue = &family->queues[(unsigned)(thread - threads) % family->count];
  thread->semaphore = make_semaphore();
  make_commands(card.family, SLOTS, thread->commands);
  thread->bytes = malloc(SHARE);
  if (!thread->bytes || !make_memory(SLOTS * LARGEST, seen, &thread->staging) ||
      !make_memory(SHARE, own, &thread->target))
    return false;
  memset(thread->bytes, 1, SHARE);
  memset(thread->staging.bytes, 2, SLOTS * LARGEST);
  return true;
}

int main(void) {
  static const unsigned counts[] = {1, THREADS};
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (!open_instance() || !find_card())
    return fputs("bench_vulkan_flow: no card\n", stderr), 1;
  open_device();
  uint32_t own =
      type_with(VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT);
  uint32_t seen =
      type_with(VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT |
                    VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
                VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
  for (unsigned i = 0; i < THREADS; i++)
    if (!open_thread(&threads[i], own, seen))
      return fputs("bench_vulkan_flow: no memory\n", stderr), 1;
  for (unsigned i = 0; i < 2 * sizeof counts / sizeof *counts; i++)
    ask_flow(i % 2 == 0, counts[i / 2]);
  ask_inside(own);
  return 0;
}
