/*
 * inspect: an inspection is begun, asks, hears one line, and sees its process end; only then is the
 * answer looked at. The card is copied out of the process's reach and judged on a thread of its
 * own, for one of a million tensors takes a while, and the loop must not wait.
 *
 *   waiting -> asking -> (answered) -> ended -> judging -> done
 */
#include "daemon/inspect.h"

#include <inttypes.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/os_child.h"
#include "base/os_memfd.h"
#include "base/packet.h"
#include "base/reader.h"
#include "base/units.h"
#include "model/card.h"

#define INSPECT_AT_A_TIME 4 /* each may take 512 MiB and a core for 2 s */
#define INSPECT_DEADLINE_NS (30 * CLOCK_SECOND)
/* After SIGKILL; one that a file system holds for longer is forgotten. */
#define INSPECT_LAST_NS CLOCK_SECOND
/* The kernel holds no more than ten descriptors on their way by default, and a model may have a
 * thousand. */
#define INSPECT_RETRY_MS 1
#define INSPECT_LINE (2 * MIB) /* its longest answer: worker/inspect.c */

struct inspection {
  struct task judging; /* first: the queue's, then the loop's */
  struct inspect *inspect;
  struct inspector_task *asked;
  struct os_child *child;
  struct share card;
  uint32_t sent; /* messages */
  uint64_t deadline;
  struct loop_timer *timer;
  struct reader_doc *answer;
  bool killed;
  struct inspection *next;
};

struct inspect {
  struct inspect_params params;
  struct queue *judges;
  struct inspection *running, *waiting, **last;
  unsigned count; /* running */
  bool stopping;
};

static void begin(struct inspection *one);

/* ---- its end ---- */

static void unlink_running(struct inspection *one) {
  struct inspection **link = &one->inspect->running;
  while (*link != one)
    link = &(*link)->next;
  *link = one->next;
  one->inspect->count--;
}

static void begin_next(struct inspect *inspect) {
  while (inspect->waiting && (inspect->count < INSPECT_AT_A_TIME || inspect->stopping)) {
    struct inspection *one = inspect->waiting;
    inspect->waiting = one->next;
    if (!inspect->waiting)
      inspect->last = &inspect->waiting;
    begin(one);
  }
}

static void finish(struct inspection *one) {
  struct inspect *inspect = one->inspect;
  struct inspector_task *asked = one->asked;
  unlink_running(one);
  loop_timer_free(one->timer);
  os_child_free(one->child);
  share_close(&one->card);
  reader_free(one->answer);
  free(one);
  asked->done(asked);
  begin_next(inspect);
}

static void fail(struct inspection *one, enum status status, const char *why) {
  problem_set(&one->asked->problem, status, "%s", why);
  finish(one);
}

/* ---- what it answered ---- */

static bool is_asked(const struct inspector_task *asked, const struct card *card,
                     const struct card_file *file) {
  const char *name = card->text + file->name;
  for (uint32_t i = 0; i < asked->file_count; i++)
    if (asked->files[i].size == file->size && strlen(asked->files[i].name) == file->name_bytes &&
        !memcmp(asked->files[i].name, name, file->name_bytes))
      return true;
  return false;
}

static enum status judge(struct inspector_task *asked, const void *image, size_t n) {
  struct card card;
  enum status status = card_check(image, n, &card, &asked->problem);
  for (uint32_t i = 0; !status && i < card.head->files; i++)
    if (!is_asked(asked, &card, &card.files[i]))
      status = problem_set(&asked->problem, STATUS_MODEL_FORMAT_INVALID,
                           "the model's card names files that were not asked about");
  return status;
}

static void judged(struct task *task) { finish((struct inspection *)task); }

/* On the judges' thread. From the copy on nobody else can write to it. */
static void judge_card(struct task *task) {
  struct inspection *one = (struct inspection *)task;
  struct inspector_task *asked = one->asked;
  size_t n = reader_uint(reader_get(reader_root(one->answer), "image_bytes"), 0);
  void *image = n && n <= CARD_BYTES ? malloc(n) : NULL, *map;
  if (image && !os_memfd_map(&one->card, n, false, &map)) {
    memcpy(image, map, n);
    os_memfd_unmap(map, n);
    if (!judge(asked, image, n)) {
      asked->image = image;
      asked->image_bytes = n;
      image = NULL;
    }
  } else {
    problem_set(&asked->problem, STATUS_WORKER_UNAVAILABLE,
                "there is no memory for the model's card");
  }
  free(image);
  share_close(&one->card);
  one->judging.run = judged;
  loop_post(one->inspect->params.loop, &one->judging);
}

static bool is_given(const struct inspector_task *asked, const char *name) {
  for (uint32_t i = 0; i < asked->file_count; i++)
    if (!strcmp(asked->files[i].name, name))
      return true;
  return false;
}

static enum status take_missing(struct inspector_task *asked, struct reader_value list) {
  struct buf names BUF_CLEANUP;
  size_t count = reader_count(list), bytes;
  buf_init(&names, INSPECT_LINE);
  for (size_t i = 0; i < count; i++) {
    const char *name = reader_text(reader_at(list, i), "");
    if (count > CARD_FILES || !text_is_file_name(name, strlen(name)) || is_given(asked, name))
      return problem_set(&asked->problem, STATUS_MODEL_FORMAT_INVALID,
                         "the model has files that are no plain names, or too many");
    buf_add(&names, name, strlen(name) + 1);
  }
  if (names.failed)
    return problem_set(&asked->problem, STATUS_WORKER_UNAVAILABLE, "the daemon is out of memory");
  asked->missing = buf_take(&names, &bytes);
  asked->missing_count = (uint32_t)count;
  return STATUS_OK;
}

/* In its words, but for what a terminal would obey. */
static void take_refusal(struct inspector_task *asked, struct reader_value root) {
  enum status status = status_parse(reader_text(reader_get(root, "error_code"), ""));
  if (status != STATUS_WORKER_UNAVAILABLE)
    status = STATUS_MODEL_FORMAT_INVALID;
  problem_set(&asked->problem, status, "%.240s",
              reader_text(reader_get(root, "error"), "the reader of the file gave no reason"));
  for (char *c = asked->problem.text; *c; c++)
    if ((unsigned char)*c < ' ' || *c == 0x7f)
      *c = '?';
}

static void take_answer(struct inspection *one) {
  struct reader_value root = reader_root(one->answer), missing = reader_get(root, "missing");
  if (reader_get(root, "image_bytes").json) {
    one->judging.run = judge_card;
    queue_post(one->inspect->judges, &one->judging);
    return;
  }
  if (reader_count(missing))
    take_missing(one->asked, missing);
  else
    take_refusal(one->asked, root);
  finish(one);
}

/* Nothing of ours is wrong when it dies so: the file is the only thing that it knows. */
static void died(struct inspection *one, const char *how) {
  struct problem *problem = &one->asked->problem;
  static const char word[] = "signal ";
  bool signalled = !strncmp(how, word, sizeof word - 1);
  int number = signalled ? (int)strtol(how + sizeof word - 1, NULL, 10) : 0;
  const char *name = signalled ? sigabbrev_np(number) : NULL;
  if (number == SIGXCPU)
    problem_set(problem, STATUS_MODEL_FORMAT_INVALID,
                "the files' headers take over 2 s of a processor to be read");
  else if (signalled)
    problem_set(problem, STATUS_MODEL_FORMAT_INVALID, "the file's header made its reader end: %s%s",
                name ? "SIG" : "", name ? name : how);
  else
    problem_set(problem, STATUS_WORKER_UNAVAILABLE, "the reader of model files ended: %s", how);
  log_warning("daemon", "%s: %s", one->asked->files[0].name, problem->text);
  finish(one);
}

static void on_end(void *arg, const char *how) {
  struct inspection *one = arg;
  os_child_free(one->child);
  one->child = NULL;
  loop_timer_stop(one->timer);
  if (one->inspect->stopping)
    fail(one, STATUS_WORKER_UNAVAILABLE, "the daemon stops");
  else if (one->killed)
    fail(one, STATUS_WORKER_UNAVAILABLE, "the files' headers were not read in time");
  else if (one->answer && !strcmp(how, "exit 0"))
    take_answer(one);
  else
    died(one, how);
}

/* The first line counts; one that is no answer is none. */
static bool on_line(void *arg, char *text, size_t n) {
  struct inspection *one = arg;
  struct problem problem;
  if (!one->answer && n)
    (void)reader_parse(text, n, &one->answer, &problem);
  return true;
}

/* ---- asking ---- */

/* False: not now. */
static bool send_next(struct inspection *one) {
  const struct inspector_task *asked = one->asked;
  char text[PACKET_TEXT + 1] = "go";
  uint32_t file = one->sent - 1;
  const struct share *share = NULL;
  size_t n = 2;
  if (!one->sent) {
    n = (size_t)snprintf(text, sizeof text, "card");
    share = &one->card;
  } else if (file < asked->file_count) {
    n = (size_t)snprintf(text, sizeof text, "%" PRIu64 " %.*s", asked->files[file].size, CARD_NAME,
                         asked->files[file].name);
    share = asked->files[file].share;
  }
  if (os_child_share(one->child, text, n, share))
    return false;
  one->sent++;
  return true;
}

static bool is_asking(const struct inspection *one) {
  return one->child && one->sent < one->asked->file_count + 2;
}

/* A file system may hold even a killed process: it is not waited for any longer. */
static void run_out(struct inspection *one) {
  if (one->killed) {
    log_error("daemon", "%s: its reader does not end", one->asked->files[0].name);
    on_end(one, "never");
    return;
  }
  one->killed = true;
  one->deadline += INSPECT_LAST_NS;
  os_child_signal(one->child, SIGKILL);
  loop_timer_start(one->timer, INSPECT_LAST_NS / CLOCK_MS, 0);
}

static void tick(void *arg) {
  struct inspection *one = arg;
  uint64_t now = clock_now();
  if (now >= one->deadline) {
    run_out(one);
    return;
  }
  while (is_asking(one) && send_next(one))
    ;
  uint64_t left_ms = (one->deadline - now) / CLOCK_MS + 1;
  loop_timer_start(one->timer, is_asking(one) ? INSPECT_RETRY_MS : left_ms, 0);
}

static enum status start(struct inspection *one) {
  const struct inspect_params *params = &one->inspect->params;
  const char *const argv[] = {params->program, "--inspect", NULL};
  const struct os_child_params child = {.argv = argv,
                                        .max_line = INSPECT_LINE,
                                        .max_queue = 1,
                                        .on_line = on_line,
                                        .on_end = on_end,
                                        .arg = one};
  enum status status = loop_timer(params->loop, tick, one, &one->timer);
  if (!status)
    status = os_memfd_create("memkeep-card", CARD_BYTES, &one->card);
  if (!status)
    status = os_memfd_seal(&one->card, OS_MEMFD_SEAL_SIZE);
  return status ? status : os_child_start(params->loop, &child, &one->child);
}

static void begin(struct inspection *one) {
  struct inspect *inspect = one->inspect;
  one->next = inspect->running;
  inspect->running = one;
  inspect->count++;
  if (inspect->stopping) {
    fail(one, STATUS_WORKER_UNAVAILABLE, "the daemon stops");
    return;
  }
  enum status status = start(one);
  if (status) {
    log_error("daemon", "%s --inspect cannot be started: %s", inspect->params.program,
              status_text(status));
    fail(one, STATUS_WORKER_UNAVAILABLE, "the reader of model files cannot be started");
    return;
  }
  one->deadline = clock_now() + one->inspect->params.deadline_ns;
  tick(one);
}

/* ---- the table ---- */

/* On the loop's thread. */
static void on_asked(struct task *task) {
  struct inspector_task *asked =
      (struct inspector_task *)((char *)task - offsetof(struct inspector_task, task));
  struct inspect *inspect = asked->ctx;
  struct inspection *one = calloc(1, sizeof *one);
  if (!one) {
    problem_set(&asked->problem, STATUS_WORKER_UNAVAILABLE, "the daemon is out of memory");
    asked->done(asked);
    return;
  }
  one->inspect = inspect;
  one->asked = asked;
  *inspect->last = one;
  inspect->last = &one->next;
  begin_next(inspect);
}

static void inspect_files(void *ctx, struct inspector_task *task) {
  struct inspect *inspect = ctx;
  task->problem.status = STATUS_OK;
  task->ctx = ctx;
  task->task.run = on_asked;
  loop_post(inspect->params.loop, &task->task);
}

const struct inspector_table *inspect_table(void) {
  static const struct inspector_table table = {.inspect = inspect_files};
  return &table;
}

enum status inspect_create(const struct inspect_params *params, struct inspect **out) {
  struct inspect *inspect = calloc(1, sizeof *inspect);
  if (!inspect)
    return STATUS_INTERNAL_ERROR;
  inspect->params = *params;
  if (!inspect->params.deadline_ns)
    inspect->params.deadline_ns = INSPECT_DEADLINE_NS;
  inspect->last = &inspect->waiting;
  enum status status = queue_create("inspect", &inspect->judges);
  if (status) {
    free(inspect);
    return status;
  }
  *out = inspect;
  return STATUS_OK;
}

void inspect_stop(struct inspect *inspect) {
  inspect->stopping = true;
  for (struct inspection *one = inspect->running; one; one = one->next)
    if (one->child)
      os_child_signal(one->child, SIGKILL);
  begin_next(inspect);
}

void inspect_free(struct inspect *inspect) {
  if (!inspect)
    return;
  queue_free(inspect->judges);
  free(inspect);
}
