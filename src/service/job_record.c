/*
 * job_record: one record from the start of a job to the hour after its end. It is put before the
 * job begins, and its next version before anyone hears of the end.
 *
 * Between the step that makes a transfer's result real and that next version lies a moment in which
 * a crash would leave a result that its job denies. So the record says before that step how the job
 * ends if the step is seen to be done: the target allocation exists, on the target's device.
 */
#include "service/job_record.h"

#include "base/clock.h"
#include "base/units.h"
#include "service/models.h"

enum {
  MOVE = 1,
  VERIFY = 2,
  VERIFIED = 4,
  VERIFIED_KNOWN = 8,
  CHECKSUM_KNOWN = 16,
  PATH_KNOWN = 32,
  FINISHED = 64,
  MODEL = 128, /* what was transferred is one, not an allocation */
  PATH_SHIFT = 8,
  PATH_MASK = 7,
  EFFECTS_KNOWN = 2048
};

static unsigned flag(bool is_set, unsigned bit) { return is_set ? bit : 0; }

/* ---- writing ---- */

static unsigned transfer_flags(const struct job_transfer *transfer) {
  return flag(transfer->move, MOVE) | flag(transfer->verify, VERIFY) |
         flag(transfer->verified, VERIFIED) | flag(transfer->verified_known, VERIFIED_KNOWN) |
         flag(transfer->checksum_known, CHECKSUM_KNOWN) | flag(transfer->path_known, PATH_KNOWN) |
         flag(transfer->model != 0, MODEL) | flag(transfer->effects_known, EFFECTS_KNOWN) |
         ((unsigned)transfer->path & PATH_MASK) << PATH_SHIFT;
}

static void write_result(struct ledger_job *facts, const struct job_view *view) {
  unsigned flags = flag(view->state >= JOB_COMPLETED, FINISHED);
  if (view->kind == JOB_TRANSFER) {
    const struct job_transfer *transfer = &view->result.transfer;
    flags |= transfer_flags(transfer);
    facts->allocation = transfer->model ? transfer->model : transfer->allocation;
    facts->target_allocation =
        transfer->model ? transfer->target_model : transfer->target_allocation;
    facts->checksum = transfer->checksum;
    facts->waited = transfer->waited;
    facts->evicted = transfer->evicted;
  } else if (view->kind == JOB_COPY || view->kind == JOB_FILL) {
    flags |= flag(view->result.bytes.checksum_known, CHECKSUM_KNOWN);
    facts->checksum = view->result.bytes.checksum;
  } else if (view->kind == JOB_LOAD) {
    facts->allocation = view->result.model.model;
  }
  facts->flags = flags & 0xffff;
}

static struct ledger_record record_of(const struct job_record *record,
                                      const struct job_view *view) {
  struct ledger_record made = {.kind = LEDGER_JOB,
                               .id = view->id,
                               .last_access_real_ns = view->started_at,
                               .access_count = view->bytes_done};
  made.u.job = (struct ledger_job){.created_real_ns = view->created_at,
                                   .completed_real_ns = view->completed_at,
                                   .key_hash = {record->key[0], record->key[1]},
                                   .size_bytes = view->bytes_total & LEDGER_ID_COUNTED,
                                   .source = record->source & LEDGER_ID_COUNTED,
                                   .target = record->target & LEDGER_ID_COUNTED,
                                   .kind = (uint8_t)view->kind,
                                   .status = (uint8_t)view->problem.status,
                                   .domain = record->domain,
                                   .key_args = record->key_args};
  write_result(&made.u.job, view);
  return made;
}

enum status job_record_put(struct service *s, struct job_record *record,
                           const struct job_view *view) {
  const struct ledger_record made = record_of(record, view);
  return ledger_put(s->ledger, &made, &record->slot);
}

void job_record_replace(struct service *s, struct job_record *record, const struct job_view *view) {
  const struct ledger_record made = record_of(record, view);
  if (record->slot && ledger_replace(s->ledger, &record->slot, &made))
    job_record_drop(s, record);
}

void job_record_drop(struct service *s, struct job_record *record) {
  if (record->slot)
    ledger_drop(s->ledger, record->slot);
  record->slot = 0;
}

/* ---- reading ---- */

/* The whole id of one whose counted part the record names: all ids of a ledger begin alike. */
static uint64_t named(const struct ledger_record *record, uint64_t counted) {
  return counted ? (record->id & ~LEDGER_ID_COUNTED) | counted : 0;
}

static void read_transfer(const struct ledger_job *facts, struct job_transfer *out) {
  unsigned flags = facts->flags;
  bool model = flags & MODEL;
  *(model ? &out->model : &out->allocation) = facts->allocation;
  *(model ? &out->target_model : &out->target_allocation) = facts->target_allocation;
  out->move = flags & MOVE;
  out->trial = !facts->allocation;
  out->verify = flags & VERIFY;
  out->verified = flags & VERIFIED;
  out->verified_known = flags & VERIFIED_KNOWN;
  out->checksum_known = flags & CHECKSUM_KNOWN;
  out->checksum = facts->checksum;
  out->path = (enum device_path)(flags >> PATH_SHIFT & PATH_MASK);
  out->path_known = flags & PATH_KNOWN && out->path <= DEVICE_PATH_STAGED;
  out->size_bytes = facts->size_bytes;
  out->effects_known = flags & EFFECTS_KNOWN;
  out->waited = facts->waited;
  out->evicted = facts->evicted;
}

static void read_result(const struct ledger_job *facts, struct job_view *view) {
  if (view->kind == JOB_TRANSFER)
    read_transfer(facts, &view->result.transfer);
  else if (view->kind == JOB_COPY || view->kind == JOB_FILL)
    view->result.bytes = (struct job_bytes){.bytes = facts->size_bytes,
                                            .checksum = facts->checksum,
                                            .checksum_known = facts->flags & CHECKSUM_KNOWN};
  else if (view->kind == JOB_LOAD)
    view->result.model.model = facts->allocation;
  else
    view->result_lost = true;
}

static void read_end(const struct ledger_job *facts, struct job_view *view) {
  enum status status = facts->status < STATUS_COUNT ? facts->status : STATUS_INTERNAL_ERROR;
  view->state = !(facts->flags & FINISHED)   ? JOB_RUNNING
                : status == STATUS_OK        ? JOB_COMPLETED
                : status == STATUS_CANCELLED ? JOB_CANCELLED
                                             : JOB_FAILED;
  if (status)
    problem_set(&view->problem, status, "%s", status_text(status));
}

bool job_record_read(const struct service *s, uint32_t slot, struct job_record *record,
                     struct job_view *view) {
  const struct ledger_record *left = ledger_at(s->ledger, slot);
  const struct ledger_job *facts = &left->u.job;
  if (facts->kind >= JOB_KINDS)
    return false;
  *record = (struct job_record){.key = {facts->key_hash[0], facts->key_hash[1]},
                                .source = named(left, facts->source),
                                .target = named(left, facts->target),
                                .key_args = facts->key_args,
                                .domain = facts->domain,
                                .slot = slot};
  *view = (struct job_view){.id = left->id,
                            .kind = (enum job_kind)facts->kind,
                            .bytes_done = left->access_count,
                            .bytes_total = facts->size_bytes,
                            .created_at = facts->created_real_ns,
                            .started_at = left->last_access_real_ns,
                            .completed_at = facts->completed_real_ns};
  read_result(facts, view);
  read_end(facts, view);
  view->bytes_per_second = job_record_rate(view);
  return true;
}

/* ---- after a restart ---- */

static bool has_allocation(const struct service *s, uint64_t id, uint64_t device) {
  uint32_t index = idmap_find(&s->alloc_ids, id);
  if (!index)
    return false;
  const struct state_segment *segment = state_segment(s, state_alloc(s, index)->segment);
  return s->devices[segment->device].record == device;
}

static bool has_model(const struct service *s, uint64_t id, uint64_t device) {
  uint32_t index = idmap_find(&s->models->ids, id);
  const struct models_weights *weights = index ? models_at(s, index)->weights : NULL;
  return weights && s->devices[weights->home].record == device;
}

static bool is_done(const struct service *s, const struct job_record *record,
                    const struct job_view *view) {
  const struct job_transfer *transfer = &view->result.transfer;
  if (view->kind != JOB_TRANSFER || !view->completed_at)
    return false;
  return transfer->model ? has_model(s, transfer->target_model, record->target)
                         : has_allocation(s, transfer->target_allocation, record->target);
}

void job_record_settle(struct service *s, struct job_record *record, struct job_view *view) {
  if (view->state >= JOB_COMPLETED)
    return;
  if (is_done(s, record, view)) {
    view->state = JOB_COMPLETED;
  } else {
    problem_set(&view->problem, STATUS_DAEMON_RESTARTED, "%s",
                status_text(STATUS_DAEMON_RESTARTED));
    view->state = JOB_FAILED;
    view->completed_at = clock_real();
    view->bytes_done = 0;
    if (view->kind == JOB_TRANSFER && !view->result.transfer.move)
      view->result.transfer.target_allocation = view->result.transfer.target_model = 0;
  }
  view->bytes_per_second = job_record_rate(view);
  job_record_replace(s, record, view);
}

uint64_t job_record_rate(const struct job_view *view) {
  if (!view->started_at)
    return 0;
  uint64_t elapsed = units_max(units_minus(view->completed_at, view->started_at), 1);
  return (uint64_t)((unsigned __int128)view->bytes_done * CLOCK_SECOND / elapsed);
}
