/*
 * fake_ptx_op: reads one instruction, and refuses what a compiler would refuse in it: a type that
 * it does not have, a register of another size, an address in another space.
 */
#include "fake_ptx_text.h"

#include <ctype.h>
#include <string.h>

#define BIT(field) (1U << (field))

static const struct ptx_form forms[] = {
    {"add", PTX_ADD, BIT(PTX_TYPE), 0, "u", 3},
    {"sub", PTX_SUB, BIT(PTX_TYPE), 0, "u", 3},
    {"min", PTX_MIN, BIT(PTX_TYPE), 0, "u", 3},
    {"and", PTX_AND, BIT(PTX_TYPE), 0, "b", 3},
    {"or", PTX_OR, BIT(PTX_TYPE), 0, "b", 3},
    {"xor", PTX_XOR, BIT(PTX_TYPE), 0, "b", 3},
    {"shl", PTX_SHL, BIT(PTX_TYPE), 0, "b", 3},
    {"shr", PTX_SHR, BIT(PTX_TYPE), 0, "bu", 3},
    {"mul.lo", PTX_MUL_LO, BIT(PTX_TYPE), 0, "u", 3},
    {"mul.hi", PTX_MUL_HI, BIT(PTX_TYPE), 0, "u", 3},
    {"mul.wide", PTX_MUL_WIDE, BIT(PTX_TYPE), 0, "u", 3},
    {"mad.wide", PTX_MAD_WIDE, BIT(PTX_TYPE), 0, "u", 4},
    {"setp.eq", PTX_EQ, BIT(PTX_TYPE), 0, "bu", 3},
    {"setp.ne", PTX_NE, BIT(PTX_TYPE), 0, "bu", 3},
    {"setp.lt", PTX_LT, BIT(PTX_TYPE), 0, "u", 3},
    {"setp.le", PTX_LE, BIT(PTX_TYPE), 0, "u", 3},
    {"setp.gt", PTX_GT, BIT(PTX_TYPE), 0, "u", 3},
    {"setp.ge", PTX_GE, BIT(PTX_TYPE), 0, "u", 3},
    {"cvt", PTX_CVT, BIT(PTX_TYPE) | BIT(PTX_FROM), 0, "u", 2},
    {"mov", PTX_MOV, BIT(PTX_TYPE), 0, "bu", 2},
    {"ld", PTX_LD, BIT(PTX_TYPE) | BIT(PTX_SPACE), BIT(PTX_VECTOR) | BIT(PTX_CACHE), "bu", 2},
    {"st", PTX_ST, BIT(PTX_TYPE) | BIT(PTX_SPACE), BIT(PTX_VECTOR) | BIT(PTX_CACHE), "bu", 2},
    {"bra", PTX_BRA, 0, 0, "", 1},
    {"bar.sync", PTX_BAR, 0, 0, "", 1},
    {"bar.warp.sync", PTX_BAR_WARP, 0, 0, "", 1},
    {"membar.gl", PTX_MEMBAR, 0, 0, "", 0},
    {"ret", PTX_RET, 0, 0, "", 0},
};

static const struct {
  const char *name;
  enum ptx_field field;
  uint8_t value;
} modifiers[] = {
    {"u8", PTX_TYPE, 8},
    {"u16", PTX_TYPE, 16},
    {"u32", PTX_TYPE, 32},
    {"u64", PTX_TYPE, 64},
    {"b8", PTX_TYPE, 8},
    {"b16", PTX_TYPE, 16},
    {"b32", PTX_TYPE, 32},
    {"b64", PTX_TYPE, 64},
    {"pred", PTX_TYPE, 1},
    {"global", PTX_SPACE, PTX_GLOBAL},
    {"shared", PTX_SPACE, PTX_SPACE_SHARED},
    {"const", PTX_SPACE, PTX_SPACE_CONST},
    {"param", PTX_SPACE, PTX_SPACE_PARAM},
    {"v2", PTX_VECTOR, 2},
    {"v4", PTX_VECTOR, 4},
    {"cs", PTX_CACHE, 1}, /* how near a word is kept: the same word */
    {"cg", PTX_CACHE, 1},
    {"volatile", PTX_CACHE, 1},
};

static const char *const specials[] = {
    [PTX_TID] = "%tid.x",
    [PTX_NTID] = "%ntid.x",
    [PTX_CTAID] = "%ctaid.x",
    [PTX_NCTAID] = "%nctaid.x",
};

unsigned ptx_type_bits(const char *type) {
  for (size_t i = 0; i < PTX_LENGTH(modifiers); i++)
    if (modifiers[i].field == PTX_TYPE && !strcmp(modifiers[i].name, type))
      return modifiers[i].value;
  return 0;
}

/* The field that a modifier sets, PTX_FIELDS: there is no such modifier. */
static enum ptx_field modify(struct ptx_op *op, const char *name, size_t n) {
  for (size_t i = 0; i < PTX_LENGTH(modifiers); i++) {
    if (strlen(modifiers[i].name) != n || strncmp(modifiers[i].name, name, n) != 0)
      continue;
    enum ptx_field field = modifiers[i].field;
    if (field == PTX_TYPE && op->field[PTX_TYPE])
      field = PTX_FROM;
    if (op->field[field])
      return PTX_FIELDS;
    op->field[field] = modifiers[i].value;
    return field;
  }
  return PTX_FIELDS;
}

static const struct ptx_form *find_form(const char *word) {
  for (size_t i = 0; i < PTX_LENGTH(forms); i++) {
    size_t n = strlen(forms[i].name);
    if (!strncmp(word, forms[i].name, n) && (word[n] == '.' || !word[n]))
      return &forms[i];
  }
  return NULL;
}

static void read_name(struct ptx_reader *reader, struct ptx_op *op) {
  unsigned given = 0;
  const char *word = ptx_next(reader);
  op->form = find_form(word);
  if (!op->form) {
    PTX_FAIL(reader, "unknown instruction %s", word);
    return;
  }
  for (const char *at = word + strlen(op->form->name); *at;) {
    size_t n = strcspn(at + 1, ".");
    enum ptx_field field = modify(op, at + 1, n);
    if (field == PTX_FIELDS)
      PTX_FAIL(reader, "unknown modifier in %s", word);
    else if (field <= PTX_FROM && !strchr(op->form->kinds, at[1]))
      PTX_FAIL(reader, "no type for this: %s", word);
    given |= BIT(field);
    at += n + 1;
  }
  if ((given & op->form->needs) != op->form->needs ||
      (given & ~(op->form->needs | op->form->allows)))
    PTX_FAIL(reader, "too many or too few modifiers: %s", word);
}

static void read_vector(struct ptx_reader *reader, struct ptx_operand *operand) {
  do {
    operand->reg[operand->count++] = ptx_find_register(reader, ptx_next(reader));
  } while (operand->count < PTX_LENGTH(operand->reg) && ptx_accept(reader, ','));
  ptx_expect(reader, '}');
}

/* [name] or [register], and offsets. */
static void read_address(struct ptx_reader *reader, struct ptx_operand *operand) {
  const struct ptx_symbol *symbol = ptx_find(reader->module, ptx_next(reader));
  operand->kind = PTX_ADDRESS;
  operand->reg[0] = -1;
  if (symbol && symbol->is == PTX_IS_MEMORY) {
    operand->space = (uint8_t)symbol->space;
    operand->value = symbol->value;
  } else {
    operand->reg[0] = ptx_find_register(reader, reader->word);
  }
  while (ptx_accept(reader, '+'))
    operand->value += ptx_number(reader);
  ptx_expect(reader, ']');
}

static void read_special(struct ptx_reader *reader, struct ptx_operand *operand) {
  (void)ptx_next(reader);
  operand->kind = PTX_SPECIAL;
  for (size_t i = 0; i < PTX_LENGTH(specials); i++)
    if (!strcmp(specials[i], reader->word)) {
      operand->value = i;
      return;
    }
  PTX_FAIL(reader, "unknown register %s", reader->word);
}

/* A jump's goal may be yet to come. */
static void read_goal(struct ptx_reader *reader, struct ptx_operand *operand) {
  struct ptx_symbol *symbol = ptx_find(reader->module, ptx_next(reader));
  if (!symbol) {
    symbol = ptx_add_symbol(reader, reader->word);
    symbol->is = PTX_IS_LABEL;
    symbol->value = PTX_NOWHERE;
  }
  if (symbol->is != PTX_IS_LABEL)
    PTX_FAIL(reader, "no label: %s", reader->word);
  operand->kind = PTX_LABEL;
  operand->value = (uint64_t)(symbol - reader->module->symbols);
}

static void read_operand(struct ptx_reader *reader, struct ptx_operand *operand) {
  char c = ptx_peek(reader);
  if (ptx_accept(reader, '{')) {
    read_vector(reader, operand);
  } else if (ptx_accept(reader, '[')) {
    read_address(reader, operand);
  } else if (c == '%') {
    read_special(reader, operand);
  } else if (c == '-' || isdigit((unsigned char)c)) {
    operand->kind = PTX_VALUE;
    operand->value = ptx_number(reader);
  } else {
    const struct ptx_symbol *symbol = ptx_find(reader->module, ptx_next(reader));
    if (symbol && symbol->is == PTX_IS_MEMORY) {
      operand->kind = PTX_VALUE;
      operand->value = symbol->value;
      operand->space = (uint8_t)symbol->space;
      return;
    }
    operand->reg[operand->count++] = ptx_find_register(reader, reader->word);
  }
}

/* How many bits operand `i` of the instruction has. */
static unsigned bits_of(const struct ptx_op *op, unsigned i) {
  unsigned bits = op->field[PTX_TYPE];
  enum ptx_name name = op->form->op;
  if (!i && name >= PTX_EQ && name <= PTX_GE)
    return 1;
  if (i == 2 && (name == PTX_SHL || name == PTX_SHR))
    return 32;
  if ((!i && name == PTX_MUL_WIDE) || (i % 3 == 0 && name == PTX_MAD_WIDE))
    return bits * 2;
  return i && name == PTX_CVT ? op->field[PTX_FROM] : bits;
}

static void check_registers(struct ptx_reader *reader, const struct ptx_op *op, unsigned i) {
  const struct ptx_operand *operand = &op->operand[i];
  enum ptx_name name = op->form->op;
  bool memory = name == PTX_LD || name == PTX_ST;
  unsigned count = memory && op->field[PTX_VECTOR] ? op->field[PTX_VECTOR] : 1;
  unsigned bits = bits_of(op, i);
  if (name == PTX_MOV && operand->count > 1) { /* the parts of one */
    count = operand->count;
    bits /= count;
  }
  if (operand->count != count)
    PTX_FAIL(reader, "operand %u: %u registers, not %u", i + 1, operand->count, count);
  for (unsigned k = 0; k < operand->count; k++) {
    unsigned has = reader->module->bits[operand->reg[k]];
    if (memory ? has < bits : has != bits)
      PTX_FAIL(reader, "operand %u: a register of %u bits, not %u", i + 1, has, bits);
  }
}

static void check_address(struct ptx_reader *reader, const struct ptx_op *op,
                          const struct ptx_operand *operand) {
  if (operand->reg[0] < 0 && operand->space != op->field[PTX_SPACE])
    PTX_FAIL(reader, "the address is in another space");
  if (operand->reg[0] < 0)
    return;
  unsigned has = reader->module->bits[operand->reg[0]];
  if (op->field[PTX_SPACE] == PTX_SPACE_PARAM || has < 32 ||
      (op->field[PTX_SPACE] == PTX_GLOBAL && has != 64))
    PTX_FAIL(reader, "no address in this space: a register of %u bits", has);
}

/* Of the size that the instruction wants, and where it wants one. */
static void check_operand(struct ptx_reader *reader, const struct ptx_op *op, unsigned i) {
  const struct ptx_operand *operand = &op->operand[i];
  enum ptx_name name = op->form->op;
  bool target = !i && name != PTX_ST && name < PTX_BRA;
  bool address = (name == PTX_LD && i == 1) || (name == PTX_ST && !i);
  uint64_t over = ~ptx_mask(bits_of(op, i));
  if (address != (operand->kind == PTX_ADDRESS) || (target && operand->kind != PTX_REGISTER))
    PTX_FAIL(reader, "operand %u is not of this kind", i + 1);
  else if ((operand->kind == PTX_SPECIAL || operand->space) && !address && name != PTX_MOV)
    PTX_FAIL(reader, "operand %u: only mov has this", i + 1);
  else if (operand->kind == PTX_SPECIAL && bits_of(op, i) != 32)
    PTX_FAIL(reader, "operand %u has 32 bits", i + 1);
  else if (operand->kind == PTX_ADDRESS)
    check_address(reader, op, operand);
  else if (operand->kind == PTX_REGISTER && name < PTX_BRA)
    check_registers(reader, op, i);
  else if (operand->kind == PTX_VALUE && name < PTX_BRA && (operand->value & over) &&
           (operand->value & over) != over)
    PTX_FAIL(reader, "operand %u is too large", i + 1);
}

static void check_op(struct ptx_reader *reader, const struct ptx_op *op) {
  const struct ptx_operand *first = &op->operand[0];
  for (unsigned i = 0; i < op->form->operands; i++)
    check_operand(reader, op, i);
  if (op->form->op == PTX_BAR && (first->kind != PTX_VALUE || first->value))
    PTX_FAIL(reader, "of a block's barriers only 0 is known");
  if (op->form->op == PTX_BAR_WARP && (first->kind != PTX_VALUE || first->value != UINT32_MAX))
    PTX_FAIL(reader, "only a whole warp's barrier is known");
}

void ptx_read_op(struct ptx_reader *reader) {
  struct ptx_module *module = reader->module;
  struct ptx_op *op = &module->ops[module->op_count];
  *op = (struct ptx_op){.guard = -1};
  if (ptx_accept(reader, '@')) {
    op->unless = ptx_accept(reader, '!');
    op->guard = ptx_find_register(reader, ptx_next(reader));
    if (!*module->error && module->bits[op->guard] != 1)
      PTX_FAIL(reader, "no predicate: %s", reader->word);
  }
  read_name(reader, op);
  op->line = reader->line;
  for (unsigned i = 0; !*module->error && i < op->form->operands; i++) {
    if (i)
      ptx_expect(reader, ',');
    if (op->form->op == PTX_BRA)
      read_goal(reader, &op->operand[i]);
    else
      read_operand(reader, &op->operand[i]);
  }
  ptx_expect(reader, ';');
  if (!*module->error)
    check_op(reader, op);
  if (++module->op_count == PTX_OPS)
    PTX_FAIL(reader, "more than %d instructions", PTX_OPS - 1);
}
