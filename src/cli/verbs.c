/*
 * verbs: a new verb is a row.
 */
#include "cli/verbs.h"

#include <string.h>

#include "cli/paint.h"
#include "cli/show.h"

static const char *const whole_pages[] = {"limit", "1000", NULL};
static const char *const no_waiting[] = {"wait", "false", NULL};
static const char *const newest_first[] = {"order", "desc", NULL};
static const char *const to_ram[] = {"to", "ram", NULL};
static const char *const pinned[] = {"pinned", "true", NULL};
static const char *const unpinned[] = {"pinned", "false", NULL};

static const struct cli_field top_fields[] = {
    {"interval_ms", "uint", false, "1s", "how often it looks"}};
static const struct cli_operation top = {.fields = top_fields, .field_count = 1};
static const struct cli_field bench_fields[] = {
    {"device_id", "text", false, NULL, "where transfers go to; without it, to each device"},
    {"size_bytes", "uint", false, "256MiB",
     "of each of the two allocations it makes, and of a transfer's target; 1MiB to 4GiB"}};
static const struct cli_operation bench = {.fields = bench_fields, .field_count = 2};

const struct verb verbs[] = {
    {.name = "status",
     .action = "memory.get_status",
     .summary = "the memory of all devices, or of one",
     .example = "memkeep status host:0",
     .words = {"device_id"},
     .show = show_status},
    {.name = "ps",
     .action = "memory.list_allocations",
     .summary = "live allocations",
     .example = "memkeep ps --purpose kv_cache --sort sizeBytes --order desc",
     .words = {"device_id"},
     .names = {{"device", "device_id"}},
     .defaults = whole_pages,
     .pages = true,
     .show = show_allocations},
    {.name = "show",
     .action = "memory.get_allocation",
     .summary = "all of one allocation, and what became of it",
     .example = "memkeep show a-1f0c000000000042",
     .words = {"allocation_id"},
     .show = paint_all},
    {.name = "top",
     .program = VERB_TOP,
     .own = &top,
     .summary = "devices, allocations, models and transfers, live; frees, unloads and cancels",
     .example = "memkeep top --interval 2s",
     .names = {{"interval", "interval_ms"}}},
    {.name = "alloc",
     .action = "memory.allocate",
     .summary = "allocate; it stays until it is freed or cleared, or the daemon stops",
     .example = "memkeep alloc 8GiB --device host:0 --purpose kv_cache --label chat",
     .words = {"size_bytes"},
     .names = {{"device", "device_id"}, {"ttl", "ttl_seconds"}, {"wait", "wait_ms"}},
     .detached = true,
     .show = show_allocated},
    {.name = "free",
     .action = "memory.free",
     .summary = "free an allocation",
     .example = "memkeep free a-1f0c000000000042 --force",
     .words = {"allocation_id"},
     .show = show_freed},
    {.name = "clear",
     .action = "memory.clear",
     .summary = "give back what nobody needs, on all devices or on one",
     .example = "memkeep clear host:0 --scope idle --idle-seconds 10m",
     .words = {"device_id"},
     .names = {{"device", "device_id"}},
     .show = show_cleared},
    {.name = "defrag",
     .action = "memory.defragment",
     .summary = "move blocks together and give segments back",
     .example = "memkeep defrag host:0 --strategy thorough",
     .words = {"device_id"},
     .names = {{"device", "device_id"}},
     .show = show_defragmented},
    {.name = "transfer",
     .action = "memory.transfer",
     .summary = "copy or move an allocation or a model to another device, and wait for it",
     .example = "memkeep transfer a-1f0c000000000042 --from host:0 --to cuda:0 --mode move",
     .words = {"allocation_id"},
     .model = "model_id",
     .names = {{"from", "source_device_id"}, {"to", "target_device_id"}, {"model", "model_id"}},
     .defaults = no_waiting,
     .detached = true,
     .follows = VERB_TRANSFER,
     .show = show_transfer},
    {.name = "model load",
     .action = "memory.load_model",
     .summary = "load a model from its files, and wait for it",
     .example =
         "memkeep model load llama.safetensors --name llama --device cuda:0 --keep-alive 10m",
     .words = {"path"},
     .names = {{"device", "device_id"},
               {"worker", "worker_id"},
               {"keep_alive", "keep_alive_seconds"}},
     .defaults = no_waiting,
     .detached = true,
     .follows = VERB_MODEL,
     .path = "path",
     .show = show_loaded},
    {.name = "model ls",
     .action = "memory.list_models",
     .summary = "models, and where their weights are",
     .example = "memkeep model ls",
     .defaults = whole_pages,
     .pages = true,
     .show = show_models},
    {.name = "model show",
     .action = "memory.get_model_info",
     .summary = "all of one model",
     .example = "memkeep model show llama",
     .words = {"model_id"},
     .show = paint_all},
    {.name = "model unload",
     .action = "memory.unload_model",
     .summary = "give a model's memory back",
     .example = "memkeep model unload llama",
     .words = {"model_id"},
     .show = show_unloaded},
    {.name = "model park",
     .action = "memory.unload_model",
     .summary = "keep a model's weights in host memory only",
     .example = "memkeep model park llama",
     .words = {"model_id"},
     .defaults = to_ram,
     .show = show_unloaded},
    {.name = "model pin",
     .action = "memory.change_model",
     .summary = "let no pressure move a model, or change what else is said of it",
     .example = "memkeep model pin llama --priority high",
     .words = {"model_id"},
     .names = {{"keep_alive", "keep_alive_seconds"}},
     .defaults = pinned,
     .show = show_model},
    {.name = "model unpin",
     .action = "memory.change_model",
     .summary = "let pressure move a model again",
     .example = "memkeep model unpin llama",
     .words = {"model_id"},
     .names = {{"keep_alive", "keep_alive_seconds"}},
     .defaults = unpinned,
     .show = show_model},
    {.name = "model optimize",
     .action = "memory.model_optimize",
     .summary = "make models give memory back until a target is met",
     .example = "memkeep model optimize cuda:0 --target 60 --strategy lru --dry-run",
     .words = {"device_id"},
     .names = {{"target", "target_percent"}, {"min", "min_bytes_to_free"}},
     .show = show_optimized},
    {.name = "model status",
     .action = "memory.model_status",
     .summary = "models' memory beside the devices'",
     .example = "memkeep model status",
     .show = paint_all},
    {.name = "devices",
     .action = "memory.list_devices",
     .summary = "devices, and the links between them",
     .example = "memkeep devices",
     .words = {"device_id"},
     .show = show_devices},
    {.name = "health",
     .action = "memory.get_detailed_health",
     .summary = "whether all is well, part by part, and what is not",
     .example = "memkeep health",
     .show = show_health},
    {.name = "pressure",
     .action = "memory.get_pressure",
     .summary = "how near memory is to its end",
     .example = "memkeep pressure host:0",
     .words = {"device_id"},
     .show = paint_all},
    {.name = "usage",
     .action = "memory.get_usage",
     .summary = "what happened lately",
     .example = "memkeep usage host:0 --window 1h --points 12",
     .words = {"device_id"},
     .show = show_usage},
    {.name = "analytics",
     .action = "memory.get_analytics",
     .summary = "what devices, operations and transfers were like, and who seems to leak",
     .example = "memkeep analytics --window 10m",
     .show = show_analytics},
    {.name = "advise",
     .action = "memory.get_optimization",
     .summary = "what could be done for memory, and what it would bring",
     .example = "memkeep advise",
     .show = show_advice},
    {.name = "optimize",
     .action = "memory.optimize",
     .summary = "do the best of that, one after another, until a target is met",
     .example = "memkeep optimize host:0 --target 70 --dry-run",
     .words = {"device_id"},
     .names = {{"device", "device_id"}, {"target", "target_percent"}, {"min", "min_bytes_to_free"}},
     .show = show_applied},
    {.name = "events --follow",
     .action = "memory.events",
     .summary = "what happens, a line each, until it is ended",
     .example = "memkeep events --follow --types allocation.*,pressure.changed",
     .follows = VERB_EVENTS,
     .show = show_event},
    {.name = "limits",
     .action = "memory.set_limits",
     .bare = "memory.get_status",
     .summary = "show what devices may give out, or set it for one",
     .example = "memkeep limits host:0 --max 64GiB --reserved 2GiB",
     .words = {"device_id"},
     .names = {{"max", "max_bytes"}, {"reserved", "reserved_bytes"}},
     .show = show_limits},
    {.name = "workers",
     .action = "memory.list_workers",
     .summary = "the processes that touch bytes",
     .example = "memkeep workers",
     .show = show_workers},
    {.name = "jobs",
     .action = "memory.get_job",
     .bare = "memory.list_jobs",
     .summary = "what runs and ran in the last hour, or one job",
     .example = "memkeep jobs --status in_progress",
     .words = {"job_id"},
     .show = show_jobs},
    {.name = "transfers",
     .action = "memory.get_transfer",
     .bare = "memory.list_transfers",
     .summary = "transfers of the last hour, or all of one",
     .example = "memkeep transfers t-1f0c000000000042",
     .words = {"transfer_id"},
     .defaults = newest_first,
     .show = show_transfers},
    {.name = "copy",
     .action = "memory.copy",
     .summary = "copy bytes from one allocation to another",
     .example = "memkeep copy a-1f0c000000000042 a-1f0c000000000043 --size 1MiB",
     .words = {"source_allocation_id", "target_allocation_id"},
     .names = {{"size", "size_bytes"}},
     .show = paint_all},
    {.name = "fill",
     .action = "memory.fill",
     .summary = "fill an allocation with one byte value",
     .example = "memkeep fill a-1f0c000000000042 0",
     .words = {"allocation_id", "value"},
     .names = {{"size", "size_bytes"}, {"offset", "offset_bytes"}},
     .show = paint_all},
    {.name = "bench",
     .program = VERB_BENCH,
     .own = &bench,
     .summary = "how fast memory is through the daemon, against memcpy; keeps nothing",
     .example = "memkeep bench cuda:0 --size 1GiB",
     .words = {"device_id"},
     .names = {{"device", "device_id"}, {"size", "size_bytes"}}},
    {.name = "shutdown",
     .action = "memory.shutdown",
     .summary = "stop the daemon",
     .example = "memkeep shutdown",
     .show = show_stopping},
    {.name = NULL},
};

const char *verbs_member(const struct verb *verb, const char *group) {
  size_t n = strlen(group);
  bool member = strncmp(verb->name, group, n) == 0 && verb->name[n] == ' ';
  return member ? verb->name + n + 1 : NULL;
}

const struct verb *verbs_find(const char *const *words, int count) {
  for (const struct verb *verb = verbs; count && verb->name; verb++) {
    const char *second = verbs_member(verb, words[0]);
    bool named =
        second ? count > 1 && strcmp(second, words[1]) == 0 : strcmp(verb->name, words[0]) == 0;
    if (named)
      return verb;
  }
  return NULL;
}

const struct cli_operation *verbs_operation(const struct verb *verb) {
  return verb->own ? verb->own : table_find(verb->action);
}

const struct cli_operation *verbs_bare(const struct verb *verb) {
  return verb->bare ? table_find(verb->bare) : verbs_operation(verb);
}

int verbs_size(const struct verb *verb) { return strchr(verb->name, ' ') ? 2 : 1; }

bool verbs_is_word(const struct verb *verb, const char *field) {
  for (int i = 0; i < VERB_WORDS && verb->words[i]; i++)
    if (strcmp(verb->words[i], field) == 0)
      return true;
  return false;
}

const char *verbs_flag(const struct verb *verb, const char *field) {
  for (int i = 0; i < VERB_NAMES && verb->names[i].flag; i++)
    if (strcmp(verb->names[i].field, field) == 0)
      return verb->names[i].flag;
  return field;
}
