#include "cuda_fixture.h"

#include <dlfcn.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void cuda_fixture_use(const char *library) {
  char self[512] = "", path[640], session[32];
  if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
    abort();
  snprintf(path, sizeof path, "%s/%s.so", dirname(self), library);
  snprintf(session, sizeof session, "unit%d", (int)getpid());
  setenv("MEMKEEP_LIBCUDA", path, 1);
  setenv("MEMKEEP_LIBNVML", path, 1);
  setenv("FAKE_CUDA_SESSION", session, 1);
  unsetenv("FAKE_CUDA_CARDS");
  unsetenv("FAKE_CUDA_FAIL");
  unsetenv("FAKE_CUDA_APART");
  unsetenv("FAKE_CUDA_LOST");
  unsetenv("FAKE_CUDA_LACKS");
  unsetenv("FAKE_CUDA_MIG");
  unsetenv("CUDA_VISIBLE_DEVICES");
}

uint64_t cuda_fixture_count(const char *function) {
  void *library = dlopen(getenv("MEMKEEP_LIBCUDA"), RTLD_NOW | RTLD_NOLOAD);
  uint64_t (*count)(void) = NULL;
  void *symbol = dlsym(library, function);
  memcpy(&count, &symbol, sizeof count);
  dlclose(library);
  return count();
}
