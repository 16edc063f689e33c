/*
 * schema: one line per shape, members as "name:type" with blanks between. A type is one of the
 * words below, or the name of another shape; "[…]" makes an array of it, "?" at the end lets it be
 * null. A member is always there unless its name ends in "?". A shape that is a list of words says
 * "=one|other", one that adds members to another "+Other name:type".
 */
#include "ops/schema.h"

#include <stdio.h>
#include <string.h>

static const struct shape {
  const char *name, *members;
} shapes[] = {
    {"DeviceType", "=cpu|gpu"},
    {"Backend", "=host|cuda|vulkan|d3d12|fake"},
    {"MemoryType", "=RAM|VRAM|UNIFIED"},
    {"DeviceHealth", "=healthy|warning|critical|error"},
    {"PressureLevel", "=low|moderate|high|critical"},
    {"Purpose",
     "=model_weights|kv_cache|activations|tensors|buffers|staging|cache|temporary|system"},
    {"Priority", "=low|normal|high|critical"},
    {"Share", "=none|read|write"},
    {"OwnerKind", "=api|process|worker|model"},
    {"AllocationStatus", "=active|busy|moving|orphaned|lost"},
    {"SegmentType", "=dedicated|slab"},
    {"TransferMode", "=copy|move"},
    {"TransferPath", "=same-device|peer|pinned|staged"},
    {"JobStatus", "=pending|in_progress|completed|failed|cancelled"},
    {"WorkerState", "=starting|ready|busy|failed|stopped"},
    {"Transport", "=stdio|socket"},
    {"TrendDirection", "=rising|falling|steady"},
    {"PartStatus", "=ok|degraded"},
    {"HostStatus",
     "totalBytes:bytes usedBytes:bytes? availableBytes:bytes allocatedBytes:bytes "
     "committedBytes:bytes cachedBytes:bytes externalBytes:bytes? utilizationPercent:percent? "
     "fragmentationPercent:percent deviceCount:count activeAllocations:count pressure:Level "
     "models:ModelCounts workers:WorkerCounts coordination:Coordination devices:[DeviceStatus] "
     "lastUpdated:time cacheAgeMs:count"},
    {"DeviceStatus",
     "deviceId:text name:text type:DeviceType backend:Backend memoryType:MemoryType uuid:text? "
     "pciAddress:text? driver:text? health:DeviceHealth totalBytes:bytes usedBytes:bytes? "
     "availableBytes:bytes allocatedBytes:bytes committedBytes:bytes cachedBytes:bytes "
     "externalBytes:bytes? reservedBytes:bytes residentBytes:bytes? overheadBytes:bytes? "
     "lingeringBytes:bytes utilizationPercent:percent? fragmentationPercent:percent "
     "largestFreeBytes:bytes activeAllocations:count segments:count pressure:LevelSince "
     "limits:DeviceLimits processes:[Process] lastUpdated:time"},
    {"Level", "level:PressureLevel percent:percent"},
    {"LevelSince", "level:PressureLevel percent:percent since:time"},
    {"ModelCounts", "loaded:count deviceBytes:bytes ramBytes:bytes"},
    {"WorkerCounts", "total:count healthy:count"},
    {"Coordination", "isSynchronized:flag lastSync:time? conflictCount:count"},
    {"DeviceLimits", "maxBytes:bytes reservedBytes:bytes"},
    {"Process", "pid:count name:text? usedBytes:bytes? managed:flag deadPid:flag"},
    {"Usage", "windowStart:time windowEnd:time devices:[DeviceUsage]"},
    {"DeviceUsage",
     "deviceId:text currentBytes:bytes? peakBytes:bytes? averageBytes:bytes? p50Bytes:bytes? "
     "p95Bytes:bytes? allocationsPerSecond:number? deallocationsPerSecond:number? "
     "averageAllocationBytes:bytes? totalAllocations:count activeAllocations:count "
     "sizeHistogram:[SizeBin] lifetimeHistogram:[LifetimeBin] byPurpose:[PurposeShare] "
     "byOwner:[OwnerShare] trend:Trend samples:[Sample]"},
    {"SizeBin", "upToBytes:bytes? count:count bytes:bytes"},
    {"LifetimeBin", "upToSeconds:number? count:count"},
    {"PurposeShare", "purpose:Purpose bytes:bytes count:count"},
    {"OwnerShare", "owner:text bytes:bytes count:count"},
    {"Trend", "direction:TrendDirection bytesPerSecond:number? timeToFullSeconds:number? "
              "timeToFullEarliestSeconds:number? timeToFullLatestSeconds:number?"},
    {"Sample", "time:time usedBytes:bytes? allocatedBytes:bytes"},
    {"Owner", "kind:OwnerKind id:text pid:count? name:text?"},
    {"Allocation",
     "allocationId:text deviceId:text sizeBytes:bytes alignmentBytes:bytes segmentId:text "
     "offsetBytes:bytes type:SegmentType purpose:Purpose label:text? owner:Owner modelId:text? "
     "priority:Priority domain:text share:Share persistent:flag pinned:flag "
     "status:AllocationStatus attachments:count createdAt:time lastAccessedAt:time? "
     "accessCount:count expiresAt:time?"},
    {"AllocationPage",
     "allocations:[Allocation] totalAllocations:count? totalBytes:bytes? nextCursor:text?"},
    {"AllocationWithHistory", "allocation:LookedAllocation"},
    {"LookedAllocation", "+Allocation history:[HistoryEntry] historyTruncated?:flag"},
    {"HistoryEntry", "time:time event:text detail:text?"},
    {"Allocated", "allocation:Allocation availableBytes:bytes utilizationPercent:percent? "
                  "allocationTimeMs:number placement:Placement"},
    {"AllocationTrial", "wouldFit:flag placement:Placement wouldEvict:[ModelVictim]"},
    {"Placement", "deviceId:text? reason:text? candidates:[Candidate]"},
    {"Candidate", "deviceId:text score:number? rejected:text?"},
    {"Freed", "allocationId:text freedBytes:bytes deallocationTimeMs:number availableBytes:bytes"},
    {"Cleared",
     "clearedBytes:bytes clearedAllocations:count clearTimeMs:number devices:[ClearedDevice] "
     "workers:[ClearedWorker]"},
    {"ClearedDevice",
     "deviceId:text clearedBytes:bytes usedBytesBefore:bytes? usedBytesAfter:bytes?"},
    {"ClearedWorker", "workerId:text clearedBytes:bytes"},
    {"Defragmented",
     "jobId:text? defragmentedBytes:bytes allocationsMoved:count segmentsReleased:count "
     "releasedBytes:bytes fragmentationBefore:percent fragmentationAfter:percent "
     "fragmentationReduced:number largestFreeBytesBefore:bytes largestFreeBytesAfter:bytes "
     "defragmentationTimeMs:number devices:[DefragmentedDevice]"},
    {"DefragmentedDevice",
     "deviceId:text defragmentedBytes:bytes allocationsMoved:count segmentsReleased:count "
     "releasedBytes:bytes fragmentationBefore:percent fragmentationAfter:percent "
     "fragmentationReduced:number largestFreeBytesBefore:bytes largestFreeBytesAfter:bytes"},
    {"Transfer",
     "transferId:text sourceDeviceId:text targetDeviceId:text allocationId:text? "
     "targetAllocationId:text? modelId?:text targetModelId?:text? mode:TransferMode "
     "path:TransferPath? status:JobStatus "
     "progressPercent:percent sizeBytes:bytes transferredBytes:bytes bytesPerSecond:bytes? "
     "estimatedCompletion:time? verified:flag? checksum:text? createdAt:time startedAt:time? "
     "completedAt:time? requestsWaited:count? modelsEvicted:count? "
     "errorCode:text? errorMessage:text?"},
    {"StartedTransfer", "+Transfer jobId:text"},
    {"TransferTrial", "impact:TransferImpact"},
    {"TransferImpact",
     "wouldFit:flag wouldEvict:[any] expectedSeconds:number? targetAvailableBytesAfter:bytes "
     "targetPressureAfter:PressureLevel sourcePressureAfter:PressureLevel attachments:count "
     "models:[ImpactOnModel]"},
    {"ImpactOnModel", "modelId:text name:text busy:flag expectedResumeSecondsBefore:number? "
                      "expectedResumeSecondsAfter:number?"},
    {"ModelState", "=loading|ready|parked|unloading|unloaded|failed"},
    {"Residency", "=device|ram|disk"},
    {"Model",
     "modelId:text name:text path:text? format:text? fingerprint:text? state:ModelState "
     "residency:Residency deviceId:text? workerId:text? sizeBytes:bytes? estimate:Estimate "
     "tensors:count? loadTimeMs:number? loadBytesPerSecond:bytes? priority:Priority pinned:flag "
     "busy:flag lastUsedAt:time? useCount:count loadedAt:time? progressPercent:percent? "
     "error:ModelError?"},
    {"Estimate", "weightsBytes:bytes? overheadBytes:bytes? source:text? correction:number"},
    {"ModelError", "code:text message:text"},
    {"ModelAnswer", "model:Model"},
    {"ModelPage", "models:[Model] nextCursor:text?"},
    {"ModelUnloaded", "model:Model freedBytes:bytes confirmed:flag heldBy:[Holder]"},
    {"Holder", "pid:count name:text?"},
    {"ModelTrial", "wouldFit:flag wouldEvict:[ModelVictim] estimate:Estimate"},
    {"ModelVictim", "modelId:text name:text? bytes:bytes to:Residency"},
    {"StartedModel", "+Job modelId:text?"},
    {"ModelsOptimized",
     "triggered:flag reason:text? strategy:text freedBytes:bytes modelsUnloaded:[text] "
     "modelsParked:[text] utilizationBefore:percent utilizationAfter:percent "
     "performanceImpactPercent:percent? timeMs:count"},
    {"ModelStatus",
     "modelMemory:ModelMemory coordination:ModelCoordination availableOperations:[text] "
     "pressurePercent:percent recommendations:[Recommendation] lastSynchronized:time?"},
    {"Severity", "=info|warning|critical"},
    {"Recommendation",
     "id:text severity:Severity title:text why:text source:text evidence:any expectedBytes:bytes "
     "action:RecommendedAction"},
    {"Analytics",
     "windowStart:time windowEnd:time devices:[DeviceAnalytics] operations:[OperationAnalytics]? "
     "layers:[Layers] transfers:[TransferAnalytics] leaks:[Leak]"},
    {"Layers", "operation:text count:count decisionMs:number wireMs:number? workerMs:number? "
               "deviceMs:number?"},
    {"DeviceAnalytics",
     "deviceId:text peakBytes:bytes? averageBytes:bytes? p95Bytes:bytes? "
     "fragmentation:[FragmentationPoint] busiestHours:[any] busiestWeekdays:[any] "
     "pressure:[LevelSeconds]"},
    {"FragmentationPoint", "time:time percent:percent largestFreeBytes:bytes"},
    {"LevelSeconds", "level:PressureLevel seconds:count"},
    {"OperationAnalytics",
     "name:text count:count errors:count p50Ms:number p95Ms:number p99Ms:number maxMs:number"},
    {"TransferAnalytics",
     "from:text to:text path:TransferPath? count:count bytes:bytes p50BytesPerSecond:bytes? "
     "bestBytesPerSecond:bytes? failed:count"},
    {"Leak", "owner:text ownerId:text pid:count? deviceId:text bytesPerSecond:number bytes:bytes "
             "since:time"},
    {"Recommendations", "recommendations:[Recommendation]"},
    {"Applied", "jobId:text? applied:[AppliedAdvice] freedBytes:bytes"},
    {"AppliedAdvice", "id:text deviceId:text expectedBytes:bytes freedBytes:bytes"},
    {"RecommendedAction", "method:text path:text body:any"},
    {"ModelMemory",
     "totalBytes:bytes usedBytes:bytes availableBytes:bytes reclaimableBytes:bytes ramBytes:bytes "
     "count:count fragmentationPercent:percent loadedModels:[Model] lastOperation:ModelOperation?"},
    {"ModelOperation", "operation:text status:JobStatus modelId:text? completedAt:time"},
    {"ModelCoordination",
     "isSynchronized:flag lastSyncAttempt:time? conflictCount:count healthStatus:DeviceHealth "
     "pendingActions:[ModelAction]"},
    {"ModelAction", "operation:text modelId:text? name:text"},
    {"TransferPage", "transfers:[Transfer] nextCursor:text?"},
    {"BytesDone", "jobId:text bytes:bytes checksum:text? timeMs:number"},
    {"Devices", "devices:[Device] links:[Link]"},
    {"Device",
     "deviceId:text name:text type:DeviceType backend:Backend memoryType:MemoryType uuid:text? "
     "pciAddress:text? driver:text? health:DeviceHealth totalBytes:bytes "
     "capabilities:Capabilities limits:DeviceLimits"},
    {"Capabilities", "handleType:text mappable:flag freshIsZero:flag granularityBytes:bytes"},
    {"Link", "from:text to:text kind:text gigabytesPerSecond:number?"},
    {"Limits", "deviceId:text maxBytes:bytes reservedBytes:bytes quotas:[Quota]"},
    {"Quota", "domain:text maxBytes:bytes? maxAllocations:count?"},
    {"Pressure", "level:PressureLevel percent:percent availableBytes:bytes totalBytes:bytes "
                 "thresholds:Thresholds reclaimableBytes:bytes recommendedActions:[text] "
                 "timeToCriticalSeconds:number? timeToCriticalEarliestSeconds:number? "
                 "timeToCriticalLatestSeconds:number? psi:Psi?"},
    {"Thresholds", "moderate:percent high:percent critical:percent"},
    {"Psi", "some10:percent full10:percent"},
    {"Segments", "segments:[Segment] fragmentation:FragmentationReport nextCursor:text?"},
    {"Segment", "segmentId:text sizeBytes:bytes type:SegmentType domain:text exported:flag "
                "allocatedBytes:bytes freeRanges:count largestFreeBytes:bytes blocks:[Block]"},
    {"Block",
     "allocationId:text offsetBytes:bytes sizeBytes:bytes purpose:Purpose status:AllocationStatus"},
    {"FragmentationReport",
     "holes:count averageHoleBytes:bytes largestFreeBytes:bytes releasableBytes:bytes "
     "bySizeClass:[SizeClass]"},
    {"SizeClass", "upToBytes:bytes segments:count bytes:bytes freeBytes:bytes"},
    {"Job", "jobId:text kind:text status:JobStatus progressPercent:percent createdAt:time "
            "startedAt:time? completedAt:time? result:any? errorCode:text? errorMessage:text?"},
    {"JobPage", "jobs:[Job] nextCursor:text?"},
    {"Workers", "workers:[Worker]"},
    {"Worker",
     "workerId:text pid:count? state:WorkerState command:text? capabilities:[text] models:[text] "
     "restarts:count lastContact:time? memoryBytes:bytes? reclaimableBytes:bytes? "
     "transport:Transport"},
    {"Health", "status:PartStatus"},
    {"DetailedHealth",
     "status:PartStatus parts:[HealthPart] predictions:[Prediction] durable:flag version:text "
     "uptimeSeconds:count"},
    {"Prediction", "kind:text state:text made:count judged:count needed:count reason:text?"},
    {"HealthPart", "name:text status:PartStatus reason:text?"},
    {"Error", "code:text message:text statusCode:count path:text details:any"},
    {"Failure",
     "success:flag data:any? message:text? error:Error timestamp:time correlationId:text"},
};

/* Words for simple types: what JSON Schema says of them. */
static const struct simple {
  const char *word, *type, *more;
} simples[] = {
    {"text", "string", ""},
    {"bytes", "integer", ",\"minimum\":0,\"format\":\"int64\""},
    {"count", "integer", ",\"minimum\":0"},
    {"number", "number", ""},
    {"percent", "number", ",\"minimum\":0"},
    {"flag", "boolean", ""},
    {"time", "string", ",\"format\":\"date-time\""},
};

void schema_write_ref(struct writer *w, const char *key, const char *name) {
  char reference[96];
  snprintf(reference, sizeof reference, "#/components/schemas/%s", name);
  writer_object(w, key);
  writer_text(w, "$ref", reference);
  writer_end(w);
}

static const struct simple *find_simple(const char *word, size_t n) {
  for (size_t i = 0; i < sizeof simples / sizeof *simples; i++)
    if (strlen(simples[i].word) == n && strncmp(simples[i].word, word, n) == 0)
      return &simples[i];
  return NULL;
}

/* Always as an element: its key was written before. */
static void write_type(struct writer *w, const char *word, size_t n) {
  char text[160];
  bool nullable = word[n - 1] == '?';
  n -= nullable;
  const struct simple *simple = find_simple(word, n);
  if (*word == '[') {
    writer_object(w, NULL);
    writer_text(w, "type", "array");
    writer_key(w, "items");
    write_type(w, word + 1, n - 2);
    writer_end(w);
  } else if (simple) {
    int size = snprintf(text, sizeof text,
                        nullable ? "{\"type\":[\"%s\",\"null\"]%s}" : "{\"type\":\"%s\"%s}",
                        simple->type, simple->more);
    writer_raw(w, NULL, text, (size_t)size);
  } else if (n == 3 && strncmp(word, "any", n) == 0) {
    writer_raw(w, NULL, "{}", 2);
  } else {
    int size = snprintf(
        text, sizeof text,
        nullable ? "{\"anyOf\":[{\"$ref\":\"#/components/schemas/%.*s\"},{\"type\":\"null\"}]}"
                 : "{\"$ref\":\"#/components/schemas/%.*s\"}",
        (int)n, word);
    writer_raw(w, NULL, text, (size_t)size);
  }
}

static void write_words(struct writer *w, const char *words) {
  writer_text(w, "type", "string");
  writer_array(w, "enum");
  while (*words) {
    size_t n = strcspn(words, "|");
    writer_text_n(w, NULL, words, n);
    words += n + (words[n] == '|');
  }
  writer_end(w);
}

/* The member that begins here: its name, and where its type is. Returns where the next begins. */
struct member {
  char name[48];
  const char *type;
  size_t type_size;
  bool optional;
};
static const char *read_member(const char *at, struct member *out) {
  size_t n = strcspn(at, ":");
  out->optional = at[n - 1] == '?';
  out->type = at + n + 1;
  out->type_size = strcspn(out->type, " ");
  snprintf(out->name, sizeof out->name, "%.*s", (int)(n - out->optional), at);
  at = out->type + out->type_size;
  return at + (*at == ' ');
}

static void write_members(struct writer *w, const char *members) {
  struct member member;
  writer_text(w, "type", "object");
  writer_object(w, "properties");
  for (const char *at = members; *at;) {
    at = read_member(at, &member);
    writer_key(w, member.name);
    write_type(w, member.type, member.type_size);
  }
  writer_end(w);
  writer_array(w, "required");
  for (const char *at = members; *at;) {
    at = read_member(at, &member);
    if (!member.optional)
      writer_text(w, NULL, member.name);
  }
  writer_end(w);
}

/* Another shape and these members besides. */
static void write_sum(struct writer *w, const char *members) {
  char base[48];
  size_t n = strcspn(members, " ");
  snprintf(base, sizeof base, "%.*s", (int)n, members);
  writer_array(w, "allOf");
  schema_write_ref(w, NULL, base);
  writer_object(w, NULL);
  write_members(w, members + n + 1);
  writer_end(w);
  writer_end(w);
}

static void write_shape(struct writer *w, const struct shape *shape) {
  writer_key(w, shape->name);
  writer_object(w, NULL);
  if (*shape->members == '=')
    write_words(w, shape->members + 1);
  else if (*shape->members == '+')
    write_sum(w, shape->members + 1);
  else
    write_members(w, shape->members);
  writer_end(w);
}

void schema_write_all(struct writer *w) {
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    write_shape(w, &shapes[i]);
}
