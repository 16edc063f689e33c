/*
 * fake_contexts: what a program beside the daemon asks of the FAKE cards when it maps memory by
 * itself (python/memkeep/_cuda.py), see fake_libcuda.h.
 */
#include "fake_libcuda.h"

#pragma GCC visibility push(default)
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#ifdef FAKE_OLD
#define cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRelease
#endif

int cuDevicePrimaryCtxRetain(api_context *context, api_device device);
int cuDevicePrimaryCtxRelease_v2(api_device device);

int cuCtxGetCurrent(api_context *context) {
  int card = fake_current();
  *context = NULL;
  if (card < 0)
    return API_OK;
  int answer = cuDevicePrimaryCtxRetain(context, card);
  return answer ? answer : cuDevicePrimaryCtxRelease_v2(card);
}

int cuCtxSynchronize(void) { return fake_begin_in_context("cuCtxSynchronize"); }
