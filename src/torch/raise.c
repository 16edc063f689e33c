/*
 * raise: torch's libraries are asked for what they export, as they are in this process already. An
 * OutOfMemoryError is a c10::Error by another name: it is made by the constructor of that one, with
 * a std::string, and thrown under its own type.
 */
#include "torch/raise.h"

#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ROOM 1024 /* bytes of a c10::Error, with much to spare: some 200 in all versions so far */

#define LIBRARIES 16 /* of torch's */
#define PATH 512

struct place { /* c10::SourceLocation */
  const char *function, *file;
  uint32_t line;
};

struct string { /* libstdc++'s std::string; what is long lies where `text` points */
  char *text;
  size_t size;
  union {
    char here[16];
    size_t room;
  } rest;
};

typedef void construct_fn(void *error, struct place place, struct string *text);
typedef void *make_fn(size_t size);
typedef void throw_fn(void *error, void *type, void (*destroy)(void *error));
typedef void fail_fn(const char *function, const char *file, uint32_t line, const char *text);

struct paths {
  char path[LIBRARIES][PATH];
  unsigned count;
};

static int note(struct dl_phdr_info *library, size_t size, void *arg) {
  static const char *const asked[] = {"/libc10", "/libtorch", "/libstdc++"};
  struct paths *paths = arg;
  bool may = false;
  (void)size;
  for (unsigned i = 0; i < sizeof asked / sizeof *asked; i++)
    may = may || strstr(library->dlpi_name, asked[i]);
  if (may && paths->count < LIBRARIES && strlen(library->dlpi_name) < PATH)
    memcpy(paths->path[paths->count++], library->dlpi_name, strlen(library->dlpi_name) + 1);
  return 0;
}

/* In any of these; NULL: none has it. */
static void *find(const struct paths *paths, const char *name) {
  void *found = NULL;
  for (unsigned i = 0; !found && i < paths->count; i++) {
    void *library = dlopen(paths->path[i], RTLD_LAZY | RTLD_NOLOAD);
    found = library ? dlsym(library, name) : NULL;
    if (library)
      (void)dlclose(library);
  }
  return found;
}

#define FIND(type, name) ((type *)(uintptr_t)find(&paths, name))

static struct string make_string(make_fn *make, const char *text) {
  struct string string = {.size = strlen(text)};
  string.rest.room = string.size + sizeof string.rest; /* long, whatever it is */
  string.text = make(string.rest.room + 1);
  memcpy(string.text, text, string.size + 1);
  return string;
}

void raise_out_of_memory(const char *text) {
  static const struct place place = {"memkeep_torch_alloc", "memkeep", 0};
  struct paths paths;
  paths.count = 0;
  (void)dl_iterate_phdr(note, &paths);
  void *type = find(&paths, "_ZTIN3c1016OutOfMemoryErrorE");
  construct_fn *construct =
      FIND(construct_fn, "_ZN3c105ErrorC1ENS_14SourceLocationENSt7__cxx1112basic_stringIcSt11char_"
                         "traitsIcESaIcEEE");
  make_fn *make = FIND(make_fn, "_Znwm"), *make_error = FIND(make_fn, "__cxa_allocate_exception");
  throw_fn *throw = FIND(throw_fn, "__cxa_throw");
  fail_fn *fail = FIND(fail_fn, "_ZN3c106detail14torchCheckFailEPKcS2_jS2_");
  if (type && construct && make && make_error && throw) {
    struct string string = make_string(make, text);
    void *error = make_error(ROOM);
    memset(error, 0, ROOM);
    construct(error, place, &string);
    throw(error, type, NULL);
  }
  if (fail)
    fail(place.function, place.file, place.line, text);
}
