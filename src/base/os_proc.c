/*
 * os_proc: each file is opened, read with one call and closed; the kernel makes its text at that
 * moment, so one read is one consistent picture. Numbers are found by their label, for labels come
 * and go between kernels.
 */
#include "base/os_proc.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OS_PROC_TEXT 4096 /* meminfo and status, the longest, have 1.5 KiB */

static enum status read_file(const char *path, char *text, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return errno == ENOENT ? STATUS_NOT_FOUND : STATUS_INTERNAL_ERROR;
  ssize_t n = read(fd, text, size - 1);
  int error = errno;
  close(fd);
  if (n < 0) /* it ended since, or pressure figures are switched off */
    return error == ESRCH || error == EOPNOTSUPP ? STATUS_NOT_FOUND : STATUS_INTERNAL_ERROR;
  text[n] = '\0';
  return STATUS_OK;
}

static enum status read_process(pid_t pid, const char *file, char *text, size_t size) {
  if (pid <= 0)
    return STATUS_NOT_FOUND;
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
  return read_file(path, text, size);
}

/* The text behind a label, NULL if it is not there. */
static const char *behind(const char *text, const char *label) {
  const char *at = strstr(text, label);
  return at ? at + strlen(label) : NULL;
}

enum status os_proc_memory(struct os_proc_memory *out) {
  char text[OS_PROC_TEXT];
  if (read_file("/proc/meminfo", text, sizeof text))
    return STATUS_INTERNAL_ERROR;
  const char *total = behind(text, "MemTotal:"), *available = behind(text, "MemAvailable:");
  if (!total || !available)
    return STATUS_INTERNAL_ERROR;
  out->total_bytes = strtoull(total, NULL, 10) * 1024;
  out->available_bytes = strtoull(available, NULL, 10) * 1024;
  return STATUS_OK;
}

/* "12.34" as 1234: the kernel always prints two decimals. */
static uint32_t hundredths(const char *text) {
  char *dot;
  unsigned long whole = strtoul(text, &dot, 10);
  return (uint32_t)(whole * 100 + (*dot == '.' ? strtoul(dot + 1, NULL, 10) : 0));
}

enum status os_proc_pressure(struct os_proc_pressure *out) {
  char text[OS_PROC_TEXT];
  enum status status = read_file("/proc/pressure/memory", text, sizeof text);
  if (status)
    return status;
  const char *some = behind(text, "some avg10="), *full = behind(text, "full avg10=");
  if (!some || !full)
    return STATUS_NOT_FOUND;
  *out = (struct os_proc_pressure){hundredths(some), hundredths(full)};
  return STATUS_OK;
}

enum status os_proc_resident(pid_t pid, uint64_t *bytes) {
  char text[128];
  enum status status = read_process(pid, "statm", text, sizeof text);
  if (status)
    return status;
  const char *second = strchr(text, ' ');
  if (!second)
    return STATUS_INTERNAL_ERROR;
  *bytes = strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
  return STATUS_OK;
}

enum status os_proc_name(pid_t pid, char *name, size_t size) {
  char text[128];
  enum status status = read_process(pid, "comm", text, sizeof text);
  if (status)
    return status;
  size_t n = strlen(text);
  if (n && text[n - 1] == '\n')
    text[n - 1] = '\0';
  snprintf(name, size, "%s", text);
  return STATUS_OK;
}

/* Keeps rows sorted, largest first; the smallest of too many falls out. */
static void rank(struct os_proc_process *rows, uint32_t max, uint32_t *count, pid_t pid) {
  uint64_t bytes;
  if (os_proc_resident(pid, &bytes))
    return;
  if (*count == max && bytes <= rows[max - 1].resident_bytes)
    return;
  if (*count < max)
    ++*count;
  uint32_t at = *count - 1;
  for (; at && rows[at - 1].resident_bytes < bytes; at--)
    rows[at] = rows[at - 1];
  rows[at] = (struct os_proc_process){.pid = pid, .resident_bytes = bytes};
}

enum status os_proc_top(struct os_proc_process *out, uint32_t max, uint32_t *count) {
  assert(max && max <= OS_PROC_TOP);
  DIR *processes = opendir("/proc");
  if (!processes)
    return STATUS_INTERNAL_ERROR;
  struct os_proc_process rows[OS_PROC_TOP];
  uint32_t found = 0, kept = 0;
  const struct dirent *entry;
  while ((entry = readdir(processes))) {
    char *end;
    unsigned long pid = strtoul(entry->d_name, &end, 10);
    if (pid && !*end)
      rank(rows, max, &found, (pid_t)pid);
  }
  closedir(processes);
  for (uint32_t i = 0; i < found; i++) /* one that ended meanwhile has no name any more */
    if (!os_proc_name(rows[i].pid, rows[i].name, sizeof rows[i].name))
      out[kept++] = rows[i];
  *count = kept;
  return STATUS_OK;
}
