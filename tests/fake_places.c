/*
 * fake_places: which FAKE cards there are, which of them are divided into MIG instances, and what a
 * process sees of that. See fake_libcuda.h. A place is a card, or an instance; those of instances
 * follow those of the cards.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_libcuda.h"

#define SHARE 4 /* of a divided card each instance has so much less */
#define UUID "fafafafa-fafa-fafa-fafa-fafafafafa"
#define SIBLING 100 /* a second compute instance in the memory of a place */
#define NOT_SUPPORTED 3

uint64_t fake_setting(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text ? strtoull(text, NULL, 10) : otherwise;
}

int fake_cards(void) {
  uint64_t cards = fake_setting("FAKE_CUDA_CARDS", 1);
  return cards > FAKE_CARDS ? FAKE_CARDS : (int)cards;
}

/* The divided card, -1: none; and into how many. */
static int divided(int *count) {
  const char *text = getenv("FAKE_CUDA_MIG");
  int card;
  *count = 0;
  return text && sscanf(text, "%d:%d", &card, count) == 2 ? card : -1;
}

static int places(void) {
  int count;
  (void)divided(&count);
  return fake_cards() + count;
}

static bool is_instance(int place) { return place >= fake_cards(); }

static bool is_divided(int card) {
  int count;
  return divided(&count) == card;
}

uint64_t fake_bytes(int place) {
  return fake_setting("FAKE_CUDA_BYTES", UINT64_C(1) << 30) / (is_instance(place) ? SHARE : 1);
}

void fake_uuid(int place, struct api_uuid *out) {
  memset(out, 0xfa, sizeof *out);
  out->bytes[15] = (unsigned char)place;
}

void fake_name(int place, char *out, size_t size) {
  snprintf(out, size, "FAKE %s %d", is_instance(place) ? "instance" : "card", place);
}

void fake_pci(int place, char *out, size_t size) {
  int count;
  snprintf(out, size, "0000:fa:%02x.0", (unsigned)(is_instance(place) ? divided(&count) : place));
}

static void write_uuid(int place, char *out, size_t size) {
  snprintf(out, size, "%s-" UUID "%02x", is_instance(place) ? "MIG" : "GPU", (unsigned)place);
}

int fake_by_uuid(const char *uuid, size_t n) {
  char text[64];
  for (int place = 0; place < places(); place++) {
    write_uuid(place, text, sizeof text);
    if (n > 4 && strncmp(text, uuid, n) == 0)
      return place;
  }
  return -1;
}

/* ---- what a process sees ---- */

/* Of the variable: a UUID, or its beginning, or a number. */
static int named(const char *item, size_t n) {
  int place = *item >= '0' && *item <= '9' ? atoi(item) : fake_by_uuid(item, n);
  return place < places() ? place : -1;
}

static int list(int found[FAKE_CARDS]) {
  const char *text = getenv("CUDA_VISIBLE_DEVICES");
  int count = 0;
  for (int place = 0; !text && place < places() && count < FAKE_CARDS; place++)
    if (!is_divided(place))
      found[count++] = place;
  while (text && *text && count < FAKE_CARDS) {
    size_t n = strcspn(text, ",");
    int place = named(text, n);
    if (place < 0 || is_divided(place))
      break;
    found[count++] = place;
    text += n + (text[n] == ',');
  }
  return count;
}

/* One instance hides everything else. */
int fake_visible(int ordinal) {
  int found[FAKE_CARDS], count = list(found);
  for (int i = 0; i < count; i++)
    if (is_instance(found[i]))
      return ordinal ? -1 : found[i];
  return ordinal >= 0 && ordinal < count ? found[ordinal] : -1;
}

bool fake_sees(int place) {
  for (int i = 0; i < FAKE_CARDS; i++)
    if (place >= 0 && fake_visible(i) == place)
      return true;
  return false;
}

/* ---- NVML ---- */

#pragma GCC visibility push(default)
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#ifndef FAKE_OLD
static int place_of(api_card card) { return ((int)(intptr_t)card - 1) % SIBLING; }

static api_card handle_of(int place) {
  return (api_card)(intptr_t)(place + 1); /* NOLINT: a number as a handle */
}

int nvmlDeviceGetCount_v2(unsigned *count) {
  *count = (unsigned)fake_cards();
  return fake_fails("nvmlDeviceGetCount_v2");
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, api_card *card) {
  *card = handle_of((int)index);
  return (int)index < fake_cards() ? API_NVML_OK : API_NVML_NOT_FOUND;
}

int nvmlDeviceGetUUID(api_card card, char *uuid, unsigned size) {
  write_uuid(place_of(card), uuid, size);
  return API_NVML_OK;
}

int nvmlDeviceGetMigMode(api_card card, unsigned *now, unsigned *later) {
  *now = *later = 1;
  return is_divided(place_of(card)) ? API_NVML_OK : NOT_SUPPORTED;
}

int nvmlDeviceGetMaxMigDeviceCount(api_card card, unsigned *count) {
  *count = is_divided(place_of(card)) ? 2 * FAKE_CARDS : 0;
  return API_NVML_OK;
}

/* Every second place is empty, but the last one: there is a second compute instance. */
int nvmlDeviceGetMigDeviceHandleByIndex(api_card card, unsigned index, api_card *out) {
  int count, there = divided(&count) == place_of(card) && (int)index < 2 * count;
  int sibling = (int)index == 2 * count - 1;
  *out = handle_of(fake_cards() + (int)index / 2 + (sibling ? SIBLING : 0));
  return there && (index % 2 == 0 || sibling) ? API_NVML_OK : API_NVML_NOT_FOUND;
}

int nvmlDeviceGetGpuInstanceId(api_card card, unsigned *id) {
  *id = (unsigned)place_of(card);
  return is_instance(place_of(card)) ? API_NVML_OK : NOT_SUPPORTED;
}
#endif
