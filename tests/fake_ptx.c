/*
 * fake_ptx: what a module in PTX declares, see fake_ptx.h.
 */
#include "fake_ptx_text.h"

#include <stdio.h>
#include <stdlib.h>

static unsigned read_type(struct ptx_reader *reader) {
  const char *type = ptx_next(reader);
  unsigned bits = *type == '.' ? ptx_type_bits(type + 1) : 0;
  if (!bits)
    PTX_FAIL(reader, "unknown type %s", type);
  return bits;
}

/* A name of memory, behind the `used` bytes that its space has; returns where it begins. */
static uint64_t add_memory(struct ptx_reader *reader, enum ptx_space space, uint64_t *used,
                           uint64_t align) {
  struct ptx_symbol *symbol = ptx_add_symbol(reader, ptx_next(reader));
  symbol->is = PTX_IS_MEMORY;
  symbol->space = space;
  symbol->value = *used = (*used + align - 1) / align * align;
  return symbol->value;
}

/* `.align N .type name[N]`; its bytes are counted. */
static uint64_t read_array(struct ptx_reader *reader, enum ptx_space space, uint64_t *used,
                           unsigned *bits) {
  uint64_t most = space == PTX_SPACE_CONST ? PTX_CONSTANTS : PTX_SHARED;
  ptx_expect_word(reader, ".align");
  uint64_t align = ptx_number(reader);
  if (!align || align > 16 || (align & (align - 1)))
    PTX_FAIL(reader, "unknown alignment");
  *bits = read_type(reader);
  if (*reader->module->error)
    return 0;
  uint64_t at = add_memory(reader, space, used, align);
  ptx_expect(reader, '[');
  uint64_t count = ptx_number(reader);
  ptx_expect(reader, ']');
  if (*bits < 8 || count > (most - at) / (*bits / 8))
    PTX_FAIL(reader, "too much");
  else
    *used += count * (*bits / 8);
  return at;
}

/* All of its values are there, or it is an error. */
static void read_constants(struct ptx_reader *reader) {
  struct ptx_module *module = reader->module;
  unsigned bits = 0;
  uint64_t at = read_array(reader, PTX_SPACE_CONST, &module->constant_bytes, &bits);
  ptx_expect(reader, '=');
  ptx_expect(reader, '{');
  for (bool more = true; more && !*module->error; at += bits / 8) {
    uint64_t value = ptx_number(reader);
    if (at >= module->constant_bytes || (value & ~ptx_mask(bits)))
      PTX_FAIL(reader, "too many values, or too large");
    else
      memcpy(module->constants + at, &value, bits / 8);
    more = ptx_accept(reader, ',');
  }
  if (at != module->constant_bytes)
    PTX_FAIL(reader, "too few values");
  ptx_expect(reader, '}');
  ptx_expect(reader, ';');
}

static void add_register(struct ptx_reader *reader, const char *name, unsigned bits) {
  struct ptx_module *module = reader->module;
  struct ptx_symbol *symbol = ptx_add_symbol(reader, name);
  if (module->register_count == PTX_REGISTERS)
    PTX_FAIL(reader, "more than %d registers", PTX_REGISTERS);
  if (*module->error)
    return;
  symbol->is = PTX_IS_REGISTER;
  symbol->value = module->register_count;
  module->bits[module->register_count++] = (uint8_t)bits;
}

/* `.type name, name<N>, …;`, the latter is name0 to nameN-1. */
static void read_registers(struct ptx_reader *reader) {
  unsigned bits = read_type(reader);
  do {
    char name[PTX_NAME], each[PTX_NAME + 8];
    (void)snprintf(name, sizeof name, "%s", ptx_next(reader));
    if (!ptx_accept(reader, '<')) {
      add_register(reader, name, bits);
      continue;
    }
    uint64_t count = ptx_number(reader);
    ptx_expect(reader, '>');
    for (uint64_t i = 0; i < count && !*reader->module->error; i++) {
      (void)snprintf(each, sizeof each, "%s%u", name, (unsigned)i);
      add_register(reader, each, bits);
    }
  } while (ptx_accept(reader, ','));
  ptx_expect(reader, ';');
}

static void read_parameters(struct ptx_reader *reader) {
  struct ptx_module *module = reader->module;
  ptx_expect(reader, '(');
  do {
    ptx_expect_word(reader, ".param");
    unsigned bits = read_type(reader);
    if (bits < 8 || module->param_count == PTX_ARGUMENTS) {
      PTX_FAIL(reader, "too many parameters");
      return;
    }
    (void)add_memory(reader, PTX_SPACE_PARAM, &module->param_bytes, bits / 8);
    module->param_bytes += bits / 8;
    module->param_bits[module->param_count++] = (uint8_t)bits;
  } while (ptx_accept(reader, ','));
  ptx_expect(reader, ')');
}

/* `name:`. A jump may have named it before. */
static void read_label(struct ptx_reader *reader) {
  struct ptx_symbol *symbol = ptx_find(reader->module, ptx_next(reader));
  if (!symbol) {
    symbol = ptx_add_symbol(reader, reader->word);
    symbol->is = PTX_IS_LABEL;
    symbol->value = PTX_NOWHERE;
  }
  if (symbol->is != PTX_IS_LABEL || symbol->value != PTX_NOWHERE)
    PTX_FAIL(reader, "%s is there twice", symbol->name);
  symbol->value = reader->module->op_count;
  ptx_expect(reader, ':');
}

/* Whether a label comes; nothing is read. */
static bool is_label(struct ptx_reader *reader) {
  struct ptx_reader ahead = *reader;
  return ptx_peek(&ahead) != '@' && *ptx_next(&ahead) && ptx_peek(&ahead) == ':';
}

static void read_directive(struct ptx_reader *reader) {
  unsigned bits;
  const char *word = ptx_next(reader);
  if (!strcmp(word, ".reg")) {
    read_registers(reader);
  } else if (!strcmp(word, ".shared")) {
    (void)read_array(reader, PTX_SPACE_SHARED, &reader->module->shared_bytes, &bits);
    ptx_expect(reader, ';');
  } else {
    PTX_FAIL(reader, "unknown directive %s", word);
  }
}

static void read_entry(struct ptx_reader *reader) {
  struct ptx_module *module = reader->module;
  ptx_expect_word(reader, ".entry");
  if (module->op_count)
    PTX_FAIL(reader, "more than one kernel");
  (void)ptx_next(reader);
  read_parameters(reader);
  ptx_expect(reader, '{');
  while (ptx_peek(reader) && ptx_peek(reader) != '}') {
    if (ptx_peek(reader) == '.')
      read_directive(reader);
    else if (is_label(reader))
      read_label(reader);
    else
      ptx_read_op(reader);
  }
  ptx_expect(reader, '}');
  for (unsigned i = 0; i < module->symbol_count; i++)
    if (module->symbols[i].is == PTX_IS_LABEL && module->symbols[i].value >= module->op_count)
      PTX_FAIL(reader, "nothing is at %s", module->symbols[i].name);
}

static void read_module(struct ptx_reader *reader) {
  const char *word = ptx_next(reader);
  if (!strcmp(word, ".version"))
    ptx_expect_word(reader, "6.0");
  else if (!strcmp(word, ".target"))
    ptx_expect_word(reader, "sm_50");
  else if (!strcmp(word, ".address_size"))
    ptx_expect_word(reader, "64");
  else if (!strcmp(word, ".const"))
    read_constants(reader);
  else if (!strcmp(word, ".visible"))
    read_entry(reader);
  else
    PTX_FAIL(reader, "unknown directive %s", word);
}

struct ptx_module *ptx_load(const char *text) {
  struct ptx_module *module = calloc(1, sizeof *module);
  if (!module)
    abort();
  struct ptx_reader reader = {.module = module, .at = text, .line = 1};
  while (!*module->error && ptx_peek(&reader))
    read_module(&reader);
  if (!module->op_count)
    PTX_FAIL(&reader, "no kernel");
  return module;
}

void ptx_free(struct ptx_module *module) { free(module); }

const char *ptx_error(const struct ptx_module *module) { return module->error; }
