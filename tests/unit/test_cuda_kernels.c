/*
 * The kernels of device/cuda/, as text, run without a card (tests/fake_ptx.h): what they compute,
 * what they touch, and that this test would notice a wrong one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "../fake_ptx.h"
#include "device/cuda/batch_kernels.h"
#include "device/cuda/sum_kernel.h"

#define PAGE ((size_t)4096)
#define ARENA (96 * PAGE)
#define CHUNKS 64
#define MOVE_THREADS 256
#define FOUR_ROUNDS (3 * 65536 + 1025) /* both halves of `rows` are used again */

struct piece { /* as in device/cuda/batch.c */
  uint64_t from, to;
  uint32_t size, differs;
  uint64_t move;
};

/* Bytes with nothing in front of them and nothing behind. */
static uint8_t *arena_make(void) {
  uint8_t *all = mmap(NULL, ARENA + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(all != MAP_FAILED);
  assert_int_equal(0, mprotect(all + PAGE, ARENA, PROT_READ | PROT_WRITE));
  return all + PAGE;
}

static void arena_done(uint8_t *arena) { munmap(arena - PAGE, ARENA + 2 * PAGE); }

/* Bytes that repeat nowhere near. */
static void fill(uint8_t *at, size_t size, uint64_t seed) {
  for (size_t i = 0; i < size; i++) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    at[i] = (uint8_t)(seed >> 56);
  }
}

static uint64_t address(const void *at) { return (uint64_t)(uintptr_t)at; }

/* The sums are right, and the kernel keeps to the words of 8 bytes that hold the range. At every
 * other place the last thread runs first. */
static bool sums_are_right(struct ptx_module *module, const uint8_t *at, size_t size,
                           size_t chunk) {
  uint64_t sums[CHUNKS] = {0};
  size_t count = (size + chunk - 1) / chunk;
  assert_true(count <= CHUNKS);
  struct ptx_range ranges[] = {{address(at) & ~7ULL, (address(at) + size + 7) & ~7ULL, false},
                               {address(sums), address(sums + count), true}};
  struct ptx_grid grid = {.blocks = (uint32_t)count,
                          .threads = SUM_THREADS,
                          .arguments = {address(at), size, chunk, address(sums)},
                          .ranges = ranges,
                          .count = 2,
                          .backwards = address(at) % 2};
  bool right = ptx_run(module, &grid);
  for (size_t i = 0; right && i < count; i++) {
    size_t left = size - i * chunk;
    right = sums[i] == XXH3_64bits(at + i * chunk, left < chunk ? left : chunk);
  }
  return right;
}

static void assert_sums(struct ptx_module *module, const uint8_t *at, size_t size, size_t chunk) {
  if (sums_are_right(module, at, size, chunk))
    return;
  print_message("%zu bytes, in chunks of %zu, from %zu on: %s\n", size, chunk,
                (size_t)(address(at) % 16), ptx_error(module));
  fail();
}

/* Each ends so many bytes before the end of the arena, so that it begins and ends anywhere. */
static void a_chunk_of_any_size_at_any_place(void **state) {
  (void)state;
  static const size_t sizes[] = {241,  255,  256,   1023,  1024,  1025,   1088,
                                 1089, 2049, 65536, 65537, 66561, 131073, FOUR_ROUNDS};
  struct ptx_module *module = ptx_load(SUM_KERNEL);
  uint8_t *arena = arena_make();
  fill(arena, ARENA, 1);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (size_t before = 0; before <= 17; before++)
      assert_sums(module, arena + ARENA - before - sizes[i], sizes[i], sizes[i]);
  arena_done(arena);
  ptx_free(module);
}

static void several_chunks(void **state) {
  (void)state;
  static const size_t each[][2] = {
      /* size, chunk; the last has at least SUM_LEAST */
      {3 * 4096 + 241, 4096}, {2 * 4096 + 4095, 4096}, {4 * 4096, 4096}, {5 * 2049 + 300, 2049},
      {40 * 241, 241},        {65536 + 1024, 65536},   {300, 4096}};
  struct ptx_module *module = ptx_load(SUM_KERNEL);
  uint8_t *arena = arena_make();
  fill(arena, ARENA, 2);
  for (size_t i = 0; i < sizeof each / sizeof *each; i++)
    for (size_t before = 0; before <= 17; before++)
      assert_sums(module, arena + ARENA - before - each[i][0], each[i][0], each[i][1]);
  arena_done(arena);
  ptx_free(module);
}

/* `text`, in which the first `from` is `to`; the caller frees it. */
static char *with(const char *text, const char *from, const char *to) {
  const char *at = strstr(text, from);
  size_t size = strlen(text) + strlen(to) + 1;
  char *out = malloc(size);
  assert_non_null(at);
  assert_non_null(out);
  (void)snprintf(out, size, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
  return out;
}

/* One wrong number, one barrier or one condition less. */
static void a_wrong_sum_is_noticed(void **state) {
  (void)state;
  static const char *const each[][2] = {
      {"0x1cad21f72c81017c", "0x1cad21f72c81017d"}, /* a word of the secret */
      {"0xd349daf0b751dd0d", "0xd349daf0b751dd0c"},
      {"shr.u64 y, acc, 47;\n", "shr.u64 y, acc, 46;\n"},
      {"xor.b64 acc, acc, key;\n", ""},
      {"bar.sync 0;\nbra more;\n", "bra more;\n"},
      {"again:\nbar.sync 0;\n", "again:\n"},
      {"bar.warp.sync 0xffffffff;\n", ""},
      {"@q ld.global.b64 y, [where+8];\n", "ld.global.b64 y, [where+8];\n"}, /* one word too far */
      {"@q add.u64 beyond, at, 16;\n", ""},
      {"@!aligned bra shifted;\n", ""},
  };
  uint8_t *arena = arena_make();
  fill(arena, ARENA, 3);
  for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
    char *text = with(SUM_KERNEL, each[i][0], each[i][1]);
    struct ptx_module *module = ptx_load(text);
    assert_string_equal("", ptx_error(module)); /* it is a kernel all the same */
    bool right = true;
    for (size_t before = 0; right && before < 16; before++)
      right = sums_are_right(module, arena + ARENA - before - 66561, 66561, 66561);
    if (right)
      print_message("not noticed: %s", each[i][0]);
    assert_false(right);
    ptx_free(module);
    free(text);
  }
  arena_done(arena);
}

#define SIZES 17
#define PLACES 3
#define PIECES (SIZES * PLACES)

struct bench {
  struct ptx_module *module;
  uint8_t *from, *to, *expected;
  struct piece pieces[PIECES];
  struct ptx_range ranges[2 * PIECES + 1]; /* exactly what each piece says, and the list */
};

/* All sizes where 16 bytes are moved at once, where they are not, and where they might be. */
static void plan(struct bench *bench) {
  static const uint32_t sizes[SIZES] = {1,    2,    15,    16,    17,    255,   4079,  4080, 4096,
                                        4097, 8191, 12288, 16383, 16384, 16385, 20480, 0};
  static const size_t places[PLACES][2] = {{0, 0}, {3, 3}, {0, 8}};
  size_t from = 0, to = 0;
  for (size_t i = 0; i < PIECES; i++) {
    uint32_t size = sizes[i / PLACES];
    from = (from + 15) / 16 * 16 + places[i % PLACES][0];
    to = (to + 15) / 16 * 16 + places[i % PLACES][1];
    bench->pieces[i] = (struct piece){address(bench->from + from), address(bench->to + to), size, 0,
                                      0x123456789abcdefULL};
    bench->ranges[2 * i] =
        (struct ptx_range){address(bench->from + from), address(bench->from + from + size), false};
    bench->ranges[2 * i + 1] =
        (struct ptx_range){address(bench->to + to), address(bench->to + to + size), true};
    assert_true(from + size <= ARENA && to + size <= ARENA);
    memcpy(bench->expected + to, bench->from + from, size);
    from += size + 1;
    to += size + 1;
  }
  bench->ranges[2 * PIECES] =
      (struct ptx_range){address(bench->pieces), address(bench->pieces + PIECES), true};
}

static void bench_make(struct bench *bench) {
  bench->module = ptx_load(BATCH_KERNELS);
  bench->from = arena_make();
  bench->to = arena_make();
  bench->expected = arena_make();
  fill(bench->from, ARENA, 4);
  fill(bench->to, ARENA, 5);
  memcpy(bench->expected, bench->to, ARENA);
  plan(bench);
}

static void bench_done(struct bench *bench) {
  arena_done(bench->from);
  arena_done(bench->to);
  arena_done(bench->expected);
  ptx_free(bench->module);
}

static void move(struct bench *bench, uint32_t blocks, uint64_t lost) {
  struct ptx_grid grid = {.blocks = blocks,
                          .threads = MOVE_THREADS,
                          .arguments = {address(bench->pieces), PIECES},
                          .ranges = bench->ranges,
                          .count = 2 * PIECES + 1,
                          .lost = lost};
  if (!ptx_run(bench->module, &grid))
    print_message("%s\n", ptx_error(bench->module));
  assert_string_equal("", ptx_error(bench->module));
}

/* Also those beside a piece are what they were. */
static void all_bytes_arrive(void **state) {
  (void)state;
  static const uint32_t blocks[] = {1, 7, PIECES, PIECES + 5};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
    struct bench bench;
    bench_make(&bench);
    move(&bench, blocks[i], 0);
    assert_memory_equal(bench.expected, bench.to, ARENA);
    for (size_t k = 0; k < PIECES; k++) {
      assert_int_equal(0, bench.pieces[k].differs);
      assert_int_equal(0x123456789abcdefULL, bench.pieces[k].move);
    }
    bench_done(&bench);
  }
}

/* A store that is lost marks the piece that it was for, and no other. */
static void a_piece_that_differs_is_marked(void **state) {
  (void)state;
  for (uint64_t lost = 1; lost < 20000; lost = lost * 3 + 1) {
    struct bench bench;
    unsigned marked = 0;
    bench_make(&bench);
    move(&bench, 7, lost);
    for (size_t i = 0; i < PIECES; i++) {
      const struct piece *piece = &bench.pieces[i];
      const void *from = (const void *)(uintptr_t)piece->from;
      const void *to = (const void *)(uintptr_t)piece->to;
      assert_int_equal(memcmp(from, to, piece->size) != 0, piece->differs);
      marked += piece->differs;
    }
    assert_int_equal(1, marked);
    bench_done(&bench);
  }
}

#define SMALL 83 /* of one thread: four vectors at once, one more, and three bytes */

/* All but one byte are there already, and one store is lost: whether the piece is marked if, and
 * only if, it was the one with that byte. */
static bool mark_is_right(struct ptx_module *module, size_t byte, uint64_t lost) {
  _Alignas(16) uint8_t from[SMALL], to[SMALL];
  fill(from, SMALL, 6);
  memcpy(to, from, SMALL);
  to[byte] ^= 0x10;
  struct piece piece = {address(from), address(to), SMALL, 0, 0};
  struct ptx_range ranges[] = {{address(from), address(from + SMALL), false},
                               {address(to), address(to + SMALL), true},
                               {address(&piece), address(&piece + 1), true}};
  struct ptx_grid grid = {.blocks = 1,
                          .threads = 1,
                          .arguments = {address(&piece), 1},
                          .ranges = ranges,
                          .count = 3,
                          .lost = lost};
  uint64_t store = byte < 80 ? byte / 16 + 1 : byte - 80 + 6;
  return ptx_run(module, &grid) && piece.differs == (store == lost) &&
         (memcmp(from, to, SMALL) != 0) == (store == lost);
}

static bool marks_are_right(struct ptx_module *module) {
  bool right = true;
  for (size_t byte = 0; byte < SMALL; byte++)
    for (uint64_t lost = 1; right && lost <= 8; lost++)
      right = mark_is_right(module, byte, lost);
  return right;
}

static void each_byte_is_compared(void **state) {
  (void)state;
  struct ptx_module *module = ptx_load(BATCH_KERNELS);
  bool right = marks_are_right(module);
  assert_string_equal("", ptx_error(module));
  assert_true(right);
  ptx_free(module);
}

static void a_wrong_comparison_is_noticed(void **state) {
  (void)state;
  static const char *const each[][2] = {{"or.b32 other, other, x6;\n", ""},
                                        {"xor.b32 x13, x13, y13;\n", ""},
                                        {"@p mov.u32 other, 1;\n", ""},
                                        {"mov.u32 other, 0;\n", "mov.u32 other, 1;\n"}};
  for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
    char *text = with(BATCH_KERNELS, each[i][0], each[i][1]);
    struct ptx_module *module = ptx_load(text);
    assert_string_equal("", ptx_error(module));
    assert_false(marks_are_right(module));
    ptx_free(module);
    free(text);
  }
}

/* Where the toolkit is; fake_ptx knows less than a compiler. */
static void the_kernels_are_valid(void **state) {
  (void)state;
  static const char compiler[] = "/usr/local/cuda/bin/ptxas";
  static const char *const texts[] = {BATCH_KERNELS, SUM_KERNEL};
  if (access(compiler, X_OK)) {
    print_message("left out: no %s\n", compiler);
    skip();
  }
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    FILE *to = popen("/usr/local/cuda/bin/ptxas -arch=sm_90 -o /dev/null -", "w");
    assert_non_null(to);
    fputs(texts[i], to);
    assert_int_equal(0, pclose(to));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_chunk_of_any_size_at_any_place), cmocka_unit_test(several_chunks),
      cmocka_unit_test(a_wrong_sum_is_noticed),           cmocka_unit_test(all_bytes_arrive),
      cmocka_unit_test(a_piece_that_differs_is_marked),   cmocka_unit_test(each_byte_is_compared),
      cmocka_unit_test(a_wrong_comparison_is_noticed),    cmocka_unit_test(the_kernels_are_valid),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
