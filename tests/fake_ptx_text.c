/*
 * fake_ptx_text: see fake_ptx_text.h.
 */
#include "fake_ptx_text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ptx_fail(struct ptx_module *module, unsigned line, const char *format, ...) {
  if (*module->error)
    return;
  va_list list;
  va_start(list, format);
  int n = snprintf(module->error, sizeof module->error, "line %u: ", line);
  (void)vsnprintf(module->error + n, sizeof module->error - (size_t)n, format, list);
  va_end(list);
}

/* The next character that is no space; '\0' at the end. */
char ptx_peek(struct ptx_reader *reader) {
  for (; isspace((unsigned char)*reader->at); reader->at++)
    reader->line += *reader->at == '\n';
  return *reader->at;
}

bool ptx_accept(struct ptx_reader *reader, char c) {
  if (ptx_peek(reader) != c || !c)
    return false;
  reader->at++;
  return true;
}

void ptx_expect(struct ptx_reader *reader, char c) {
  if (!ptx_accept(reader, c))
    PTX_FAIL(reader, "'%c' is missing before \"%.8s\"", c, reader->at);
}

/* A name, a number or a directive, into `word`; "" after an error. */
const char *ptx_next(struct ptx_reader *reader) {
  size_t n = 0;
  (void)ptx_peek(reader);
  while (isalnum((unsigned char)reader->at[n]) || (reader->at[n] && strchr("._%", reader->at[n])))
    n++;
  *reader->word = '\0';
  if (!n || n >= sizeof reader->word) {
    PTX_FAIL(reader, "no word: \"%.8s\"", reader->at);
    return reader->word;
  }
  memcpy(reader->word, reader->at, n);
  reader->word[n] = '\0';
  reader->at += n;
  return reader->word;
}

void ptx_expect_word(struct ptx_reader *reader, const char *word) {
  if (strcmp(ptx_next(reader), word))
    PTX_FAIL(reader, "\"%s\" where only %s is known", reader->word, word);
}

uint64_t ptx_number(struct ptx_reader *reader) {
  bool negative = ptx_accept(reader, '-');
  char *end;
  uint64_t value = strtoull(ptx_next(reader), &end, 0);
  if (*end)
    PTX_FAIL(reader, "no number: %s", reader->word);
  return negative ? 0 - value : value;
}

struct ptx_symbol *ptx_find(struct ptx_module *module, const char *name) {
  for (unsigned i = 0; i < module->symbol_count; i++)
    if (!strcmp(module->symbols[i].name, name))
      return &module->symbols[i];
  return NULL;
}

/* Never NULL: after an error it is one that nobody finds. */
struct ptx_symbol *ptx_add_symbol(struct ptx_reader *reader, const char *name) {
  struct ptx_module *module = reader->module;
  if (ptx_find(module, name))
    PTX_FAIL(reader, "%s is there twice", name);
  if (module->symbol_count == PTX_SYMBOLS - 1)
    PTX_FAIL(reader, "more than %d names", PTX_SYMBOLS - 1);
  struct ptx_symbol *symbol = &module->symbols[module->symbol_count];
  *symbol = (struct ptx_symbol){0};
  if (!*module->error)
    module->symbol_count++;
  (void)snprintf(symbol->name, sizeof symbol->name, "%s", name);
  return symbol;
}

int ptx_find_register(struct ptx_reader *reader, const char *name) {
  const struct ptx_symbol *symbol = ptx_find(reader->module, name);
  if (symbol && symbol->is == PTX_IS_REGISTER)
    return (int)symbol->value;
  PTX_FAIL(reader, "no register: %s", name);
  return 0;
}
