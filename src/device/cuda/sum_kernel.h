/*
 * cuda/sum_kernel: what cuda/sum runs on a card, in PTX, which any driver compiles for its card.
 * `sum` takes a range, the size of its chunks and where to put their sums, XXH3-64 of each with its
 * default secret (github.com/Cyan4973/xxHash, doc/xxhash_spec.md), which is the checksum of files
 * here. A block of SUM_THREADS threads takes one chunk, of at least SUM_LEAST bytes.
 *
 * XXH3 adds up stripes of 64 bytes in eight sums, and scrambles these after each block of 16
 * stripes: only that is a chain. So threads 0 to 255 each add up 16 bytes of every stripe of one
 * block, 64 blocks at a time, into shared memory, and the eight threads from 256 on chain what is
 * there while the others add up the next 64. Then these eight take what is left, a stripe at a
 * time, and the last 64 bytes once more with another part of the secret, and one of them folds the
 * eight sums into one.
 *
 * Words that do not begin at a multiple of 16 are read by 8 bytes and shifted into place.
 */
#ifndef DEVICE_CUDA_SUM_KERNEL_H
#define DEVICE_CUDA_SUM_KERNEL_H

#define SUM_THREADS 288
#define SUM_LEAST 241 /* XXH3 sums up fewer bytes in other ways */

/* clang-format off */

/* A thread's 16 bytes of a stripe, `byte` behind `at`, into x0 and x1. */
#define SUM_SHIFTED(byte) \
  "ld.global.b64 x0, [at+" #byte "];\n" \
  "ld.global.b64 x1, [at+" #byte "+8];\n" \
  "ld.global.b64 x2, [beyond+" #byte "];\n" \
  "shr.b64 x0, x0, down;\n" \
  "shl.b64 y, x1, up;\n" \
  "or.b64 x0, x0, y;\n" \
  "shr.b64 x1, x1, down;\n" \
  "shl.b64 y, x2, up;\n" \
  "or.b64 x1, x1, y;\n"
#define SUM_ALIGNED(byte) \
  "ld.global.v2.b64 {x0, x1}, [at+" #byte "];\n"
/* A sum takes its own 8 bytes, multiplied with themselves under the secret, and its neighbour's. */
#define SUM_ADD(sum, mine, other, word) \
  "xor.b64 y, " #mine ", " #word ";\n" \
  "mov.b64 {low, high}, y;\n" \
  "mad.wide.u32 " #sum ", low, high, " #sum ";\n" \
  "add.u64 " #sum ", " #sum ", " #other ";\n"
#define SUM_STRIPE(load, byte, i, next) load(byte) SUM_ADD(s0, x0, x1, w##i) SUM_ADD(s1, x1, x0, w##next)
#define SUM_BLOCK(load) \
  SUM_STRIPE(load, 0, 0, 1) SUM_STRIPE(load, 64, 1, 2) SUM_STRIPE(load, 128, 2, 3) SUM_STRIPE(load, 192, 3, 4) \
  SUM_STRIPE(load, 256, 4, 5) SUM_STRIPE(load, 320, 5, 6) SUM_STRIPE(load, 384, 6, 7) SUM_STRIPE(load, 448, 7, 8) \
  SUM_STRIPE(load, 512, 8, 9) SUM_STRIPE(load, 576, 9, 10) SUM_STRIPE(load, 640, 10, 11) SUM_STRIPE(load, 704, 11, 12) \
  SUM_STRIPE(load, 768, 12, 13) SUM_STRIPE(load, 832, 13, 14) SUM_STRIPE(load, 896, 14, 15) SUM_STRIPE(load, 960, 15, 16)
#define SUM_WORD(i, byte) "ld.const.b64 w" #i ", [keys+" #byte "];\n"

/* The 8 bytes at `where`, however that is aligned, into `to`; the word behind is read only where it is needed. */
#define SUM_ANYWHERE(to) \
  "cvt.u32.u64 low, where;\n" \
  "and.b32 low, low, 7;\n" \
  "shl.b32 down, low, 3;\n" \
  "sub.u32 up, 64, down;\n" \
  "setp.ne.u32 q, low, 0;\n" \
  "and.b64 where, where, -8;\n" \
  "ld.global.b64 " #to ", [where];\n" \
  "mov.b64 y, 0;\n" \
  "@q ld.global.b64 y, [where+8];\n" \
  "shr.b64 " #to ", " #to ", down;\n" \
  "shl.b64 y, y, up;\n" \
  "or.b64 " #to ", " #to ", y;\n"

#define SUM_KERNEL \
  ".version 6.0\n" \
  ".target sm_50\n" \
  ".address_size 64\n" \
  ".const .align 8 .b64 word[24] = {" \
  "0xbe4ba423396cfeb8, 0x1cad21f72c81017c, 0xdb979083e96dd4de, 0x1f67b3b7a4a44072," \
  "0x78e5c0cc4ee679cb, 0x2172ffcc7dd05a82, 0x8e2443f7744608b8, 0x4c263a81e69035e0," \
  "0xcb00c391bb52283c, 0xa32e531b8b65d088, 0x4ef90da297486471, 0xd8acdea946ef1938," \
  "0x3f349ce33f76faa8, 0x1d4f0bc7c7bbdcf9, 0x3159b4cd4be0518a, 0x647378d9c97e9fc8," \
  "0xc3ebd33483acc5ea, 0xeb6313faffa081c5, 0x49daf0b751dd0d17, 0x9e68d429265516d3," \
  "0xfca1477d58be162b, 0xce31d07ad1b8f88f, 0x280416958f3acb45, 0x7e404bbbcafbd7af};\n" \
  ".const .align 8 .b64 last[8] = {" \
  "0xea647378d9c97e9f, 0xc5c3ebd33483acc5, 0x17eb6313faffa081, 0xd349daf0b751dd0d," \
  "0x2b9e68d429265516, 0x8ffca1477d58be16, 0x45ce31d07ad1b8f8, 0xaf280416958f3acb};\n" \
  ".const .align 8 .b64 merge[8] = {" \
  "0x6dd4de1cad21f72c, 0xa44072db979083e9, 0xe679cb1f67b3b7a4, 0xd05a8278e5c0cc4e," \
  "0x4608b82172ffcc7d, 0x9035e08e2443f774, 0x52283c4c263a81e6, 0x65d088cb00c391bb};\n" \
  ".const .align 8 .b64 first[8] = {" \
  "0x00000000c2b2ae3d, 0x9e3779b185ebca87, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9," \
  "0x85ebca77c2b2ae63, 0x0000000085ebca77, 0x27d4eb2f165667c5, 0x000000009e3779b1};\n" \
  ".visible .entry sum(.param .u64 start, .param .u64 size, .param .u64 chunk, .param .u64 sums)\n" \
  "{\n" \
  ".shared .align 16 .b8 rows[8192];\n" \
  ".reg .pred p, q, chains, aligned;\n" \
  ".reg .b32 me, i, row, low, high, down, up, n, tile, tiles, block, blocks, row_at, both, j;\n" \
  ".reg .b64 from, length, left, at, beyond, where, y, s0, s1, acc, key, keys, w<17>, x<3>, out, mid;\n" \
  "ld.param.u64 from, [start];\n" \
  "ld.param.u64 left, [size];\n" \
  "ld.param.u64 length, [chunk];\n" \
  "ld.param.u64 out, [sums];\n" \
  "mov.u32 i, %ctaid.x;\n" \
  "mul.wide.u32 y, i, 8;\n" \
  "add.u64 out, out, y;\n" \
  "cvt.u64.u32 y, i;\n" \
  "mul.lo.u64 y, y, length;\n" \
  "add.u64 from, from, y;\n" \
  "sub.u64 left, left, y;\n" \
  "min.u64 length, length, left;\n" \
  "sub.u64 y, length, 1;\n" \
  "shr.u64 y, y, 10;\n" \
  "cvt.u32.u64 blocks, y;\n"            /* whole ones, but that the last bytes are never among them */ \
  "add.u32 tiles, blocks, 63;\n" \
  "shr.u32 tiles, tiles, 6;\n" \
  "mov.u32 me, %tid.x;\n" \
  "setp.ge.u32 chains, me, 256;\n" \
  "mov.u32 tile, 0;\n" \
  "@chains bra chain;\n" \
  /* threads that add up */ \
  "and.b32 i, me, 3;\n" \
  "shr.u32 row, me, 2;\n" \
  "mul.wide.u32 y, i, 16;\n" \
  "mov.u64 keys, word;\n" \
  "add.u64 keys, keys, y;\n" \
  SUM_WORD(0, 0) SUM_WORD(1, 8) SUM_WORD(2, 16) SUM_WORD(3, 24) SUM_WORD(4, 32) SUM_WORD(5, 40) SUM_WORD(6, 48) \
  SUM_WORD(7, 56) SUM_WORD(8, 64) SUM_WORD(9, 72) SUM_WORD(10, 80) SUM_WORD(11, 88) SUM_WORD(12, 96) SUM_WORD(13, 104) \
  SUM_WORD(14, 112) SUM_WORD(15, 120) SUM_WORD(16, 128) \
  "add.u64 at, from, y;\n" \
  "mul.wide.u32 y, row, 1024;\n" \
  "add.u64 at, at, y;\n" \
  "cvt.u32.u64 low, at;\n" \
  "and.b32 high, low, 15;\n" \
  "setp.eq.u32 aligned, high, 0;\n" \
  "and.b32 low, low, 7;\n" \
  "shl.b32 down, low, 3;\n" \
  "sub.u32 up, 64, down;\n" \
  "setp.ne.u32 q, low, 0;\n" \
  "and.b64 at, at, -8;\n" \
  "add.u64 beyond, at, 8;\n" \
  "@q add.u64 beyond, at, 16;\n" \
  "mov.u32 block, row;\n" \
  "mov.u32 row_at, rows;\n" \
  "shl.b32 n, me, 4;\n" \
  "add.u32 row_at, row_at, n;\n" \
  "shl.b32 both, row_at, 1;\n" \
  "add.u32 both, both, 4096;\n" \
  "more:\n" \
  "setp.ge.u32 p, tile, tiles;\n" \
  "@p bra added;\n" \
  "setp.ge.u32 p, block, blocks;\n" \
  "@p bra put;\n" \
  "mov.b64 s0, 0;\n" \
  "mov.b64 s1, 0;\n" \
  "@!aligned bra shifted;\n" \
  SUM_BLOCK(SUM_ALIGNED) \
  "bra store;\n" \
  "shifted:\n" \
  SUM_BLOCK(SUM_SHIFTED) \
  "store:\n" \
  "st.shared.v2.b64 [row_at], {s0, s1};\n" \
  "put:\n" \
  "add.u64 at, at, 65536;\n" \
  "add.u64 beyond, beyond, 65536;\n" \
  "add.u32 block, block, 64;\n" \
  "sub.u32 row_at, both, row_at;\n" \
  "add.u32 tile, tile, 1;\n" \
  "bar.sync 0;\n" \
  "bra more;\n" \
  "added:\n" \
  "bar.sync 0;\n" \
  "bra done;\n" \
  /* threads that chain */ \
  "chain:\n" \
  "sub.u32 i, me, 256;\n" \
  "and.b32 i, i, 7;\n" \
  "mul.wide.u32 y, i, 8;\n" \
  "mov.u64 keys, first;\n" \
  "add.u64 keys, keys, y;\n" \
  "ld.const.b64 acc, [keys];\n" \
  "mov.u64 keys, word;\n" \
  "add.u64 keys, keys, y;\n" \
  "ld.const.b64 key, [keys+128];\n" \
  "mov.u32 row_at, rows;\n" \
  "shl.b32 n, i, 3;\n" \
  "add.u32 row_at, row_at, n;\n" \
  "shl.b32 both, row_at, 1;\n" \
  "add.u32 both, both, 4096;\n" \
  "again:\n" \
  "bar.sync 0;\n" \
  "setp.ge.u32 p, tile, tiles;\n" \
  "@p bra chained;\n" \
  "shl.b32 n, tile, 6;\n" \
  "sub.u32 n, blocks, n;\n" \
  "min.u32 n, n, 64;\n" \
  "mov.u32 j, row_at;\n" \
  "link:\n" \
  "ld.shared.b64 y, [j];\n" \
  "add.u64 acc, acc, y;\n" \
  "shr.u64 y, acc, 47;\n" \
  "xor.b64 acc, acc, y;\n" \
  "xor.b64 acc, acc, key;\n" \
  "mul.lo.u64 acc, acc, 0x9e3779b1;\n" \
  "add.u32 j, j, 64;\n" \
  "sub.u32 n, n, 1;\n" \
  "setp.ne.u32 p, n, 0;\n" \
  "@p bra link;\n" \
  "sub.u32 row_at, both, row_at;\n" \
  "add.u32 tile, tile, 1;\n" \
  "bra again;\n" \
  "chained:\n"                          /* what is left, stripe by stripe, and the last 64 bytes */ \
  "mul.wide.u32 y, blocks, 1024;\n" \
  "add.u64 at, from, y;\n" \
  "sub.u64 left, length, y;\n" \
  "sub.u64 left, left, 1;\n" \
  "shr.u64 left, left, 6;\n" \
  "cvt.u32.u64 n, left;\n" \
  "mul.wide.u32 mid, i, 8;\n" \
  "add.u64 beyond, from, length;\n" \
  "sub.u64 beyond, beyond, 64;\n" \
  "mov.u64 keys, word;\n" \
  "add.u64 keys, keys, mid;\n" \
  "stripe:\n" \
  "setp.eq.u32 p, n, 0;\n" \
  "@p bra end;\n" \
  "ld.const.b64 key, [keys];\n" \
  "tail:\n" \
  "add.u64 where, at, mid;\n" \
  SUM_ANYWHERE(x0) \
  "xor.b64 where, mid, 8;\n" \
  "add.u64 where, at, where;\n" \
  SUM_ANYWHERE(x1) \
  SUM_ADD(acc, x0, x1, key) \
  "setp.eq.u64 p, at, beyond;\n" \
  "@p setp.eq.u32 p, n, 0;\n" \
  "@p bra summed;\n" \
  "add.u64 at, at, 64;\n" \
  "add.u64 keys, keys, 8;\n" \
  "sub.u32 n, n, 1;\n" \
  "bra stripe;\n" \
  "end:\n" \
  "mov.u64 keys, last;\n" \
  "add.u64 keys, keys, mid;\n" \
  "ld.const.b64 key, [keys];\n" \
  "mov.u64 at, beyond;\n" \
  "bra tail;\n" \
  "summed:\n"                           /* the eight become one */ \
  "mov.u64 keys, merge;\n" \
  "add.u64 keys, keys, mid;\n" \
  "ld.const.b64 key, [keys];\n" \
  "xor.b64 acc, acc, key;\n" \
  "mov.u32 row_at, rows;\n" \
  "cvt.u32.u64 n, mid;\n" \
  "add.u32 j, row_at, n;\n" \
  "st.shared.b64 [j], acc;\n" \
  "bar.warp.sync 0xffffffff;\n" \
  "setp.ne.u32 p, me, 256;\n" \
  "@p bra done;\n" \
  "mul.lo.u64 acc, length, 0x9e3779b185ebca87;\n" \
  "mov.u32 n, 4;\n" \
  "fold:\n" \
  "ld.shared.v2.b64 {s0, s1}, [row_at];\n" \
  "mul.lo.u64 x0, s0, s1;\n" \
  "mul.hi.u64 x1, s0, s1;\n" \
  "xor.b64 x0, x0, x1;\n" \
  "add.u64 acc, acc, x0;\n" \
  "add.u32 row_at, row_at, 16;\n" \
  "sub.u32 n, n, 1;\n" \
  "setp.ne.u32 p, n, 0;\n" \
  "@p bra fold;\n" \
  "shr.u64 y, acc, 37;\n" \
  "xor.b64 acc, acc, y;\n" \
  "mul.lo.u64 acc, acc, 0x165667919e3779f9;\n" \
  "shr.u64 y, acc, 32;\n" \
  "xor.b64 acc, acc, y;\n" \
  "st.global.b64 [out], acc;\n" \
  "done:\n" \
  "ret;\n" \
  "}\n"

#endif
