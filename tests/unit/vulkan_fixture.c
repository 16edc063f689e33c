#include "vulkan_fixture.h"

#include <libgen.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "device/vulkan/owner.h"

#define LAYERS "/usr/share/vulkan/explicit_layer.d"

static void path_of(const char *name, char out[64]) {
  snprintf(out, 64, "/tmp/vk_pretend.%d/%s", (int)getpid(), name);
}

static void remove_files(void) {
  static const char *const names[] = {"budget", "lost",  "full",   "torn", "slow",
                                      "far",    "trace", "memory", ""};
  char path[64];
  for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
    path_of(names[i], path);
    (void)remove(path);
  }
}

int vulkan_fixture_done(void **state) {
  (void)state;
  remove_files();
  return 0;
}

void vulkan_fixture_set(const char *name, const char *text) {
  char path[64];
  path_of(name, path);
  FILE *file = fopen(path, "we");
  if (!file || fputs(text, file) < 0 || fclose(file))
    abort();
}

void vulkan_fixture_unset(const char *name) {
  char path[64];
  path_of(name, path);
  (void)remove(path);
}

void vulkan_fixture_trace(char *out, size_t size) {
  char path[64];
  path_of("trace", path);
  FILE *file = fopen(path, "re");
  out[file ? fread(out, 1, size - 1, file) : 0] = 0;
  if (file)
    fclose(file);
  vulkan_fixture_set("trace", "");
}

void vulkan_fixture_use(unsigned cards, bool pretend) {
  char self[512] = "", folder[600], drivers[1400], layers[700], home[64];
  if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
    abort();
  snprintf(folder, sizeof folder, "%s/vulkan", dirname(self));
  snprintf(drivers, sizeof drivers, "%s/%s.json%s%s%s", folder, cards ? "card0" : "none",
           cards > 1 ? ":" : "", cards > 1 ? folder : "", cards > 1 ? "/card1.json" : "");
  snprintf(layers, sizeof layers, "%s:" LAYERS, folder);
  remove_files();
  path_of("", home);
  if (mkdir(home, 0700))
    abort();
  setenv("VK_ICD_FILENAMES", drivers, 1);
  setenv("VK_LAYER_PATH", layers, 1);
  setenv("VK_INSTANCE_LAYERS",
         pretend ? "VK_LAYER_KHRONOS_validation:VK_LAYER_MEMKEEP_pretend"
                 : "VK_LAYER_KHRONOS_validation",
         1);
  setenv("VK_PRETEND_DIR", home, 1);
  unsetenv("VK_PRETEND_MIB");
  unsetenv("VK_PRETEND_MOST");
  unsetenv("VK_PRETEND_PCI");
  unsetenv("VK_PRETEND_INTEGRATED");
  unsetenv("VK_PRETEND_SEEN");
  unsetenv("VK_PRETEND_FAMILIES");
  unsetenv("VK_PRETEND_DMABUF");
  unsetenv("VK_PRETEND_FAIL");
  unsetenv("VK_PRETEND_LACKS");
}

void *vulkan_fixture_owner(const struct spec *spec) {
  void *owner;
  assert_int_equal(STATUS_OK, vulkan_owner_open(spec, &owner));
  return owner;
}

struct device_info vulkan_fixture_describe(void *owner) {
  struct device_info info = {.limit_bytes = 0};
  assert_int_equal(STATUS_OK, vulkan_owner_describe(owner, &info));
  return info;
}

struct device_budget vulkan_fixture_budget(void *owner) {
  struct device_budget budget;
  assert_int_equal(STATUS_OK, vulkan_owner_budget(owner, &budget));
  return budget;
}
