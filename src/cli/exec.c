/*
 * exec: the copy of a model in host memory is its files, byte for byte. They are attached here, and
 * a private folder has a link with each file's name to the descriptor that we hold; the program
 * opens, reads and maps that as it would the file. While it runs we wait, for the connection is the
 * attachment and the process is what the links lead to.
 */
#include "cli/exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/os_front.h"
#include "base/os_links.h"
#include "base/writer.h"
#include "cli/arguments.h"
#include "cli/ask.h"
#include "cli/follow.h"

#define FILES_MAX 250 /* descriptors of one answer: contract 5 */
#define TEXT 4096     /* of a path */
#define DATA_MAX ((size_t)64 << 10)

struct exec {
  const char *model, *load;
  const char *flags[GLOBALS_WORDS]; /* of the load */
  int flag_count;
  const char *const *program; /* its words */
  int program_count;
  struct ask ask;
  char id[64];     /* of the model */
  char file[TEXT]; /* what {} and {dir} stand for */
  struct os_links links;
  struct share shares[FILES_MAX];
  unsigned share_count;
};

bool exec_is_meant(const struct globals *globals) {
  return globals->count > 1 && strncmp(globals->words[1], "--", 2) == 0;
}

static int fail(int code, const struct problem *problem) {
  fprintf(stderr, "memkeep: %s\n", problem->text);
  return code;
}

static int misused(const char *what) {
  fprintf(stderr, "memkeep: exec %s: see memkeep exec --help\n", what);
  return EXIT_USAGE;
}

/* ---- words ---- */

/* Whether the flag at words[*i] has that name and a value. */
static bool take(const char *name, const struct globals *globals, int *i, const char **value) {
  const char *word = globals->words[*i];
  size_t n = strlen(name);
  if (strncmp(word, name, n) != 0)
    return false;
  bool next = !word[n] && *i + 1 < globals->count;
  if (!next && word[n] != '=')
    return false;
  *value = next ? globals->words[++*i] : word + n + 1;
  return true;
}

static int read_words(const struct globals *globals, struct exec *exec) {
  const char *const *words = globals->words;
  int i = 1;
  for (; i < globals->count && strcmp(words[i], "--") != 0; i++)
    if (!take("--model", globals, &i, &exec->model) && !take("--load", globals, &i, &exec->load))
      exec->flags[exec->flag_count++] = words[i];
  if (i + 1 >= globals->count)
    return misused("wants a program behind --");
  if (!exec->model && !exec->load)
    return misused("wants --model NAME or --load PATH");
  if (exec->flag_count && !exec->load)
    return misused("takes flags of a load with --load PATH only");
  exec->program = words + i + 1;
  exec->program_count = globals->count - i - 1;
  return EXIT_OK;
}

/* ---- load ---- */

static enum status load_question(const struct exec *exec, struct arguments *out,
                                 struct problem *problem) {
  static const char *const model_load[] = {"model", "load"};
  const struct verb *verb = verbs_find(model_load, 2);
  const char *words[GLOBALS_WORDS + 3] = {exec->load};
  int count = 1;
  if (exec->model) {
    words[count++] = "--name";
    words[count++] = exec->model;
  }
  memcpy(words + count, exec->flags, (size_t)exec->flag_count * sizeof *words);
  enum status status = arguments_read(verb, words, count + exec->flag_count, out, problem);
  if (!status && !arguments_said(out, "keep_ram_copy"))
    status = arguments_add(out, "keep_ram_copy", "true", problem);
  return status ? status : arguments_end(out, verb->defaults, problem);
}

static int put_load(struct exec *exec, const char *data) {
  struct ask_answer answer;
  int code = ask_put(&exec->ask,
                     &(struct ask_question){"memory.load_model", data, .detached = true}, &answer);
  if (!code) {
    code = follow_load(&exec->ask, &answer);
    const char *why = reader_text(reader_get(answer.data, "errorMessage"), NULL);
    if (code && why)
      fprintf(stderr, "memkeep: %s: %s\n",
              reader_text(reader_get(answer.data, "errorCode"), "INTERNAL_ERROR"), why);
  }
  if (!code)
    snprintf(exec->id, sizeof exec->id, "%s",
             reader_text(reader_get(reader_get(answer.data, "model"), "modelId"), ""));
  ask_free(&answer);
  return code;
}

static int load(struct exec *exec) {
  struct arguments arguments;
  struct problem problem;
  enum status status = load_question(exec, &arguments, &problem);
  int code = status ? fail(EXIT_USAGE, &problem) : put_load(exec, arguments.data.data);
  buf_done(&arguments.data);
  return code;
}

/* ---- attach ---- */

static int ask_about(struct exec *exec, const char *action, bool ram, struct ask_answer *out) {
  struct buf data BUF_CLEANUP;
  struct writer w;
  buf_init(&data, DATA_MAX);
  writer_init(&w, &data, WRITER_CAMEL);
  writer_object(&w, NULL);
  writer_text(&w, "modelId", *exec->id ? exec->id : exec->model);
  if (ram)
    writer_text(&w, "copy", "ram");
  writer_end(&w);
  return ask_put(&exec->ask, &(struct ask_question){action, buf_text(&data), false}, out);
}

static void advise(const struct ask_answer *answer) {
  if (!answer->doc)
    return;
  const char *code =
      reader_text(reader_get(reader_get(reader_root(answer->doc), "error"), "code"), "");
  if (strcmp(code, "MODEL_NOT_FOUND") == 0)
    fputs("  memkeep model ls lists those there are; --load PATH loads one\n", stderr);
  else if (strcmp(code, "MODEL_BUSY") == 0)
    fputs("  memkeep model park puts one into host memory, --load PATH loads it from its files\n",
          stderr);
}

static enum status link_one(struct exec *exec, struct reader_value piece, const struct share *share,
                            struct problem *problem) {
  const char *name = reader_text(reader_get(piece, "file"), "");
  bool whole = reader_uint(reader_get(piece, "offsetBytes"), 1) == 0 &&
               strcmp(reader_text(reader_get(piece, "handleType"), ""), "memfd") == 0;
  if (!whole)
    return problem_set(problem, STATUS_CONFLICT, "%.100s is in memory that is no file", name);
  if (os_links_share(&exec->links, name, share))
    return problem_set(problem, STATUS_INTERNAL_ERROR, "no link for %.100s in %.100s", name,
                       exec->links.path);
  if (!os_links_readable(&exec->links, name))
    return problem_set(problem, STATUS_FORBIDDEN,
                       "%.100s may not be opened anew by this user: it is the memory of the "
                       "daemon's; be that user, or root",
                       name);
  return STATUS_OK;
}

static int link_all(struct exec *exec, struct reader_value segments) {
  struct problem problem;
  size_t count = reader_count(segments);
  for (size_t i = 0; i < count; i++) {
    if (i >= exec->share_count) {
      problem_set(&problem, STATUS_INTERNAL_ERROR, "the daemon gave %u of %zu descriptors",
                  exec->share_count, count);
      return fail(EXIT_FAILED, &problem);
    }
    if (link_one(exec, reader_at(segments, i), &exec->shares[i], &problem))
      return fail(EXIT_FAILED, &problem);
  }
  return EXIT_OK;
}

/* ---- what {} is ---- */

static bool is_folder(const char *path) {
  struct stat facts;
  return stat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
}

/* Programs take safetensors of several files, or with a configuration beside, by their folder; all
 * else by its first file, from whose name they find the others. */
static void choose(struct exec *exec, struct reader_value model, struct reader_value segments) {
  static const char *const weights[] = {".safetensors", ".gguf", ".bin", ".pt", ".pth", NULL};
  char folder[TEXT];
  snprintf(folder, sizeof folder, "%s", reader_text(reader_get(model, "path"), ""));
  bool tensors = strcmp(reader_text(reader_get(model, "format"), ""), "safetensors") == 0;
  bool named = is_folder(folder);
  char *slash = strrchr(folder, '/');
  if (slash && !named)
    slash[slash == folder] = '\0';
  if (tensors && *folder == '/')
    os_links_beside(&exec->links, folder, weights);
  if (tensors && (named || reader_count(segments) > 1))
    snprintf(exec->file, sizeof exec->file, "%s", exec->links.path);
  else
    snprintf(exec->file, sizeof exec->file, "%s/%s", exec->links.path,
             reader_text(reader_get(reader_at(segments, 0), "file"), ""));
}

static int describe(struct exec *exec, struct reader_value segments) {
  struct ask_answer answer;
  int code = ask_about(exec, "memory.get_model_info", false, &answer);
  if (!code)
    choose(exec, reader_get(answer.data, "model"), segments);
  ask_free(&answer);
  return code;
}

/* ---- the program ---- */

/* Malloced. */
static char *fill_in(const struct exec *exec, const char *word) {
  const char *dir = exec->links.path;
  struct buf text;
  buf_init(&text, DATA_MAX);
  while (*word) {
    bool file = strncmp(word, "{}", 2) == 0, folder = strncmp(word, "{dir}", 5) == 0;
    if (file || folder)
      buf_print(&text, "%s", file ? exec->file : dir);
    else
      buf_add(&text, word, 1);
    word += file ? 2 : folder ? 5 : 1;
  }
  buf_text(&text);
  return buf_take(&text, &(size_t){0});
}

static int run_program(const struct exec *exec, const struct os_front *front) {
  char *words[GLOBALS_WORDS + 1] = {NULL};
  struct problem problem;
  int code = EXIT_FAILED;
  bool complete =
      !setenv("MEMKEEP_MODEL", exec->file, 1) && !setenv("MEMKEEP_MODEL_DIR", exec->links.path, 1);
  for (int i = 0; i < exec->program_count && complete; i++)
    complete = (words[i] = fill_in(exec, exec->program[i]));
  if (!complete)
    fputs("memkeep: out of memory, or a word of the program is too long\n", stderr);
  else if (os_front_run(front, (const char *const *)words, &code, &problem))
    fail(code, &problem);
  for (int i = 0; words[i]; i++)
    free(words[i]);
  return code;
}

static int run_linked(struct exec *exec, struct reader_value segments) {
  struct problem problem;
  struct os_front front;
  os_front_begin(&front);
  if (os_links_make("memkeep-exec", &exec->links, &problem))
    return fail(EXIT_FAILED, &problem);
  int code = link_all(exec, segments);
  if (!code)
    code = describe(exec, segments);
  if (!code)
    code = run_program(exec, &front);
  if (!os_links_remove(&exec->links))
    fprintf(stderr, "memkeep: %s is not empty and stays\n", exec->links.path);
  return code;
}

static int attach_and_run(struct exec *exec) {
  struct ask_answer answer;
  int code = ask_about(exec, "memory.attach", true, &answer);
  if (code)
    advise(&answer);
  while (!code && exec->share_count < FILES_MAX &&
         client_take_share(exec->ask.client, &exec->shares[exec->share_count]))
    exec->share_count++;
  if (!code) {
    snprintf(exec->id, sizeof exec->id, "%s", reader_text(reader_get(answer.data, "modelId"), ""));
    code = run_linked(exec, reader_get(answer.data, "segments"));
  }
  for (unsigned i = 0; i < exec->share_count; i++)
    share_close(&exec->shares[i]);
  ask_free(&answer);
  return code;
}

int exec_run(const struct globals *globals) {
  struct exec exec = {.model = NULL};
  if (globals->url)
    return misused("takes memory over the socket, not --url");
  int code = read_words(globals, &exec);
  if (code)
    return code;
  ask_init(&exec.ask, globals);
  if (exec.load)
    code = load(&exec);
  if (!code)
    code = attach_and_run(&exec);
  ask_done(&exec.ask);
  return code;
}

void exec_help(void) {
  puts("memkeep exec --model: a program reads a model from memory as if it were its files\n\n"
       "usage: memkeep exec --model NAME -- PROGRAM [WORD…]\n"
       "       memkeep exec --load PATH [--model NAME] [flags of model load] -- PROGRAM [WORD…]\n\n"
       "In the program's words {} stands for the model: its file, the first one of a split GGUF,\n"
       "the folder of safetensors in several files; {dir} for the folder in any case. They are in\n"
       "MEMKEEP_MODEL and MEMKEEP_MODEL_DIR too. The program's exit status is this one's (128 + n\n"
       "for signal n, 127 and 126 as of a shell).\n\n"
       "example: memkeep exec --model llama -- llama-cli --model {}\n");
}
