/*
 * cuda_fixture: FAKE cards (tests/fake_libcuda.h) for tests of device/cuda.
 */
#ifndef TESTS_CUDA_FIXTURE_H
#define TESTS_CUDA_FIXTURE_H

#include <stdint.h>

/* The libraries that are loaded from now on: "fake_libcuda", "fake_libcuda_old",
 * "fake_libcuda_broken", or a name that is none. The cards are this process's own, and have 1 GiB
 * each; no call fails. */
void cuda_fixture_use(const char *library);
/* What a function of the library's own says, "fake_registered" or "fake_kept". */
uint64_t cuda_fixture_count(const char *function);

#endif
