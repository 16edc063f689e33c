/*
 * vk_pretend_heap: what of a FAKE card's heap is held. An exported piece is a file without a name,
 * known by its inode; it is held while any process has it open.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vk_pretend.h"

#define NOTES 4096 /* exports of a test */

struct note {
  uint64_t inode, size, card;
};

uint64_t pretend_setting(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text ? strtoull(text, NULL, 10) : otherwise;
}

FILE *pretend_open(const char *name, const char *mode) {
  const char *folder = getenv("VK_PRETEND_DIR");
  char path[512];
  snprintf(path, sizeof path, "%s/%s", folder ? folder : "", name);
  return folder ? fopen(path, mode) : NULL;
}

bool pretend_seen(void) { return getenv("VK_PRETEND_SEEN"); }

VkPhysicalDeviceType pretend_type(void) {
  return pretend_setting("VK_PRETEND_INTEGRATED", 0) ? VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU
                                                     : VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
}

/* The text of a card in a list; NULL: it is not in it. */
static const char *item_of(const char *name, uint32_t card) {
  const char *text = getenv(name);
  for (; text && card; card--)
    if ((text = strchr(text, ',')))
      text++;
  return text;
}

void pretend_uuid(uint32_t card, uint8_t uuid[VK_UUID_SIZE]) {
  bool twin = getenv("VK_PRETEND_TWIN");
  if (twin)
    memset(uuid, 0xfa, VK_UUID_SIZE);
  const char *number = item_of("VK_PRETEND_UUIDS", card);
  uuid[VK_UUID_SIZE - 1] = (uint8_t)(number ? strtoul(number, NULL, 10) : card + !twin);
}

void pretend_trouble(void) {
  const char *which = getenv("VK_PRETEND_TROUBLE");
  while (which && !strcmp(which, "hang"))
    pause();
  if (which && !strcmp(which, "crash"))
    abort();
}

void pretend_address(uint32_t card, VkPhysicalDevicePCIBusInfoPropertiesEXT *out) {
  const char *text = item_of("VK_PRETEND_PCI", card);
  uint32_t *const parts[] = {&out->pciDomain, &out->pciBus, &out->pciDevice, &out->pciFunction};
  for (int i = 0; i < 4; i++) {
    char *end = NULL;
    *parts[i] = text ? (uint32_t)strtoul(text, &end, 16) : 0;
    text = text && (*end == ':' || *end == '.') ? end + 1 : NULL;
  }
}

bool pretend_has(const char *name) {
  FILE *file = pretend_open(name, "re");
  return file && !fclose(file);
}

void pretend_wait_while(const char *name) {
  while (pretend_has(name))
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

bool pretend_remove(const char *name) {
  const char *folder = getenv("VK_PRETEND_DIR");
  char path[512];
  snprintf(path, sizeof path, "%s/%s", folder ? folder : "", name);
  return folder && !remove(path);
}

uint64_t pretend_size(void) { return pretend_setting("VK_PRETEND_MIB", 1024) * MIB; }

uint64_t pretend_most(void) {
  return pretend_setting("VK_PRETEND_MOST", pretend_size() / MIB) * MIB;
}

uint64_t pretend_budget(void) {
  uint64_t size = pretend_size(), budget = size;
  char line[32];
  FILE *file = pretend_open("budget", "re");
  if (file && fgets(line, sizeof line, file))
    budget = strtoull(line, NULL, 10) * MIB;
  if (file)
    fclose(file);
  return budget < size ? budget : size;
}

void pretend_note(uint64_t inode, uint64_t size, uint32_t card) {
  FILE *file = pretend_open("memory", "ae");
  if (!file)
    return;
  fprintf(file, "%llu %llu %u\n", (unsigned long long)inode, (unsigned long long)size, card);
  fclose(file);
}

static unsigned read_notes(struct note *notes) {
  unsigned count = 0;
  char line[96], *end;
  FILE *file = pretend_open("memory", "re");
  while (file && count < NOTES && fgets(line, sizeof line, file)) {
    notes[count].inode = strtoull(line, &end, 10);
    notes[count].size = strtoull(end, &end, 10);
    notes[count++].card = strtoull(end, NULL, 10);
  }
  if (file)
    fclose(file);
  return count;
}

/* Counts each once, and forgets it. */
static uint64_t take_note(struct note *notes, unsigned count, uint64_t inode, uint32_t card) {
  for (unsigned i = 0; i < count; i++)
    if (notes[i].inode == inode && notes[i].card == card) {
      notes[i].inode = 0;
      return notes[i].size;
    }
  return 0;
}

static uint64_t held_by(const char *pid, struct note *notes, unsigned count, uint32_t card) {
  char path[512];
  uint64_t bytes = 0;
  snprintf(path, sizeof path, "/proc/%s/fd", pid);
  DIR *folder = opendir(path);
  for (struct dirent *entry; folder && (entry = readdir(folder));) {
    struct stat stat;
    if (!fstatat(dirfd(folder), entry->d_name, &stat, 0) && S_ISREG(stat.st_mode) && !stat.st_nlink)
      bytes += take_note(notes, count, stat.st_ino, card);
  }
  if (folder)
    closedir(folder);
  return bytes;
}

uint64_t pretend_exported(uint32_t card) {
  struct note *notes = calloc(NOTES, sizeof *notes);
  unsigned count = notes ? read_notes(notes) : 0;
  uint64_t bytes = 0;
  DIR *folder = count ? opendir("/proc") : NULL;
  for (struct dirent *entry; folder && (entry = readdir(folder));)
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
      bytes += held_by(entry->d_name, notes, count, card);
  if (folder)
    closedir(folder);
  free(notes);
  return bytes;
}
