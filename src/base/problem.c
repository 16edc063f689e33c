/*
 * problem: the text is written beside the problem before the problem is cleared, so that a caller
 * may wrap an older text of the same problem into a new one.
 */
#include "base/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 3, 0))) static void fill(struct problem *problem, enum status status,
                                                       const char *format, va_list args) {
  char text[sizeof problem->text];
  vsnprintf(text, sizeof text, format, args);
  memset(problem, 0, sizeof *problem);
  problem->status = status;
  memcpy(problem->text, text, sizeof text);
}

enum status problem_set(struct problem *problem, enum status status, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fill(problem, status, format, args);
  va_end(args);
  return status;
}

enum status problem_field(struct problem *problem, enum status status, const char *field,
                          const char *format, ...) {
  char name[sizeof problem->field];
  snprintf(name, sizeof name, "%s", field);
  va_list args;
  va_start(args, format);
  fill(problem, status, format, args);
  va_end(args);
  memcpy(problem->field, name, sizeof name);
  return status;
}
