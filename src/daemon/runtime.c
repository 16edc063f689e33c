/*
 * runtime: everything is done through the directory's descriptor, so that nobody can put another
 * one in its place between a check and a use. The lock is a record lock: it goes with the process,
 * however that ends, where flock's would live on in a child that was being started just then. Its
 * file stays, for removing it would let two daemons lock two files of one name.
 */
#include "daemon/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/writer.h"

#define LOCK "memkeepd.lock"
#define FACTS "memkeepd.json"
#define FACTS_NEW "memkeepd.json.new"

static enum status fail(struct problem *problem, const char *what) {
  return problem_set(problem, STATUS_INTERNAL_ERROR, "%s: %s", what, strerrordesc_np(errno));
}

static enum status open_folder(const char *path, struct share *out, struct problem *problem) {
  struct stat info;
  if (mkdir(path, 0700) && errno != EEXIST)
    return fail(problem, path);
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    return fail(problem, path);
  *out = (struct share){SHARE_FILE, fd};
  if (fstat(fd, &info))
    return fail(problem, path);
  if (info.st_uid != geteuid())
    return problem_set(problem, STATUS_FORBIDDEN, "%s belongs to user %u, not to us", path,
                       (unsigned)info.st_uid);
  if (info.st_mode & (S_IWGRP | S_IWOTH))
    return problem_set(problem, STATUS_FORBIDDEN, "others can write in %s: chmod 0700 it first",
                       path);
  return STATUS_OK;
}

static enum status refuse_second(int fd, const char *path, struct problem *problem) {
  struct flock holder = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  if (fcntl(fd, F_GETLK, &holder) || holder.l_type == F_UNLCK || holder.l_pid <= 0)
    return problem_set(problem, STATUS_CONFLICT, "another memkeepd is running in %s", path);
  return problem_set(problem, STATUS_CONFLICT, "another memkeepd (pid %d) is running in %s",
                     (int)holder.l_pid, path);
}

static enum status take_lock(struct runtime *runtime, const char *path, struct problem *problem) {
  int fd =
      openat((int)runtime->folder.value, LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0)
    return fail(problem, LOCK);
  runtime->lock = (struct share){SHARE_FILE, fd};
  const struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  if (fcntl(fd, F_SETLK, &whole))
    return errno == EACCES || errno == EAGAIN ? refuse_second(fd, path, problem)
                                              : fail(problem, LOCK);
  return STATUS_OK;
}

enum status runtime_take(const char *path, struct runtime *out, struct problem *problem) {
  struct runtime runtime = {.folder = {SHARE_NONE, 0}, .lock = {SHARE_NONE, 0}};
  enum status status = open_folder(path, &runtime.folder, problem);
  if (!status)
    status = take_lock(&runtime, path, problem);
  if (status) {
    share_close(&runtime.lock);
    share_close(&runtime.folder);
    return status;
  }
  runtime_withdraw(&runtime); /* what a crashed one left */
  *out = runtime;
  return STATUS_OK;
}

enum status runtime_admit(const struct runtime *runtime, int64_t group, uint32_t mode,
                          struct problem *problem) {
  int folder = (int)runtime->folder.value;
  struct stat info;
  mode_t pass = (mode & S_IWGRP ? S_IXGRP : 0) | (mode & S_IWOTH ? S_IXOTH : 0);
  if (!pass)
    return STATUS_OK;
  if (fstat(folder, &info))
    return fail(problem, "the runtime directory");
  if (pass & S_IXGRP && group >= 0 && fchown(folder, (uid_t)-1, (gid_t)group))
    return fail(problem, "the runtime directory cannot be given to the socket's group");
  if (fchmod(folder, (info.st_mode & 0777) | pass))
    return fail(problem, "the runtime directory cannot be opened to the socket's group");
  return STATUS_OK;
}

void runtime_give(struct runtime *runtime) {
  if (runtime->lock.kind != SHARE_NONE)
    runtime_withdraw(runtime);
  share_close(&runtime->lock);
  share_close(&runtime->folder);
}

static void write_facts(struct buf *out, const struct runtime_facts *facts) {
  struct writer w;
  writer_init(&w, out, WRITER_CAMEL);
  writer_object(&w, NULL);
  writer_uint(&w, "pid", (uint64_t)getpid());
  writer_text(&w, "address", facts->address);
  writer_uint(&w, "port", facts->port);
  writer_text(&w, "socket", facts->socket);
  writer_text(&w, "version", facts->version);
  writer_uint(&w, "vaultPid", (uint64_t)facts->vault_pid);
  writer_end(&w);
  buf_add(out, "\n", 1);
}

enum status runtime_announce(struct runtime *runtime, const struct runtime_facts *facts,
                             struct problem *problem) {
  struct buf text BUF_CLEANUP;
  buf_init(&text, 8192);
  write_facts(&text, facts);
  int folder = (int)runtime->folder.value;
  int fd = openat(folder, FACTS_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0)
    return fail(problem, FACTS_NEW);
  bool written = !text.failed && write(fd, text.data, text.size) == (ssize_t)text.size;
  written = !close(fd) && written;
  if (!written || renameat(folder, FACTS_NEW, folder, FACTS))
    return fail(problem, FACTS);
  return STATUS_OK;
}

void runtime_withdraw(struct runtime *runtime) { unlinkat((int)runtime->folder.value, FACTS, 0); }
