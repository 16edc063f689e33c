/*
 * vulkan/loan: host memory that a card reads or writes by itself for the time of one copy. For
 * cards that have no memory of their own, so that nothing is gained by way of staging; to others
 * it takes longer to lend memory than to copy it.
 *
 * Any thread.
 */
#ifndef DEVICE_VULKAN_LOAN_H
#define DEVICE_VULKAN_LOAN_H

#include "device/vulkan/card.h"

struct vulkan_loan {
  VkDeviceMemory memory;
  struct vulkan_place at; /* of the first byte */
};

/* False: they are to be staged. A driver may refuse for many reasons, of which none is an error. */
bool vulkan_loan_make(const struct vulkan_card *card, const void *bytes, uint64_t size,
                      struct vulkan_loan *out);
/* No copy is under way. */
void vulkan_loan_end(const struct vulkan_card *card, struct vulkan_loan *loan);

#endif
