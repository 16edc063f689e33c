/* fuzz_config: any bytes as a configuration file. It is read whole or refused with the place and
 * the reason. Without @include, which would read what lies about. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/config.h"

/* libconfig keeps a string that has no end. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libconfig"; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char path[64];
  char *words[] = {"memkeepd", "--config", path, "--runtime-dir", "/nonexistent", NULL};
  struct config_refusal refusal;
  struct config *config = NULL;
  int fd = memfd_create("config", MFD_CLOEXEC);
  if (fd < 0 || write(fd, data, size) != (ssize_t)size || memmem(data, size, "@include", 8)) {
    close(fd);
    return 0;
  }
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  memset(&refusal, 0, sizeof refusal);
  enum status status = config_load(5, words, &config, &refusal);
  if (!status != !!config || (status && (!refusal.where[0] || !refusal.problem.text[0])))
    abort();
  config_free(config);
  close(fd);
  return 0;
}
