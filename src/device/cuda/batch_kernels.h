/*
 * cuda/batch_kernels: what cuda/batch runs on a card, in PTX, which any driver compiles for its
 * card. Both take a list of {u64 from, to; u32 size, differs; u64 move} and its length. A block of
 * threads takes one piece after the other, 16 bytes a thread where both ends allow it, and single
 * bytes for the rest. `copy` copies; `compare` marks the pieces whose ends differ.
 */
#ifndef DEVICE_CUDA_BATCH_KERNELS_H
#define DEVICE_CUDA_BATCH_KERNELS_H

/* Up to where a thread has from, to, size and its first position: in vectors and in bytes. */
#define BATCH_PIECE_BEGIN                                                                          \
  "(.param .u64 list, .param .u32 count)\n"                                                        \
  "{\n"                                                                                            \
  ".reg .pred p;\n"                                                                                \
  ".reg .b32 n, at, blocks, me, threads, size, vectors, i, a<4>, b<4>;\n"                          \
  ".reg .b16 x, y;\n"                                                                              \
  ".reg .b64 all, piece, from, to, both, offset, f, t;\n"                                          \
  "ld.param.u64 all, [list];\n"                                                                    \
  "ld.param.u32 n, [count];\n"                                                                     \
  "mov.u32 at, %ctaid.x;\n"                                                                        \
  "mov.u32 blocks, %nctaid.x;\n"                                                                   \
  "mov.u32 me, %tid.x;\n"                                                                          \
  "mov.u32 threads, %ntid.x;\n"                                                                    \
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
  "mov.u32 i, me;\n"                                                                               \
  "vector:\n"                                                                                      \
  "setp.ge.u32 p, i, vectors;\n"                                                                   \
  "@p bra rest;\n"                                                                                 \
  "mul.wide.u32 offset, i, 16;\n"                                                                  \
  "add.u64 f, from, offset;\n"                                                                     \
  "add.u64 t, to, offset;\n"                                                                       \
  "add.u32 i, i, threads;\n"                                                                       \
  "ld.global.v4.u32 {a0, a1, a2, a3}, [f];\n"

#define BATCH_PIECE_REST                                                                           \
  "bra vector;\n"                                                                                  \
  "rest:\n"                                                                                        \
  "shl.b32 i, vectors, 4;\n"                                                                       \
  "add.u32 i, i, me;\n"                                                                            \
  "byte:\n"                                                                                        \
  "setp.ge.u32 p, i, size;\n"                                                                      \
  "@p bra next;\n"                                                                                 \
  "cvt.u64.u32 offset, i;\n"                                                                       \
  "add.u64 f, from, offset;\n"                                                                     \
  "add.u64 t, to, offset;\n"                                                                       \
  "add.u32 i, i, threads;\n"                                                                       \
  "ld.global.u8 x, [f];\n"

#define BATCH_PIECE_END                                                                            \
  "bra byte;\n"                                                                                    \
  "done:\n"                                                                                        \
  "ret;\n"                                                                                         \
  "}\n"

#define BATCH_KERNELS                                                                              \
  ".version 6.0\n"                                                                                 \
  ".target sm_50\n"                                                                                \
  ".address_size 64\n"                                                                             \
  ".visible .entry copy" BATCH_PIECE_BEGIN                                                         \
  "st.global.v4.u32 [t], {a0, a1, a2, a3};\n" BATCH_PIECE_REST                                     \
  "st.global.u8 [t], x;\n" BATCH_PIECE_END ".visible .entry compare" BATCH_PIECE_BEGIN             \
  "ld.global.v4.u32 {b0, b1, b2, b3}, [t];\n"                                                      \
  "xor.b32 a0, a0, b0;\n"                                                                          \
  "xor.b32 a1, a1, b1;\n"                                                                          \
  "xor.b32 a2, a2, b2;\n"                                                                          \
  "xor.b32 a3, a3, b3;\n"                                                                          \
  "or.b32 a0, a0, a1;\n"                                                                           \
  "or.b32 a2, a2, a3;\n"                                                                           \
  "or.b32 a0, a0, a2;\n"                                                                           \
  "setp.ne.u32 p, a0, 0;\n"                                                                        \
  "@p st.global.u32 [piece+20], 1;\n" BATCH_PIECE_REST "ld.global.u8 y, [t];\n"                    \
  "setp.ne.u16 p, x, y;\n"                                                                         \
  "@p st.global.u32 [piece+20], 1;\n" BATCH_PIECE_END

#endif
