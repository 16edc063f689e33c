/*
 * fake_ptx: runs the text of a kernel in PTX where there is no card. It knows what the kernels of
 * device/cuda/ need and nothing else: what it does not know is an error that says the line, and so
 * is what a card would not forgive, or would forgive only sometimes: a register or a byte of shared
 * memory that is read before it is written, or that another thread has written with no barrier
 * between, an address that is not aligned, a barrier that not all threads reach.
 *
 * One block runs after the other, and the threads of a block one after the other, each up to its
 * next barrier. Addresses are the process's own. It says nothing about time, nor about what a card
 * may do in another order.
 */
#ifndef TESTS_FAKE_PTX_H
#define TESTS_FAKE_PTX_H

#include <stdbool.h>
#include <stdint.h>

#define PTX_ARGUMENTS 8

struct ptx_module;

/* What a kernel may read from `start` up to `end`, and, if `stores`, may write. */
struct ptx_range {
  uint64_t start, end;
  bool stores;
};

struct ptx_grid {
  uint32_t blocks, threads;
  uint64_t arguments[PTX_ARGUMENTS];
  const struct ptx_range *ranges; /* whatever else it touches is an error */
  unsigned count;                 /* of these */
  bool backwards;                 /* the last thread runs first */
  uint64_t lost;                  /* the nth store to a card's memory is not made; 0: all are */
};

/* Never NULL; the caller frees it. Whether the text was understood is what ptx_error() says. */
struct ptx_module *ptx_load(const char *text);
void ptx_free(struct ptx_module *module);
/* The first error, with its line; "": none. After one nothing runs. It lives as long as `module`.
 */
const char *ptx_error(const struct ptx_module *module);
/* Runs the module's kernel, of which it has one; false: see ptx_error(). */
bool ptx_run(struct ptx_module *module, const struct ptx_grid *grid);

#endif
