#include "service/bound.h"

#include <stdio.h>
#include <string.h>

#include "base/units.h"

#define BOUND_MOST 64 /* devices that are looked at in the ledger */
#define BOUND_TEXT 36 /* length of a UUID's */
#define BOUND_LAST 999

struct known {
  char name[SPEC_ID];
  uint64_t card[2];
};

static int digit(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  c = (char)(c | ' ');
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void bound_card(const char *uuid, uint64_t card[2]) {
  static const char shape[] = "00000000-0000-0000-0000-000000000000";
  size_t n = strcspn(uuid, "/");
  const char *text = n >= BOUND_TEXT ? uuid + n - BOUND_TEXT : shape;
  unsigned digits = 0;
  bool good = true;
  card[0] = card[1] = 0;
  for (size_t i = 0; i < BOUND_TEXT; i++) {
    int value = digit(text[i]);
    good = good && (shape[i] == '-' ? text[i] == '-' : value >= 0);
    if (shape[i] == '-' || value < 0)
      continue;
    uint64_t *half = &card[digits++ >= 16];
    *half = *half << 4 | (unsigned)value;
  }
  if (!good)
    card[0] = card[1] = 0;
}

bool bound_is_card(const struct ledger_limit *limit, const char *uuid) {
  uint64_t card[2];
  bound_card(uuid, card);
  return !(card[0] | card[1]) || !(limit->card[0] | limit->card[1]) ||
         !memcmp(card, limit->card, sizeof card);
}

void bound_format(const uint64_t card[2], char out[SPEC_UUID]) {
  out[0] = 0;
  if (card[0] | card[1])
    snprintf(out, SPEC_UUID, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(card[0] >> 32),
             (unsigned)(card[0] >> 16 & 0xffff), (unsigned)(card[0] & 0xffff),
             (unsigned)(card[1] >> 48), (unsigned long long)(card[1] & 0xffffffffffff));
}

bool bound_holds_memory(const struct service *s, uint64_t device) {
  const struct ledger_record *record;
  for (uint32_t slot = ledger_next(s->ledger, 0); slot; slot = ledger_next(s->ledger, slot)) {
    record = ledger_at(s->ledger, slot);
    if (record->kind == LEDGER_SEGMENT && record->u.segment.device == device)
      return true;
  }
  return false;
}

/* A device's name is one piece. */
static void read_name(const struct service *s, uint64_t text, char out[SPEC_ID]) {
  uint32_t count, at;
  const struct idmap_entry *rows = ledger_by_id(s->ledger, &count);
  out[0] = 0;
  at = idmap_search(rows, count, text);
  if (at == count || rows[at].id != text)
    return;
  const struct ledger_text *piece = &ledger_at(s->ledger, rows[at].value)->u.text;
  size_t n = units_min(piece->size, SPEC_ID - 1);
  memcpy(out, piece->bytes, n);
  out[n] = 0;
}

/* Cards with memory on them. */
static unsigned list_known(const struct service *s, struct known *out) {
  unsigned found = 0;
  for (uint32_t slot = ledger_next(s->ledger, 0); slot && found < BOUND_MOST;
       slot = ledger_next(s->ledger, slot)) {
    const struct ledger_record *record = ledger_at(s->ledger, slot);
    const struct ledger_limit *limit = &record->u.limit;
    if (record->kind != LEDGER_LIMIT || limit->of_domain || !(limit->card[0] | limit->card[1]) ||
        !bound_holds_memory(s, record->id))
      continue;
    read_name(s, limit->text, out[found].name);
    memcpy(out[found++].card, limit->card, sizeof limit->card);
  }
  return found;
}

static struct spec *spec_named(struct spec *specs, unsigned count, const char *id) {
  for (unsigned i = 0; i < count; i++)
    if (!strcmp(specs[i].id, id))
      return &specs[i];
  return NULL;
}

static struct spec *spec_of(struct spec *specs, unsigned count, const struct known *known) {
  for (unsigned i = 0; i < count; i++) {
    uint64_t card[2];
    bound_card(specs[i].uuid, card);
    if (specs[i].found && !memcmp(card, known->card, sizeof card))
      return &specs[i];
  }
  return NULL;
}

/* A number that nobody has, here or in the ledger. */
static void rename_new(struct spec *spec, struct spec *specs, unsigned count,
                       const struct known *all, unsigned known) {
  for (unsigned number = 0; number <= BOUND_LAST; number++) {
    char id[SPEC_ID];
    unsigned k = 0;
    snprintf(id, sizeof id, "%s:%u", spec->backend, number);
    while (k < known && strcmp(all[k].name, id) != 0)
      k++;
    if (k < known || spec_named(specs, count, id))
      continue;
    memcpy(spec->id, id, sizeof id);
    return;
  }
}

void bound_rename(const struct service *s, struct spec *specs, unsigned count) {
  struct known all[BOUND_MOST];
  unsigned known = list_known(s, all);
  for (unsigned k = 0; k < known; k++) {
    struct spec *card = spec_of(specs, count, &all[k]);
    struct spec *other = spec_named(specs, count, all[k].name);
    if (card == other || (other && (!other->found || !other->uuid[0])))
      continue; /* it is as it was, or as somebody said */
    if (card && other)
      memcpy(other->id, card->id, sizeof other->id);
    else if (other)
      rename_new(other, specs, count, all, known);
    if (card)
      memcpy(card->id, all[k].name, sizeof card->id);
  }
}
