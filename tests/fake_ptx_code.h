/*
 * fake_ptx_code: what fake_ptx.c makes of a text, and fake_ptx_run.c runs.
 */
#ifndef TESTS_FAKE_PTX_CODE_H
#define TESTS_FAKE_PTX_CODE_H

#include "fake_ptx.h"

#define PTX_OPS 2048
#define PTX_SYMBOLS 256
#define PTX_REGISTERS 128
#define PTX_NAME 32
#define PTX_CONSTANTS 4096
#define PTX_SHARED 49152
#define PTX_OPERANDS 4
#define PTX_WARP 32

enum ptx_name {
  PTX_ADD,
  PTX_SUB,
  PTX_MIN,
  PTX_AND,
  PTX_OR,
  PTX_XOR,
  PTX_SHL,
  PTX_SHR,
  PTX_MUL_LO,
  PTX_MUL_HI,
  PTX_MUL_WIDE,
  PTX_MAD_WIDE,
  PTX_EQ,
  PTX_NE,
  PTX_LT,
  PTX_LE,
  PTX_GT,
  PTX_GE,
  PTX_CVT,
  PTX_MOV,
  PTX_LD,
  PTX_ST,
  PTX_BRA,
  PTX_BAR,
  PTX_BAR_WARP,
  PTX_MEMBAR,
  PTX_RET
};

enum ptx_space { PTX_GLOBAL = 1, PTX_SPACE_SHARED, PTX_SPACE_CONST, PTX_SPACE_PARAM };

/* What stands behind the dots of an instruction, 0: nothing does. TYPE and FROM are bits. */
enum ptx_field { PTX_TYPE, PTX_FROM, PTX_SPACE, PTX_VECTOR, PTX_CACHE, PTX_FIELDS };

enum ptx_kind {
  PTX_REGISTER, /* reg[0] to reg[count - 1]; more than one: {…} */
  PTX_VALUE,
  PTX_SPECIAL, /* `value` is an enum ptx_special */
  PTX_ADDRESS, /* reg[0], -1: none, and `value` */
  PTX_LABEL    /* `value` is a symbol */
};

enum ptx_special { PTX_TID, PTX_NTID, PTX_CTAID, PTX_NCTAID };

struct ptx_operand {
  enum ptx_kind kind;
  int reg[4];
  unsigned count;
  uint64_t value;
  uint8_t space; /* of a named address, 0: it has no name */
};

struct ptx_form {
  const char *name;
  enum ptx_name op;
  unsigned needs, allows; /* bits of fields */
  const char *kinds;      /* the first letters that its types may have */
  unsigned operands;
};

struct ptx_op {
  const struct ptx_form *form;
  unsigned line;
  int guard; /* the predicate under which it is done, -1: always */
  bool unless;
  uint8_t field[PTX_FIELDS];
  struct ptx_operand operand[PTX_OPERANDS];
};

/* A register's `value` is its number, a label's the instruction, all others' an offset. */
struct ptx_symbol {
  char name[PTX_NAME];
  enum { PTX_IS_REGISTER, PTX_IS_LABEL, PTX_IS_MEMORY } is;
  enum ptx_space space;
  unsigned bits;
  uint64_t value;
};

#define PTX_NOWHERE UINT64_MAX /* a label that was used and is yet to come */

struct ptx_module {
  char error[192];
  struct ptx_op ops[PTX_OPS];
  struct ptx_symbol symbols[PTX_SYMBOLS];
  uint8_t bits[PTX_REGISTERS]; /* of each register, 1: a predicate */
  uint8_t constants[PTX_CONSTANTS];
  uint8_t param_bits[PTX_ARGUMENTS];
  unsigned op_count, symbol_count, register_count, param_count;
  uint64_t constant_bytes, shared_bytes, param_bytes;
};

/* All bits that a value of so many has. */
static inline uint64_t ptx_mask(unsigned bits) {
  return bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
}

/* Keeps the first error. */
__attribute__((format(printf, 3, 4))) void ptx_fail(struct ptx_module *module, unsigned line,
                                                    const char *format, ...);

#endif
