/* card: what was put in comes out, and an image that says anything else is refused with a reason.
 */
#include "model/card.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY 100000

struct image {
  union {
    struct card_head *head;
    char *bytes;
  };
  size_t n;
};

static struct card_builder *begin(const char *file, uint64_t size) {
  struct card_builder *builder = NULL;
  struct problem problem;
  const struct card_file_new new = {file, strlen(file), size, 16};
  assert_int_equal(card_begin(CARD_SAFETENSORS, &builder), STATUS_OK);
  assert_int_equal(card_add_file(builder, &new, &problem), STATUS_OK);
  return builder;
}

/* A row of U8. */
static void add(struct card_builder *builder, const char *name, uint64_t offset, uint64_t size) {
  struct problem problem;
  const struct card_tensor_new tensor = {.name = name,
                                         .name_bytes = strlen(name),
                                         .offset = offset,
                                         .size = size,
                                         .shape = &size,
                                         .rank = 1,
                                         .dtype = CARD_DTYPE_U8};
  assert_int_equal(card_add_tensor(builder, &tensor, &problem), STATUS_OK);
}

static struct image end(struct card_builder *builder) {
  struct image image = {0};
  struct problem problem = {0};
  void *bytes = NULL;
  enum status status = card_end(builder, &bytes, &image.n, &problem);
  if (status)
    fail_msg("%s", problem.text);
  image.bytes = bytes;
  card_free(builder);
  return image;
}

static void end_is_refused(struct card_builder *builder, const char *reason) {
  void *image = NULL;
  size_t n = 7;
  struct problem problem = {0};
  assert_int_equal(card_end(builder, &image, &n, &problem), STATUS_MODEL_FORMAT_INVALID);
  if (!strstr(problem.text, reason))
    fail_msg("\"%s\" does not say: %s", problem.text, reason);
  assert_null(image);
  assert_int_equal(n, 7);
  card_free(builder);
}

static void check_is_refused(const struct image *image, const char *reason) {
  struct card card;
  struct problem problem = {0};
  assert_int_equal(card_check(image->bytes, image->n, &card, &problem),
                   STATUS_MODEL_FORMAT_INVALID);
  assert_int_equal(problem.status, STATUS_MODEL_FORMAT_INVALID);
  if (!strstr(problem.text, reason))
    fail_msg("\"%s\" does not say: %s", problem.text, reason);
}

/* Two files, three tensors. */
static struct image sample(void) {
  struct problem problem;
  struct card_builder *builder = begin("one", 116);
  add(builder, "first", 16, 60);
  add(builder, "second", 76, 40);
  const struct card_file_new two = {"two", 3, 96, 16};
  const uint64_t shape[] = {2, 5, 2};
  const struct card_tensor_new third = {"third", 5, 16, 80, shape, 3, CARD_DTYPE_F32};
  assert_int_equal(card_add_file(builder, &two, &problem), STATUS_OK);
  assert_int_equal(card_add_tensor(builder, &third, &problem), STATUS_OK);
  return end(builder);
}

/* Where the parts are, to change them. */
static struct card_file *files_of(struct image *image) { return (void *)(image->head + 1); }
static struct card_tensor *tensors_of(struct image *image) {
  return (void *)(files_of(image) + image->head->files);
}
static uint64_t *dimensions_of(struct image *image) {
  return (void *)(tensors_of(image) + image->head->tensors);
}
static char *text_of(struct image *image) {
  return (void *)(dimensions_of(image) + image->head->dimensions);
}

static void what_was_put_in_comes_out(void **state) {
  (void)state;
  struct image image = sample();
  struct card card;
  struct problem problem;
  assert_int_equal(card_check(image.bytes, image.n, &card, &problem), STATUS_OK);
  assert_int_equal(card.head->format, CARD_SAFETENSORS);
  assert_int_equal(card.head->files, 2);
  assert_int_equal(card.head->tensors, 3);
  assert_int_equal(card.head->weight_bytes, 180);
  assert_memory_equal(card.text + card.files[1].name, "two", 3);
  const struct card_tensor *third = &card.tensors[2];
  assert_int_equal(third->name_bytes, 5);
  assert_memory_equal(card.text + third->name, "third", 5);
  assert_int_equal(third->file, 1);
  assert_int_equal(third->offset, 16);
  assert_int_equal(third->size, 80);
  assert_int_equal(third->rank, 3);
  assert_int_equal(card.dimensions[third->shape + 1], 5);
  assert_string_equal(card_dtype_name(third->dtype), "F32");
  free(image.bytes);
}

static void a_model_without_a_file_is_none(void **state) {
  (void)state;
  struct card_builder *builder = NULL;
  assert_int_equal(card_begin(CARD_GGUF, &builder), STATUS_OK);
  end_is_refused(builder, "no head");
}

static void a_name_is_there_once(void **state) {
  (void)state;
  struct card_builder *builder = begin("file", 100);
  add(builder, "same", 16, 10);
  add(builder, "other", 26, 10);
  add(builder, "same", 36, 10);
  end_is_refused(builder, "tensor \"same\" is there twice");
  struct problem problem;
  builder = begin("file", 100);
  const struct card_file_new again = {"file", 4, 100, 16};
  assert_int_equal(card_add_file(builder, &again, &problem), STATUS_OK);
  end_is_refused(builder, "file \"file\" is there twice");
}

static void tensors_do_not_overlap(void **state) {
  (void)state;
  struct card_builder *builder = begin("file", 100);
  add(builder, "late", 50, 10);
  add(builder, "early", 16, 35);
  end_is_refused(builder, "tensor \"late\" overlaps");
  builder = begin("file", 100);
  add(builder, "outer", 16, 80);
  add(builder, "inner", 20, 1);
  end_is_refused(builder, "tensor \"inner\" overlaps");
  builder = begin("file", 100);
  add(builder, "late", 51, 10);
  add(builder, "empty", 30, 0);
  add(builder, "early", 16, 35);
  free(end(builder).bytes);
}

static void tensors_lie_in_their_files_data(void **state) {
  (void)state;
  struct card_builder *builder = begin("file", 100);
  add(builder, "header", 15, 5);
  end_is_refused(builder, "tensor \"header\" lies outside");
  builder = begin("file", 100);
  add(builder, "behind", 90, 11);
  end_is_refused(builder, "tensor \"behind\" lies outside");
  builder = begin("file", 100);
  add(builder, "around", UINT64_MAX - 1, 20);
  end_is_refused(builder, "tensor \"around\" lies outside");
  end_is_refused(begin("short", 15), "file \"short\" ends before");
}

static void file_names_are_plain(void **state) {
  (void)state;
  static const char *const bad[] = {"", ".", "..", "a/b", "/etc/passwd", "a\nb", "a\x7f", "\xff"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    end_is_refused(begin(bad[i], 100), "no plain file name");
  free(end(begin("...", 100)).bytes);
  free(end(begin(" Modell-ä.safetensors", 100)).bytes);
}

static void a_shape_gives_the_size(void **state) {
  (void)state;
  uint64_t bytes = 0;
  const uint64_t huge[] = {UINT64_C(1) << 32, UINT64_C(1) << 32}, odd[] = {3, 3}, even[] = {3, 4};
  const uint64_t top[] = {UINT64_C(1) << 62};
  assert_false(card_shape_bytes(CARD_DTYPE_U8, huge, 2, &bytes));
  assert_false(card_shape_bytes(CARD_DTYPE_F4, odd, 2, &bytes));
  assert_true(card_shape_bytes(CARD_DTYPE_F4, even, 2, &bytes));
  assert_int_equal(bytes, 6);
  assert_true(card_shape_bytes(CARD_DTYPE_F6_E2M3, even, 2, &bytes));
  assert_int_equal(bytes, 9);
  assert_true(card_shape_bytes(CARD_DTYPE_F64, NULL, 0, &bytes));
  assert_int_equal(bytes, 8);
  assert_true(card_shape_bytes(CARD_DTYPE_U8, top, 1, &bytes));
  assert_false(card_shape_bytes(CARD_DTYPE_U16, top, 1, &bytes));
  assert_false(card_shape_bytes(CARD_DTYPE_COUNT, even, 2, &bytes));
  assert_null(card_dtype_name(CARD_DTYPE_COUNT));
  assert_null(card_format_name(CARD_FORMATS));
}

static void caps_are_refused_at_once(void **state) {
  (void)state;
  static char name[CARD_TENSOR_NAME + 1];
  struct problem problem = {0};
  struct card_builder *builder = begin("file", 100);
  memset(name, 'n', sizeof name);
  const uint64_t shape[CARD_RANK + 1] = {0};
  struct card_tensor_new tensor = {name, sizeof name, 16, 0, shape, 1, CARD_DTYPE_U8};
  assert_int_equal(card_add_tensor(builder, &tensor, &problem), STATUS_MODEL_FORMAT_INVALID);
  assert_non_null(strstr(problem.text, "nnnn…\""));
  tensor.name_bytes = 1;
  tensor.rank = CARD_RANK + 1;
  assert_int_equal(card_add_tensor(builder, &tensor, &problem), STATUS_MODEL_FORMAT_INVALID);
  const struct card_file_new file = {name, CARD_NAME + 1, 100, 16};
  assert_int_equal(card_add_file(builder, &file, &problem), STATUS_MODEL_FORMAT_INVALID);
  card_free(builder);
}

static void names_have_a_cap_together(void **state) {
  (void)state;
  static char name[CARD_TENSOR_NAME];
  struct problem problem = {0};
  struct card_builder *builder = begin("file", 100);
  enum status status = STATUS_OK;
  memset(name, 'n', sizeof name);
  const uint64_t shape = 0;
  const struct card_tensor_new tensor = {name, sizeof name, 16, 0, &shape, 1, CARD_DTYPE_U8};
  size_t bytes = 4;
  for (; !status; bytes += sizeof name)
    status = card_add_tensor(builder, &tensor, &problem);
  assert_int_equal(status, STATUS_MODEL_FORMAT_INVALID);
  assert_in_range(bytes, CARD_TEXT, CARD_TEXT + 2 * sizeof name);
  card_free(builder);
}

static void a_card_of_many_tensors_in_any_order(void **state) {
  (void)state;
  struct card_builder *builder = begin("file", 16 + 3 * (uint64_t)MANY);
  char name[32];
  for (uint64_t i = 0; i < MANY; i++) {
    uint64_t place = i * 7919 % MANY; /* a prime, so that each comes once */
    snprintf(name, sizeof name, "layer.%llu.weight", (unsigned long long)i);
    add(builder, name, 16 + 3 * place, 3);
  }
  struct image image = end(builder);
  assert_int_equal(image.head->tensors, MANY);
  assert_int_equal(image.head->weight_bytes, 3 * MANY);
  tensors_of(&image)[MANY / 2].offset--;
  check_is_refused(&image, "overlaps");
  free(image.bytes);
}

/* ---- without memory ---- */

#define SOME ((size_t)4 << 20)

/* From here on this process gets so much more. */
static bool limit_memory(size_t bytes) {
  unsigned long pages = 0;
  malloc_trim(0); /* what tests before this one left free */
  FILE *file = fopen("/proc/self/statm", "re");
  bool is_read = file && fscanf(file, "%lu", &pages) == 1;
  if (file)
    fclose(file);
  rlim_t limit = pages * (rlim_t)sysconf(_SC_PAGESIZE) + bytes;
  const struct rlimit both = {limit, limit};
  return is_read && !setrlimit(RLIMIT_AS, &both);
}

static enum status add_until_refused(struct card_builder *builder, unsigned count) {
  struct problem problem;
  enum status status = STATUS_OK;
  char name[64];
  for (unsigned i = 0; !status && i < count; i++) {
    snprintf(name, sizeof name, "%063u", i);
    const struct card_tensor_new tensor = {name, 63, 16, 0, NULL, 0, CARD_DTYPE_COUNT};
    status = card_add_tensor(builder, &tensor, &problem);
  }
  return status;
}

static bool adding_says_so(void) {
  struct card_builder *builder = begin("file", 100);
  bool is_right =
      limit_memory(SOME) && add_until_refused(builder, CARD_TENSORS) == STATUS_INTERNAL_ERROR;
  card_free(builder);
  return is_right;
}

static bool ending_says_so(void) {
  struct card_builder *builder = begin("file", 100);
  struct problem problem;
  void *image = NULL;
  size_t n = 7;
  bool is_right = !add_until_refused(builder, MANY) && limit_memory(SOME) &&
                  card_end(builder, &image, &n, &problem) == STATUS_INTERNAL_ERROR && !image &&
                  n == 7;
  card_free(builder);
  return is_right;
}

static void no_memory_is_an_error_and_no_crash(void **state) {
  (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  skip(); /* they need the address space for themselves */
#endif
  static bool (*const cases[])(void) = {adding_says_so, ending_says_so};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int result = 0;
    pid_t child = fork();
    if (!child)
      _exit(!cases[i]());
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
  }
}

/* ---- images from somebody else ---- */

static void an_image_cut_anywhere_is_refused(void **state) {
  (void)state;
  struct image image = sample();
  struct card card;
  struct problem problem;
  for (size_t n = 0; n < image.n; n++) {
    char *cut = malloc(n + 1); /* exactly so much, that a sanitizer sees one byte more */
    assert_non_null(cut);
    memcpy(cut, image.bytes, n);
    char *exact = realloc(cut, n ? n : 1);
    assert_non_null(exact);
    assert_int_equal(card_check(exact, n, &card, &problem), STATUS_MODEL_FORMAT_INVALID);
    free(exact);
  }
  free(image.bytes);
}

static void every_changed_byte_is_survived(void **state) {
  (void)state;
  struct image image = sample();
  struct card card;
  struct problem problem;
  for (size_t i = 0; i < image.n; i++)
    for (int bit = 0; bit < 8; bit++) {
      image.bytes[i] = (char)(image.bytes[i] ^ (1 << bit));
      if (!card_check(image.bytes, image.n, &card, &problem))
        assert_int_equal(card.head->weight_bytes, 180);
      image.bytes[i] = (char)(image.bytes[i] ^ (1 << bit));
    }
  assert_int_equal(card_check(image.bytes, image.n, &card, &problem), STATUS_OK);
  free(image.bytes);
}

static void counts_over_the_caps_are_refused(void **state) {
  (void)state;
  struct image image = sample();
  struct card_head good = *image.head;
  image.head->tensors = CARD_TENSORS + 1;
  check_is_refused(&image, "over the caps");
  *image.head = good;
  image.head->text_bytes = UINT64_MAX;
  check_is_refused(&image, "over the caps");
  *image.head = good;
  image.head->format = CARD_FORMATS;
  check_is_refused(&image, "no head");
  *image.head = good;
  image.head->tensors = CARD_TENSORS;
  check_is_refused(&image, "do not add up");
  free(image.bytes);
}

/* Or a small image could make its judge read the same bytes a million times. */
static void parts_are_used_once(void **state) {
  (void)state;
  struct image image = sample();
  tensors_of(&image)[0].name_bytes += 3;
  check_is_refused(&image, "");
  tensors_of(&image)[0].name_bytes -= 3;
  tensors_of(&image)[0].rank = 0;
  check_is_refused(&image, "");
  tensors_of(&image)[0].rank = 1;
  image.head->weight_bytes++;
  check_is_refused(&image, "do not add up");
  free(image.bytes);
}

static void sums_that_wrap_are_seen(void **state) {
  (void)state;
  struct image image = sample();
  tensors_of(&image)[2].size = UINT64_MAX - 99; /* with the 100 before: 0 */
  image.head->weight_bytes = 0;
  check_is_refused(&image, "do not add up");
  free(image.bytes);
}

static void names_are_text_without_nul(void **state) {
  (void)state;
  struct image image = sample();
  char *name = text_of(&image) + tensors_of(&image)[1].name;
  static const char *const bad[] = {"\0econd",
                                    "\xc0\x80"
                                    "cond",
                                    "\xed\xa0\x80"
                                    "ond",
                                    "\xf4\x90\x80\x80"
                                    "nd",
                                    "secon\xc3",
                                    "\x80"
                                    "econd"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    memcpy(name, bad[i], 6);
    check_is_refused(&image, "not UTF-8");
  }
  struct card card;
  struct problem problem;
  memcpy(name, "\xf0\x9f\x98\x80\xc3\xa4", 6);
  assert_int_equal(card_check(image.bytes, image.n, &card, &problem), STATUS_OK);
  free(image.bytes);
}

static void a_name_in_a_sentence_is_short_and_clean(void **state) {
  (void)state;
  char out[TEXT_SHORT], name[100];
  memset(name, 'x', sizeof name);
  assert_int_equal(strlen(text_shorten(name, sizeof name, out)), 67);
  assert_int_equal(strlen(text_shorten(name, 64, out)), 64);
  memcpy(name + 62, "\xf0\x9f\x98\x80", 4); /* would be cut in its middle */
  assert_int_equal(strlen(text_shorten(name, sizeof name, out)), 65);
  assert_string_equal(text_shorten("a\nb\xff\0c", 6, out), "a?b??c");
  assert_string_equal(text_shorten("", 0, out), "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_was_put_in_comes_out),
      cmocka_unit_test(a_model_without_a_file_is_none),
      cmocka_unit_test(a_name_is_there_once),
      cmocka_unit_test(tensors_do_not_overlap),
      cmocka_unit_test(tensors_lie_in_their_files_data),
      cmocka_unit_test(file_names_are_plain),
      cmocka_unit_test(a_shape_gives_the_size),
      cmocka_unit_test(caps_are_refused_at_once),
      cmocka_unit_test(names_have_a_cap_together),
      cmocka_unit_test(a_card_of_many_tensors_in_any_order),
      cmocka_unit_test(no_memory_is_an_error_and_no_crash),
      cmocka_unit_test(an_image_cut_anywhere_is_refused),
      cmocka_unit_test(every_changed_byte_is_survived),
      cmocka_unit_test(counts_over_the_caps_are_refused),
      cmocka_unit_test(parts_are_used_once),
      cmocka_unit_test(sums_that_wrap_are_seen),
      cmocka_unit_test(names_are_text_without_nul),
      cmocka_unit_test(a_name_in_a_sentence_is_short_and_clean),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
