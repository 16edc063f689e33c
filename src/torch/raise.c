/*
 * raise: torch's libraries are asked for what they export, as they are in this process already. An
 * OutOfMemoryError is a c10::Error by another name: it is made by the constructor of that one, with
 * a std::string, and thrown under its own type.
 */
#include "torch/raise.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ROOM 1024 /* bytes of a c10::Error, with much to spare: some 200 in all versions so far */

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

/* In any of the libraries that has it; NULL: none is here. */
static void *find(const char *name) {
  static const char *const libraries[] = {"libc10.so", "libc10_cuda.so", "libtorch_python.so",
                                          "libc10.so.1.13", "libstdc++.so.6"};
  for (unsigned i = 0; i < sizeof libraries / sizeof *libraries; i++) {
    void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);
    void *found = library ? dlsym(library, name) : NULL;
    if (library)
      (void)dlclose(library);
    if (found)
      return found;
  }
  return NULL;
}

#define FIND(type, name) ((type *)(uintptr_t)find(name))

static struct string make_string(make_fn *make, const char *text) {
  struct string string = {.size = strlen(text)};
  string.rest.room = string.size + sizeof string.rest; /* long, whatever it is */
  string.text = make(string.rest.room + 1);
  memcpy(string.text, text, string.size + 1);
  return string;
}

void raise_out_of_memory(const char *text) {
  static const struct place place = {"memkeep_torch_alloc", "memkeep", 0};
  void *type = find("_ZTIN3c1016OutOfMemoryErrorE");
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
