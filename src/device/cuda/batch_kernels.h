/*
 * cuda/batch_kernels: what cuda/batch runs on a card, in PTX, which any driver compiles for its
 * card. `move` takes a list of {u64 from, to; u32 size, differs; u64 move} and its length. A block
 * of threads takes one piece after the other: 16 bytes a thread where both ends allow it, four
 * times at once while there are so many, and single bytes for the rest.
 *
 * What a thread has written it reads again, behind a fence and past its own cache, and marks the
 * piece if that is not what it read at the source. So each byte is compared, and the source crosses
 * the card's memory once: a second kernel that read both ends made the whole take 1.8 times as
 * long.
 */
#ifndef DEVICE_CUDA_BATCH_KERNELS_H
#define DEVICE_CUDA_BATCH_KERNELS_H

#define BATCH_VECTOR(r, a, b, c, d) "{" #r #a ", " #r #b ", " #r #c ", " #r #d "}"
#define BATCH_LOAD(from, a, b, c, d)                                                               \
  "ld.global.cs.v4.u32 " BATCH_VECTOR(x, a, b, c, d) ", [" from "];\n"
#define BATCH_STORE(to, a, b, c, d)                                                                \
  "st.global.cg.v4.u32 [" to "], " BATCH_VECTOR(x, a, b, c, d) ";\n"
#define BATCH_AGAIN(to, a, b, c, d)                                                                \
  "ld.volatile.global.v4.u32 " BATCH_VECTOR(y, a, b, c, d) ", [" to "];\n"
#define BATCH_WORD(a) "xor.b32 x" #a ", x" #a ", y" #a ";\nor.b32 other, other, x" #a ";\n"
#define BATCH_COMPARE(a, b, c, d) BATCH_WORD(a) BATCH_WORD(b) BATCH_WORD(c) BATCH_WORD(d)

/* `at` is the piece, `i` the thread's place in it: in vectors, then in bytes. */
#define BATCH_KERNELS                                                                              \
  ".version 6.0\n"                                                                                 \
  ".target sm_50\n"                                                                                \
  ".address_size 64\n"                                                                             \
  ".visible .entry move(.param .u64 list, .param .u32 count)\n"                                    \
  "{\n"                                                                                            \
  ".reg .pred p;\n"                                                                                \
  ".reg .b16 u, v;\n"                                                                              \
  ".reg .b32 n, at, blocks, me, threads, four, size, vectors, i, last, other, x<16>, y<16>;\n"     \
  ".reg .b64 all, piece, from, to, both, offset, stride, f<4>, t<4>;\n"                            \
  "ld.param.u64 all, [list];\n"                                                                    \
  "ld.param.u32 n, [count];\n"                                                                     \
  "mov.u32 at, %ctaid.x;\n"                                                                        \
  "mov.u32 blocks, %nctaid.x;\n"                                                                   \
  "mov.u32 me, %tid.x;\n"                                                                          \
  "mov.u32 threads, %ntid.x;\n"                                                                    \
  "shl.b32 four, threads, 2;\n"                                                                    \
  "mul.wide.u32 stride, threads, 16;\n"                                                            \
  "next:\n"                                                                                        \
  "setp.ge.u32 p, at, n;\n"                                                                        \
  "@p bra done;\n"                                                                                 \
  "mul.wide.u32 piece, at, 32;\n"                                                                  \
  "add.u64 piece, piece, all;\n"                                                                   \
  "ld.global.v2.u64 {from, to}, [piece];\n"                                                        \
  "ld.global.u32 size, [piece+16];\n"                                                              \
  "add.u32 at, at, blocks;\n"                                                                      \
  "shr.u32 vectors, size, 4;\n"                                                                    \
  "or.b64 both, from, to;\n"                                                                       \
  "and.b64 both, both, 15;\n"                                                                      \
  "setp.ne.u64 p, both, 0;\n"                                                                      \
  "@p mov.u32 vectors, 0;\n"                                                                       \
  "mov.u32 other, 0;\n"                                                                            \
  "mov.u32 i, me;\n"                                                                               \
  "many:\n"                                                                                        \
  "add.u32 last, i, four;\n"                                                                       \
  "sub.u32 last, last, threads;\n"                                                                 \
  "setp.ge.u32 p, last, vectors;\n"                                                                \
  "@p bra one;\n"                                                                                  \
  "mul.wide.u32 offset, i, 16;\n"                                                                  \
  "add.u64 f0, from, offset;\n"                                                                    \
  "add.u64 f1, f0, stride;\n"                                                                      \
  "add.u64 f2, f1, stride;\n"                                                                      \
  "add.u64 f3, f2, stride;\n"                                                                      \
  "add.u64 t0, to, offset;\n"                                                                      \
  "add.u64 t1, t0, stride;\n"                                                                      \
  "add.u64 t2, t1, stride;\n"                                                                      \
  "add.u64 t3, t2, stride;\n"                                                                      \
  "add.u32 i, i, four;\n" BATCH_LOAD("f0", 0, 1, 2, 3) BATCH_LOAD("f1", 4, 5, 6, 7) BATCH_LOAD(    \
      "f2", 8, 9, 10, 11) BATCH_LOAD("f3", 12, 13, 14, 15) BATCH_STORE("t0", 0, 1, 2, 3)           \
      BATCH_STORE("t1", 4, 5, 6, 7) BATCH_STORE("t2", 8, 9, 10, 11)                                \
          BATCH_STORE("t3", 12, 13, 14, 15) "membar.gl;\n" BATCH_AGAIN("t0", 0, 1, 2, 3)           \
              BATCH_AGAIN("t1", 4, 5, 6, 7) BATCH_AGAIN("t2", 8, 9, 10, 11)                        \
                  BATCH_AGAIN("t3", 12, 13, 14, 15) BATCH_COMPARE(0, 1, 2, 3)                      \
                      BATCH_COMPARE(4, 5, 6, 7) BATCH_COMPARE(8, 9, 10, 11) BATCH_COMPARE(         \
                          12, 13, 14,                                                              \
                          15) "bra many;\n"                                                        \
                              "one:\n"                                                             \
                              "setp.ge.u32 p, i, vectors;\n"                                       \
                              "@p bra rest;\n"                                                     \
                              "mul.wide.u32 offset, i, 16;\n"                                      \
                              "add.u64 f0, from, offset;\n"                                        \
                              "add.u64 t0, to, offset;\n"                                          \
                              "add.u32 i, i, threads;\n" BATCH_LOAD("f0", 0, 1, 2, 3) BATCH_STORE( \
                                  "t0", 0, 1, 2, 3) "membar.gl;\n" BATCH_AGAIN("t0", 0, 1, 2, 3)   \
                                  BATCH_COMPARE(0, 1, 2, 3) "bra one;\n"                           \
                                                            "rest:\n"                              \
                                                            "shl.b32 i, vectors, 4;\n"             \
                                                            "add.u32 i, i, me;\n"                  \
                                                            "byte:\n"                              \
                                                            "setp.ge.u32 p, i, size;\n"            \
                                                            "@p bra judge;\n"                      \
                                                            "cvt.u64.u32 offset, i;\n"             \
                                                            "add.u64 f0, from, offset;\n"          \
                                                            "add.u64 t0, to, offset;\n"            \
                                                            "add.u32 i, i, threads;\n"             \
                                                            "ld.global.u8 u, [f0];\n"              \
                                                            "st.global.u8 [t0], u;\n"              \
                                                            "membar.gl;\n"                         \
                                                            "ld.volatile.global.u8 v, [t0];\n"     \
                                                            "setp.ne.u16 p, u, v;\n"               \
                                                            "@p mov.u32 other, 1;\n"               \
                                                            "bra byte;\n"                          \
                                                            "judge:\n"                             \
                                                            "setp.ne.u32 p, other, 0;\n"           \
                                                            "@p st.global.u32 [piece+20], 1;\n"    \
                                                            "bra next;\n"                          \
                                                            "done:\n"                              \
                                                            "ret;\n"                               \
                                                            "}\n"

#endif
