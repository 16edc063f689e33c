/*
 * figures: an answer of memory.get_status as struct mk_status.
 */
#ifndef CLIENT_FIGURES_H
#define CLIENT_FIGURES_H

#include <memkeep/memkeep.h>

#include "base/reader.h"

void figures_read(struct reader_value data, struct mk_status *out);

#endif
