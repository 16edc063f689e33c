/*
 * vulkan_fixture: Mesa's software driver for tests of device/vulkan, bare or as a FAKE card
 * (tests/vk_pretend.h).
 */
#ifndef TESTS_VULKAN_FIXTURE_H
#define TESTS_VULKAN_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>

#include "device/device.h"
#include "device/spec.h"

/* What is found from now on: so many cards of one driver, 0 to 2; as FAKE cards of 1 GiB each, of
 * which no call fails, or bare. */
void vulkan_fixture_use(unsigned cards, bool pretend);
/* Writes the FAKE cards' file of that name, which is gone with the next use. */
void vulkan_fixture_set(const char *name, const char *text);
void vulkan_fixture_unset(const char *name);
/* What the FAKE cards traced since the file `trace` was set, which is empty from now on. */
void vulkan_fixture_trace(char *out, size_t size);
/* The owner half of a card, and what it says; each must go well. vulkan_owner_close is the
 * caller's. */
void *vulkan_fixture_owner(const struct spec *spec);
struct device_info vulkan_fixture_describe(void *owner);
struct device_budget vulkan_fixture_budget(void *owner);
/* Removes what it wrote; a group's teardown, 0. */
int vulkan_fixture_done(void **state);

#endif
