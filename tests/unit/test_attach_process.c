/* Attachments belong to a process: they end with it, and outlive the daemon with it. */
#include "service/attach.h"

#include "service_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/spawn.h"
#include "service/state.h"

static const char *const devices[] = {"host:0=64MiB", NULL};

/* Two connections of one process of uid 0 that is no admin, and one of another user. */
static struct caller ours = {
    .role = CALLER_WRITE, .domain_name = "uid:0", .correlation = "test", .connection = 7};
static struct caller beside = {
    .role = CALLER_WRITE, .domain_name = "uid:0", .correlation = "test", .connection = 8};
static const struct caller stranger = {.role = CALLER_WRITE,
                                       .domain = 1000,
                                       .domain_name = "uid:1000",
                                       .correlation = "test",
                                       .connection = 9};
static int setup(void **state) {
  ours.pid = beside.pid = getpid();
  ours.pid_start = beside.pid_start = spawn_start_time(getpid());
  *state = fixture_start(devices);
  return 0;
}

static int teardown(void **state) {
  fixture_stop(*state);
  return 0;
}

static enum status attach(void **state, const struct caller *caller, uint64_t id) {
  struct attach_made made;
  struct problem problem = {0};
  enum status status = attach_begin(fixture_service(*state), caller,
                                    &(struct attach_want){.allocation = id}, &made, &problem);
  if (!status)
    share_close(&made.share);
  return status;
}

static unsigned count_records(void **state, enum ledger_kind kind) {
  struct service *s = fixture_service(*state);
  unsigned count = 0;
  LOCK_SCOPE(&s->lock);
  for (uint32_t slot = ledger_next(s->ledger, 0); slot; slot = ledger_next(s->ledger, slot))
    count += ledger_at(s->ledger, slot)->kind == kind;
  return count;
}

/* ---- processes ---- */

static bool nothing_is_attached(struct fixture *fixture, void *arg) {
  return fixture_look(fixture, *(uint64_t *)arg).attachments == 0;
}

/* A child of it may still hold the connection open: that is no attachment of the child's. */
static void the_end_of_a_process_detaches(void **state) {
  uint64_t id = fixture_make(*state, "host:0", 4096).id;
  pid_t pid = fork();
  if (pid == 0) {
    pause();
    _exit(0);
  }
  struct caller child = ours;
  child.pid = pid;
  child.pid_start = spawn_start_time(pid);
  child.connection = 11;
  assert_int_equal(attach(state, &child, id), STATUS_OK);
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  fixture_until(*state, nothing_is_attached, &id);
  assert_int_equal(count_records(state, LEDGER_ATTACHMENT), 0);
}

/* ---- over a restart ---- */

/* Puts a record as an earlier daemon would have, for ours. */
static void leave_behind(void **state, uint64_t allocation, uint32_t pid) {
  struct service *s = fixture_service(*state);
  struct ledger_record record = {.kind = LEDGER_ATTACHMENT};
  uint32_t slot;
  LOCK_SCOPE(&s->lock);
  uint32_t owner = state_owner_of(s, &ours, (int32_t)pid, pid ? ours.pid_start : 0);
  record.id = ledger_next_id(s->ledger);
  record.u.attachment = (struct ledger_attachment){.allocation = allocation,
                                                   .owner = state_owner(s, owner)->id,
                                                   .pid_start = ours.pid_start,
                                                   .pid = pid,
                                                   .writable = 1};
  assert_int_equal(ledger_put(s->ledger, &record, &slot), STATUS_OK);
  assert_int_equal(attach_restore(s, slot), STATUS_OK);
}

static void what_was_left_is_the_processs_until_it_says(void **state) {
  uint64_t named = fixture_make(*state, "host:0", 4096).id;
  uint64_t forgotten = fixture_make(*state, "host:0", 4096).id;
  leave_behind(state, named, (uint32_t)getpid());
  leave_behind(state, forgotten, (uint32_t)getpid());
  assert_int_equal(fixture_free(*state, named, false), STATUS_ALLOCATION_BUSY);
  attach_connection_closed(fixture_service(*state), ours.connection);
  assert_int_equal(fixture_look(*state, named).attachments, 1);

  struct attach_claim claims[] = {{.allocation = named, .writable = true},
                                  {.allocation = forgotten + 100, .writable = true}};
  attach_resume(fixture_service(*state), &ours, claims, 2, true);
  assert_true(claims[0].resumed);
  assert_false(claims[1].resumed);
  assert_int_equal(fixture_look(*state, forgotten).attachments, 1);
  attach_resume(fixture_service(*state), &ours, NULL, 0, false);
  assert_int_equal(fixture_look(*state, forgotten).attachments, 0);
  assert_int_equal(fixture_look(*state, named).attachments, 1);
  attach_connection_closed(fixture_service(*state), ours.connection);
  assert_int_equal(fixture_look(*state, named).attachments, 0);
}

static void a_stranger_resumes_nothing_of_ours(void **state) {
  uint64_t id = fixture_make(*state, "host:0", 4096).id;
  leave_behind(state, id, (uint32_t)getpid());
  struct attach_claim claim = {
      .allocation = id, .segment = fixture_look(*state, id).segment_id, .writable = true};
  attach_resume(fixture_service(*state), &stranger, &claim, 1, false);
  assert_false(claim.resumed);
  assert_int_equal(fixture_look(*state, id).attachments, 1);
}

static void a_claim_with_its_place_is_attached_anew(void **state) {
  struct view_alloc view = fixture_make(*state, "host:0", 4096);
  struct attach_claim claims[] = {
      {.allocation = view.id, .segment = view.segment_id, .writable = true},
      {.allocation = view.id, .segment = view.segment_id + 1, .writable = true}};
  attach_resume(fixture_service(*state), &ours, claims, 1, false);
  assert_false(claims[0].resumed); /* nothing of it ever left the house */
  assert_int_equal(attach(state, &beside, view.id), STATUS_OK);
  attach_resume(fixture_service(*state), &ours, claims + 1, 1, false);
  assert_false(claims[1].resumed);
  attach_resume(fixture_service(*state), &ours, claims, 1, false);
  assert_true(claims[0].resumed);
  assert_int_equal(fixture_look(*state, view.id).attachments, 2);
  attach_resume(fixture_service(*state), &ours, claims, 1, false);
  assert_int_equal(fixture_look(*state, view.id).attachments, 2);
}

static void without_a_process_nothing_is_left(void **state) {
  uint64_t id = fixture_make(*state, "host:0", 4096).id;
  leave_behind(state, id, 0);
  assert_int_equal(fixture_look(*state, id).attachments, 0);
  assert_int_equal(count_records(state, LEDGER_ATTACHMENT), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(the_end_of_a_process_detaches),      TEST(what_was_left_is_the_processs_until_it_says),
      TEST(a_stranger_resumes_nothing_of_ours), TEST(a_claim_with_its_place_is_attached_anew),
      TEST(without_a_process_nothing_is_left),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
