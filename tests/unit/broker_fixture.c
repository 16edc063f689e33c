#include "broker_fixture.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "device/probe.h"

void broker_fixture_set(struct spec *spec, const char *environment) {
  static char program[512];
  char self[400] = "";
  if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
    abort();
  snprintf(program, sizeof program, "%s/../bin/memkeep-worker", dirname(self));
  spec->broker = program;
  snprintf(spec->environment, sizeof spec->environment, "%s", environment);
}

void broker_fixture_place(struct spec *spec) {
  broker_fixture_set(spec, "");
  probe_place(spec);
}

pid_t broker_fixture_child(void) {
  char path[64];
  int pid = 0;
  snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
  FILE *file = fopen(path, "re");
  if (!file)
    abort();
  if (fscanf(file, "%d", &pid) != 1)
    pid = 0;
  fclose(file);
  return pid;
}
