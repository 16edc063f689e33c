/*
 * bench_card: what a card and a disk give to the plainest program, as the limit that Memkeep is
 * measured against. Talks to the driver itself (libcuda by dlopen), shares no code with
 * src/device/cuda.
 *
 *   bench_card link       card.h2d card.d2h card.d2d (each byte read and written) card.peer: GB/s
 *   bench_card disk FILE  disk.direct: GB/s of two threads that read FILE with O_DIRECT
 *
 * Pinned memory, one stream, 1 GiB in pieces of 16 MiB; on cards 8 GiB in one call, for the start
 * of each costs what 16 MiB take. Each the best of five. What is not there is not printed.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"

#define SIZE GIB
#define PIECE (16 * MIB)
#define CARD_SIZE (8 * GIB)
#define ROUNDS 5
#define READ_PIECE (8 * MIB)

typedef uint64_t device_ptr;
typedef void *handle;

static struct {
  int (*init)(unsigned);
  int (*count)(int *);
  int (*device)(int *, int);
  int (*retain)(handle *, int);
  int (*current)(handle);
  int (*alloc)(device_ptr *, size_t);
  int (*host_alloc)(void **, size_t, unsigned);
  int (*h2d)(device_ptr, const void *, size_t, handle);
  int (*d2h)(void *, device_ptr, size_t, handle);
  int (*d2d)(device_ptr, device_ptr, size_t, handle);
  int (*peer)(device_ptr, handle, device_ptr, handle, size_t);
  int (*context_wait)(void);
  int (*peer_access)(handle, unsigned);
  int (*stream)(handle *, unsigned);
  int (*wait)(handle);
} cuda;

static void check(int result, const char *what) {
  if (result) {
    fprintf(stderr, "bench_card: %s: CUDA error %d\n", what, result);
    exit(1);
  }
}

static void load(void) {
  static const struct {
    const char *name;
    void *to;
  } symbols[] = {{"cuInit", &cuda.init},
                 {"cuDeviceGetCount", &cuda.count},
                 {"cuDeviceGet", &cuda.device},
                 {"cuDevicePrimaryCtxRetain", &cuda.retain},
                 {"cuCtxSetCurrent", &cuda.current},
                 {"cuMemAlloc_v2", &cuda.alloc},
                 {"cuMemHostAlloc", &cuda.host_alloc},
                 {"cuMemcpyHtoDAsync_v2", &cuda.h2d},
                 {"cuMemcpyDtoHAsync_v2", &cuda.d2h},
                 {"cuMemcpyDtoDAsync_v2", &cuda.d2d},
                 {"cuMemcpyPeer", &cuda.peer},
                 {"cuCtxSynchronize", &cuda.context_wait},
                 {"cuCtxEnablePeerAccess", &cuda.peer_access},
                 {"cuStreamCreate", &cuda.stream},
                 {"cuStreamSynchronize", &cuda.wait}};
  void *library = dlopen("libcuda.so.1", RTLD_NOW);
  for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
    void *symbol = library ? dlsym(library, symbols[i].name) : NULL;
    if (!symbol) {
      fprintf(stderr, "bench_card: no driver, or no %s in it\n", symbols[i].name);
      exit(1);
    }
    memcpy(symbols[i].to, &symbol, sizeof symbol);
  }
}

struct card {
  handle context, stream;
  device_ptr a, b;
};

static void open_card(int index, struct card *card) {
  int device;
  check(cuda.device(&device, index), "cuDeviceGet");
  check(cuda.retain(&card->context, device), "cuDevicePrimaryCtxRetain");
  check(cuda.current(card->context), "cuCtxSetCurrent");
  check(cuda.stream(&card->stream, 1), "cuStreamCreate");
  check(cuda.alloc(&card->a, CARD_SIZE), "cuMemAlloc");
  check(cuda.alloc(&card->b, CARD_SIZE), "cuMemAlloc");
}

enum way { H2D, D2H, D2D, PEER };

static int copy(enum way way, const struct card cards[2], char *host, size_t at) {
  const struct card *card = &cards[0];
  if (way == H2D)
    return cuda.h2d(card->a + at, host + at, PIECE, card->stream);
  if (way == D2H)
    return cuda.d2h(host + at, card->a + at, PIECE, card->stream);
  if (way == D2D)
    return cuda.d2d(card->b, card->a, CARD_SIZE, card->stream);
  return cuda.peer(cards[1].a, cards[1].context, card->a, card->context, CARD_SIZE);
}

static void measure(const char *name, enum way way, const struct card cards[2], char *host) {
  double best = 0;
  size_t size = way == H2D || way == D2H ? SIZE : CARD_SIZE, piece = size == SIZE ? PIECE : size;
  check(cuda.current(cards[0].context), "cuCtxSetCurrent");
  for (int round = 0; round < ROUNDS; round++) {
    uint64_t start = clock_now();
    for (size_t at = 0; at < size; at += piece)
      check(copy(way, cards, host, at), name);
    check(cuda.wait(cards[0].stream), name);
    check(cuda.context_wait(), name); /* cuMemcpyPeer is of no stream, and does not wait */
    double rate = (double)size / (double)(clock_now() - start);
    if (rate > best)
      best = rate;
  }
  printf("card.%s=%.2f\n", name, best);
}

static void bench_link(void) {
  struct card cards[2];
  void *host;
  int count;
  load();
  check(cuda.init(0), "cuInit");
  check(cuda.count(&count), "cuDeviceGetCount");
  open_card(0, &cards[0]);
  check(cuda.host_alloc(&host, SIZE, 1), "cuMemHostAlloc");
  memset(host, 7, SIZE);
  measure("h2d", H2D, cards, host);
  measure("d2h", D2H, cards, host);
  measure("d2d", D2D, cards, host);
  if (count < 2)
    return;
  open_card(1, &cards[1]);
  cuda.peer_access(cards[0].context, 0);
  check(cuda.current(cards[0].context), "cuCtxSetCurrent");
  cuda.peer_access(cards[1].context, 0);
  measure("peer", PEER, cards, host);
}

struct half {
  int fd;
  uint64_t from, to;
  pthread_t thread;
};

static void *read_half(void *arg) {
  const struct half *half = arg;
  char *piece = aligned_alloc(4096, READ_PIECE);
  for (uint64_t at = half->from; piece && at < half->to; at += READ_PIECE)
    if (pread(half->fd, piece, READ_PIECE, (off_t)at) < 0) {
      perror("bench_card: pread");
      exit(1);
    }
  free(piece);
  return NULL;
}

static void bench_disk(const char *path) {
  struct stat facts;
  int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &facts)) {
    perror(path);
    exit(1);
  }
  uint64_t size = (uint64_t)facts.st_size, middle = size / 2 / READ_PIECE * READ_PIECE;
  struct half halves[2] = {{.fd = fd, .from = 0, .to = middle},
                           {.fd = fd, .from = middle, .to = size}};
  uint64_t start = clock_now();
  for (int i = 0; i < 2; i++)
    if (pthread_create(&halves[i].thread, NULL, read_half, &halves[i]))
      exit(1);
  for (int i = 0; i < 2; i++)
    pthread_join(halves[i].thread, NULL);
  printf("disk.direct=%.3f\n", (double)size / (double)(clock_now() - start));
  close(fd);
}

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "link"))
    bench_link();
  else if (argc == 3 && !strcmp(argv[1], "disk"))
    bench_disk(argv[2]);
  else
    return fputs("usage: bench_card link | disk FILE\n", stderr), 2;
  return 0;
}
