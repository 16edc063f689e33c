/*
 * standin_fixture: one thread, one poll. Allocation n lies in segment 1 + n / 16 at block n % 16;
 * those asked with "share":"write" get a segment of their own.
 */
#include "standin_fixture.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/line.h"
#include "base/os_memfd.h"
#include "base/reader.h"

#define CONNECTIONS 16
#define SEGMENTS 64
#define HEARD 4096
#define LINE_MAX_BYTES (4 << 20)

struct connection {
  int fd;
  struct line *line;
  struct standin *standin;
  bool listens, ends;
};

struct standin {
  char folder[64], path[128];
  int listener, wake[2];
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool stop;
  struct connection connections[CONNECTIONS];
  int count;
  struct share segments[SEGMENTS];
  unsigned next; /* allocation */
  char last_key[80];
  unsigned last_made;
  char swallowed[64], refused[64], code[64];
  int swallow;
  char *say;
  char *heard[HEARD];
  unsigned heard_count;
};

static const struct share *segment(struct standin *s, unsigned allocation) {
  struct share *share = &s->segments[allocation / 16];
  if (share->kind == SHARE_NONE)
    assert(!os_memfd_create("standin", STANDIN_SEGMENT_BYTES, share));
  return share;
}

static void answer(struct connection *c, const char *id, const char *rest,
                   const struct share *share) {
  char text[4096];
  int n = snprintf(text, sizeof text, "{\"request_id\":\"%s\",%s%s}", id, rest,
                   share ? ",\"fds\":1" : "");
  assert(n > 0 && (size_t)n < sizeof text);
  if (line_send(c->line, text, (size_t)n, share, share ? 1 : 0))
    c->ends = true;
}

/* With the allocation before it, as memory.allocate says it, or without, as memory.attach does. A
 * descriptor that is only for reading is opened anew. */
static void attach(struct connection *c, const char *id, unsigned n, bool made, bool read_only) {
  char allocation[256] = "", text[1024], path[64];
  struct share share = *segment(c->standin, n);
  if (made)
    snprintf(allocation, sizeof allocation,
             "{\"allocation\":{\"allocation_id\":\"a-%016x\"},\"attachment\":", n);
  snprintf(text, sizeof text,
           "\"success\":true,\"data\":%s{\"device_id\":\"host:0\",\"segment_id\":\"s-%016x\","
           "\"offset_bytes\":%llu,\"size_bytes\":1000,\"handle_type\":\"memfd\"}%s",
           allocation, 1 + n / 16, (unsigned long long)(n % 16 * STANDIN_BLOCK), made ? "}" : "");
  snprintf(path, sizeof path, "/proc/self/fd/%d", (int)share.value);
  if (read_only)
    share.value = open(path, O_RDONLY | O_CLOEXEC);
  answer(c, id, text, &share);
  if (read_only)
    share_close(&share);
}

static unsigned make(struct standin *s, const char *key) {
  if (strcmp(key, s->last_key) != 0)
    s->last_made = s->next++;
  snprintf(s->last_key, sizeof s->last_key, "%s", key);
  return s->last_made;
}

static void serve(struct connection *c, const char *id, const char *action,
                  struct reader_value root) {
  struct reader_value data = reader_get(root, "data");
  const char *which = reader_text(reader_get(data, "allocation_id"), "a-0");
  unsigned n = (unsigned)strtoul(which + 2, NULL, 16);
  if (strcmp(action, "memory.allocate") == 0)
    attach(c, id, make(c->standin, reader_text(reader_get(root, "idempotency_key"), "")), true,
           false);
  else if (strcmp(action, "memory.attach") == 0)
    attach(c, id, n, false, reader_bool(reader_get(data, "read_only"), false));
  else if (strcmp(action, "memory.get_status") == 0)
    answer(c, id,
           "\"success\":true,\"data\":{\"total_bytes\":4096,\"used_bytes\":null,"
           "\"utilization_percent\":1.5,\"pressure\":{\"level\":\"high\",\"percent\":91}}",
           NULL);
  else if (strcmp(action, "wait") != 0)
    answer(c, id, "\"success\":true,\"data\":{\"ok\":true}", NULL);
  if (strcmp(action, "memory.events") == 0)
    c->listens = true;
}

static bool is_swallowed(struct standin *s, const char *action) {
  return strcmp(s->swallowed, action) == 0 && s->swallow-- > 0;
}

static void act(struct connection *c, struct reader_value root) {
  struct standin *s = c->standin;
  const char *action = reader_text(reader_get(root, "action"), NULL);
  const char *id = reader_text(reader_get(root, "request_id"), "");
  char refusal[256];
  if (!action) {
    c->listens |= reader_get(root, "event").json != NULL;
    return;
  }
  if (is_swallowed(s, action)) {
    if (strcmp(action, "memory.allocate") == 0)
      make(s, reader_text(reader_get(root, "idempotency_key"), ""));
    c->ends = true;
    return;
  }
  snprintf(refusal, sizeof refusal,
           "\"success\":false,\"error_code\":\"%s\",\"error\":\"refused here\"", s->code);
  if (strcmp(s->refused, action) == 0)
    answer(c, id, refusal, NULL);
  else
    serve(c, id, action, root);
}

static bool on_line(void *arg, char *text, size_t n) {
  struct connection *c = arg;
  struct standin *s = c->standin;
  struct reader_doc *doc = NULL;
  struct problem problem;
  assert(!reader_parse(text, n, &doc, &problem) && s->heard_count < HEARD);
  s->heard[s->heard_count++] = strdup(text);
  act(c, reader_root(doc));
  reader_free(doc);
  pthread_cond_broadcast(&s->changed);
  return !c->ends;
}

static void drop(struct standin *s, int i) {
  line_free(s->connections[i].line);
  close(s->connections[i].fd);
  s->connections[i] = s->connections[--s->count];
}

static void take_client(struct standin *s) {
  int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
  assert(fd >= 0 && s->count < CONNECTIONS);
  struct connection *c = &s->connections[s->count++];
  *c = (struct connection){.fd = fd, .standin = s};
  const struct line_params params = {
      .in = fd, .out = fd, .shares = true, .max_line = LINE_MAX_BYTES, .max_queue = LINE_MAX_BYTES};
  assert(!line_create(&params, &c->line));
}

static void speak(struct standin *s) {
  for (int i = 0; s->say && i < s->count; i++)
    if (s->connections[i].listens)
      line_send(s->connections[i].line, s->say, strlen(s->say), NULL, 0);
  free(s->say);
  s->say = NULL;
  pthread_cond_broadcast(&s->changed);
}

static void visit(struct standin *s) {
  for (int i = s->count - 1; i >= 0; i--) {
    struct connection *c = &s->connections[i];
    if (c->ends || line_flush(c->line) || line_read(c->line, on_line, c) || c->ends)
      drop(s, i);
  }
}

static void *run(void *arg) {
  struct standin *s = arg;
  pthread_mutex_lock(&s->lock);
  while (!s->stop) {
    struct pollfd all[CONNECTIONS + 2] = {{.fd = s->listener, .events = POLLIN},
                                          {.fd = s->wake[0], .events = POLLIN}};
    int count = s->count;
    for (int i = 0; i < count; i++)
      all[2 + i] = (struct pollfd){.fd = s->connections[i].fd, .events = POLLIN};
    pthread_mutex_unlock(&s->lock);
    poll(all, (nfds_t)count + 2, -1);
    pthread_mutex_lock(&s->lock);
    char byte;
    if (all[1].revents && read(s->wake[0], &byte, 1) == 1)
      speak(s);
    visit(s);
    if (all[0].revents & POLLIN)
      take_client(s);
  }
  pthread_mutex_unlock(&s->lock);
  return NULL;
}

static void wake(struct standin *s) { assert(write(s->wake[1], "", 1) == 1); }

void standin_fixture_start(struct standin *s) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, s->path, strlen(s->path));
  s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert(!bind(s->listener, (const struct sockaddr *)&address, sizeof address));
  assert(!listen(s->listener, CONNECTIONS));
  s->stop = false;
  assert(!pthread_create(&s->thread, NULL, run, s));
}

void standin_fixture_kill(struct standin *s) {
  pthread_mutex_lock(&s->lock);
  s->stop = true;
  pthread_mutex_unlock(&s->lock);
  wake(s);
  pthread_join(s->thread, NULL);
  unlink(s->path);
  close(s->listener);
  while (s->count)
    drop(s, s->count - 1);
}

struct standin *standin_fixture_create(void) {
  struct standin *s = calloc(1, sizeof *s);
  assert(s);
  s->next = 1;
  strcpy(s->folder, "/tmp/standin-XXXXXX");
  assert(mkdtemp(s->folder));
  snprintf(s->path, sizeof s->path, "%s/s", s->folder);
  pthread_mutex_init(&s->lock, NULL);
  pthread_cond_init(&s->changed, NULL);
  assert(!pipe2(s->wake, O_CLOEXEC));
  standin_fixture_start(s);
  return s;
}

void standin_fixture_free(struct standin *s) {
  standin_fixture_kill(s);
  for (int i = 0; i < SEGMENTS; i++)
    share_close(&s->segments[i]);
  for (unsigned i = 0; i < s->heard_count; i++)
    free(s->heard[i]);
  close(s->wake[0]);
  close(s->wake[1]);
  rmdir(s->folder);
  pthread_cond_destroy(&s->changed);
  pthread_mutex_destroy(&s->lock);
  free(s);
}

const char *standin_fixture_path(const struct standin *s) { return s->path; }

void standin_fixture_swallow(struct standin *s, const char *action, int count) {
  pthread_mutex_lock(&s->lock);
  snprintf(s->swallowed, sizeof s->swallowed, "%s", action);
  s->swallow = count;
  pthread_mutex_unlock(&s->lock);
}

void standin_fixture_refuse(struct standin *s, const char *action, const char *code) {
  pthread_mutex_lock(&s->lock);
  snprintf(s->refused, sizeof s->refused, "%s", action);
  snprintf(s->code, sizeof s->code, "%s", code ? code : "");
  if (!code)
    *s->refused = '\0';
  pthread_mutex_unlock(&s->lock);
}

void standin_fixture_say(struct standin *s, const char *line) {
  pthread_mutex_lock(&s->lock);
  s->say = strdup(line);
  wake(s);
  while (s->say)
    pthread_cond_wait(&s->changed, &s->lock);
  pthread_mutex_unlock(&s->lock);
}

static unsigned count_heard(const struct standin *s, const char *text, const char **last) {
  unsigned found = 0;
  for (unsigned i = 0; i < s->heard_count; i++)
    if (strstr(s->heard[i], text)) {
      found++;
      *last = s->heard[i];
    }
  return found;
}

char *standin_fixture_heard(struct standin *s, const char *text, unsigned count) {
  const char *last = "";
  pthread_mutex_lock(&s->lock);
  while (count_heard(s, text, &last) < count)
    pthread_cond_wait(&s->changed, &s->lock);
  char *copy = strdup(last);
  pthread_mutex_unlock(&s->lock);
  return copy;
}

unsigned standin_fixture_count(struct standin *s, const char *text) {
  const char *last;
  pthread_mutex_lock(&s->lock);
  unsigned found = count_heard(s, text, &last);
  pthread_mutex_unlock(&s->lock);
  return found;
}
