/*
 * fake_libcuda: the driver half of the FAKE cards, see fake_libcuda.h. Streams are as late as they
 * may be: what is put into one is done when somebody waits for it and not before, so that a piece
 * of memory that is used again too early shows. A range that is not mapped, or not open for access,
 * poisons the context, for good.
 */
#include "fake_libcuda.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HANDLES 8192
#define NOT_READY 600
#define GRANULARITY (UINT64_C(2) << 20)

struct handle {
  int fd, card; /* fd 0: no such handle */
  uint64_t size;
};

struct work {
  void *to;
  const void *from; /* NULL: a fill */
  size_t size;
  unsigned char value;
  fake_kernel kernel; /* NULL: none */
  uint64_t arguments[FAKE_ARGUMENTS];
};

struct stream {
  int card;
  struct work *works; /* [0] is the one of number `first` */
  size_t first, done, count, room;
};

struct event {
  struct stream *stream;
  size_t until; /* number of the first work that need not be done */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool ready;
static struct handle handles[HANDLES];
static struct {
  int fd;
  atomic_int users, poison;
} contexts[FAKE_CARDS];
static uint64_t known[FAKE_CARDS]; /* used at the last look, and what was made since */
static _Thread_local int current = -1;

/* ---- what every call begins with ---- */

static int begin(const char *name) {
  int answer = fake_fails(name);
  return answer ? answer : ready ? API_OK : API_NOT_INITIALIZED;
}

static int poison(int card, int answer) {
  int none = API_OK;
  atomic_compare_exchange_strong(&contexts[card].poison, &none, answer);
  return contexts[card].poison;
}

int fake_begin_in_context(const char *name) {
  int answer = fake_fails(name);
  if (current < 0 || !contexts[current].users)
    return API_INVALID_CONTEXT;
  if (fake_is_lost(current))
    return poison(current, API_UNKNOWN);
  if (answer >= API_ILLEGAL_ADDRESS || answer == API_ECC_UNCORRECTABLE)
    return poison(current, answer);
  return answer ? answer : contexts[current].poison;
}

/* ---- streams ---- */

static int run_until(struct stream *stream, size_t until) {
  while (stream->done < until) {
    const struct work *work = &stream->works[stream->done++ - stream->first];
    if (contexts[stream->card].poison)
      continue;
    if (work->kernel)
      work->kernel(work->arguments);
    else if (work->from)
      memmove(work->to, work->from, work->size);
    else
      memset(work->to, work->value, work->size);
  }
  if (stream->done == stream->first + stream->count) {
    stream->first = stream->done;
    stream->count = 0;
  }
  return contexts[stream->card].poison;
}

static int put(struct stream *stream, struct work work) {
  if (stream->count == stream->room) {
    size_t room = stream->room ? 2 * stream->room : 16;
    struct work *works = realloc(stream->works, room * sizeof *works);
    if (!works)
      return API_OUT_OF_MEMORY;
    stream->works = works;
    stream->room = room;
  }
  stream->works[stream->count++] = work;
  return API_OK;
}

int fake_current(void) { return current; }

int fake_put_kernel(api_stream stream, fake_kernel kernel,
                    const uint64_t arguments[FAKE_ARGUMENTS]) {
  struct work work = {.kernel = kernel};
  memcpy(work.arguments, arguments, sizeof work.arguments);
  return put(stream, work);
}

static void *memory(api_pointer start) { return (void *)(uintptr_t)start; }

#pragma GCC visibility push(default)
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#ifdef FAKE_OLD
#define cuDeviceGetUuid_v2 cuDeviceGetUuid
#define cuStreamDestroy_v2 cuStreamDestroy
#define cuEventDestroy_v2 cuEventDestroy
#define cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRelease
#endif
#ifdef FAKE_BROKEN
#define cuMemCreate cuMemMissing
#endif

/* ---- cards ---- */

int cuInit(unsigned flags) {
  (void)flags;
  int answer = fake_fails("cuInit");
  ready = ready || !answer;
  return answer ? answer : fake_visible(0) >= 0 ? API_OK : API_NO_DEVICE;
}

int cuDriverGetVersion(int *version) {
  *version = 1;
  return API_OK;
}

int cuGetErrorName(int error, const char **name) {
  (void)error;
  *name = "FAKE";
  return API_OK;
}

int cuDeviceGetCount(int *count) {
  for (*count = 0; fake_visible(*count) >= 0;)
    ++*count;
  return begin("cuDeviceGetCount");
}

int cuDeviceGet(api_device *device, int ordinal) {
  *device = fake_visible(ordinal);
  return *device < 0 ? API_INVALID_DEVICE : begin("cuDeviceGet");
}

int cuDeviceGetName(char *name, int size, api_device device) {
  fake_name(device, name, (size_t)size);
  return begin("cuDeviceGetName");
}

int cuDeviceGetUuid_v2(struct api_uuid *uuid, api_device device) {
  fake_uuid(device, uuid);
  return begin("cuDeviceGetUuid_v2");
}

int cuDeviceGetPCIBusId(char *text, int size, api_device device) {
  fake_pci(device, text, (size_t)size);
  return begin("cuDeviceGetPCIBusId");
}

int cuDeviceGetAttribute(int *value, int attribute, api_device device) {
  const char *lacks = getenv("FAKE_CUDA_LACKS");
  (void)device;
  *value = !lacks || atoi(lacks) != attribute;
  return begin("cuDeviceGetAttribute");
}

/* ---- contexts ---- */

int cuDevicePrimaryCtxRetain(api_context *context, api_device device) {
  int answer = begin("cuDevicePrimaryCtxRetain");
  if (answer || fake_is_lost(device))
    return answer ? answer : API_UNKNOWN;
  pthread_mutex_lock(&lock);
  if (!contexts[device].users++)
    contexts[device].fd = fake_memory(device, FAKE_CONTEXT, fake_context_bytes());
  pthread_mutex_unlock(&lock);
  *context = &contexts[device];
  return API_OK;
}

int cuDevicePrimaryCtxRelease_v2(api_device device) {
  pthread_mutex_lock(&lock);
  if (contexts[device].users && !--contexts[device].users)
    close(contexts[device].fd);
  pthread_mutex_unlock(&lock);
  return API_OK;
}

int cuCtxSetCurrent(api_context context) {
  current = -1;
  for (int i = 0; i < FAKE_CARDS; i++)
    if (context == &contexts[i])
      current = i;
  return context ? fake_begin_in_context("cuCtxSetCurrent") : API_OK;
}

/* ---- memory of the card ---- */

int cuMemGetAllocationGranularity(size_t *size, const struct api_allocation *how, int kind) {
  (void)how;
  (void)kind;
  *size = GRANULARITY;
  return begin("cuMemGetAllocationGranularity");
}

static api_handle take_handle(struct handle made) {
  api_handle taken = 0;
  pthread_mutex_lock(&lock);
  for (unsigned i = 1; i < HANDLES && !taken; i++)
    if (!handles[i].fd) {
      handles[i] = made;
      taken = i;
    }
  pthread_mutex_unlock(&lock);
  return taken;
}

static struct handle *handle_of(api_handle handle) {
  return handle < HANDLES && handles[handle].fd ? &handles[handle] : NULL;
}

static bool has_room(int card, uint64_t size) {
  uint64_t room = fake_bytes(card) - FAKE_RESERVED;
  pthread_mutex_lock(&lock);
  if (!known[card] || known[card] + size > room)
    known[card] = fake_used(card);
  bool fits = known[card] + size <= room;
  known[card] += fits ? size : 0;
  pthread_mutex_unlock(&lock);
  return fits;
}

static atomic_uint_fast64_t kept;

uint64_t fake_kept(void) { return atomic_load(&kept); }

/* So that those of a card that are exported can be counted alone. */
static const char *create_name(const struct api_allocation *how) {
  if (how->location.type == API_ON_HOST)
    return "cuMemCreate host";
  atomic_fetch_add(&kept, !how->handle_types);
  return how->handle_types ? "cuMemCreate" : "cuMemCreate kept";
}

int cuMemCreate(api_handle *handle, size_t size, const struct api_allocation *how,
                unsigned long long flags) {
  bool host = how->location.type == API_ON_HOST;
  int card = how->location.id, answer = begin(create_name(how));
  if (answer)
    return answer;
  if (!host && fake_is_lost(card))
    return API_UNKNOWN;
  if (flags || !size || size % GRANULARITY || how->type != API_PINNED ||
      (how->handle_types && how->handle_types != API_HANDLE_FD) ||
      (!host && how->location.type != API_ON_DEVICE))
    return API_INVALID_VALUE;
  if (!host && !has_room(card, size))
    return API_OUT_OF_MEMORY;
  int fd = host ? memfd_create("FAKE-host", MFD_CLOEXEC) : fake_memory(card, FAKE_MEMORY, size);
  *handle = fd < 0 ? 0 : take_handle((struct handle){fd, card, size});
  return *handle ? API_OK : API_OUT_OF_MEMORY;
}

int cuMemRelease(api_handle handle) {
  pthread_mutex_lock(&lock);
  struct handle *found = handle_of(handle);
  if (found)
    close(found->fd);
  if (found)
    *found = (struct handle){0, 0, 0};
  pthread_mutex_unlock(&lock);
  return found ? begin("cuMemRelease") : API_INVALID_VALUE;
}

/* Not close-on-exec: nobody has promised that. */
int cuMemExportToShareableHandle(void *out, api_handle handle, int type, unsigned long long flags) {
  const struct handle *found = handle_of(handle);
  int answer = begin("cuMemExportToShareableHandle");
  if (answer || !found || type != API_HANDLE_FD || flags)
    return answer ? answer : API_INVALID_VALUE;
  int fd = dup(found->fd);
  memcpy(out, &fd, sizeof fd);
  return fd < 0 ? API_OPERATING_SYSTEM : API_OK;
}

static int card_of(int fd) {
  char path[64], target[256] = "";
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  const char *end =
      readlink(path, target, sizeof target - 1) > 0 ? strstr(target, "-m (deleted)") : NULL;
  return strncmp(target, "/memfd:FAKE-cuda-", 17) == 0 && end ? end[-1] - '0' : -1;
}

int cuMemImportFromShareableHandle(api_handle *handle, void *share, int type) {
  int answer = begin("cuMemImportFromShareableHandle"), fd = (int)(intptr_t)share;
  struct stat facts;
  int card = card_of(fd);
  if (answer || type != API_HANDLE_FD || !fake_sees(card) || fstat(fd, &facts))
    return answer ? answer : API_INVALID_VALUE;
  int mine = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  *handle = take_handle((struct handle){mine, card, (uint64_t)facts.st_size});
  return *handle ? API_OK : API_OUT_OF_MEMORY;
}

int cuMemAddressReserve(api_pointer *start, size_t size, size_t alignment, api_pointer wish,
                        unsigned long long flags) {
  int answer = begin("cuMemAddressReserve");
  if (answer || alignment || wish || flags || !size || size % GRANULARITY)
    return answer ? answer : API_INVALID_VALUE;
  *start = fake_range_reserve(size);
  return *start ? API_OK : API_OUT_OF_MEMORY;
}

int cuMemAddressFree(api_pointer start, size_t size) {
  return fake_range_free(start, size) ? begin("cuMemAddressFree") : API_INVALID_VALUE;
}

int cuMemMap(api_pointer start, size_t size, size_t offset, api_handle handle,
             unsigned long long flags) {
  int answer = fake_begin_in_context("cuMemMap");
  pthread_mutex_lock(&lock);
  const struct handle *found = handle_of(handle);
  const struct handle what = found ? *found : (struct handle){.fd = 0};
  pthread_mutex_unlock(&lock);
  if (answer)
    return answer;
  bool fits = what.fd && what.size == size && !offset && !flags;
  return fits && fake_range_map(start, size, what.card, what.fd) ? API_OK : API_INVALID_VALUE;
}

int cuMemUnmap(api_pointer start, size_t size) {
  int answer = fake_begin_in_context("cuMemUnmap");
  bool fits = fake_range_unmap(start, size);
  return answer ? answer : fits ? API_OK : API_INVALID_VALUE;
}

static bool reaches(int card, int other) { return card == other || !getenv("FAKE_CUDA_APART"); }

int cuDeviceCanAccessPeer(int *possible, api_device device, api_device peer) {
  *possible = device != peer && reaches(device, peer);
  return begin("cuDeviceCanAccessPeer");
}

int cuMemSetAccess(api_pointer start, size_t size, const struct api_access *access, size_t count) {
  int answer = fake_begin_in_context("cuMemSetAccess"), card = fake_range_card(start, size);
  bool fits = !answer && card >= 0 && count == 1 && reaches(access->location.id, card) &&
              access->flags == API_READ_WRITE;
  if (answer)
    return answer;
  return fits && fake_range_open(start, size, access->location.id) ? API_OK : API_INVALID_VALUE;
}

/* ---- streams, events, copies ---- */

int cuStreamCreate(api_stream *out, unsigned flags) {
  int answer = fake_begin_in_context("cuStreamCreate");
  struct stream *stream = answer ? NULL : calloc(1, sizeof *stream);
  if (!stream || flags != API_STREAM_NON_BLOCKING)
    return answer ? answer : API_INVALID_VALUE;
  stream->card = current;
  *out = stream;
  return API_OK;
}

int cuStreamDestroy_v2(api_stream arg) {
  free(((struct stream *)arg)->works);
  free(arg);
  return API_OK;
}

int cuStreamSynchronize(api_stream arg) {
  struct stream *stream = arg;
  int answer = fake_begin_in_context("cuStreamSynchronize");
  int done = run_until(stream, stream->first + stream->count);
  return answer ? answer : done;
}

int cuEventCreate(api_event *event, unsigned flags) {
  (void)flags;
  *event = calloc(1, sizeof(struct event));
  return fake_begin_in_context("cuEventCreate");
}

int cuEventDestroy_v2(api_event event) {
  free(event);
  return API_OK;
}

int cuEventRecord(api_event event, api_stream arg) {
  struct stream *stream = arg; /* NULL: the default one, in which there is never anything */
  *(struct event *)event = (struct event){stream, stream ? stream->first + stream->count : 0};
  return fake_begin_in_context("cuEventRecord");
}

int cuEventSynchronize(api_event arg) {
  const struct event *event = arg;
  int answer = fake_begin_in_context("cuEventSynchronize");
  int done = event->stream ? run_until(event->stream, event->until) : API_OK;
  return answer ? answer : done;
}

int cuEventQuery(api_event arg) {
  const struct event *event = arg;
  bool done = !event->stream || event->stream->done >= event->until;
  return done ? fake_begin_in_context("cuEventQuery") : NOT_READY;
}

static int put_copy(const char *name, struct stream *stream, bool open, struct work work) {
  int answer = fake_begin_in_context(name);
  if (!answer && !open)
    answer = poison(current, API_ILLEGAL_ADDRESS);
  return answer ? answer : put(stream, work);
}

int cuMemcpyHtoDAsync_v2(api_pointer to, const void *from, size_t size, api_stream stream) {
  if (!fake_pins_whole(from, size))
    return API_INVALID_VALUE;
  return put_copy("cuMemcpyHtoDAsync_v2", stream, fake_range_is_open(to, size, current),
                  (struct work){.to = memory(to), .from = from, .size = size});
}

int cuMemcpyDtoHAsync_v2(void *to, api_pointer from, size_t size, api_stream stream) {
  return put_copy("cuMemcpyDtoHAsync_v2", stream, fake_range_is_open(from, size, current),
                  (struct work){.to = to, .from = memory(from), .size = size});
}

int cuMemcpyDtoDAsync_v2(api_pointer to, api_pointer from, size_t size, api_stream stream) {
  return put_copy("cuMemcpyDtoDAsync_v2", stream,
                  fake_range_is_open(to, size, current) && fake_range_is_open(from, size, current),
                  (struct work){.to = memory(to), .from = memory(from), .size = size});
}

int cuMemsetD8Async(api_pointer to, unsigned char value, size_t count, api_stream stream) {
  return put_copy("cuMemsetD8Async", stream, fake_range_is_open(to, count, current),
                  (struct work){.to = memory(to), .size = count, .value = value});
}
