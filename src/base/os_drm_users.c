/*
 * os_drm_users: a walk over processes by rising pid, over the files of each, and, where the name of
 * one says that it is a card, over the lines of its text. Everything here is another's: processes
 * end meanwhile, have files without number, and are named as they like.
 */
#include "base/os_drm_users.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"

#define USERS_NS (CLOCK_SECOND / 4)
#define USERS_AT_LEAST 1024 /* files, however slow the machine is */
#define USERS_PIDS 65536
#define USERS_FILES 16384  /* of one process */
#define USERS_CLIENTS 4096 /* of one card */
#define USERS_TEXT 8192    /* the longest today, xe's, has 2 KiB */
#define USERS_PATH 320
#define USERS_NODES "/dev/dri/"

/* What a driver may say of the same memory, the best first. */
enum word { RESIDENT, MEMORY, TOTAL, WORDS };
static const char *const words[WORDS] = {"drm-resident-", "drm-memory-", "drm-total-"};

struct said {
  bool has_id;
  uint64_t id;
  bool here; /* of the card that is asked for */
  bool told[WORDS][OS_DRM_HEAPS];
  uint64_t bytes[WORDS][OS_DRM_HEAPS];
};

struct walk {
  const struct os_drm_root *root;
  const char *pci;
  uint64_t deadline;
  uint32_t seen;     /* files */
  uint64_t *clients; /* that were counted */
  uint32_t client_count;
  struct os_drm_user *out;
  uint32_t count, max;
};

/* ---- one text ---- */

/* amdgpu: vram, gtt; xe: vram0, gtt, system; i915: local0, system0. What is in none of them is in
 * no budget ("cpu", "stolen"). */
static bool find_heap(const char *region, size_t n, enum os_drm_heap *out) {
  static const struct {
    const char *name;
    enum os_drm_heap heap;
  } regions[] = {
      {"vram", OS_DRM_CARD}, {"local", OS_DRM_CARD}, {"gtt", OS_DRM_HOST}, {"system", OS_DRM_HOST}};
  while (n && region[n - 1] >= '0' && region[n - 1] <= '9')
    n--;
  for (size_t i = 0; i < sizeof regions / sizeof *regions; i++)
    if (strlen(regions[i].name) == n && !strncmp(region, regions[i].name, n)) {
      *out = regions[i].heap;
      return true;
    }
  return false;
}

/* "23992 KiB", "16 MiB", "0"; false for anything else. */
static bool parse_size(const char *text, uint64_t *out) {
  char *end;
  if (*text < '0' || *text > '9')
    return false;
  errno = 0;
  uint64_t value = strtoull(text, &end, 10), unit = 1;
  end += strspn(end, " ");
  if (!strcmp(end, "KiB"))
    unit = KIB;
  else if (!strcmp(end, "MiB"))
    unit = MIB;
  else if (*end)
    return false;
  return !errno && units_mul(value, unit, out);
}

static void take_size(struct said *said, enum word word, const char *region, const char *value) {
  enum os_drm_heap heap;
  uint64_t size, *sum;
  if (!find_heap(region, strlen(region), &heap) || !parse_size(value, &size))
    return;
  sum = &said->bytes[word][heap];
  said->told[word][heap] = units_add(*sum, size, sum);
}

static void take_line(const char *pci, char *line, struct said *said) {
  char *value = strchr(line, ':'), *end;
  if (!value)
    return;
  *value++ = 0;
  value += strspn(value, " \t");
  value[strcspn(value, "\t\r")] = 0;
  if (!strcmp(line, "drm-pdev")) {
    said->here = os_drm_same(value, pci);
  } else if (!strcmp(line, "drm-client-id")) {
    said->id = strtoull(value, &end, 10);
    said->has_id = end != value && !*end;
  }
  for (int word = 0; word < WORDS; word++)
    if (!strncmp(line, words[word], strlen(words[word])))
      take_size(said, (enum word)word, line + strlen(words[word]), value);
}

static ssize_t read_file(const char *path, char *out, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0)
    return -1;
  ssize_t n = read(fd, out, size - 1);
  close(fd);
  out[n > 0 ? n : 0] = 0;
  return n;
}

/* ---- one process ---- */

/* False: it was counted before, or there are too many. */
static bool is_new(struct walk *walk, uint64_t id) {
  for (uint32_t i = 0; i < walk->client_count; i++)
    if (walk->clients[i] == id)
      return false;
  if (walk->client_count == USERS_CLIENTS)
    return false;
  walk->clients[walk->client_count++] = id;
  return true;
}

static void add(struct os_drm_user *user, const struct said *said) {
  for (int heap = 0; heap < OS_DRM_HEAPS; heap++) {
    int word = 0;
    uint64_t *sum = &user->bytes[heap];
    while (word < WORDS && !said->told[word][heap])
      word++;
    if (word < WORDS && !units_add(*sum == OS_DRM_UNKNOWN ? 0 : *sum, said->bytes[word][heap], sum))
      *sum = OS_DRM_UNKNOWN;
  }
}

/* Whether it is the card, by a descriptor that counts for this process. */
static bool look_at_file(struct walk *walk, const char *path, struct os_drm_user *user) {
  char text[USERS_TEXT], *rest = NULL;
  struct said said = {.has_id = false};
  if (read_file(path, text, sizeof text) <= 0)
    return false;
  for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
    take_line(walk->pci, line, &said);
  if (!said.here || (said.has_id && !is_new(walk, said.id)))
    return false;
  if (said.has_id) /* else one memory could count many times */
    add(user, &said);
  return true;
}

static bool is_card(const char *folder, const char *name) {
  char path[USERS_PATH], target[sizeof USERS_NODES];
  snprintf(path, sizeof path, "%.280s/%.20s", folder, name);
  ssize_t n = readlink(path, target, sizeof USERS_NODES - 1);
  return n == sizeof USERS_NODES - 1 && !memcmp(target, USERS_NODES, sizeof USERS_NODES - 1);
}

static bool is_late(const struct walk *walk) {
  return walk->seen >= USERS_AT_LEAST && clock_now() > walk->deadline;
}

static void look_at_files(struct walk *walk, DIR *files, const char *folder,
                          struct os_drm_user *user) {
  char path[USERS_PATH];
  const struct dirent *entry;
  bool uses = false;
  for (uint32_t i = 0; i < USERS_FILES && (entry = readdir(files)); i++) {
    if (is_late(walk))
      break;
    walk->seen++;
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9' || !is_card(folder, entry->d_name))
      continue;
    snprintf(path, sizeof path, "%.280sinfo/%.20s", folder, entry->d_name);
    uses = look_at_file(walk, path, user) || uses;
  }
  if (uses)
    walk->out[walk->count++] = *user;
}

static void look_at_process(struct walk *walk, pid_t pid) {
  char path[USERS_PATH];
  struct os_drm_user user = {.pid = pid, .bytes = {OS_DRM_UNKNOWN, OS_DRM_UNKNOWN}};
  snprintf(path, sizeof path, "%.250s/%d/fd", walk->root->proc, (int)pid);
  DIR *files = opendir(path);
  if (!files) /* it ended, or is none of ours */
    return;
  uint32_t before = walk->count;
  look_at_files(walk, files, path, &user);
  closedir(files);
  if (walk->count == before)
    return;
  struct os_drm_user *row = &walk->out[before];
  snprintf(path, sizeof path, "%.250s/%d/comm", walk->root->proc, (int)pid);
  if (read_file(path, row->name, sizeof row->name) > 0)
    row->name[strcspn(row->name, "\n")] = 0;
}

/* ---- all ---- */

static int by_pid(const void *a, const void *b) {
  return *(const pid_t *)a < *(const pid_t *)b ? -1 : 1;
}

static uint32_t list_pids(const struct os_drm_root *root, pid_t *out) {
  DIR *processes = opendir(root->proc);
  const struct dirent *entry;
  uint32_t count = 0;
  while (processes && count < USERS_PIDS && (entry = readdir(processes))) {
    char *end;
    unsigned long pid = strtoul(entry->d_name, &end, 10);
    if (pid && pid <= INT32_MAX && !*end)
      out[count++] = (pid_t)pid;
  }
  if (processes)
    closedir(processes);
  qsort(out, count, sizeof *out, by_pid);
  return count;
}

uint32_t os_drm_users(const struct os_drm_root *root, const char *pci, struct os_drm_user *out,
                      uint32_t max) {
  struct walk walk = {.root = root, .pci = pci, .out = out, .max = max};
  pid_t *pids = calloc(USERS_PIDS, sizeof *pids);
  walk.clients = calloc(USERS_CLIENTS, sizeof *walk.clients);
  walk.deadline = clock_now() + USERS_NS;
  uint32_t count = pids && walk.clients ? list_pids(root, pids) : 0;
  for (uint32_t i = 0; i < count && walk.count < max && !is_late(&walk); i++)
    look_at_process(&walk, pids[i]);
  free(walk.clients);
  free(pids);
  return walk.count;
}
