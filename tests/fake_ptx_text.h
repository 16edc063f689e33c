/*
 * fake_ptx_text: a text in PTX, read word by word. After an error there is no next word, so that
 * everything ends.
 */
#ifndef TESTS_FAKE_PTX_TEXT_H
#define TESTS_FAKE_PTX_TEXT_H

#include "fake_ptx_code.h"

#include <string.h>

#define PTX_LENGTH(table) (sizeof(table) / sizeof *(table))

struct ptx_reader {
  struct ptx_module *module;
  const char *at;
  unsigned line;
  char word[PTX_NAME];
};

#define PTX_FAIL(reader, ...)                                                                      \
  do {                                                                                             \
    ptx_fail((reader)->module, (reader)->line, __VA_ARGS__);                                       \
    (reader)->at += strlen((reader)->at);                                                          \
  } while (0)

/* The next character that is no space; '\0' at the end. */
char ptx_peek(struct ptx_reader *reader);
/* Whether that is `c`, which then is read. */
bool ptx_accept(struct ptx_reader *reader, char c);
void ptx_expect(struct ptx_reader *reader, char c);
/* A name, a number or a directive, into `word`; "" after an error. */
const char *ptx_next(struct ptx_reader *reader);
void ptx_expect_word(struct ptx_reader *reader, const char *word);
uint64_t ptx_number(struct ptx_reader *reader);
/* NULL: there is none. */
struct ptx_symbol *ptx_find(struct ptx_module *module, const char *name);
/* Never NULL: after an error it is one that nobody finds. */
struct ptx_symbol *ptx_add_symbol(struct ptx_reader *reader, const char *name);
int ptx_find_register(struct ptx_reader *reader, const char *name);

/* fake_ptx_op.c: an instruction, up to its ';'. */
void ptx_read_op(struct ptx_reader *reader);
/* Of a type without its dot; 0: there is none. */
unsigned ptx_type_bits(const char *type);

#endif
