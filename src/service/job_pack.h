/*
 * job_pack: what is kept of a finished job, in as many bytes as it has to say: of a result's arrays
 * the entries that are used, of texts their letters. Reading it gives the view that was packed.
 * Private to job.c and job_table.c; any thread, it never changes.
 */
#ifndef SERVICE_JOB_PACK_H
#define SERVICE_JOB_PACK_H

#include <stddef.h>

#include "service/job.h"

struct job_pack;

/* Of a listed job (id != 0). To be freed with free(). NULL: no memory. */
struct job_pack *job_pack_make(const struct job_view *view);
/* All that the view's kind and state make anyone read; the rest of *out is left as it was. */
void job_pack_read(const struct job_pack *pack, struct job_view *out);
enum job_state job_pack_state(const struct job_pack *pack);
size_t job_pack_bytes(const struct job_pack *pack);

#endif
