/*
 * tests/fake_ptx: what it computes is what PTX says, and what a card would not forgive is an error.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../fake_ptx.h"

#define HEAD ".version 6.0\n.target sm_50\n.address_size 64\n"
#define DECLARED                                                                                   \
  HEAD ".const .align 8 .b64 word[2] = {7, 0x1122334455667788};\n"                                 \
       ".visible .entry test(.param .u64 out)\n{\n"                                                \
       ".shared .align 16 .b8 rows[512];\n"                                                        \
       ".reg .pred p, q;\n.reg .b16 h;\n.reg .b32 a, b, c;\n.reg .b64 to, x, y, z<4>;\n"           \
       "ld.param.u64 to, [out];\n"
#define LINES 12 /* of these */

/* Runs `body`; what it has put to `to` is in `out`. Returns the error in a place of its own. */
static const char *run(const char *body, uint32_t threads, uint64_t out[4]) {
  static char text[4096], error[256];
  struct ptx_range range = {(uint64_t)(uintptr_t)out, (uint64_t)(uintptr_t)(out + 4), true};
  struct ptx_grid grid = {
      .blocks = 1, .threads = threads, .arguments = {range.start}, .ranges = &range, .count = 1};
  (void)snprintf(text, sizeof text, DECLARED "%s}\n", body);
  struct ptx_module *module = ptx_load(text);
  (void)ptx_run(module, &grid);
  (void)snprintf(error, sizeof error, "%s", ptx_error(module));
  ptx_free(module);
  return error;
}

#define PUT "st.global.b64 [to], y;\nret;\n"

static void it_computes_as_ptx_says(void **state) {
  (void)state;
  static const struct {
    const char *body;
    uint64_t y;
  } each[] = {
      {"mov.u64 x, -1;\nmov.u32 a, 64;\nshl.b64 y, x, a;\n", 0},
      {"mov.u64 x, -1;\nmov.u32 a, 64;\nshr.u64 y, x, a;\n", 0},
      {"mov.u64 x, -1;\nshr.b64 y, x, 63;\n", 1},
      {"mov.u32 a, 1;\nshl.b32 a, a, 32;\ncvt.u64.u32 y, a;\n", 0},
      {"mov.u64 x, -8;\nand.b64 y, x, 0xff;\n", 0xf8},
      {"mov.u32 a, 0;\nsub.u32 a, a, 1;\ncvt.u64.u32 y, a;\n", 0xffffffff},
      {"mov.u32 a, 0xffffffff;\nadd.u32 a, a, 2;\ncvt.u64.u32 y, a;\n", 1},
      {"mov.u64 x, 0x1ffffffff;\ncvt.u32.u64 a, x;\ncvt.u64.u32 y, a;\n", 0xffffffff},
      {"mov.u32 a, 0xffffffff;\nmul.wide.u32 y, a, a;\n", 0xfffffffe00000001},
      {"mov.u64 x, -1;\nmov.u32 a, 2;\nmad.wide.u32 y, a, a, x;\n", 3},
      {"mov.u64 x, 0x8000000000000000;\nmul.hi.u64 y, x, 6;\n", 3},
      {"mov.u32 a, 0x80000000;\nmul.hi.u32 a, a, 6;\ncvt.u64.u32 y, a;\n", 3},
      {"mov.u64 x, 0x8000000000000000;\nmul.lo.u64 y, x, 3;\n", 0x8000000000000000},
      {"mov.u64 x, -1;\nmin.u64 y, x, 5;\n", 5},
      {"mov.u64 x, 12;\nor.b64 y, x, 3;\nxor.b64 y, y, 5;\n", 10},
      {"mov.u64 x, 0x100000002;\nmov.b64 {a, b}, x;\nmov.b64 y, {b, a};\n", 0x200000001},
      {"mov.u64 x, word;\nld.const.b64 y, [x+4+4];\n", 0x1122334455667788},
      {"ld.const.u8 h, [word+8];\nst.global.b64 [to], 0;\nst.global.u8 [to+1], h;\n"
       "ld.volatile.global.u64 y, [to];\n",
       0x8800},
      {"mov.u64 x, 1;\nmov.u64 y, 2;\nst.global.cg.v2.b64 [to+16], {x, y};\n"
       "ld.global.cs.v2.u64 {y, x}, [to+16];\n",
       1},
      /* unsigned, and neither branch nor assignment when the predicate says so */
      {"mov.u64 y, 0;\nmov.u32 a, 0xffffffff;\nsetp.ge.u32 p, a, 1;\n@p mov.u64 y, 1;\n"
       "@!p mov.u64 y, 2;\n",
       1},
      {"mov.u64 y, 5;\nmov.u32 a, 3;\nagain:\nadd.u64 y, y, 1;\nsub.u32 a, a, 1;\n"
       "setp.gt.u32 p, a, 0;\n@p bra again;\n",
       8},
      {"mov.u64 y, 0;\nmov.u32 a, 1;\nsetp.lt.u32 p, a, 1;\nsetp.le.u32 q, a, 1;\n"
       "@p add.u64 y, y, 1;\n@q add.u64 y, y, 2;\n",
       2},
  };
  for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
    char body[1024];
    _Alignas(16) uint64_t out[4] = {0};
    (void)snprintf(body, sizeof body, "%s" PUT, each[i].body);
    assert_string_equal("", run(body, 1, out));
    if (out[0] != each[i].y)
      print_message("%s", each[i].body);
    assert_int_equal(each[i].y, out[0]);
  }
}

/* Each thread reads what its neighbour, which may be of another warp, has put before the barrier.
 */
#define NEIGHBOUR                                                                                  \
  "mov.u32 a, %tid.x;\nshl.b32 b, a, 3;\nmov.u32 c, rows;\nadd.u32 b, b, c;\n"                     \
  "cvt.u64.u32 x, a;\nst.shared.b64 [b], x;\n"
#define NEIGHBOURS_WORD                                                                            \
  "add.u32 a, a, 1;\nand.b32 a, a, 63;\nshl.b32 b, a, 3;\nadd.u32 b, b, c;\n"                      \
  "ld.shared.b64 y, [b];\nsetp.eq.u64 p, y, 0;\n@p st.global.b64 [to], 1;\nret;\n"

/* The same inside a warp. */
#define WARP_WORD                                                                                  \
  "xor.b32 a, a, 1;\nshl.b32 b, a, 3;\nadd.u32 b, b, c;\nld.shared.b64 y, [b];\nret;\n"

static void threads_meet_at_a_barrier(void **state) {
  (void)state;
  _Alignas(16) uint64_t out[4] = {0};
  assert_string_equal("", run(NEIGHBOUR "bar.sync 0;\n" NEIGHBOURS_WORD, 64, out));
  assert_int_equal(1, out[0]);
  assert_non_null(strstr(run(NEIGHBOUR NEIGHBOURS_WORD, 64, out), "nothing has been put into"));
  const char *error = run(NEIGHBOUR "bar.warp.sync 0xffffffff;\n" NEIGHBOURS_WORD, 64, out);
  assert_non_null(strstr(error, "thread 31 reads what thread 32 has put there"));
  assert_string_equal("", run(NEIGHBOUR "bar.warp.sync 0xffffffff;\n" WARP_WORD, 64, out));
}

struct fault {
  const char *body, *error;
  unsigned line; /* of the body */
};

static void assert_faults(const struct fault *faults, size_t count, uint32_t threads) {
  for (size_t i = 0; i < count; i++) {
    _Alignas(16) uint64_t out[4] = {0};
    char line[32];
    const char *error = run(faults[i].body, threads, out);
    (void)snprintf(line, sizeof line, "line %u: ", LINES + faults[i].line);
    if (strncmp(error, line, strlen(line)) != 0 || !strstr(error, faults[i].error))
      print_message("%s\"%s\", not \"%s…%s\"\n", faults[i].body, error, line, faults[i].error);
    assert_int_equal(0, strncmp(error, line, strlen(line)));
    assert_non_null(strstr(error, faults[i].error));
  }
}

/* What a compiler refuses, and what is only not known here. */
static void a_text_that_is_wrong(void **state) {
  (void)state;
  static const struct fault faults[] = {
      {"ret;\nfoo.u32 a, b;\n", "unknown instruction foo.u32", 2},
      {"add.s32 a, a, 1;\n", "unknown modifier", 1},
      {"add.b32 a, a, 1;\n", "no type for this", 1},
      {"add.u32.u32 a, a, 1;\n", "modifiers", 1},
      {"add a, a, 1;\n", "modifiers", 1},
      {"ld.u32 a, [to];\n", "modifiers", 1},
      {"ld.global.shared.u32 a, [to];\n", "unknown modifier", 1},
      {"add.u32 a, a;\n", "',' is missing", 1},
      {"add.u32 a, a, 1, 1;\n", "';' is missing", 1},
      {"add.u32 a, nothing, 1;\n", "no register: nothing", 1},
      {"mov.u32 a, %laneid;\n", "unknown register", 1},
      {"add.u32 x, a, 1;\n", "64 bits, not 32", 1},
      {"add.u64 x, a, x;\n", "32 bits, not 64", 1},
      {"shl.b64 x, x, y;\n", "64 bits, not 32", 1},
      {"mul.wide.u64 x, x, x;\n", "not 128", 1},
      {"mul.wide.u32 a, a, a;\n", "32 bits, not 64", 1},
      {"add.u32 a, a, 0x100000000;\n", "too large", 1},
      {"add.u32 a, a, %tid.x;\n", "only mov", 1},
      {"ld.global.v4.u32 {a, b}, [to];\n", "2 registers, not 4", 1},
      {"ld.global.u32 a, to;\n", "not of this kind", 1},
      {"ld.global.u64 x, [rows];\n", "another space", 1},
      {"ld.global.u64 x, [a];\n", "no address", 1},
      {"@a ret;\n", "no predicate", 1},
      {"bra nowhere;\n", "nothing is at nowhere", 2},
      {"here:\nhere:\nret;\n", "here is there twice", 2},
      {".reg .b32 a;\n", "a is there twice", 1},
      {".local .b32 d;\n", "unknown directive", 1},
      {"bar.sync 1;\n", "only 0", 1},
      {"bar.warp.sync 3;\n", "whole warp", 1},
      {"ret;\nret", "';' is missing", 2},
  };
  assert_faults(faults, sizeof faults / sizeof *faults, 1);
}

static void a_kernel_that_does_wrong(void **state) {
  (void)state;
  static const struct fault faults[] = {
      {"add.u32 a, b, 1;\nret;\n", "nothing has been put into", 1},
      {"@p ret;\nret;\n", "nothing has been put into", 1},
      {"ld.shared.u32 a, [rows];\nret;\n", "nothing has been put into", 1},
      {"ld.global.u64 x, [to+4];\nret;\n", "not aligned", 1},
      {"ld.global.v2.u64 {x, y}, [to+8];\nret;\n", "not aligned", 1},
      {"ld.global.u64 x, [to+32];\nret;\n", "no business", 1},
      {"mov.u64 x, 0;\nst.global.u64 [to+32], x;\nret;\n", "no business", 2},
      {"mov.u64 x, word;\nld.global.u64 y, [x];\nret;\n", "no business", 2},
      {"mov.u64 x, 0;\nst.shared.u64 [rows+512], x;\nret;\n", "no business", 2},
      {"mov.u32 a, 1;\n", "over the end", 1},
      {"here:\nbra here;\n", "in a circle", 2},
      {"mov.u32 a, %tid.x;\nsetp.ge.u32 p, a, 32;\n@p ret;\nbar.sync 0;\nret;\n", "not all reach",
       4},
      {"mov.u32 a, %tid.x;\nsetp.eq.u32 p, a, 1;\n@p bra it;\nbar.sync 0;\nret;\nit:\n"
       "bar.sync 0;\nret;\n",
       "not all reach", 4},
      {"mov.u32 a, %tid.x;\nsetp.ge.u32 p, a, 32;\n@p bar.sync 0;\n"
       "@!p bar.warp.sync 0xffffffff;\nret;\n",
       "not all reach", 3},
      {"mov.u32 a, %tid.x;\nsetp.eq.u32 p, a, 1;\n@p ret;\nbar.warp.sync 0xffffffff;\nret;\n",
       "not all reach", 4},
  };
  assert_faults(faults, sizeof faults / sizeof *faults, 64);
}

static void a_module_that_is_wrong(void **state) {
  (void)state;
  static const char *const each[][2] = {
      {"", "no kernel"},
      {".version 8.0\n", "line 1: \"8.0\""},
      {HEAD ".global .b32 x;\n", "line 4: unknown directive"},
      {HEAD ".const .align 8 .b64 w[2] = {1};\n", "line 4: too few"},
      {HEAD ".const .align 8 .b64 w[2] = {1, 2, 3};\n", "line 4: too many"},
      {HEAD ".const .align 4 .b32 w[1] = {0x100000000};\n",
       "line 4: too many values, or too large"},
      {HEAD ".const .align 8 .b64 w[1000] = {1};\n", "line 4: too much"},
      {HEAD ".const .align 3 .b64 w[1] = {1};\n", "line 4: unknown alignment"},
      {HEAD ".visible .entry f(.param .u64 x)\n{\nret;\n", "'}' is missing"},
      {HEAD ".visible .entry f(.param .u64 x)\n{\nret;\n}\n.visible .entry g(.param .u64 "
            "y)\n{\nret;\n}\n",
       "line 8: more than one"},
  };
  for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
    struct ptx_module *module = ptx_load(each[i][0]);
    struct ptx_grid grid = {.blocks = 1, .threads = 1};
    if (!strstr(ptx_error(module), each[i][1]))
      print_message("%s: %s\n", each[i][0], ptx_error(module));
    assert_non_null(strstr(ptx_error(module), each[i][1]));
    assert_false(ptx_run(module, &grid));
    ptx_free(module);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_computes_as_ptx_says), cmocka_unit_test(threads_meet_at_a_barrier),
      cmocka_unit_test(a_text_that_is_wrong),    cmocka_unit_test(a_kernel_that_does_wrong),
      cmocka_unit_test(a_module_that_is_wrong),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
