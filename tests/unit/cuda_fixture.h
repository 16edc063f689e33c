/*
 * cuda_fixture: FAKE cards (tests/fake_libcuda.h) for tests of device/cuda.
 */
#ifndef TESTS_CUDA_FIXTURE_H
#define TESTS_CUDA_FIXTURE_H

/* The libraries that are loaded from now on: "fake_libcuda", "fake_libcuda_old",
 * "fake_libcuda_broken", or a name that is none. The cards are this process's own, and have 1 GiB
 * each; no call fails. */
void cuda_fixture_use(const char *library);

#endif
