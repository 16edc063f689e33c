/*
 * libmemkeep against a stand-in for the daemon: memory that comes over the socket, handles that are
 * counted, answers that get lost, daemons that come back.
 */
#include <memkeep/memkeep.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files_fixture.h"
#include "standin_fixture.h"

struct fixture {
  struct standin *standin;
  mk_client *client;
  unsigned open;
};

static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  f->open = files_fixture_count();
  f->standin = standin_fixture_create();
  const struct mk_options options = {.socket = standin_fixture_path(f->standin)};
  *state = f;
  return (int)mk_connect(&options, &f->client);
}

/* Fails when a descriptor was lost. */
static int teardown(void **state) {
  struct fixture *f = *state;
  mk_close(f->client);
  standin_fixture_free(f->standin);
  bool lost = files_fixture_count() != f->open;
  free(f);
  return lost;
}

static mk_allocation *allocate(struct fixture *f) {
  mk_allocation *made = NULL;
  assert_int_equal(mk_allocate(f->client, &(struct mk_request){.size = 1000}, &made), MK_OK);
  return made;
}

static bool is_mapped(void *address) {
  unsigned char there;
  uintptr_t page = (uintptr_t)address & ~(uintptr_t)4095;
  return mincore((void *)page, 4096, &there) == 0; // NOLINT(performance-no-int-to-ptr)
}

/* ---- memory ---- */

static void an_allocation_is_memory_of_the_size_that_was_asked(void **state) {
  struct fixture *f = *state;
  mk_allocation *made = allocate(f);
  assert_string_equal(mk_id(made), "a-0000000000000001");
  assert_string_equal(mk_device(made), "host:0");
  assert_string_equal(mk_handle(made), "memfd");
  assert_int_equal(mk_size(made), 1000);
  assert_int_equal(mk_offset(made), STANDIN_BLOCK);
  memset(mk_pointer(made), 7, 1000);
  unsigned char byte = 0;
  assert_int_equal(pread(mk_fd(made), &byte, 1, (off_t)mk_offset(made) + 999), 1);
  assert_int_equal(byte, 7);
  assert_int_equal(mk_free(made), MK_OK);
}

static void what_was_said_is_asked_and_nothing_else(void **state) {
  struct fixture *f = *state;
  mk_allocation *made = NULL;
  const struct mk_request request = {.size = 5,
                                     .device = "host:0",
                                     .label = "a \"b\"",
                                     .share = "write",
                                     .ttl_seconds = 9,
                                     .flags = MK_PERSISTENT | MK_ZERO};
  assert_int_equal(mk_allocate(f->client, &request, &made), MK_OK);
  char *line = standin_fixture_heard(f->standin, "memory.allocate", 1);
  assert_non_null(strstr(line, "\"data\":{\"size_bytes\":5,\"device_id\":\"host:0\",\"label\":\"a "
                               "\\\"b\\\"\",\"share\":\"write\",\"ttl_seconds\":9,\"persistent\":"
                               "true,\"zero\":true},\"brief\":true,\"idempotency_key\":\""));
  free(line);
}

static void blocks_of_one_segment_share_one_descriptor_and_one_mapping(void **state) {
  mk_allocation *first = allocate(*state), *second = allocate(*state);
  assert_int_equal(mk_fd(first), mk_fd(second));
  assert_ptr_equal((char *)mk_pointer(second) - STANDIN_BLOCK, mk_pointer(first));
  mk_detach(second);
  memset(mk_pointer(first), 1, 1000);
}

/* One of them: the slab that is used no more after it takes its place. */
static void the_slab_used_last_stays_mapped_for_the_next_block(void **state) {
  mk_allocation *made = allocate(*state), *others[16];
  char *pointer = mk_pointer(made);
  mk_detach(made);
  for (unsigned i = 0; i < 16; i++)
    others[i] = allocate(*state);
  assert_ptr_equal(mk_pointer(others[0]), pointer + STANDIN_BLOCK);
  for (unsigned i = 0; i < 15; i++)
    mk_detach(others[i]);
  assert_true(is_mapped(pointer));
  mk_detach(others[15]); /* of the next segment */
  assert_false(is_mapped(pointer));
}

static void an_attached_allocation_is_the_same_memory(void **state) {
  struct fixture *f = *state;
  mk_client *other = NULL;
  mk_allocation *made = allocate(f), *attached = NULL;
  const struct mk_options options = {.socket = standin_fixture_path(f->standin)};
  assert_int_equal(mk_connect(&options, &other), MK_OK);
  assert_int_equal(mk_attach(other, mk_id(made), 0, &attached), MK_OK);
  assert_ptr_not_equal(mk_pointer(made), mk_pointer(attached));
  strcpy(mk_pointer(attached), "seen");
  assert_string_equal(mk_pointer(made), "seen");
  mk_close(other);
}

static void what_is_attached_to_read_lies_in_a_mapping_of_its_own(void **state) {
  struct fixture *f = *state;
  mk_allocation *made = allocate(f), *reading = NULL, *again = NULL;
  assert_int_equal(mk_attach(f->client, "a-0000000000000009", MK_READ_ONLY, &reading), MK_OK);
  assert_ptr_not_equal((char *)mk_pointer(reading) - 8 * STANDIN_BLOCK, mk_pointer(made));
  assert_int_equal(write(mk_fd(reading), "x", 1), -1);
  assert_int_equal(mk_attach(f->client, mk_id(reading), 0, &again), MK_CONFLICT);
  assert_int_equal(mk_detach(reading), MK_OK);
}

static void a_handle_given_out_twice_is_detached_twice_and_told_once(void **state) {
  struct fixture *f = *state;
  mk_allocation *made = allocate(f), *again = NULL;
  char *pointer = mk_pointer(made);
  assert_int_equal(mk_attach(f->client, mk_id(made), MK_READ_ONLY, &again), MK_OK);
  assert_ptr_equal(made, again);
  mk_detach(made);
  memset(pointer, 1, 1000);
  assert_int_equal(standin_fixture_count(f->standin, "memory.detach"), 0);
  mk_detach(again);
  assert_int_equal(standin_fixture_count(f->standin, "memory.detach"), 1);
  assert_int_equal(standin_fixture_count(f->standin, "memory.attach"), 0);
}

static void a_free_that_is_refused_leaves_the_handle(void **state) {
  struct fixture *f = *state;
  mk_allocation *made = allocate(f);
  standin_fixture_refuse(f->standin, "memory.free", "ALLOCATION_BUSY");
  assert_int_equal(mk_free(made), MK_ALLOCATION_BUSY);
  assert_int_equal(mk_error_code(), MK_ALLOCATION_BUSY);
  assert_string_equal(mk_error_text(), "refused here");
  memset(mk_pointer(made), 1, 1000);
  standin_fixture_refuse(f->standin, "memory.free", "ALLOCATION_NOT_FOUND");
  assert_int_equal(mk_free(made), MK_OK);
}

static void freed_memory_stays_mapped_for_the_other_handle(void **state) {
  struct fixture *f = *state;
  mk_allocation *made = allocate(f), *again = NULL;
  assert_int_equal(mk_attach(f->client, mk_id(made), 0, &again), MK_OK);
  assert_int_equal(mk_free(made), MK_OK);
  memset(mk_pointer(again), 1, 1000);
  assert_int_equal(mk_free(again), MK_OK);
  assert_int_equal(standin_fixture_count(f->standin, "memory.free"), 1);
}

static void what_is_still_attached_ends_with_the_client(void **state) {
  struct fixture *f = *state;
  char *pointer = mk_pointer(allocate(f));
  mk_close(f->client);
  f->client = NULL;
  assert_false(is_mapped(pointer));
}

/* ---- refusals ---- */

static void a_refusal_comes_out_as_it_was_said(void **state) {
  struct fixture *f = *state;
  mk_allocation *made = NULL;
  standin_fixture_refuse(f->standin, "memory.allocate", "INSUFFICIENT_MEMORY");
  assert_int_equal(mk_allocate(f->client, &(struct mk_request){.size = 1}, &made),
                   MK_INSUFFICIENT_MEMORY);
  assert_string_equal(mk_code_name(mk_error_code()), "INSUFFICIENT_MEMORY");
  standin_fixture_refuse(f->standin, "memory.allocate", "A_WORD_OF_TOMORROW");
  assert_int_equal(mk_allocate(f->client, &(struct mk_request){.size = 1}, &made),
                   MK_INTERNAL_ERROR);
  assert_null(made);
}

static void what_cannot_be_is_refused_here(void **state) {
  struct fixture *f = *state;
  mk_allocation *made = NULL;
  const struct mk_options options = {.reserved = {0, 1}};
  const struct mk_request wrong[] = {{.flags = MK_READ_ONLY}, {.size = UINT64_C(1) << 63}};
  mk_client *client = NULL;
  assert_int_equal(mk_connect(&options, &client), MK_INVALID_ARGUMENT);
  assert_int_equal(mk_connect(&(struct mk_options){.socket = "/nowhere/s"}, &client),
                   MK_DAEMON_NOT_FOUND);
  for (size_t i = 0; i < 2; i++)
    assert_int_equal(mk_allocate(f->client, &wrong[i], &made), MK_INVALID_ARGUMENT);
  assert_int_equal(mk_allocate(NULL, &(struct mk_request){.size = 1}, &made), MK_INVALID_ARGUMENT);
  assert_int_equal(mk_attach(f->client, "m-1", 0, &made), MK_ALLOCATION_NOT_FOUND);
  assert_int_equal(mk_call(f->client, "ping", "{\"a\":", NULL), MK_INVALID_ARGUMENT);
  assert_int_equal(mk_call(f->client, "memory.attach", NULL, NULL), MK_INVALID_ARGUMENT);
  assert_int_equal(standin_fixture_count(f->standin, "memory."), 0);
}

static void a_forked_child_is_told_to_connect_itself(void **state) {
  struct fixture *f = *state;
  mk_allocation *made = allocate(f);
  pid_t child = fork();
  if (!child) {
    bool refused = mk_call(f->client, "ping", NULL, NULL) == MK_CONFLICT &&
                   mk_free(made) == MK_CONFLICT && strstr(mk_error_text(), "forked");
    mk_close(f->client);
    _exit(refused ? 0 : 1);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  assert_int_equal(mk_call(f->client, "ping", NULL, NULL), MK_OK);
}

/* ---- figures, calls ---- */

static void figures_are_typed_and_null_is_unknown(void **state) {
  struct fixture *f = *state;
  struct mk_status status;
  assert_int_equal(mk_status(f->client, "host:0", &status), MK_OK);
  assert_int_equal(status.total, 4096);
  assert_true(status.used == MK_UNKNOWN && status.cached == MK_UNKNOWN);
  assert_true(fabs(status.utilization_percent - 1.5) < 1e-9);
  assert_true(isnan(status.fragmentation_percent));
  assert_int_equal(status.pressure, MK_HIGH);
  free(standin_fixture_heard(f->standin, "\"data\":{\"device_id\":\"host:0\"}", 1));
}

static void a_call_hands_out_the_data(void **state) {
  struct fixture *f = *state;
  char *result = NULL;
  assert_int_equal(mk_call(f->client, "memory.clear", "{\n \"scope\" : \"idle\" }", &result),
                   MK_OK);
  assert_string_equal(result, "{\"ok\":true}");
  free(result);
  free(standin_fixture_heard(f->standin, "\"data\":{\"scope\":\"idle\"}", 1));
}

static void *call_waiting(void *client) {
  return mk_call(client, "wait", NULL, NULL) == MK_DAEMON_RESTARTED ? client : NULL;
}

static void a_thread_that_waits_keeps_nobody_from_asking(void **state) {
  struct fixture *f = *state;
  pthread_t waiting;
  void *result = NULL;
  assert_int_equal(pthread_create(&waiting, NULL, call_waiting, f->client), 0);
  free(standin_fixture_heard(f->standin, "\"wait\"", 1));
  for (int i = 0; i < 100; i++)
    mk_free(allocate(f));
  standin_fixture_kill(f->standin);
  pthread_join(waiting, &result);
  assert_non_null(result);
  standin_fixture_start(f->standin);
}

static void *churn(void *arg) {
  struct fixture *f = arg;
  for (int i = 0; i < 100; i++) {
    mk_allocation *made = NULL, *shared = NULL;
    if (mk_allocate(f->client, &(struct mk_request){.size = 1000}, &made) ||
        mk_attach(f->client, "a-0000000000000003", 0, &shared))
      return NULL;
    memset(mk_pointer(made), i, 1000);
    if (mk_detach(shared) || mk_free(made))
      return NULL;
  }
  return f;
}

static void threads_share_a_client(void **state) {
  pthread_t threads[4];
  void *result = NULL;
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, churn, *state), 0);
  for (int i = 0; i < 4; i++) {
    pthread_join(threads[i], &result);
    assert_non_null(result);
  }
}

/* ---- restarts ---- */

static void a_lost_answer_is_asked_for_again_with_its_key(void **state) {
  struct fixture *f = *state;
  standin_fixture_swallow(f->standin, "memory.allocate", 1);
  mk_allocation *made = allocate(f);
  assert_string_equal(mk_id(made), "a-0000000000000001");
  assert_string_equal(mk_id(allocate(f)), "a-0000000000000002");
  assert_int_equal(standin_fixture_count(f->standin, "memory.allocate"), 3);
}

static void a_question_that_may_have_been_done_is_not_put_twice(void **state) {
  struct fixture *f = *state;
  standin_fixture_swallow(f->standin, "memory.clear", 1);
  assert_int_equal(mk_call(f->client, "memory.clear", NULL, NULL), MK_DAEMON_RESTARTED);
  assert_int_equal(mk_call(f->client, "memory.clear", NULL, NULL), MK_OK);
  assert_int_equal(standin_fixture_count(f->standin, "memory.clear"), 2);
}

static void a_question_that_ends_each_daemon_is_given_up(void **state) {
  struct fixture *f = *state;
  standin_fixture_swallow(f->standin, "memory.get_status", 1000);
  struct mk_status status;
  assert_int_equal(mk_status(f->client, NULL, &status), MK_DAEMON_RESTARTED);
  assert_int_equal(mk_call(f->client, "ping", NULL, NULL), MK_OK);
}

static void after_a_restart_the_daemon_hears_what_is_still_held(void **state) {
  struct fixture *f = *state;
  mk_allocation *kept = allocate(f), *left = allocate(f), *reading = NULL;
  assert_int_equal(mk_attach(f->client, "a-0000000000000020", MK_READ_ONLY, &reading), MK_OK);
  strcpy(mk_pointer(kept), "still here");
  mk_detach(left);
  standin_fixture_kill(f->standin);
  assert_string_equal(mk_pointer(kept), "still here");
  standin_fixture_start(f->standin);
  assert_int_equal(mk_call(f->client, "ping", NULL, NULL), MK_OK);
  char *line = standin_fixture_heard(f->standin, "memory.resume", 1);
  assert_non_null(strstr(line, "\"data\":{\"attachments\":["
                               "{\"allocation_id\":\"a-0000000000000020\",\"segment_id\":"
                               "\"s-0000000000000003\",\"writable\":false},"
                               "{\"allocation_id\":\"a-0000000000000001\",\"segment_id\":"
                               "\"s-0000000000000001\",\"writable\":true}]}"));
  free(line);
}

static void a_detach_without_daemon_is_not_claimed_later(void **state) {
  struct fixture *f = *state;
  mk_allocation *made = allocate(f);
  standin_fixture_kill(f->standin);
  assert_int_equal(mk_detach(made), MK_OK);
  standin_fixture_start(f->standin);
  assert_int_equal(mk_call(f->client, "ping", NULL, NULL), MK_OK);
  assert_int_equal(standin_fixture_count(f->standin, "memory.resume"), 0);
}

static void a_daemon_that_does_not_come_back_is_not_found(void **state) {
  struct fixture *f = *state;
  mk_client *hasty = NULL;
  const struct mk_options options = {.socket = standin_fixture_path(f->standin), .reconnect_ms = 1};
  assert_int_equal(mk_connect(&options, &hasty), MK_OK);
  standin_fixture_kill(f->standin);
  assert_int_equal(mk_call(hasty, "ping", NULL, NULL), MK_DAEMON_NOT_FOUND);
  mk_close(hasty);
  standin_fixture_start(f->standin);
}

/* ---- callbacks ---- */

struct told {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  char texts[8][128];
  int count;
  enum mk_code inside;
  mk_client *client;
};

static void note(struct told *told, const char *name, const char *data) {
  pthread_mutex_lock(&told->lock);
  snprintf(told->texts[told->count++], sizeof *told->texts, "%s %s", name, data);
  pthread_cond_broadcast(&told->changed);
  pthread_mutex_unlock(&told->lock);
}

static void await_told(struct told *told, int count) {
  pthread_mutex_lock(&told->lock);
  while (told->count < count)
    pthread_cond_wait(&told->changed, &told->lock);
  pthread_mutex_unlock(&told->lock);
}

static void begin_told(struct told *told, mk_client *client) {
  memset(told, 0, sizeof *told);
  told->client = client;
  pthread_mutex_init(&told->lock, NULL);
  pthread_cond_init(&told->changed, NULL);
}

static void on_event(void *arg, const struct mk_event *event) {
  struct told *told = arg;
  told->inside = mk_events(told->client, NULL, NULL, NULL);
  note(told, event->type, event->data);
}

static void events_come_and_go_on_after_a_restart(void **state) {
  struct fixture *f = *state;
  struct told told;
  begin_told(&told, f->client);
  assert_int_equal(mk_events(f->client, "allocation.created", on_event, &told), MK_OK);
  standin_fixture_say(f->standin, "{\"event\":\"allocation.created\",\"data\":{\"n\":1}}");
  await_told(&told, 1);
  standin_fixture_kill(f->standin);
  standin_fixture_start(f->standin);
  await_told(&told, 2);
  standin_fixture_say(f->standin, "{\"event\":\"allocation.created\",\"data\":{\"n\":2}}");
  await_told(&told, 3);
  assert_int_equal(mk_events(f->client, NULL, NULL, NULL), MK_OK);
  assert_string_equal(told.texts[0], "allocation.created {\"n\":1}");
  assert_string_equal(told.texts[1], "client.reconnected {}");
  assert_string_equal(told.texts[2], "allocation.created {\"n\":2}");
  assert_int_equal(told.inside, MK_CONFLICT);
  free(standin_fixture_heard(f->standin, "\"types\":\"allocation.created\"", 2));
}

static void events_that_are_refused_are_refused_at_once(void **state) {
  struct fixture *f = *state;
  struct told told;
  begin_told(&told, f->client);
  standin_fixture_refuse(f->standin, "memory.events", "INVALID_ARGUMENT");
  assert_int_equal(mk_events(f->client, "nonsense", on_event, &told), MK_INVALID_ARGUMENT);
  assert_string_equal(mk_error_text(), "refused here");
}

static enum mk_code on_question(void *arg, const struct mk_question *question, char **answer) {
  note(arg, question->action, question->data);
  if (question->told)
    return MK_OK;
  if (strcmp(question->action, "memory.optimize") != 0)
    return MK_NOT_FOUND;
  *answer = strdup(question->deadline_ms == 5 ? "{\n\"freed_bytes\":7}" : "no JSON");
  return MK_OK;
}

static void the_daemon_asks_and_is_answered(void **state) {
  struct fixture *f = *state;
  struct told told;
  begin_told(&told, f->client);
  assert_int_equal(mk_on_request(f->client, "memory.optimize", on_question, &told), MK_OK);
  free(standin_fixture_heard(f->standin, "\"capabilities\":[\"memory.optimize\"]", 1));
  standin_fixture_say(f->standin, "{\"request_id\":\"q1\",\"action\":\"memory.optimize\","
                                  "\"data\":{\"force\":true},\"deadline_ms\":5}");
  free(standin_fixture_heard(
      f->standin, "{\"request_id\":\"q1\",\"success\":true,\"data\":{\"freed_bytes\":7}}", 1));
  standin_fixture_say(f->standin, "{\"request_id\":2,\"action\":\"memory.optimize\"}");
  free(standin_fixture_heard(f->standin, "{\"request_id\":2,\"success\":false,", 1));
  standin_fixture_say(f->standin, "{\"request_id\":3,\"action\":\"memory.load_model\"}");
  free(standin_fixture_heard(f->standin, "\"error_code\":\"NOT_FOUND\"", 1));
  standin_fixture_say(f->standin, "{\"event\":\"memory.pressure\",\"data\":{\"level\":\"high\"}}");
  await_told(&told, 4);
  assert_string_equal(told.texts[0], "memory.optimize {\"force\":true}");
  assert_string_equal(told.texts[3], "memory.pressure {\"level\":\"high\"}");
  standin_fixture_say(f->standin, "{\"request_id\":\"p\",\"action\":\"ping\"}");
  free(standin_fixture_heard(f->standin, "{\"request_id\":\"p\",\"success\":true,\"data\":{}}", 1));
  assert_int_equal(told.count, 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(an_allocation_is_memory_of_the_size_that_was_asked),
      TEST(what_was_said_is_asked_and_nothing_else),
      TEST(blocks_of_one_segment_share_one_descriptor_and_one_mapping),
      TEST(the_slab_used_last_stays_mapped_for_the_next_block),
      TEST(an_attached_allocation_is_the_same_memory),
      TEST(what_is_attached_to_read_lies_in_a_mapping_of_its_own),
      TEST(a_handle_given_out_twice_is_detached_twice_and_told_once),
      TEST(a_free_that_is_refused_leaves_the_handle),
      TEST(freed_memory_stays_mapped_for_the_other_handle),
      TEST(what_is_still_attached_ends_with_the_client),
      TEST(a_refusal_comes_out_as_it_was_said),
      TEST(what_cannot_be_is_refused_here),
      TEST(a_forked_child_is_told_to_connect_itself),
      TEST(figures_are_typed_and_null_is_unknown),
      TEST(a_call_hands_out_the_data),
      TEST(a_thread_that_waits_keeps_nobody_from_asking),
      TEST(threads_share_a_client),
      TEST(a_lost_answer_is_asked_for_again_with_its_key),
      TEST(a_question_that_may_have_been_done_is_not_put_twice),
      TEST(a_question_that_ends_each_daemon_is_given_up),
      TEST(after_a_restart_the_daemon_hears_what_is_still_held),
      TEST(a_detach_without_daemon_is_not_claimed_later),
      TEST(a_daemon_that_does_not_come_back_is_not_found),
      TEST(events_come_and_go_on_after_a_restart),
      TEST(events_that_are_refused_are_refused_at_once),
      TEST(the_daemon_asks_and_is_answered),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
