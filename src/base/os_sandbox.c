/*
 * os_sandbox: limits, then a seccomp filter: a list of what is allowed, with the arguments where
 * they matter, and the end of the process for all else. What is not on the list cannot be asked
 * for by name, number of another architecture, or a new thread, for there are none.
 *
 * malloc needs brk, mremap and anonymous mmap, none of it executable; no file can be opened,
 * mapped, sent or made, and no signal sent.
 */
#include "base/os_sandbox.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#define ARCHITECTURE 0 /* no process is of it: the first system call ends this one */
#endif

/* Both architectures are little-endian; what the kernel looks at is in the lower half. */
#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offset))
#define ARGUMENT(i) LOAD(offsetof(struct seccomp_data, args) + sizeof(uint64_t) * (i))
#define IS(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), (yes), (no))
#define HAS(bits, yes, no) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)(bits), (yes), (no))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define END BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

#define MAY(call) IS(__NR_##call, 0, 1), ALLOW
#define MAY_ON(call, share) IS(__NR_##call, 0, 4), ARGUMENT(0), IS((share)->value, 0, 1), ALLOW, END
/* Neither executable nor of a file. */
#define MAY_MAP                                                                                    \
  IS(__NR_mmap, 0, 6), ARGUMENT(2), HAS(PROT_EXEC, 3, 0), ARGUMENT(3), HAS(MAP_ANONYMOUS, 0, 1),   \
      ALLOW, END

static bool limit(__rlimit_resource_t resource, uint64_t soft, uint64_t hard) {
  const struct rlimit limit = {.rlim_cur = soft, .rlim_max = hard};
  return !setrlimit(resource, &limit);
}

static bool filter(const struct os_sandbox_params *params) {
  struct sock_filter rows[] = {
      LOAD(offsetof(struct seccomp_data, arch)),
      IS(ARCHITECTURE, 1, 0),
      END,
      LOAD(offsetof(struct seccomp_data, nr)),
      MAY(pread64),
      MAY_ON(pwrite64, params->file),
      MAY_ON(write, params->pipe),
      MAY(brk),
      MAY_MAP,
      MAY(mremap),
      MAY(munmap),
      MAY(madvise),
      MAY(futex),
      MAY(clock_gettime),
      MAY(sysinfo),         /* qsort asks how much memory there is */
      MAY(restart_syscall), /* after a stop and a continue */
      MAY(rt_sigreturn),
      MAY(exit),
      MAY(exit_group),
      END,
  };
  const struct sock_fprog program = {.len = sizeof rows / sizeof *rows, .filter = rows};
  return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
         !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

bool os_sandbox_is_strict(void) {
#ifdef SANITIZED
  return false;
#else
  return true;
#endif
}

enum status os_sandbox_enter(const struct os_sandbox_params *params) {
  if (!os_sandbox_is_strict())
    return STATUS_OK;
  bool entered = limit(RLIMIT_CORE, 0, 0) &&
                 limit(RLIMIT_AS, params->memory_bytes, params->memory_bytes) &&
                 limit(RLIMIT_CPU, params->cpu_seconds, params->cpu_seconds + 1) &&
                 limit(RLIMIT_FSIZE, params->file_bytes, params->file_bytes) && filter(params);
  return entered ? STATUS_OK : STATUS_INTERNAL_ERROR;
}
