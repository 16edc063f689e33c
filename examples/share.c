/*
 * share: two processes use 1 GiB of host memory together, without a copy. The first allocates it
 * and fills one half; the second knows only its id, attaches it, and fills the other half. Each
 * checks the checksum of what the other wrote.
 *
 *   cc -o share share.c $(pkg-config --cflags --libs memkeep)
 *   ./share              (a memkeepd must run; ./share 64 takes 64 MiB instead)
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memkeep/memkeep.h>

static void check(enum mk_code code, const char *what) {
  if (code)
    errx(1, "%s: %s: %s", what, mk_code_name(code), mk_error_text());
}

/* Writes a sequence that only its seed tells; returns its checksum. */
static uint64_t fill(uint64_t *words, size_t count, uint64_t seed) {
  uint64_t sum = 0;
  for (size_t i = 0; i < count; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    words[i] = seed;
    sum = sum * 31 + seed;
  }
  return sum;
}

static uint64_t checksum(const uint64_t *words, size_t count) {
  uint64_t sum = 0;
  for (size_t i = 0; i < count; i++)
    sum = sum * 31 + words[i];
  return sum;
}

/* In a process of its own, started with the id and the checksum of the first half; answers the
 * second half's on stdout. */
static int second(const char *id, const char *told) {
  mk_client *client;
  mk_allocation *memory;
  check(mk_connect(NULL, &client), "connect");
  check(mk_attach(client, id, 0, &memory), "attach");
  size_t half = mk_size(memory) / sizeof(uint64_t) / 2;
  uint64_t *words = mk_pointer(memory);
  if (checksum(words, half) != strtoull(told, NULL, 16))
    errx(1, "the second process sees other bytes than the first wrote");
  printf("%016" PRIx64 "\n", fill(words + half, half, 2));
  check(mk_detach(memory), "detach");
  mk_close(client);
  return 0;
}

/* Runs this program again as the second process; its answer. */
static uint64_t ask_second(const char *id, uint64_t sum) {
  char told[17], answer[18] = "";
  int out[2], status;
  snprintf(told, sizeof told, "%016" PRIx64, sum);
  if (pipe(out))
    err(1, "pipe");
  pid_t child = fork();
  if (child == 0) {
    dup2(out[1], STDOUT_FILENO);
    execl("/proc/self/exe", "share", "second", id, told, (char *)NULL);
    _exit(127);
  }
  close(out[1]);
  FILE *from = fdopen(out[0], "r");
  if (child < 0 || !from || !fgets(answer, sizeof answer, from) ||
      waitpid(child, &status, 0) != child || status != 0)
    errx(1, "the second process failed");
  fclose(from);
  return strtoull(answer, NULL, 16);
}

static int first(uint64_t bytes) {
  mk_client *client;
  mk_allocation *memory;
  const struct mk_request request = {
      .size = bytes, .memory = "RAM", .label = "examples/share", .share = "write"};
  check(mk_connect(NULL, &client), "connect");
  check(mk_allocate(client, &request, &memory), "allocate");
  printf("first: %s, %" PRIu64 " MiB on %s at %p\n", mk_id(memory), mk_size(memory) >> 20,
         mk_device(memory), mk_pointer(memory));
  fflush(stdout);
  size_t half = mk_size(memory) / sizeof(uint64_t) / 2;
  uint64_t *words = mk_pointer(memory);
  uint64_t told = ask_second(mk_id(memory), fill(words, half, 1));
  if (checksum(words + half, half) != told)
    errx(1, "the first process sees other bytes than the second wrote");
  printf("second: wrote its half, checksum %016" PRIx64 " on both sides\n", told);
  check(mk_free(memory), "free");
  mk_close(client);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 4 && strcmp(argv[1], "second") == 0)
    return second(argv[2], argv[3]);
  uint64_t mebibytes = argc > 1 ? strtoull(argv[1], NULL, 10) : 1024;
  return first(mebibytes << 20);
}
