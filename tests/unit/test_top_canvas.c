/*
 * What is put on a canvas stays in its span, and holds nothing that could steer a terminal.
 */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/top/canvas.h"

static struct top_canvas canvas;

static void begin(bool ascii) {
  canvas.ascii = ascii;
  assert_true(top_canvas_begin(&canvas, 10, 2));
}

static int drop(void **state) {
  (void)state;
  top_canvas_done(&canvas);
  return 0;
}

static void assert_row(int row, const char *text) {
  struct buf out BUF_CLEANUP;
  buf_init(&out, 1 << 16);
  top_canvas_read(&canvas, row, &out);
  assert_string_equal(buf_text(&out), text);
}

static int put(int column, int width, const char *text) {
  return top_canvas_put(&canvas, (struct top_span){0, column, width}, TOP_PLAIN, text);
}

static void test_text_stays_in_its_span(void **state) {
  (void)state;
  begin(false);
  assert_int_equal(put(0, 4, "ab"), 2);
  assert_int_equal(put(4, 4, "abcdefgh"), 4);
  assert_int_equal(put(8, 40, "xyz"), 2);
  assert_row(0, "ab  abc…x…");
  assert_row(1, "");
}

static void test_what_lies_outside_is_left_out(void **state) {
  (void)state;
  static const struct top_span outside[] = {
      {-1, 0, 5}, {2, 0, 5}, {0, 10, 5}, {0, -1, 5}, {0, 0, -3}};
  begin(false);
  for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
    assert_int_equal(top_canvas_put(&canvas, outside[i], TOP_PLAIN, "text"), 0);
    top_canvas_fill(&canvas, outside[i], TOP_PLAIN, '#');
  }
  top_canvas_mark(&canvas, 7);
  assert_row(0, "");
  assert_row(1, "");
}

static void test_the_right_end(void **state) {
  (void)state;
  begin(false);
  top_canvas_put_right(&canvas, (struct top_span){0, 2, 6}, TOP_PLAIN, "42");
  assert_row(0, "      42");
  top_canvas_put_right(&canvas, (struct top_span){1, 2, 3}, TOP_PLAIN, "123456");
  assert_row(1, "  12…");
}

static void test_wide_characters_take_two_columns(void **state) {
  (void)state;
  begin(false);
  assert_int_equal(put(0, 10, "日本"), 4);
  assert_int_equal(put(5, 4, "日本語"), 3); /* no half of one */
  assert_row(0, "日本 日…");
}

static void test_nothing_steers_the_terminal(void **state) {
  (void)state;
  static const char *const texts[] = {"\033[2Jx",         "a\nb\r\tc",   "\177",
                                      "\302\23331m",      "\377\376",    "\346\227",
                                      "\360\200\200\200", "\355\240\200"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    begin(i & 1);
    put(0, 10, texts[i]);
    for (int c = 0; c < 10; c++) {
      uint32_t glyph = canvas.cells[c].glyph;
      assert_true(glyph >= ' ' && glyph != 0x7f && !(glyph >= 0x80 && glyph < 0xa0));
    }
  }
}

static void test_what_takes_no_column_is_left_out(void **state) {
  (void)state;
  char text[16] = "e";
  size_t n = 1;
  n += top_canvas_encode(0x301, text + n);  /* an accent that combines */
  n += top_canvas_encode(0x202e, text + n); /* from right to left, from here on */
  text[n] = 'x';
  begin(false);
  assert_int_equal(put(0, 10, text), 2);
  assert_row(0, "ex");
}

static void test_ascii(void **state) {
  (void)state;
  begin(true);
  put(0, 10, "é日x and more");
  assert_row(0, "??x and m~");
}

static void test_utf8(void **state) {
  (void)state;
  char bytes[4];
  assert_int_equal(top_canvas_encode('a', bytes), 1);
  assert_int_equal(top_canvas_encode(0xe9, bytes), 2);
  assert_int_equal(top_canvas_encode(0x2588, bytes), 3);
  assert_memory_equal(bytes, "█", 3);
  assert_int_equal(top_canvas_encode(0x1f600, bytes), 4);
  assert_memory_equal(bytes, "\xf0\x9f\x98\x80", 4);
}

static void test_any_size(void **state) {
  (void)state;
  for (int width = 0; width < 4; width++)
    for (int height = 0; height < 4; height++)
      if (top_canvas_begin(&canvas, width, height))
        assert_true(put(0, 10, "some text") <= width);
  top_canvas_begin(&canvas, 1 << 20, 1);
  assert_true(canvas.width <= TOP_SIDE_MAX);
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(test_text_stays_in_its_span, drop),
      cmocka_unit_test_teardown(test_what_lies_outside_is_left_out, drop),
      cmocka_unit_test_teardown(test_the_right_end, drop),
      cmocka_unit_test_teardown(test_wide_characters_take_two_columns, drop),
      cmocka_unit_test_teardown(test_nothing_steers_the_terminal, drop),
      cmocka_unit_test_teardown(test_what_takes_no_column_is_left_out, drop),
      cmocka_unit_test_teardown(test_ascii, drop),
      cmocka_unit_test_teardown(test_utf8, drop),
      cmocka_unit_test_teardown(test_any_size, drop),
  };
  setlocale(LC_CTYPE, "C.UTF-8");
  return cmocka_run_group_tests(tests, NULL, NULL);
}
