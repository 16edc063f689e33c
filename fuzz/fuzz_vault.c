/* fuzz_vault: any messages with any number of descriptors, sent to the vault by a peer that dies in
 * the end. The books agree after each, and when all is released no descriptor is left. Input:
 * files, length (2 bytes), the message; and so on. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vault/serve.h"

#define ENTRIES 40                  /* few, so that it is full often */
#define FILES (VAULTWIRE_BATCH + 1) /* one more than a message may bring */
#define LENGTH_MAX 2048

struct input {
  const uint8_t *at, *end;
};

static int lowest_free(void) {
  int fd = dup(STDERR_FILENO);
  if (fd < 0)
    abort();
  close(fd);
  return fd;
}

static void send_files(int fd, const void *bytes, size_t size, unsigned files) {
  union {
    struct cmsghdr align;
    char space[CMSG_SPACE(FILES * sizeof(int))];
  } control = {.space = {0}};
  struct iovec part = {(void *)(uintptr_t)bytes, size};
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
  int fds[FILES];
  for (unsigned i = 0; i < files; i++)
    fds[i] = STDERR_FILENO;
  if (files) {
    header.msg_control = &control;
    header.msg_controllen = CMSG_SPACE(files * sizeof(int));
    *CMSG_FIRSTHDR(&header) =
        (struct cmsghdr){CMSG_LEN(files * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&header)), fds, files * sizeof(int));
  }
  if (sendmsg(fd, &header, MSG_NOSIGNAL) != (ssize_t)size)
    abort();
}

static void send_next(struct input *input, int fd) {
  unsigned files = *input->at % (FILES + 1);
  size_t size = (size_t)(input->at[1] | input->at[2] << 8) % LENGTH_MAX;
  input->at += 3;
  if (size > (size_t)(input->end - input->at))
    size = (size_t)(input->end - input->at);
  send_files(fd, input->at, size, files);
  input->at += size;
}

/* What it answers is read and thrown away, its descriptors too. */
static void drain(int fd) {
  char text[sizeof(struct vaultwire)];
  while (recv(fd, text, sizeof text, MSG_DONTWAIT) > 0)
    ;
}

static void check(const struct table *table) {
  struct vaultwire message;
  struct share shares[VAULTWIRE_BATCH];
  uint64_t bytes = 0;
  table_list(table, 0, &message, shares);
  if (message.cursor || message.count != table->live || table->live > ENTRIES)
    abort();
  for (unsigned i = 0; i < message.count; i++) {
    bytes += message.entries[i].bytes;
    for (unsigned k = 0; k < i; k++)
      if (message.entries[k].id == message.entries[i].id || shares[k].value == shares[i].value)
        abort();
  }
  if (bytes != table->bytes)
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = {data, data + size};
  struct serve serve = {.released = false};
  int ends[2], before = lowest_free();
  bool goes_on = true;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) ||
      table_init(&serve.table, ENTRIES))
    abort();
  serve.peer = (struct share){SHARE_FILE, ends[0]};
  while (goes_on && input.end - input.at >= 3) {
    send_next(&input, ends[1]);
    goes_on = serve_hear(&serve);
    check(&serve.table);
    drain(ends[1]);
  }
  close(ends[1]);
  if (goes_on && serve_hear(&serve))
    abort();
  share_close(&serve.peer);
  table_done(&serve.table);
  if (lowest_free() != before)
    abort();
  return 0;
}
