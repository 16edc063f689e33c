/*
 * interface_load: memory.load_model: a model's files into segments, verbatim.
 *
 *   {"model_id","file_ids":[ID,
 * ...],"targets":[{"file_id","segment_id","offset_bytes","size_bytes"},
 *    ...],"verify"}
 *   {"loaded","size_bytes","checksum","verified","seconds"}
 *
 * The files came on fd 3 before; they are this request's, whatever becomes of it. The checksum is
 * XXH3-64 over the fingerprints (worker/load.h) of the targets' files, in the targets' order.
 */
#ifndef WORKER_INTERFACE_LOAD_H
#define WORKER_INTERFACE_LOAD_H

#include "worker/interface.h"

void interface_load_run(struct interface_call *call, struct writer *w);

#endif
