/*
 * fake_libcuda: FAKE cards for tests on machines that have none: the part of libcuda.so.1 and of
 * libnvidia-ml.so.1 that Memkeep uses, over memfds. It says nothing about any real card.
 *
 *   FAKE_CUDA_SESSION  whose cards: programs with the same word see the same ones (default "0")
 *   FAKE_CUDA_CARDS    how many there are (default 1)
 *   FAKE_CUDA_BYTES    what each has (default 1 GiB)
 *   FAKE_CUDA_CONTEXT  what a context takes of it (default 64 MiB)
 *   FAKE_CUDA_FAIL     NAME:NTH:CODE,…: the nth call of NAME in a process answers CODE
 *   FAKE_CUDA_SLOW     NAME:MS, or NAME:MS:PATH: each call of NAME takes so long, while PATH exists
 *   FAKE_CUDA_APART    set: no card reaches another's memory
 *   FAKE_CUDA_LOST     a path: while PATH.N exists, card N has fallen off
 *   FAKE_CUDA_LACKS    a number: the attribute that no card has
 *   FAKE_CUDA_MIG      CARD:COUNT: the card is divided into so many instances, of a quarter of its
 *                      memory each; CUDA_VISIBLE_DEVICES says what a process sees
 *
 * Of memory that is the host's NAME is `cuMemCreate host`, of a card's that is not to be exported
 * `cuMemCreate kept`.
 * A piece of a batch (device/cuda/batch.h) that shall fail is NAME `piece`: it is not copied. A sum
 * (device/cuda/sum.h) that shall be another is NAME `sum`; its kernel is loaded as
 * `cuModuleLoadData sum` and found as `cuModuleGetFunction sum`.
 *
 * What is used is not counted but looked up: memory is whatever memfds of the session any process
 * holds or maps, as a real card's is.
 *
 * The library exports two functions of its own: `uint64_t fake_registered(void)`, the bytes of host
 * memory that this process has pinned, and `uint64_t fake_kept(void)`, how often it has made memory
 * of a card's that is not to be exported.
 */
#ifndef TESTS_FAKE_LIBCUDA_H
#define TESTS_FAKE_LIBCUDA_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "device/cuda/api.h"

#define FAKE_CARDS 8                      /* and instances */
#define FAKE_RESERVED (UINT64_C(8) << 20) /* of each card: the driver's */

enum fake_kind { FAKE_MEMORY = 'm', FAKE_CONTEXT = 'c' };

uint64_t fake_setting(const char *name, uint64_t otherwise);
/* Also divided ones. What follows calls instances cards too. */
int fake_cards(void);
/* The card that this process calls so, -1: none. */
int fake_visible(int ordinal);
bool fake_sees(int card);
/* -1: none begins so. */
int fake_by_uuid(const char *uuid, size_t n);
uint64_t fake_bytes(int card);
uint64_t fake_context_bytes(void);
bool fake_is_lost(int card);
/* The code that this call shall answer, or 0. */
int fake_fails(const char *name);
/* A memfd of the session. */
int fake_memory(int card, enum fake_kind kind, uint64_t size);
uint64_t fake_used(int card);
/* Processes with a context on the card, and what they map of it; returns how many there are. */
unsigned fake_processes(int card, struct api_process *out, unsigned max);
/* Addresses, and what is mapped there. 0 and false: it cannot be. */
api_pointer fake_range_reserve(uint64_t size);
bool fake_range_free(api_pointer start, uint64_t size);
bool fake_range_map(api_pointer start, uint64_t size, int card, int fd);
bool fake_range_unmap(api_pointer start, uint64_t size);
/* Whose memory is there; -1: it is not of one piece. */
int fake_range_card(api_pointer start, uint64_t size);
/* The card may use it from now on; whether it may use all of it, which may be several pieces. */
bool fake_range_open(api_pointer start, uint64_t size, int card);
bool fake_range_is_open(api_pointer start, uint64_t size, int card);
/* The card whose context is this thread's; -1: none. */
int fake_current(void);
/* What a call that needs a context begins with. What fails as a copy may fail is for good. */
int fake_begin_in_context(const char *name);
/* What is pinned in two pieces cannot be copied in one. */
bool fake_pins_whole(const void *from, size_t size);
/* Puts one into a stream, with copies of its arguments. */
#define FAKE_ARGUMENTS 4
typedef void (*fake_kernel)(const uint64_t arguments[FAKE_ARGUMENTS]);
int fake_put_kernel(api_stream stream, fake_kernel kernel,
                    const uint64_t arguments[FAKE_ARGUMENTS]);
void fake_uuid(int card, struct api_uuid *out);
void fake_name(int card, char *out, size_t size);
/* An instance's is the divided card's. */
void fake_pci(int card, char *out, size_t size);

#endif
