/*
 * memkeep_torch: what libmemkeep_torch.so exports: the functions of PyTorch's
 * CUDAPluggableAllocator, over memory that memkeepd owns; docs/python.md says how they are used.
 *
 * A process has one such allocator; it connects when it is first asked for memory, with what
 * memkeep_torch_open said. Any thread may call any function. In a forked child there is no memory,
 * as the driver has none for it either. When the process ends nothing is asked of the driver any
 * more; the daemon takes everything back then, however it ended.
 */
#ifndef TORCH_MEMKEEP_TORCH_H
#define TORCH_MEMKEEP_TORCH_H

#include <memkeep/memkeep.h>
#include <sys/types.h>

#define MEMKEEP_TORCH_CARDS 64 /* numbers of devices are below */

/* Which daemon, and flags of enum mk_flags for every segment (0, MK_EVICT). Connects; 0, or -1 with
 * memkeep_torch_error(). The socket may be NULL, as in struct mk_options. */
MK_API int memkeep_torch_open(const char *socket, uint32_t flags);

/* NULL for size 0; else memory, or torch's OutOfMemoryError is thrown, or where there is no torch
 * NULL is returned. Memory is of the card `device`, as this process counts, and the stream's. */
MK_API void *memkeep_torch_alloc(ssize_t size, int device, void *stream);
/* With what memkeep_torch_alloc was given. NULL is fine. What is not known is left alone. */
MK_API void memkeep_torch_free(void *memory, ssize_t size, int device, void *stream);
/* This stream uses it too: when it is freed, it is given to nobody before the stream has done what
 * it was told until then. */
MK_API void memkeep_torch_record_stream(void *memory, void *stream);
/* Gives all segments back in which there is nothing. */
MK_API void memkeep_torch_empty_cache(void);
/* A CUDA graph is being captured: its memory would have to stay where it is for as long as the
 * graph lives, which is not done here, so that there is none until the second call. The parameters
 * of torch's callbacks that follow are not looked at. */
MK_API void memkeep_torch_begin_pool(int device);
MK_API void memkeep_torch_end_pool(int device);

struct memkeep_torch_figures {
  uint64_t reserved_bytes;      /* of the daemon's segments */
  uint64_t used_bytes;          /* of these in use, or waiting for a stream */
  uint64_t empty_bytes;         /* in segments in which there is nothing */
  uint64_t peak_reserved_bytes; /* since the card's first use */
  uint64_t peak_used_bytes;
  uint64_t allocations, segments;
};
/* All 0 before a card's first use. 0, or -1: there is no such number. */
MK_API int memkeep_torch_look(int device, struct memkeep_torch_figures *out);
/* Why the last call of this thread that failed did; "" before. */
MK_API const char *memkeep_torch_error(void);

#endif
