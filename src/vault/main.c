/*
 * memkeep-vault: holds the descriptors of a daemon's segments and ledger, so that memory outlives
 * the daemon. It knows nothing about them but an id and a size, maps nothing, and waits for one of
 * two things: a daemon that connects, or a message from the one that has (serve.c).
 *
 * Here is what surrounds that: the lock that makes it the only one, the socket, the limits, and the
 * two questions that a user may ask a running vault.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/os_notify.h"
#include "base/version.h"
#include "vault/serve.h"

#define MAIN_ENTRIES 65536 /* four times the segments that a daemon may have */
#define MAIN_SPARE 128     /* fds that are no entries: those of one message, and a few of our own */
#define MAIN_TRIES 500     /* a millisecond each, until the lock must be a vault's */
#define MAIN_PATIENCE 5    /* seconds for a running vault to answer */

static const char usage[] =
    "Usage: memkeep-vault --runtime-dir DIR [--stay | --release-all | --status]\n"
    "\n"
    "Holds the memory of memkeepd over its restarts and crashes. memkeepd starts it.\n"
    "\n"
    "  --runtime-dir DIR   where vault.sock and vault.lock are, the daemon's own\n"
    "  --stay              end only when told, not also when empty and orphaned: a service\n"
    "  --status            say what a running vault holds, and end\n"
    "  --release-all       make a running vault give everything back and end: what nobody else\n"
    "                      holds is lost\n"
    "  --version, --help\n";

static int fail(const char *what, const char *path) {
  fprintf(stderr, "memkeep-vault: %s %s: %s\n", what, path, strerror(errno));
  return 1;
}

static int fd_of(const struct share *share) { return (int)share->value; }

/* ---- starting ---- */

static bool path_of(const char *folder, const char *name, char *out, size_t size) {
  if ((size_t)snprintf(out, size, "%s/%s", folder, name) < size)
    return true;
  errno = ENAMETOOLONG;
  return false;
}

/* Keeps the lock for the life of the process. A daemon that looks whether there is a vault has it
 * for a moment (vaultwire_is_locked): that is no vault. */
static bool take_lock(const char *folder) {
  char path[4096];
  if (!path_of(folder, VAULTWIRE_LOCK, path, sizeof path))
    return false;
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  const struct timespec moment = {.tv_nsec = 1000000};
  for (unsigned tries = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB); tries++) {
    if (errno != EWOULDBLOCK || tries == MAIN_TRIES)
      return false;
    nanosleep(&moment, NULL);
  }
  return fd >= 0;
}

static bool address_of(const char *folder, struct sockaddr_un *out) {
  *out = (struct sockaddr_un){.sun_family = AF_UNIX};
  return path_of(folder, VAULTWIRE_SOCKET, out->sun_path, sizeof out->sun_path);
}

static bool listen_in(const char *folder, struct share *out) {
  struct sockaddr_un address;
  if (!address_of(folder, &address))
    return false;
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return false;
  *out = (struct share){SHARE_FILE, fd};
  unlink(address.sun_path); /* we have the lock: whoever made it is dead */
  umask(0177);
  return !bind(fd, (struct sockaddr *)&address, sizeof address) && !listen(fd, 4);
}

static void lift(__rlimit_resource_t resource, struct rlimit *out) {
  *out = (struct rlimit){0};
  getrlimit(resource, out);
  const struct rlimit lifted = {out->rlim_max, out->rlim_max};
  if (!setrlimit(resource, &lifted))
    *out = lifted;
}

/* How many descriptors can be kept. The kernel's table of them grows now: a growth that failed
 * later would cut off what a message brings. */
static uint32_t reserve_files(const struct share *listener) {
  struct rlimit files;
  lift(RLIMIT_NOFILE, &files);
  uint64_t all = files.rlim_cur < MAIN_ENTRIES + MAIN_SPARE ? files.rlim_cur
                                                            : (uint64_t)MAIN_ENTRIES + MAIN_SPARE;
  int last = dup2(fd_of(listener), (int)all - 1);
  if (last < 0 || all <= MAIN_SPARE)
    return 0;
  close(last);
  return (uint32_t)all - MAIN_SPARE;
}

/* Nothing may page us out or end us for what others use. Both need rights that a user may lack. */
static void settle(void) {
  struct rlimit memory;
  lift(RLIMIT_MEMLOCK, &memory);
  if (mlockall(MCL_CURRENT | MCL_ONFAULT))
    fprintf(stderr, "memkeep-vault: not locked in memory: %s\n", strerror(errno));
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "-900", 4) < 0)
    fprintf(stderr, "memkeep-vault: the kernel may end it when memory is short: %s\n",
            strerror(errno));
  if (fd >= 0)
    close(fd);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGINT, SIG_IGN); /* Ctrl-C is for the daemon */
  signal(SIGHUP, SIG_IGN);
}

/* Who started us waits for the end of our stdout; and we will outlive whoever reads our stderr. */
static void leave_terminal(void) {
  int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (fd < 0)
    return;
  dup2(fd, STDOUT_FILENO);
  dup2(fd, STDERR_FILENO);
  close(fd);
}

static int run(const char *folder, bool stays) {
  struct serve serve = {.peer = {.kind = SHARE_NONE}, .stays = stays};
  struct share listener;
  struct sockaddr_un address;
  if (!take_lock(folder))
    return fail(errno == EWOULDBLOCK ? "another vault runs in" : "no lock can be had in", folder);
  if (!listen_in(folder, &listener))
    return fail("cannot listen in", folder);
  if (table_init(&serve.table, reserve_files(&listener)))
    return fail("no room to remember what it would hold for", folder);
  settle();
  if (stays)
    os_notify("READY=1");
  else
    leave_terminal();
  serve_run(&serve, &listener);
  if (address_of(folder, &address))
    unlink(address.sun_path);
  return 0;
}

/* ---- asking a running vault ---- */

static bool connect_to(const char *folder, struct share *out) {
  enum status status = vaultwire_connect(folder, MAIN_PATIENCE * 1000, out);
  if (status == STATUS_INVALID_ARGUMENT)
    errno = ENAMETOOLONG;
  return !status;
}

static bool exchange(const struct share *vault, enum vaultwire_kind kind, struct vaultwire *out) {
  struct share shares[VAULTWIRE_BATCH];
  unsigned count;
  *out = (struct vaultwire){.kind = (uint16_t)kind};
  return !vaultwire_ask(vault, out, shares, &count);
}

/* Only once it answers a greeting are we the one it serves. A question that waited in the queue
 * would be obeyed after we have given up. */
static int ask(const char *folder, enum vaultwire_kind kind) {
  struct vaultwire answer;
  struct share vault;
  if (!connect_to(folder, &vault))
    return fail("no vault answers in", folder);
  if (!exchange(&vault, VAULTWIRE_HELLO, &answer) || !exchange(&vault, kind, &answer)) {
    fprintf(
        stderr,
        "memkeep-vault: no answer within %d s: a daemon is connected, or the vault hangs. Ask the "
        "daemon instead: memkeep status, memkeep shutdown --release-all\n",
        MAIN_PATIENCE);
    return 1;
  }
  if (kind == VAULTWIRE_RELEASE)
    puts("released");
  else
    printf("%llu entries, %llu bytes, ledger %016llx%016llx\n", (unsigned long long)answer.total,
           (unsigned long long)answer.bytes, (unsigned long long)answer.ledger[0],
           (unsigned long long)answer.ledger[1]);
  return 0;
}

int main(int argc, char **argv) {
  enum { RUNTIME = 1, STAY, RELEASE, STATUS, VERSION, HELP };
  static const struct option options[] = {{"runtime-dir", required_argument, NULL, RUNTIME},
                                          {"stay", no_argument, NULL, STAY},
                                          {"release-all", no_argument, NULL, RELEASE},
                                          {"status", no_argument, NULL, STATUS},
                                          {"version", no_argument, NULL, VERSION},
                                          {"help", no_argument, NULL, HELP},
                                          {0}};
  const char *folder = NULL;
  bool stays = false;
  enum vaultwire_kind question = 0;
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    if (option == RUNTIME)
      folder = optarg;
    else if (option == STAY)
      stays = true;
    else if (option == RELEASE)
      question = VAULTWIRE_RELEASE;
    else if (option == STATUS)
      question = VAULTWIRE_STATUS;
    else if (option == VERSION || option == HELP)
      return fputs(option == HELP ? usage : "memkeep-vault " VERSION_TEXT "\n", stdout) < 0;
    else
      return 2;
  }
  if (!folder || optind < argc || (stays && question)) {
    fputs(usage, stderr);
    return 2;
  }
  return question ? ask(folder, question) : run(folder, stays);
}
