/*
 * memkeep-vault: holds the descriptors of a daemon's segments and ledger, so that memory outlives
 * the daemon. It knows nothing about them but an id and a size, maps nothing, and waits in one
 * poll() for one of two things: a daemon that connects, or a message from the one that has.
 *
 * One daemon is served at a time. When it dies, what it had sent is still in the socket: it is read
 * to its end before the next connection is accepted, so no promise is lost. Only processes of the
 * same user (or root) are heard.
 *
 * It ends when told (RELEASE), or when nobody is connected and it holds nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/version.h"
#include "vault/table.h"

#define MAIN_ENTRIES 65536 /* four times the segments that a daemon may have */
#define MAIN_PATIENCE 5    /* seconds for a daemon to read an answer, and for --release-all */

static const char usage[] =
    "Usage: memkeep-vault --runtime-dir DIR [--release-all | --status]\n"
    "\n"
    "Holds the memory of memkeepd over its restarts and crashes. memkeepd starts it.\n"
    "\n"
    "  --runtime-dir DIR   where vault.sock and vault.lock are, the daemon's own\n"
    "  --status            say what a running vault holds, and end\n"
    "  --release-all       make a running vault give everything back and end: what nobody else\n"
    "                      holds is lost\n"
    "  --version, --help\n";

struct vault {
  struct table table;
  struct share listener, peer;
};

static int fail(const char *what, const char *path) {
  fprintf(stderr, "memkeep-vault: %s %s: %s\n", what, path, strerror(errno));
  return 1;
}

static int fd_of(const struct share *share) { return (int)share->value; }

/* ---- the running vault ---- */

static void refuse(const struct vault *vault, const struct vaultwire_entry *entry) {
  struct vaultwire answer = {.kind = VAULTWIRE_REFUSED, .count = 1, .entries = {*entry}};
  vaultwire_send(&vault->peer, &answer, NULL, 0);
}

static void keep(struct vault *vault, const struct vaultwire *message, struct share *share) {
  const struct vaultwire_entry *entry = message->entries;
  if (message->count != 1 || share->kind == SHARE_NONE || !table_put(&vault->table, entry, share)) {
    refuse(vault, entry);
    return;
  }
  if (!entry->id)
    memcpy(vault->table.ledger, message->ledger, sizeof message->ledger);
}

static enum status say_what_is_held(const struct vault *vault, enum vaultwire_kind kind) {
  struct vaultwire answer = {.kind = (uint16_t)kind,
                             .ledger = {vault->table.ledger[0], vault->table.ledger[1]},
                             .total = vault->table.live,
                             .bytes = vault->table.bytes};
  return vaultwire_send(&vault->peer, &answer, NULL, 0);
}

static enum status drop(struct vault *vault, const struct vaultwire *message) {
  struct vaultwire answer = {
      .kind = VAULTWIRE_DROPPED, .count = 1, .entries = {message->entries[0]}};
  if (message->count != 1)
    return STATUS_INTERNAL_ERROR;
  table_drop(&vault->table, message->entries[0].id);
  return vaultwire_send(&vault->peer, &answer, NULL, 0);
}

static enum status list(const struct vault *vault, const struct vaultwire *message) {
  struct vaultwire answer = {.kind = VAULTWIRE_LISTED,
                             .ledger = {vault->table.ledger[0], vault->table.ledger[1]}};
  struct share shares[VAULTWIRE_BATCH];
  table_list(&vault->table, message->cursor, &answer, shares);
  return vaultwire_send(&vault->peer, &answer, shares, answer.count);
}

static enum status release(struct vault *vault) {
  struct vaultwire answer = {.kind = VAULTWIRE_RELEASED};
  table_release(&vault->table);
  vaultwire_send(&vault->peer, &answer, NULL, 0);
  return STATUS_NOT_FOUND; /* the connection ends, and nothing is held: so does the vault */
}

static enum status obey(struct vault *vault, struct vaultwire *message, struct share *share) {
  switch (message->kind) {
  case VAULTWIRE_PUT:
    keep(vault, message, share);
    return STATUS_OK;
  case VAULTWIRE_DROP:
    return drop(vault, message);
  case VAULTWIRE_LIST:
    return list(vault, message);
  case VAULTWIRE_RELEASE:
    return release(vault);
  case VAULTWIRE_HELLO:
  case VAULTWIRE_STATUS:
    return say_what_is_held(vault, message->kind);
  default:
    return STATUS_NOT_FOUND;
  }
}

/* One message of the daemon. False: the connection is over. */
static bool hear(struct vault *vault) {
  struct vaultwire message;
  struct share shares[VAULTWIRE_BATCH] = {{.kind = SHARE_NONE}};
  unsigned count = 0;
  enum status status = vaultwire_receive(&vault->peer, &message, shares, &count);
  if (status == STATUS_RATE_LIMITED)
    return true;
  if (!status)
    status = obey(vault, &message, shares);
  for (unsigned i = 0; i < count; i++)
    share_close(&shares[i]);
  return status == STATUS_OK;
}

static bool is_ours(int fd) {
  struct ucred peer;
  socklen_t n = sizeof peer;
  return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) &&
         (peer.uid == geteuid() || peer.uid == 0);
}

static void greet(struct vault *vault) {
  const struct timeval patience = {.tv_sec = MAIN_PATIENCE};
  int fd = accept4(fd_of(&vault->listener), NULL, NULL, SOCK_CLOEXEC);
  if (fd < 0)
    return;
  if (!is_ours(fd)) {
    close(fd);
    return;
  }
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  vault->peer = (struct share){SHARE_FILE, fd};
}

static void serve(struct vault *vault) {
  do {
    while (vault->peer.kind == SHARE_NONE)
      greet(vault);
    while (vault->peer.kind != SHARE_NONE)
      if (!hear(vault))
        share_close(&vault->peer);
  } while (vault->table.live);
}

/* ---- starting ---- */

static bool path_of(const char *folder, const char *name, char *out, size_t size) {
  return (size_t)snprintf(out, size, "%s/%s", folder, name) < size;
}

/* Keeps the lock for the life of the process. */
static bool take_lock(const char *folder) {
  char path[4096];
  if (!path_of(folder, VAULTWIRE_LOCK, path, sizeof path))
    return false;
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  return fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB);
}

static bool address_of(const char *folder, struct sockaddr_un *out) {
  *out = (struct sockaddr_un){.sun_family = AF_UNIX};
  if (path_of(folder, VAULTWIRE_SOCKET, out->sun_path, sizeof out->sun_path))
    return true;
  errno = ENAMETOOLONG;
  return false;
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
  return !bind(fd, (struct sockaddr *)&address, sizeof address) && !chmod(address.sun_path, 0600) &&
         !listen(fd, 4);
}

/* Nothing may page us out or end us for what others use. Both need rights that a user may lack. */
static void settle(void) {
  struct rlimit files;
  if (!getrlimit(RLIMIT_NOFILE, &files)) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT))
    fprintf(stderr, "memkeep-vault: not locked in memory: %s\n", strerror(errno));
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd >= 0) {
    if (write(fd, "-900", 4) < 0)
      fprintf(stderr, "memkeep-vault: the kernel may end it when memory is short: %s\n",
              strerror(errno));
    close(fd);
  }
  signal(SIGPIPE, SIG_IGN);
  signal(SIGINT, SIG_IGN); /* Ctrl-C is for the daemon */
  signal(SIGHUP, SIG_IGN);
}

static int run(const char *folder) {
  struct vault vault = {.peer = {.kind = SHARE_NONE}};
  if (!take_lock(folder))
    return fail("another vault runs, or no lock can be had, in", folder);
  settle();
  if (table_init(&vault.table, MAIN_ENTRIES) || !listen_in(folder, &vault.listener))
    return fail("cannot listen in", folder);
  serve(&vault);
  struct sockaddr_un address;
  if (address_of(folder, &address))
    unlink(address.sun_path);
  return 0;
}

/* ---- asking a running vault ---- */

static bool connect_to(const char *folder, struct share *out) {
  const struct timeval patience = {.tv_sec = MAIN_PATIENCE};
  struct sockaddr_un address;
  if (!address_of(folder, &address))
    return false;
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  *out = (struct share){SHARE_FILE, fd};
  return fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof address) &&
         !setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
}

static int ask(const char *folder, enum vaultwire_kind kind) {
  struct vaultwire message = {.kind = (uint16_t)kind};
  struct share vault, shares[VAULTWIRE_BATCH];
  unsigned count;
  if (!connect_to(folder, &vault))
    return fail("no vault answers in", folder);
  if (vaultwire_send(&vault, &message, NULL, 0) ||
      vaultwire_receive(&vault, &message, shares, &count)) {
    fprintf(stderr,
            "memkeep-vault: no answer within %d s: a daemon is connected. Ask it instead: "
            "memkeep status, memkeep shutdown --release-all\n",
            MAIN_PATIENCE);
    return 1;
  }
  if (kind == VAULTWIRE_RELEASE)
    puts("released");
  else
    printf("%llu entries, %llu bytes, ledger %016llx%016llx\n", (unsigned long long)message.total,
           (unsigned long long)message.bytes, (unsigned long long)message.ledger[0],
           (unsigned long long)message.ledger[1]);
  return 0;
}

int main(int argc, char **argv) {
  enum { RUNTIME = 1, RELEASE, STATUS, VERSION, HELP };
  static const struct option options[] = {{"runtime-dir", required_argument, NULL, RUNTIME},
                                          {"release-all", no_argument, NULL, RELEASE},
                                          {"status", no_argument, NULL, STATUS},
                                          {"version", no_argument, NULL, VERSION},
                                          {"help", no_argument, NULL, HELP},
                                          {0}};
  const char *folder = NULL;
  enum vaultwire_kind question = 0;
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    if (option == RUNTIME)
      folder = optarg;
    else if (option == RELEASE)
      question = VAULTWIRE_RELEASE;
    else if (option == STATUS)
      question = VAULTWIRE_STATUS;
    else if (option == VERSION || option == HELP)
      return fputs(option == HELP ? usage : "memkeep-vault " VERSION_TEXT "\n", stdout) < 0;
    else
      return 2;
  }
  if (!folder || optind < argc) {
    fputs(usage, stderr);
    return 2;
  }
  return question ? ask(folder, question) : run(folder);
}
