/*
 * fail_nth: preloaded into one process, it lets the n-th call of a chosen kind fail as a kernel or
 * an allocator would. Whoever tests writes into a small shared file, whose path is in
 * $FAIL_NTH_CONTROL, while the process runs; struct control is its layout, tests/e2e/fail_nth.py
 * its other end. Without that file every call goes through.
 *
 * Libraries that end the process at a failure which the process cannot keep from them are named in
 * the file, call by call: what they call is neither counted nor fails, and is counted apart.
 *
 * Nothing here allocates, takes a lock or calls what it interposes. The real allocator is reached
 * by glibc's own names, the kernel by syscall(2). LD_PRELOAD is taken out of the environment, so
 * that children run as they are.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default"), used))
#define MAGIC UINT64_C(0x3168746e6c696166) /* "failnth1" */
#define FRAMES 16
#define SPARED 8
#define NAME 32

enum kind { KIND_MALLOC, KIND_WRITE, KIND_MMAP, KIND_SENDMSG, KIND_FALLOCATE, KIND_OPEN, KINDS };

/* A call that a library makes and that is left alone: "realloc" of "libuv". */
struct spared {
  char call[NAME], library[NAME];
  _Atomic uint64_t times;
};

/* A place in the code: the object's first address taken off, and the object's path. */
struct frame {
  uint64_t offset;
  char object[120];
};

struct control {
  uint64_t magic;
  _Atomic uint64_t armed;     /* a kind + 1; 0 = nothing fails and nothing is counted */
  _Atomic uint64_t countdown; /* the call that makes it 0 fails */
  _Atomic uint64_t hits;
  _Atomic uint64_t calls; /* of the armed kind, since it was armed */
  struct spared spared[SPARED];
  _Atomic uint64_t depth; /* frames of the call that failed last */
  struct frame frames[FRAMES];
};

static const int errors[KINDS] = {
    [KIND_MALLOC] = ENOMEM,   [KIND_WRITE] = ENOSPC,     [KIND_MMAP] = ENOMEM,
    [KIND_SENDMSG] = ENOBUFS, [KIND_FALLOCATE] = ENOSPC, [KIND_OPEN] = EMFILE,
};

static struct control *control;
static _Thread_local bool inside; /* what is done at a hit may call what is interposed */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

__attribute__((constructor)) static void arm(void) {
  const char *path = getenv("FAIL_NTH_CONTROL");
  int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  void *map = fd < 0 ? MAP_FAILED
                     : (void *)syscall(SYS_mmap, NULL, sizeof *control, PROT_READ | PROT_WRITE,
                                       MAP_SHARED, fd, 0);
  if (fd >= 0)
    close(fd);
  unsetenv("LD_PRELOAD");
  unsetenv("FAIL_NTH_CONTROL");
  void *first[1];
  backtrace(first, 1); /* the first one loads a library, with malloc */
  if (map != MAP_FAILED && ((struct control *)map)->magic == MAGIC)
    control = map;
}

static const char *object_of(const void *address, uint64_t *offset) {
  Dl_info info;
  if (!dladdr(address, &info) || !info.dli_fname)
    return "?";
  *offset = (uint64_t)((const char *)address - (const char *)info.dli_fbase);
  return info.dli_fname;
}

static bool is_spared(const char *call, const void *caller) {
  uint64_t offset;
  const char *object = NULL;
  for (struct spared *s = control->spared; s < control->spared + SPARED && *s->call; s++) {
    if (strcmp(s->call, call) != 0)
      continue;
    object = object ? object : object_of(caller, &offset);
    if (!strstr(object, s->library))
      continue;
    atomic_fetch_add(&s->times, 1);
    return true;
  }
  return false;
}

static void note_place(void) {
  void *stack[FRAMES];
  int depth = backtrace(stack, FRAMES);
  for (int i = 0; i < depth; i++) {
    struct frame *frame = &control->frames[i];
    strncpy(frame->object, object_of(stack[i], &frame->offset), sizeof frame->object - 1);
  }
  atomic_store(&control->depth, (uint64_t)depth);
}

/* Whether this call is the one; errno is set then. */
static bool fails(enum kind kind, const char *call, const void *caller) {
  if (!control || inside || atomic_load(&control->armed) != (uint64_t)kind + 1)
    return false;
  inside = true;
  bool hit = false;
  if (!is_spared(call, caller)) {
    atomic_fetch_add(&control->calls, 1);
    hit = atomic_fetch_sub(&control->countdown, 1) == 1;
  }
  if (hit) {
    note_place();
    atomic_fetch_add(&control->hits, 1);
  }
  inside = false;
  if (hit)
    errno = errors[kind];
  return hit;
}

#define FAILS(kind) fails(kind, __func__, __builtin_return_address(0))

/* ---- the allocator ---- */

EXPORT void *malloc(size_t size) { return FAILS(KIND_MALLOC) ? NULL : __libc_malloc(size); }

EXPORT void *calloc(size_t count, size_t size) {
  return FAILS(KIND_MALLOC) ? NULL : __libc_calloc(count, size);
}

EXPORT void *realloc(void *old, size_t size) {
  return FAILS(KIND_MALLOC) ? NULL : __libc_realloc(old, size);
}

EXPORT void *memalign(size_t alignment, size_t size) {
  return FAILS(KIND_MALLOC) ? NULL : __libc_memalign(alignment, size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size) {
  return FAILS(KIND_MALLOC) ? NULL : __libc_memalign(alignment, size);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t size) {
  void *block = FAILS(KIND_MALLOC) ? NULL : __libc_memalign(alignment, size);
  if (!block)
    return ENOMEM;
  *out = block;
  return 0;
}

/* ---- the kernel ---- */

/* Two names for each of these: an off_t has 64 bits here. */
static void *map(void *at, size_t size, int access, int flags, int fd, off_t offset) {
  if (fails(KIND_MMAP, "mmap", __builtin_return_address(0)))
    return MAP_FAILED;
  return (void *)syscall(SYS_mmap, at, size, access, flags, fd, offset);
}

EXPORT extern __typeof__(mmap) mmap __attribute__((alias("map")));
EXPORT extern __typeof__(mmap64) mmap64 __attribute__((alias("map")));

static int commit(int fd, int mode, off_t offset, off_t size) {
  if (fails(KIND_FALLOCATE, "fallocate", __builtin_return_address(0)))
    return -1;
  return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

EXPORT extern __typeof__(fallocate) fallocate __attribute__((alias("commit")));
EXPORT extern __typeof__(fallocate64) fallocate64 __attribute__((alias("commit")));

EXPORT ssize_t write(int fd, const void *data, size_t size) {
  return FAILS(KIND_WRITE) ? -1 : syscall(SYS_write, fd, data, size);
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count) {
  return FAILS(KIND_WRITE) ? -1 : syscall(SYS_writev, fd, parts, count);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  return FAILS(KIND_SENDMSG) ? -1 : syscall(SYS_sendmsg, fd, message, flags);
}

EXPORT ssize_t send(int fd, const void *data, size_t size, int flags) {
  return FAILS(KIND_SENDMSG) ? -1 : syscall(SYS_sendto, fd, data, size, flags, NULL, 0);
}

/* ---- what makes a descriptor ---- */

EXPORT int memfd_create(const char *name, unsigned flags) {
  return FAILS(KIND_OPEN) ? -1 : (int)syscall(SYS_memfd_create, name, flags);
}

EXPORT int socket(int domain, int type, int protocol) {
  return FAILS(KIND_OPEN) ? -1 : (int)syscall(SYS_socket, domain, type, protocol);
}

EXPORT int socketpair(int domain, int type, int protocol, int ends[2]) {
  return FAILS(KIND_OPEN) ? -1 : (int)syscall(SYS_socketpair, domain, type, protocol, ends);
}

EXPORT int pipe2(int ends[2], int flags) {
  return FAILS(KIND_OPEN) ? -1 : (int)syscall(SYS_pipe2, ends, flags);
}

EXPORT int accept4(int fd, __SOCKADDR_ARG address, socklen_t *size, int flags) {
  return FAILS(KIND_OPEN) ? -1 : (int)syscall(SYS_accept4, fd, address.__sockaddr__, size, flags);
}

static int open_with(int folder, const char *path, int flags, va_list args) {
  unsigned mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, unsigned) : 0;
  return (int)syscall(SYS_openat, folder, path, flags, mode);
}

EXPORT int open(const char *path, int flags, ...) {
  if (FAILS(KIND_OPEN))
    return -1;
  va_list args;
  va_start(args, flags);
  int fd = open_with(AT_FDCWD, path, flags, args);
  va_end(args);
  return fd;
}

EXPORT int openat(int folder, const char *path, int flags, ...) {
  if (FAILS(KIND_OPEN))
    return -1;
  va_list args;
  va_start(args, flags);
  int fd = open_with(folder, path, flags, args);
  va_end(args);
  return fd;
}
