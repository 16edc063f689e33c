/*
 * bench_load: a load of 1 GiB beside the plain loops that do the same, by turns, medians; GiB/s:
 *
 *   load.cold_peer   two threads, direct reads of 8 MiB into a fresh memfd's mapping
 *   load.cold        load_run of the same file into a fresh host segment, sums and all
 *   load.warm_peer   one memcpy from the page cache into a fresh memfd
 *   load.warm        load_run of the file as it is in the page cache
 *   load.verified    load.warm and every byte read again
 *   load.link_rate   what load_run reaches of a fake link of 256 MiB/s with 50 us (1: all of it)
 *   load.fast_link   of one of 20 GiB/s, GiB/s; load.fast_peer: one thread's reads and writes to it
 *
 * The file lies in the folder that is named, or in /var/tmp, and is gone afterwards.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/os_memfd.h"
#include "worker/load.h"

#define SIZE GIB
#define LINKED (512 * MIB) /* two seconds of the slow link */
#define ROUNDS 5
#define STRIDE 4099 /* so that no two pages of the file are alike */

struct target {
  struct device_mover *mover;
  struct device_segment *segment;
  struct share memory;
  char *bytes;
};

struct reader {
  int fd;
  char *to;
  atomic_uint_fast64_t *next;
};

static void need(bool holds, const char *what) {
  if (holds)
    return;
  fprintf(stderr, "bench_load: %s\n", what);
  exit(1);
}

static double rate(uint64_t size, uint64_t start) {
  return (double)size / (double)GIB / ((double)(clock_now() - start) / 1e9);
}

static double median(double values[ROUNDS]) {
  for (int i = 0; i < ROUNDS; i++)
    for (int j = i + 1; j < ROUNDS; j++)
      if (values[j] < values[i]) {
        double swap = values[i];
        values[i] = values[j];
        values[j] = swap;
      }
  return values[ROUNDS / 2];
}

static struct share file_make(const char *folder) {
  char path[4096];
  unsigned char *chunk = malloc(LOAD_CHUNK);
  snprintf(path, sizeof path, "%s/bench_load.XXXXXX", folder);
  int fd = mkstemp(path);
  need(fd >= 0 && chunk, path);
  unlink(path);
  for (uint64_t offset = 0; offset < SIZE; offset += LOAD_CHUNK) {
    for (uint64_t i = 0; i < LOAD_CHUNK; i++)
      chunk[i] = (unsigned char)((offset + i) * STRIDE >> 12);
    need(write(fd, chunk, LOAD_CHUNK) == (ssize_t)LOAD_CHUNK, "no room for the file");
  }
  need(!fsync(fd), "fsync");
  free(chunk);
  return (struct share){SHARE_FILE, fd};
}

static void cool(const struct share *file) {
  posix_fadvise((int)file->value, 0, 0, POSIX_FADV_DONTNEED);
}

static void warm(const struct share *file) {
  char *chunk = malloc(LOAD_CHUNK);
  for (uint64_t offset = 0; offset < SIZE; offset += LOAD_CHUNK)
    need(pread((int)file->value, chunk, LOAD_CHUNK, (off_t)offset) == (ssize_t)LOAD_CHUNK, "read");
  free(chunk);
}

static struct target target_open(const char *device, uint64_t size) {
  struct target target;
  struct spec spec;
  struct problem problem;
  void *map;
  need(!spec_parse(device, &spec, &problem) && !device_mover_open(&spec, &target.mover), device);
  need(!os_memfd_create("bench", size, &target.memory), "memfd");
  need(!os_memfd_map(&target.memory, size, true, &map), "map");
  need(!device_import(target.mover, &target.memory, size, &target.segment), "import");
  target.bytes = map;
  return target;
}

static void target_close(struct target *target, uint64_t size) {
  device_drop(target->segment);
  device_mover_close(target->mover);
  os_memfd_unmap(target->bytes, size);
  share_close(&target->memory);
}

/* ---- the plain loops ---- */

static void *read_chunks(void *arg) {
  const struct reader *reader = arg;
  uint64_t offset;
  while ((offset = atomic_fetch_add(reader->next, LOAD_CHUNK)) < SIZE)
    need(pread(reader->fd, reader->to + offset, LOAD_CHUNK, (off_t)offset) == (ssize_t)LOAD_CHUNK,
         "direct read");
  return NULL;
}

static double cold_peer(const struct share *file) {
  char path[40];
  pthread_t other;
  atomic_uint_fast64_t next = 0;
  struct target target = target_open("host:0=2GiB", SIZE);
  snprintf(path, sizeof path, "/proc/self/fd/%d", (int)file->value);
  struct reader reader = {open(path, O_RDONLY | O_DIRECT | O_CLOEXEC), target.bytes, &next};
  need(reader.fd >= 0, "no direct I/O in this folder");
  cool(file);
  uint64_t start = clock_now();
  need(!pthread_create(&other, NULL, read_chunks, &reader), "thread");
  read_chunks(&reader);
  pthread_join(other, NULL);
  double result = rate(SIZE, start);
  close(reader.fd);
  target_close(&target, SIZE);
  return result;
}

static double warm_peer(const struct share *file) {
  struct target target = target_open("host:0=2GiB", SIZE);
  warm(file);
  char *from = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, (int)file->value, 0);
  need(from != MAP_FAILED, "map");
  uint64_t start = clock_now();
  memcpy(target.bytes, from, SIZE);
  double result = rate(SIZE, start);
  munmap(from, SIZE);
  target_close(&target, SIZE);
  return result;
}

static double link_peer(const struct share *file, const char *device) {
  struct target target = target_open(device, LINKED);
  char *chunk = malloc(LOAD_CHUNK);
  need(!device_fill((struct device_place){target.segment, 0}, LINKED, 1), "fill");
  uint64_t start = clock_now();
  for (uint64_t offset = 0; offset < LINKED; offset += LOAD_CHUNK) {
    need(pread((int)file->value, chunk, LOAD_CHUNK, (off_t)offset) == (ssize_t)LOAD_CHUNK, "read");
    need(!device_write((struct device_place){target.segment, offset}, LOAD_CHUNK, chunk), "write");
  }
  double result = rate(LINKED, start);
  free(chunk);
  target_close(&target, LINKED);
  return result;
}

/* ---- the load ---- */

static double run_load(const struct share *file, struct target *target, uint64_t size,
                       const struct load_work *how) {
  static uint64_t sums[SIZE / LOAD_CHUNK];
  atomic_bool cancel = false;
  struct load_work work = *how;
  work.file = file;
  work.size = size;
  work.to = (struct device_place){target->segment, 0};
  work.cancel = &cancel;
  work.chunk_sums = sums;
  uint64_t start = clock_now();
  need(!load_run(&work) && work.verified == how->verify, "the load failed");
  return rate(size, start);
}

static double load_host(const struct share *file, bool verify) {
  struct target target = target_open("host:0=2GiB", SIZE);
  struct load_work how = {.verify = verify};
  double result = run_load(file, &target, SIZE, &how);
  target_close(&target, SIZE);
  return result;
}

/* Its memory was touched before, as a card's is. */
static double load_link(const struct share *file, const char *device) {
  struct target target = target_open(device, LINKED);
  struct load_work how = {.verify = false};
  need(!device_fill((struct device_place){target.segment, 0}, LINKED, 1), "fill");
  double result = run_load(file, &target, LINKED, &how);
  target_close(&target, LINKED);
  return result;
}

int main(int argc, char **argv) {
  static const char slow[] = "fake:0=1GiB,rate=256MiB/s,latency=50us";
  static const char fast[] = "fake:0=1GiB,rate=20GiB/s,latency=50us";
  double found[8][ROUNDS];
  static const char *const names[] = {"cold_peer", "cold",      "warm_peer", "warm",
                                      "verified",  "link_rate", "fast_link", "fast_peer"};
  struct share file = file_make(argc > 1 ? argv[1] : "/var/tmp");
  warm_peer(&file); /* lets the machine give this much memory once */
  for (int i = 0; i < ROUNDS; i++) {
    found[0][i] = cold_peer(&file);
    cool(&file);
    found[1][i] = load_host(&file, false);
    found[2][i] = warm_peer(&file);
    found[3][i] = load_host(&file, false);
    found[4][i] = load_host(&file, true);
    found[5][i] = load_link(&file, slow) * (double)GIB / (256.0 * (double)MIB);
    found[6][i] = load_link(&file, fast);
    found[7][i] = link_peer(&file, fast);
  }
  share_close(&file);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    printf("load.%s=%.3f\n", names[i], median(found[i]));
  return 0;
}
