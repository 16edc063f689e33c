/*
 * bench_cuda: what only a real card can tell about owning its memory without a context, asked with
 * our own device/cuda. One line per answer; ends with 1 when there is no card.
 *
 *   bench_cuda               all questions, of the first card
 *   bench_cuda fill|count|bring FD SIZE   (itself, in a process of its own that has a context)
 */
#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/os_memfd.h"
#include "base/os_proc.h"
#include "base/spawn.h"
#include "base/units.h"
#include "device/cuda/find.h"
#include "device/cuda/load.h"
#include "device/cuda/mover.h"
#include "device/cuda/owner.h"
#include "device/device.h"
#include "worker/mover.h"

#define MANY 5000 /* descriptors in one process */
#define PIECE (64 * MIB)

static const struct spec first = {.id = "cuda:0", .backend = "cuda"};

static void *must(enum status status, const char *what, void *result) {
  if (!status)
    return result;
  printf("%s: %s\n", what, status_text(status));
  exit(1);
}

static unsigned entries(const char *folder) {
  unsigned count = 0;
  DIR *open = opendir(folder);
  while (open && readdir(open))
    count++;
  if (open)
    closedir(open);
  return count - 2;
}

static uint64_t used(void *owner) {
  struct device_budget budget = {0};
  (void)cuda_owner_budget(owner, &budget);
  return budget.used_bytes;
}

/* Microseconds. */
static double us(uint64_t since) { return (double)(clock_now() - since) / 1e3; }

/* ---- in a process with a context ---- */

static void count_bytes(void *mover, void *segment, uint64_t size) {
  unsigned char *bytes = malloc(PIECE), *zeros = calloc(1, PIECE);
  uint64_t other = 0, start = clock_now();
  for (uint64_t at = 0; bytes && zeros && at < size; at += PIECE) {
    struct device_range piece = {segment, at, units_min(PIECE, size - at)};
    must(cuda_mover_read(mover, &piece, bytes), "read", NULL);
    if (memcmp(bytes, zeros, piece.size) == 0)
      continue;
    for (uint64_t i = 0; i < piece.size; i++)
      other += bytes[i] != 0;
  }
  printf("  child: %llu of %llu bytes are not zero (%.1f GB/s)\n", (unsigned long long)other,
         (unsigned long long)size, (double)size / us(start) / 1e3);
  free(bytes);
  free(zeros);
}

/* Memory of this machine that is sealed as a model's copy there is. */
static struct share sealed_memory(uint64_t size) {
  struct share share;
  uint64_t start = clock_now();
  must(os_memfd_create("bench", size, &share), "memfd", NULL);
  must(os_memfd_commit(&share, 0, size), "commit", NULL);
  must(os_memfd_seal(&share, OS_MEMFD_SEAL_SIZE | OS_MEMFD_SEAL_WRITE | OS_MEMFD_SEAL_FINAL),
       "seal", NULL);
  printf("  child: %.0f MiB of host memory committed and sealed: %.0f ms\n", (double)size / MIB,
         us(start) / 1e3);
  return share;
}

static void bring_once(const char *how, struct mover_work *work) {
  uint64_t start = clock_now();
  must(mover_copy(work), "copy", NULL);
  printf("  child: host memory to card, %s: %.1f GB/s (%s)\n", how,
         (double)work->size / us(start) / 1e3,
         device_path_name(device_path(work->from.segment, work->to.segment)));
}

/* The worker's copy engine without the daemon. */
static int bring(const struct share *card_share, uint64_t size) {
  static const struct spec host = {.id = "host:0", .backend = "host"};
  struct device_mover *movers[2];
  atomic_bool never = false;
  struct mover_work work = {.size = size, .cancel = &never};
  struct share host_share = sealed_memory(size);
  must(device_mover_open(&host, &movers[0]), "host:0", NULL);
  must(device_mover_open(&first, &movers[1]), "cuda:0", NULL);
  must(device_import(movers[0], &host_share, size, &work.from.segment), "import", NULL);
  must(device_import(movers[1], card_share, size, &work.to.segment), "import", NULL);
  bring_once("the first time, pinned on the way", &work);
  for (unsigned i = 0; i < 3; i++)
    bring_once("again", &work);
  work.sums = true;
  for (unsigned i = 0; i < 3; i++)
    bring_once("summed up", &work);
  uint64_t start = clock_now();
  device_drop(work.from.segment);
  printf("  child: unpinned and unmapped: %.0f ms\n", us(start) / 1e3);
  device_drop(work.to.segment);
  device_mover_close(movers[1]);
  device_mover_close(movers[0]);
  share_close(&host_share);
  return 0;
}

static int child(const char *action, int fd, uint64_t size) {
  struct share share = {SHARE_CUDA_VMM, fd};
  if (strcmp(action, "bring") == 0)
    return bring(&share, size);
  void *mover, *segment;
  uint64_t start = clock_now();
  must(cuda_mover_start(&first, &mover), "start", NULL);
  must(cuda_mover_import(mover, &share, size, &segment), "import", NULL);
  printf("  child: context, import and map of %.0f MiB: %.1f ms\n", (double)size / MIB,
         us(start) / 1e3);
  if (strcmp(action, "fill") == 0) {
    struct device_range all = {segment, 0, size};
    start = clock_now();
    must(cuda_mover_fill(mover, &all, 0xa5), "fill", NULL);
    printf("  child: fill: %.1f GB/s\n", (double)size / us(start) / 1e3);
  }
  if (strcmp(action, "count") == 0)
    count_bytes(mover, segment, size);
  cuda_mover_drop(mover, segment, size);
  cuda_mover_stop(mover);
  return 0;
}

static void run_child(const char *action, const struct share *share, uint64_t size) {
  char fd[16], bytes[32];
  int code = 0;
  pid_t pid;
  snprintf(fd, sizeof fd, "%d", (int)share->value);
  snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)size);
  char *words[] = {"bench_cuda", (char *)(uintptr_t)action, fd, bytes, NULL};
  fflush(stdout);
  fcntl((int)share->value, F_SETFD, 0);
  if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, words, environ) || waitpid(pid, &code, 0) < 0)
    printf("  child: cannot be started\n");
  fcntl((int)share->value, F_SETFD, FD_CLOEXEC);
  if (code)
    printf("  child: ended with %d\n", code);
}

/* ---- questions ---- */

static void *what_does_it_cost_to_open(void) {
  uint64_t before = 0, after = 0, start = clock_now();
  unsigned threads = entries("/proc/self/task"), files = entries("/proc/self/fd");
  void *owner;
  (void)os_proc_resident(getpid(), &before);
  must(cuda_owner_open(&first, &owner), "cuda:0", NULL);
  double ms = us(start) / 1e3;
  (void)os_proc_resident(getpid(), &after);
  printf("open (dlopen, cuInit, NVML): %.0f ms, RSS %+.1f MiB, threads %+d, descriptors %+d\n", ms,
         ((double)after - (double)before) / MIB, (int)(entries("/proc/self/task") - threads),
         (int)(entries("/proc/self/fd") - files));
  return owner;
}

static void what_does_a_handle_cost(const struct cuda_load *load, uint64_t size) {
  const struct api_allocation kind = {API_PINNED, API_HANDLE_FD, {API_ON_DEVICE, 0}, NULL, {0}};
  double times[4];
  api_handle handle;
  int fd = -1, flags;
  uint64_t start = clock_now();
  if (load->create(&handle, size, &kind, 0)) {
    printf("%6.0f MiB: no room\n", (double)size / MIB);
    return;
  }
  times[0] = us(start);
  start = clock_now();
  (void)load->export(&fd, handle, API_HANDLE_FD, 0);
  times[1] = us(start);
  flags = fcntl(fd, F_GETFD);
  start = clock_now();
  (void)load->release(handle);
  times[2] = us(start);
  start = clock_now();
  close(fd);
  times[3] = us(start);
  printf("%6.0f MiB: create %.0f, export %.0f, release after export %.0f, last close %.0f us; "
         "exported close-on-exec: %s\n",
         (double)size / MIB, times[0], times[1], times[2], times[3],
         flags & FD_CLOEXEC ? "yes" : "no");
}

/* What went back is with the driver for a while before the next is made. */
#define BACK_US 300000

static double one_more(void *owner, bool settle) {
  struct share share;
  must(cuda_owner_create(owner, GIB, &share), "a GiB", NULL);
  cuda_owner_release(owner, &share, GIB, false);
  usleep(BACK_US / 2);
  if (settle)
    cuda_owner_settle(owner);
  usleep(BACK_US / 2);
  uint64_t start = clock_now();
  must(cuda_owner_create(owner, GIB, &share), "a GiB", NULL);
  double took = us(start);
  cuda_owner_release(owner, &share, GIB, false);
  return took;
}

/* Without the anchor that an owner keeps, with it, and settled as well. No owner is open yet. */
static void what_does_the_next_gib_cost(const struct cuda_load *load) {
  void *owner;
  for (int round = 0; round < 3; round++) {
    what_does_a_handle_cost(load, GIB);
    usleep(BACK_US);
  }
  must(cuda_owner_open(&first, &owner), "cuda:0", NULL);
  for (int round = 0; round < 3; round++)
    printf("  1024 MiB, anchored: made in %.0f us; settled before: %.0f us\n",
           one_more(owner, false), one_more(owner, true));
  cuda_owner_close(owner);
}

static void who_is_blamed(void *owner) {
  struct device_process rows[16];
  uint32_t count = cuda_owner_processes(owner, rows, 16);
  printf("  NVML names %u processes:", count);
  for (uint32_t i = 0; i < count; i++)
    printf(" %d%s (%s) %.0f MiB", rows[i].pid, rows[i].pid == getpid() ? "=us" : "",
           rows[i].dead ? "dead" : rows[i].name,
           rows[i].used_bytes == DEVICE_BYTES_UNKNOWN ? -1.0 : (double)rows[i].used_bytes / MIB);
  printf("\n");
}

static void does_a_descriptor_alone_keep_the_bytes(void *owner) {
  struct share share;
  uint64_t before = used(owner);
  must(cuda_owner_create(owner, GIB, &share), "create", NULL);
  uint64_t held = used(owner); /* releases the handle before it looks */
  printf("1 GiB held by a descriptor alone: used %+.0f MiB\n",
         ((double)held - (double)before) / MIB);
  who_is_blamed(owner);
  run_child("fill", &share, GIB);
  run_child("count", &share, GIB);
  uint64_t start = clock_now();
  cuda_owner_release(owner, &share, GIB, true);
  while (used(owner) > before && us(start) < 5e6)
    ;
  printf("given back: used %+.0f MiB after %.1f ms\n", ((double)used(owner) - (double)before) / MIB,
         us(start) / 1e3);
}

static void how_fast_is_host_memory(void *owner) {
  struct share share;
  printf("host memory that a card reads by itself:\n");
  if (cuda_owner_create(owner, 8 * GIB, &share)) {
    printf("  no room for 8 GiB\n");
    return;
  }
  run_child("bring", &share, 8 * GIB);
  cuda_owner_release(owner, &share, 8 * GIB, true);
}

static void is_fresh_memory_zero(void *owner) {
  struct device_budget budget = {0};
  struct share share;
  (void)cuda_owner_budget(owner, &budget);
  uint64_t size = units_minus(budget.free_bytes, GIB) / 8 * 7 / PIECE * PIECE;
  for (unsigned i = 0; i < 2; i++) { /* the second gets what the first had filled */
    if (cuda_owner_create(owner, size, &share)) {
      printf("fresh memory: no room for %.0f MiB\n", (double)size / MIB);
      return;
    }
    printf("%.1f GiB %s:\n", (double)size / GIB, i ? "fresh, after a fill of as much" : "to fill");
    run_child(i ? "count" : "fill", &share, size);
    cuda_owner_release(owner, &share, size, true);
  }
}

static void how_many_descriptors(void *owner) {
  static struct share shares[MANY];
  unsigned count = 0;
  uint64_t start = clock_now(), before = used(owner);
  while (count < MANY && !cuda_owner_create(owner, 2 * MIB, &shares[count]))
    count++;
  printf("%u descriptors of 2 MiB: %.0f us each, used %+.0f MiB\n", count, us(start) / (count + 1),
         ((double)used(owner) - (double)before) / MIB);
  start = clock_now();
  for (unsigned i = 0; i < count; i++)
    cuda_owner_release(owner, &shares[i], 2 * MIB, false);
  printf("given back: %.0f us each\n", us(start) / (count + 1));
}

static void all_cards_from_one_process(void) {
  struct spec found[32];
  for (unsigned i = 0, count = cuda_find(found, 32); i < count; i++) {
    const struct spec spec = found[i];
    struct device_info info = {.id = ""};
    struct share share;
    void *owner;
    if (spec.environment[0])
      continue;
    must(cuda_owner_open(&spec, &owner), spec.id, NULL);
    (void)cuda_owner_describe(owner, &info);
    uint64_t before = used(owner);
    must(cuda_owner_create(owner, PIECE, &share), spec.id, NULL);
    printf("%s %s %s %s, driver %s: total %.0f, kept by the driver %.0f, used %.0f; with 64 MiB of "
           "ours %+.0f MiB\n",
           spec.id, info.name, info.uuid, info.pci, info.driver, (double)info.total_bytes / MIB,
           (double)info.kept_bytes / MIB, (double)before / MIB,
           ((double)used(owner) - (double)before) / MIB);
    cuda_owner_release(owner, &share, PIECE, false);
    cuda_owner_close(owner);
  }
}

int main(int argc, char **argv) {
  static const uint64_t sizes[] = {2 * MIB, 64 * MIB, GIB, 8 * GIB};
  struct cuda_load load;
  if (argc == 4)
    return child(argv[1], (int)strtol(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
  spawn_raise_fd_limit();
  setvbuf(stdout, NULL, _IOLBF, 0);
  void *owner = what_does_it_cost_to_open();
  all_cards_from_one_process();
  must(cuda_load_open(false, &load), "load", NULL);
  cuda_owner_close(owner);
  what_does_the_next_gib_cost(&load);
  must(cuda_owner_open(&first, &owner), "cuda:0", NULL);
  for (unsigned i = 0; i < 3 * sizeof sizes / sizeof *sizes; i++)
    what_does_a_handle_cost(&load, sizes[i / 3]);
  does_a_descriptor_alone_keep_the_bytes(owner);
  how_many_descriptors(owner);
  how_fast_is_host_memory(owner);
  is_fresh_memory_zero(owner);
  cuda_load_close(&load);
  printf("at the end: used %.0f MiB\n", (double)used(owner) / MIB);
  cuda_owner_close(owner);
  return 0;
}
