/*
 * cuda/find: CUDA shows a process whole cards, or one MIG instance and nothing else, whatever there
 * is. Without instances its list is the list. Where there are some NVML says what there is, and
 * each device comes with the environment in which a process sees it: an instance with its own, the
 * whole cards with one that names them all, so that they reach each other.
 *
 * Where CUDA_VISIBLE_DEVICES is set, instances and the cards beside them are those that it names by
 * UUID. Compute instances that share one memory are one device: the first.
 */
#include "device/cuda/find.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/cuda/load.h"

#define FIND_VARIABLE "CUDA_VISIBLE_DEVICES"
#define FIND_CARDS 32
#define FIND_INSTANCES 32
#define FIND_MEMORIES 64 /* ids of the memories of one card: up to 14 in use */

struct list {
  const char *visible; /* NULL: all */
  unsigned cards, instances;
  char card[FIND_CARDS][API_NVML_UUID], instance[FIND_INSTANCES][API_NVML_UUID];
};

/* ---- what NVML knows ---- */

static bool is_visible(const struct list *list, const char *uuid) {
  const char *item = list->visible;
  while (item && *item) {
    size_t n = strcspn(item, ",");
    if (n > strlen("GPU-") && !strncmp(item, uuid, n))
      return true;
    item += n + (item[n] == ',');
  }
  return !list->visible;
}

static void add_card(const struct cuda_load *load, api_card card, struct list *list) {
  if (list->cards < FIND_CARDS && !load->nvml_uuid(card, list->card[list->cards], API_NVML_UUID) &&
      is_visible(list, list->card[list->cards]))
    list->cards++;
}

static void add_instances(const struct cuda_load *load, api_card card, struct list *list) {
  unsigned most = 0, memory;
  uint64_t seen = 0;
  api_card instance;
  if (load->nvml_mig_count(card, &most))
    return;
  for (unsigned i = 0; i < most && list->instances < FIND_INSTANCES; i++) {
    char *uuid = list->instance[list->instances];
    if (load->nvml_mig(card, i, &instance) || load->nvml_mig_memory(instance, &memory) ||
        memory >= FIND_MEMORIES || seen >> memory & 1 ||
        load->nvml_uuid(instance, uuid, API_NVML_UUID) || !is_visible(list, uuid))
      continue;
    seen |= UINT64_C(1) << memory;
    list->instances++;
  }
}

static void read_list(const struct cuda_load *load, struct list *list) {
  unsigned count = 0, now, later;
  api_card card;
  bool can = load->nvml_count && load->nvml_by_index && load->nvml_uuid && load->nvml_mig_mode &&
             load->nvml_mig_count && load->nvml_mig && load->nvml_mig_memory;
  if (!can || load->nvml_init())
    return;
  if (load->nvml_count(&count))
    count = 0;
  for (unsigned i = 0; i < count; i++) {
    if (load->nvml_by_index(i, &card))
      continue;
    bool divided = !load->nvml_mig_mode(card, &now, &later) && now == API_NVML_MIG;
    (divided ? add_instances : add_card)(load, card, list);
  }
  load->nvml_shutdown();
}

/* ---- devices ---- */

static unsigned find_by_driver(const struct cuda_load *load, struct spec *out, unsigned max) {
  int there = 0;
  if (load->init(0) || load->device_count(&there))
    return 0;
  unsigned count = 0;
  for (; count < max && (int)count < there; count++) {
    out[count] = (struct spec){.backend = "cuda"};
    snprintf(out[count].id, sizeof out[count].id, "cuda:%u", count);
  }
  return count;
}

/* All of them, or as many as fit. Returns how many. */
static unsigned name_cards(const struct list *list, char out[SPEC_ENVIRONMENT]) {
  size_t used = (size_t)snprintf(out, SPEC_ENVIRONMENT, FIND_VARIABLE "=");
  unsigned count = 0;
  for (; count < list->cards && used + API_NVML_UUID < SPEC_ENVIRONMENT; count++)
    used += (size_t)snprintf(out + used, SPEC_ENVIRONMENT - used, "%s%s", count ? "," : "",
                             list->card[count]);
  return count;
}

static unsigned find_by_list(const struct list *list, struct spec *out, unsigned max) {
  struct spec card = {.backend = "cuda"};
  unsigned cards = name_cards(list, card.environment), count = 0;
  for (; count < cards && count < max; count++) {
    out[count] = card;
    snprintf(out[count].id, sizeof out[count].id, "cuda:%u", count);
  }
  for (unsigned i = 0; i < list->instances && count < max; i++, count++) {
    out[count] = (struct spec){.backend = "mig"};
    snprintf(out[count].id, sizeof out[count].id, "mig:%u", i);
    snprintf(out[count].environment, sizeof out[count].environment, FIND_VARIABLE "=%s",
             list->instance[i]);
  }
  return count;
}

unsigned cuda_find(struct spec *out, unsigned max) {
  struct cuda_load load;
  struct list list = {.visible = getenv(FIND_VARIABLE)};
  if (cuda_load_open(true, &load))
    return 0;
  read_list(&load, &list);
  unsigned count = list.instances ? find_by_list(&list, out, max) : find_by_driver(&load, out, max);
  cuda_load_close(&load);
  return count;
}
