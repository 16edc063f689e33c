/*
 * verbs: the table of what the program can be asked for.
 */
#ifndef CLI_VERBS_H
#define CLI_VERBS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/reader.h"

#define VERB_WORDS 3
#define VERB_NAMES 4

struct verb {
  const char *name;
  const char *action;
  const char *bare;    /* the action when nothing at all is said behind the verb; NULL: the same */
  const char *summary; /* one sentence */
  const char *example;
  const char *words[VERB_WORDS]; /* fields that are said without a flag, in their order */
  struct {
    const char *flag, *field;
  } names[VERB_NAMES];         /* flags with a name of their own */
  const char *const *defaults; /* field, value, … NULL: sent unless it is said; may be NULL */
  bool detached;               /* what it makes outlives the program */
  bool pages;                  /* all pages are shown */
  bool follows;                /* a transfer: until its end */
  void (*show)(struct reader_value data);
};

/* Ends with a row without a name. */
extern const struct verb verbs[];
/* NULL: none. */
const struct verb *verbs_find(const char *name);
/* Whether a field is said without a flag. */
bool verbs_is_word(const struct verb *verb, const char *field);
/* The name of a field's flag, in snake_case and without its hyphens. */
const char *verbs_flag(const struct verb *verb, const char *field);
/* The action when nothing is said. */
static inline const char *verbs_bare(const struct verb *verb) {
  return verb->bare ? verb->bare : verb->action;
}

#endif
