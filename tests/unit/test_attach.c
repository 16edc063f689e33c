/* Memory handed to clients: who gets it, how, what it keeps from happening, and what ends it. */
#include "service/attach.h"

#include "service_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os_memfd.h"
#include "base/spawn.h"
#include "service/state.h"

static const char *const devices[] = {"host:0=64MiB", "host:1=64MiB", "fake:0=64MiB", NULL};

/* Two connections of one process of uid 0 that is no admin, one of another user, and an admin's. */
static struct caller ours = {
    .role = CALLER_WRITE, .domain_name = "uid:0", .correlation = "test", .connection = 7};
static struct caller beside = {
    .role = CALLER_WRITE, .domain_name = "uid:0", .correlation = "test", .connection = 8};
static const struct caller stranger = {.role = CALLER_WRITE,
                                       .domain = 1000,
                                       .domain_name = "uid:1000",
                                       .correlation = "test",
                                       .connection = 9};
static const struct caller admin = {.role = CALLER_ADMIN,
                                    .domain = 77,
                                    .domain_name = "uid:77",
                                    .correlation = "test",
                                    .connection = 10};

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

/* ---- words ---- */

static enum status try_attach(void **state, const struct caller *caller, uint64_t id,
                              bool read_only, struct attach_made *out) {
  struct problem problem = {0};
  enum status status =
      attach_begin(fixture_service(*state), caller,
                   &(struct attach_want){.allocation = id, .read_only = read_only}, out, &problem);
  assert_int_equal(status, problem.status);
  assert_true(!status || *problem.text);
  return status;
}

/* Without its descriptor. */
static enum status attach(void **state, const struct caller *caller, uint64_t id) {
  struct attach_made made;
  enum status status = try_attach(state, caller, id, false, &made);
  if (!status)
    share_close(&made.share);
  return status;
}

static enum status detach(void **state, const struct caller *caller, uint64_t id, uint32_t *left) {
  struct problem problem = {0};
  return attach_end(fixture_service(*state), caller, id, left, &problem);
}

static uint64_t make_shared(void **state, const char *device, enum view_share share) {
  struct alloc_params params = fixture_params(device, 2 * MIB);
  params.share = (int)share;
  return fixture_made(*state, &params).id;
}

static enum status free_as(void **state, const struct caller *caller, uint64_t id, bool force) {
  struct alloc_freed freed;
  struct problem problem = {0};
  struct job_view view;
  enum status status = alloc_free(fixture_service(*state), caller,
                                  &(struct alloc_victim){id, force}, &freed, &problem);
  if (status != STATUS_PENDING)
    return status;
  fixture_end(freed.job, &view);
  return view.problem.status;
}

static unsigned count_records(void **state, enum ledger_kind kind) {
  struct service *s = fixture_service(*state);
  unsigned count = 0;
  LOCK_SCOPE(&s->lock);
  for (uint32_t slot = ledger_next(s->ledger, 0); slot; slot = ledger_next(s->ledger, slot))
    count += ledger_at(s->ledger, slot)->kind == kind;
  return count;
}

static const struct ledger_record *attachment_record(struct service *s) {
  uint32_t slot = ledger_next(s->ledger, 0);
  while (slot && ledger_at(s->ledger, slot)->kind != LEDGER_ATTACHMENT)
    slot = ledger_next(s->ledger, slot);
  return slot ? ledger_at(s->ledger, slot) : NULL;
}

static void *map(const struct attach_made *made, int protection) {
  off_t page = (off_t)(made->offset_bytes & ~UINT64_C(4095));
  return mmap(NULL, made->size_bytes, protection, MAP_SHARED, (int)made->share.value, page);
}

/* ---- in ---- */

static void what_is_attached_is_the_allocation_itself(void **state) {
  struct view_alloc view = fixture_make(*state, "host:0", 2 * MIB);
  struct attach_made made;
  assert_int_equal(try_attach(state, &ours, view.id, false, &made), STATUS_OK);
  assert_int_equal(made.segment, view.segment_id);
  assert_int_equal(made.offset_bytes, view.offset_bytes);
  assert_int_equal(made.size_bytes, view.size_bytes);
  assert_string_equal(made.device_id, "host:0");
  assert_int_equal(made.kind, SHARE_MEMFD);
  assert_true(made.writable);
  char *bytes = map(&made, PROT_READ | PROT_WRITE);
  assert_ptr_not_equal(bytes, MAP_FAILED);
  memset(bytes, 0x5a, 2 * MIB);
  assert_true(fixture_is_all(*state, view.id, 0x5a));
  munmap(bytes, 2 * MIB);
  assert_int_equal(fcntl((int)made.share.value, F_GETFD), FD_CLOEXEC);
  share_close(&made.share);
}

static void it_shows_in_the_allocation(void **state) {
  struct view_alloc view = fixture_make(*state, "host:0", 4096);
  assert_int_equal(view.attachments, 0);
  assert_int_equal(attach(state, &ours, view.id), STATUS_OK);
  assert_int_equal(attach(state, &beside, view.id), STATUS_OK);
  struct view_alloc after = fixture_look(*state, view.id);
  assert_int_equal(after.attachments, 2);
  assert_int_equal(after.access_count, view.access_count + 2);
  assert_true(after.last_accessed_at >= view.last_accessed_at);
  assert_int_equal(after.status, VIEW_ACTIVE);
}

static void memory_of_a_card_is_handed_out_too(void **state) {
  uint64_t id = fixture_make(*state, "fake:0", 4 * MIB).id;
  struct attach_made made;
  assert_int_equal(try_attach(state, &ours, id, false, &made), STATUS_OK);
  assert_string_equal(made.device_id, "fake:0");
  assert_int_equal(made.share.kind, made.kind);
  share_close(&made.share);
}

static void read_only_is_the_kernels_word(void **state) {
  uint64_t id = fixture_make(*state, "host:0", 2 * MIB).id;
  struct attach_made made;
  fixture_write(*state, id, 3);
  assert_int_equal(try_attach(state, &ours, id, true, &made), STATUS_OK);
  assert_false(made.writable);
  assert_ptr_equal(map(&made, PROT_READ | PROT_WRITE), MAP_FAILED);
  assert_int_not_equal(ftruncate((int)made.share.value, 0), 0);
  assert_int_not_equal(
      fallocate((int)made.share.value, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
  void *bytes = map(&made, PROT_READ);
  assert_ptr_not_equal(bytes, MAP_FAILED);
  assert_int_not_equal(mprotect(bytes, 2 * MIB, PROT_READ | PROT_WRITE), 0);
  munmap(bytes, 2 * MIB);
  share_close(&made.share);
  assert_true(fixture_holds(*state, id, 3));
}

static void others_get_what_is_shared_and_no_more(void **state) {
  static const struct {
    const char *device;
    enum view_share share;
    enum status read, write;
  } cases[] = {{"host:0", VIEW_SHARE_NONE, STATUS_FORBIDDEN, STATUS_FORBIDDEN},
               {"host:0", VIEW_SHARE_READ, STATUS_OK, STATUS_FORBIDDEN},
               {"host:0", VIEW_SHARE_WRITE, STATUS_OK, STATUS_OK},
               {"fake:0", VIEW_SHARE_READ, STATUS_OK, STATUS_FORBIDDEN}};
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint64_t id = make_shared(state, cases[i].device, cases[i].share);
    struct attach_made made = {.share.kind = SHARE_NONE};
    assert_int_equal(try_attach(state, &stranger, id, true, &made), cases[i].read);
    share_close(&made.share);
    assert_int_equal(try_attach(state, &stranger, id, false, &made), cases[i].write);
    share_close(&made.share);
    assert_int_equal(attach(state, &ours, id), STATUS_OK);
    assert_int_equal(attach(state, &admin, id), STATUS_OK);
  }
}

static void what_cannot_be_attached_is_refused(void **state) {
  uint64_t id = fixture_make(*state, "host:0", 4096).id;
  struct attach_made made = {.attachments = 99};
  assert_int_equal(try_attach(state, &ours, 0, false, &made), STATUS_ALLOCATION_NOT_FOUND);
  assert_int_equal(try_attach(state, &ours, id + 1, false, &made), STATUS_ALLOCATION_NOT_FOUND);
  assert_int_equal(try_attach(state, &fixture_admin, id, false, &made), STATUS_CONFLICT);
  assert_int_equal(made.attachments, 99);
  assert_int_equal(count_records(state, LEDGER_ATTACHMENT), 0);
}

static void what_moves_is_busy_and_what_is_attached_does_not_move(void **state) {
  struct view_alloc view = fixture_make(*state, "host:0", 2 * MIB);
  struct work_transfer move = {.allocation = view.id, .mode = 1};
  struct work_started started;
  struct problem problem;
  struct job_view end;
  snprintf(move.source, sizeof move.source, "host:0");
  snprintf(move.target, sizeof move.target, "host:1");
  fixture_mover(*state, FIXTURE_HOLDS);
  assert_int_equal(work_transfer_start(fixture_service(*state), &ours, &move, &started, &problem),
                   STATUS_OK);
  fixture_until_held(*state, 1);
  assert_int_equal(attach(state, &ours, view.id), STATUS_ALLOCATION_BUSY);
  fixture_mover(*state, FIXTURE_WORKS);
  fixture_end(started.job, &end);
  assert_int_equal(end.problem.status, STATUS_OK);
  assert_int_equal(attach(state, &ours, view.id), STATUS_OK);
  snprintf(move.source, sizeof move.source, "host:1");
  snprintf(move.target, sizeof move.target, "host:0");
  assert_int_equal(work_transfer_start(fixture_service(*state), &ours, &move, &started, &problem),
                   STATUS_ALLOCATION_BUSY);
}

static void lost_memory_cannot_be_attached(void **state) {
  struct service *s = fixture_service(*state);
  struct view_alloc view = fixture_make(*state, "host:0", 2 * MIB);
  lock_take(&s->lock);
  struct state_segment *segment = state_segment(s, idmap_find(&s->segment_ids, view.segment_id));
  struct share share = segment->share;
  segment->share.kind = SHARE_NONE;
  lock_give(&s->lock);
  assert_int_equal(attach(state, &ours, view.id), STATUS_ALLOCATION_LOST);
  lock_take(&s->lock);
  segment->share = share;
  lock_give(&s->lock);
}

static void without_descriptors_nothing_has_happened(void **state) {
  uint64_t id = fixture_make(*state, "host:0", 2 * MIB).id;
  struct rlimit before, none;
  struct attach_made made;
  getrlimit(RLIMIT_NOFILE, &before);
  none = before;
  none.rlim_cur = 0;
  for (unsigned read_only = 0; read_only < 2; read_only++) {
    setrlimit(RLIMIT_NOFILE, &none);
    enum status status = try_attach(state, &ours, id, read_only, &made);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(status, STATUS_INTERNAL_ERROR);
  }
  assert_int_equal(fixture_look(*state, id).status, VIEW_ACTIVE);
  assert_int_equal(fixture_look(*state, id).attachments, 0);
  assert_int_equal(fixture_free(*state, id, false), STATUS_OK);
}

/* ---- the ledger ---- */

static void the_ledger_knows_what_left_the_house(void **state) {
  struct service *s = fixture_service(*state);
  struct view_alloc view = fixture_make(*state, "host:0", 2 * MIB);
  unsigned segments = count_records(state, LEDGER_SEGMENT);
  assert_int_equal(attach(state, &ours, view.id), STATUS_OK);
  lock_take(&s->lock);
  const struct state_segment *segment =
      state_segment(s, idmap_find(&s->segment_ids, view.segment_id));
  const struct ledger_record *segment_record = ledger_at(s->ledger, segment->slot);
  const struct ledger_record *record = attachment_record(s);
  assert_true(segment->exported && segment_record->u.segment.exported);
  assert_int_equal(segment_record->id, view.segment_id);
  assert_non_null(record);
  assert_int_equal(record->u.attachment.allocation, view.id);
  assert_int_equal(record->u.attachment.pid, getpid());
  assert_int_equal(record->u.attachment.pid_start, ours.pid_start);
  assert_int_not_equal(idmap_find(&s->owner_ids, record->u.attachment.owner), 0);
  assert_true(record->u.attachment.writable);
  lock_give(&s->lock);
  assert_int_equal(count_records(state, LEDGER_SEGMENT), segments);
}

/* ---- out ---- */

static void each_attach_needs_its_detach(void **state) {
  uint64_t id = fixture_make(*state, "host:0", 4096).id;
  uint32_t left = 99;
  assert_int_equal(detach(state, &ours, id, &left), STATUS_CONFLICT);
  assert_int_equal(attach(state, &ours, id), STATUS_OK);
  assert_int_equal(attach(state, &ours, id), STATUS_OK);
  assert_int_equal(detach(state, &beside, id, &left), STATUS_CONFLICT);
  assert_int_equal(left, 99);
  assert_int_equal(detach(state, &ours, id, &left), STATUS_OK);
  assert_int_equal(left, 1);
  assert_int_equal(detach(state, &ours, id, &left), STATUS_OK);
  assert_int_equal(left, 0);
  assert_int_equal(detach(state, &ours, id, &left), STATUS_CONFLICT);
  assert_int_equal(detach(state, &ours, id + 1, &left), STATUS_ALLOCATION_NOT_FOUND);
  assert_int_equal(count_records(state, LEDGER_ATTACHMENT), 0);
}

static void a_closed_connection_detaches_its_own(void **state) {
  uint64_t ids[300];
  for (unsigned i = 0; i < 300; i++) {
    ids[i] = fixture_make(*state, "host:0", 4096).id;
    assert_int_equal(attach(state, &ours, ids[i]), STATUS_OK);
  }
  assert_int_equal(attach(state, &beside, ids[5]), STATUS_OK);
  assert_int_equal(count_records(state, LEDGER_ATTACHMENT), 301);
  attach_connection_closed(fixture_service(*state), ours.connection);
  attach_connection_closed(fixture_service(*state), 12345);
  assert_int_equal(count_records(state, LEDGER_ATTACHMENT), 1);
  for (unsigned i = 0; i < 300; i++)
    assert_int_equal(fixture_look(*state, ids[i]).attachments, i == 5);
}

/* Of detaches in any order, the books end where the count says. */
static void attachments_come_and_go_in_any_order(void **state) {
  uint64_t ids[16];
  uint32_t have[2][16] = {{0}}, left, seed = 1;
  const struct caller *callers[] = {&ours, &beside};
  for (unsigned i = 0; i < 16; i++)
    ids[i] = fixture_make(*state, "host:0", 4096).id;
  for (unsigned step = 0; step < 4000; step++) {
    seed = seed * 1664525 + 1013904223;
    unsigned who = seed >> 31, which = seed >> 20 & 15;
    if (seed >> 10 & 1) {
      assert_int_equal(attach(state, callers[who], ids[which]), STATUS_OK);
      have[who][which]++;
      continue;
    }
    enum status status = detach(state, callers[who], ids[which], &left);
    assert_int_equal(status, have[who][which] ? STATUS_OK : STATUS_CONFLICT);
    have[who][which] -= !status;
  }
  for (unsigned i = 0; i < 16; i++)
    assert_int_equal(fixture_look(*state, ids[i]).attachments, have[0][i] + have[1][i]);
  attach_connection_closed(fixture_service(*state), ours.connection);
  for (unsigned i = 0; i < 16; i++)
    assert_int_equal(fixture_look(*state, ids[i]).attachments, have[1][i]);
}

/* ---- free ---- */

static void one_frees_what_only_he_has_attached(void **state) {
  struct alloc_params params = fixture_params("host:0", 2 * MIB);
  struct view_alloc view;
  assert_int_equal(fixture_allocate(*state, &ours, &params, &view, NULL), STATUS_OK);
  assert_int_equal(attach(state, &ours, view.id), STATUS_OK);
  assert_int_equal(attach(state, &ours, view.id), STATUS_OK);
  assert_int_equal(attach(state, &beside, view.id), STATUS_OK);
  assert_int_equal(free_as(state, &ours, view.id, false), STATUS_ALLOCATION_BUSY);
  assert_int_equal(fixture_look(*state, view.id).attachments, 3);
  attach_connection_closed(fixture_service(*state), beside.connection);
  assert_int_equal(free_as(state, &ours, view.id, false), STATUS_OK);
  assert_int_equal(count_records(state, LEDGER_ATTACHMENT), 0);
  assert_int_equal(fixture_figures(*state, "host:0").lingering_bytes, 0);
}

static void force_takes_the_pages_back_from_who_will_not_let_go(void **state) {
  uint64_t id = fixture_make(*state, "host:0", 4 * MIB).id;
  struct attach_made made;
  struct stat facts;
  assert_int_equal(try_attach(state, &ours, id, false, &made), STATUS_OK);
  fixture_write(*state, id, 1);
  assert_int_equal(fixture_free(*state, id, false), STATUS_ALLOCATION_BUSY);
  assert_int_equal(fstat((int)made.share.value, &facts), 0);
  assert_true((uint64_t)facts.st_blocks * 512 >= 4 * MIB);
  assert_int_equal(fixture_free(*state, id, true), STATUS_OK);
  assert_int_equal(fstat((int)made.share.value, &facts), 0);
  assert_int_equal(facts.st_blocks, 0);
  share_close(&made.share);
}

static void what_is_freed_lingers_until_it_is_let_go(void **state) {
  uint64_t id = fixture_make(*state, "host:0", 4 * MIB).id, other;
  uint32_t left;
  assert_int_equal(attach(state, &ours, id), STATUS_OK);
  assert_int_equal(attach(state, &beside, id), STATUS_OK);
  assert_int_equal(fixture_free(*state, id, true), STATUS_OK);
  assert_int_equal(fixture_figures(*state, "host:0").lingering_bytes, 4 * MIB);
  assert_int_equal(fixture_figures(*state, "host:1").lingering_bytes, 0);
  other = fixture_make(*state, "host:0", 4 * MIB).id;
  assert_int_equal(attach(state, &ours, other), STATUS_OK);
  assert_int_equal(attach(state, &ours, id), STATUS_ALLOCATION_NOT_FOUND);
  assert_int_equal(detach(state, &ours, id, &left), STATUS_OK);
  assert_int_equal(fixture_figures(*state, "host:0").lingering_bytes, 4 * MIB);
  attach_connection_closed(fixture_service(*state), beside.connection);
  assert_int_equal(fixture_figures(*state, "host:0").lingering_bytes, 0);
  assert_int_equal(fixture_look(*state, other).attachments, 1);
}

/* ---- caps ---- */

static void a_connection_has_its_cap(void **state) {
  uint64_t ids[2] = {fixture_make(*state, "host:0", 4096).id,
                     fixture_make(*state, "host:0", 4096).id};
  struct service *s = fixture_service(*state);
  uint32_t done = 0;
  enum status status = STATUS_OK;
  for (unsigned tries = 0; done < ATTACH_CONNECTION && tries < 2 * ATTACH_CONNECTION; tries++) {
    status = attach(state, &ours, ids[done & 1]);
    if (!status)
      done++;
    else
      assert_int_equal(status, STATUS_RATE_LIMITED); /* the ledger grows */
  }
  assert_int_equal(done, ATTACH_CONNECTION);
  assert_int_equal(attach(state, &ours, ids[0]), STATUS_RATE_LIMITED);
  assert_int_equal(attach(state, &beside, ids[0]), STATUS_OK);
  attach_connection_closed(s, ours.connection);
  assert_int_equal(fixture_look(*state, ids[0]).attachments, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(what_is_attached_is_the_allocation_itself),
      TEST(it_shows_in_the_allocation),
      TEST(memory_of_a_card_is_handed_out_too),
      TEST(read_only_is_the_kernels_word),
      TEST(others_get_what_is_shared_and_no_more),
      TEST(what_cannot_be_attached_is_refused),
      TEST(what_moves_is_busy_and_what_is_attached_does_not_move),
      TEST(lost_memory_cannot_be_attached),
      TEST(without_descriptors_nothing_has_happened),
      TEST(the_ledger_knows_what_left_the_house),
      TEST(each_attach_needs_its_detach),
      TEST(a_closed_connection_detaches_its_own),
      TEST(attachments_come_and_go_in_any_order),
      TEST(one_frees_what_only_he_has_attached),
      TEST(force_takes_the_pages_back_from_who_will_not_let_go),
      TEST(what_is_freed_lingers_until_it_is_let_go),
      TEST(a_connection_has_its_cap),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
