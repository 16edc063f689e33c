/*
 * finder: messages until the last one, the end, or the deadline. What a process says that has other
 * people's drivers in it is read as any stranger's words are.
 */
#include "daemon/finder.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/os_drm.h"
#include "base/reader.h"
#include "device/probe.h"

#define FINDER_NS (2 * CLOCK_SECOND)
#define FINDER_MESSAGES 128
#define FINDER_END_MS 500

enum word { CARD, LAST, NONSENSE };

void finder_start(struct finder *finder, const char *program) {
  const char *argv[] = {program, "--find", NULL}, *environment[] = {"MEMKEEP_FD=3", NULL};
  struct share theirs;
  *finder = (struct finder){.end = {SHARE_NONE, 0}, .deadline = clock_now() + FINDER_NS};
  if (packet_pair(&finder->end, &theirs))
    return;
  const struct spawn_params params = {.argv = argv,
                                      .environment = environment,
                                      .stdin_fd = -1,
                                      .stdout_fd = -1,
                                      .stderr_fd = -1,
                                      .third_fd = (int)theirs.value};
  enum status status = spawn_start(&params, &finder->child);
  share_close(&theirs);
  if (!status)
    return;
  log_warning("daemon", "%s --find cannot be started: %s", program, status_text(status));
  share_close(&finder->end);
}

static enum word read_word(const char *text, struct spec *out) {
  struct reader_doc *doc = NULL;
  struct problem problem;
  enum word word = NONSENSE;
  if (reader_parse(text, strlen(text), &doc, &problem))
    return NONSENSE;
  struct reader_value root = reader_root(doc);
  if (reader_get(root, "found").json) {
    word = LAST;
  } else if (!spec_parse(reader_text(reader_get(root, "device"), ""), out, &problem) &&
             probe_is_apart(out->backend) && out->uuid[0]) {
    snprintf(out->pci, sizeof out->pci, "%.15s", reader_text(reader_get(root, "pci"), ""));
    out->found = true;
    word = CARD;
  }
  reader_free(doc);
  return word;
}

/* A card may have two drivers: the first counts. */
static bool is_listed(const struct spec *card, const struct spec *all, unsigned count) {
  for (unsigned i = 0; i < count; i++)
    if (os_drm_same(card->pci, all[i].pci) || !strcmp(card->id, all[i].id))
      return true;
  return false;
}

static const char *listen(const struct finder *finder, struct spec *out, unsigned max,
                          unsigned *count) {
  char text[PACKET_TEXT + 1];
  for (int i = 0; i < FINDER_MESSAGES; i++) {
    struct share share = {SHARE_NONE, 0};
    struct spec card;
    if (!packet_wait(&finder->end, finder->deadline))
      return "Vulkan's drivers did not answer within 2 s";
    if (packet_receive(&finder->end, text, &share))
      return "the process that asks Vulkan's drivers died, most likely of one of them";
    share_close(&share);
    enum word word = read_word(text, &card);
    if (word == LAST)
      return "";
    if (word == CARD && *count < max && !is_listed(&card, out, *count))
      out[(*count)++] = card;
  }
  return "Vulkan's drivers name no end of cards";
}

unsigned finder_take(struct finder *finder, struct spec *out, unsigned max, char why[FINDER_WHY]) {
  unsigned count = 0;
  why[0] = 0;
  if (finder->end.kind == SHARE_NONE)
    return 0;
  const char *failed = listen(finder, out, max, &count);
  if (failed[0]) {
    snprintf(why, FINDER_WHY, "cards may be missing: %s; the next start asks again", failed);
    log_warning("daemon", "%s", why);
    spawn_kill(&finder->child);
  }
  share_close(&finder->end);
  spawn_done(&finder->child, FINDER_END_MS);
  return count;
}
