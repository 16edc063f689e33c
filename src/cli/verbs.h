/*
 * verbs: the table of what the program can be asked for.
 */
#ifndef CLI_VERBS_H
#define CLI_VERBS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/reader.h"
#include "cli/table.h"

#define VERB_WORDS 3
#define VERB_NAMES 4

/* What a verb runs. */
enum verb_program { VERB_QUESTION, VERB_TOP, VERB_BENCH };
enum verb_follow { VERB_ONE_ANSWER, VERB_TRANSFER, VERB_MODEL, VERB_EVENTS };

struct verb {
  const char *name; /* one word, or two: "model load" */
  enum verb_program program;
  const struct cli_operation *own; /* of a program: what may be said to it; else NULL */
  const char *action;              /* of a question */
  const char *bare; /* the action when nothing is said behind the verb, or a flag of its own first;
                       NULL: the same */
  const char *summary; /* one sentence */
  const char *example;
  const char *words[VERB_WORDS]; /* fields that are said without a flag, in their order */
  const char *model;             /* the field of a first word that is no allocation's id */
  struct {
    const char *flag, *field;
  } names[VERB_NAMES];         /* flags with a name of their own */
  const char *const *defaults; /* field, value, … NULL: sent unless it is said; may be NULL */
  bool detached;               /* what it makes outlives the program */
  bool pages;                  /* all pages are shown */
  enum verb_follow follows;    /* what it starts is looked at until its end */
  const char *path;            /* a field that is a path of this host; NULL: none */
  void (*show)(struct reader_value data);
};

/* Ends with a row without a name. */
extern const struct verb verbs[];
/* By the first of these words, or the first two. NULL: none. */
const struct verb *verbs_find(const char *const *words, int count);
/* How many words its name has. */
int verbs_size(const struct verb *verb);
/* The second word of its name when the first is `group`; else NULL. */
const char *verbs_member(const struct verb *verb, const char *group);
/* Whether a field is said without a flag. */
bool verbs_is_word(const struct verb *verb, const char *field);
/* The name of a field's flag, in snake_case and without its hyphens. */
const char *verbs_flag(const struct verb *verb, const char *field);
/* Whose fields are its flags. */
const struct cli_operation *verbs_operation(const struct verb *verb);
/* The same when nothing is said. */
const struct cli_operation *verbs_bare(const struct verb *verb);

#endif
