/*
 * schema: one line per shape, members as "name:type" with blanks between. A type is one of the
 * words below, or the name of another shape; "[…]" makes an array of it, "?" at the end lets it be
 * null.
 */
#include "ops/schema.h"

#include <stdio.h>
#include <string.h>

static const struct shape {
  const char *name, *members;
} shapes[] = {
    {"HostStatus",
     "totalBytes:bytes usedBytes:bytes? availableBytes:bytes allocatedBytes:bytes "
     "committedBytes:bytes cachedBytes:bytes externalBytes:bytes? utilizationPercent:percent? "
     "fragmentationPercent:percent deviceCount:count activeAllocations:count pressure:Level "
     "models:ModelCounts workers:WorkerCounts coordination:Coordination devices:[DeviceStatus] "
     "lastUpdated:time cacheAgeMs:count"},
    {"DeviceStatus",
     "deviceId:text name:text type:text backend:text memoryType:text uuid:text? pciAddress:text? "
     "driver:text? health:text totalBytes:bytes usedBytes:bytes? availableBytes:bytes "
     "allocatedBytes:bytes committedBytes:bytes cachedBytes:bytes externalBytes:bytes? "
     "reservedBytes:bytes residentBytes:bytes? overheadBytes:bytes? lingeringBytes:bytes "
     "utilizationPercent:percent? fragmentationPercent:percent largestFreeBytes:bytes "
     "activeAllocations:count segments:count pressure:LevelSince limits:DeviceLimits "
     "processes:[Process] lastUpdated:time"},
    {"Level", "level:text percent:percent"},
    {"LevelSince", "level:text percent:percent since:time"},
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
    {"PurposeShare", "purpose:text bytes:bytes count:count"},
    {"OwnerShare", "owner:text bytes:bytes count:count"},
    {"Trend", "direction:text bytesPerSecond:number? timeToFullSeconds:number?"},
    {"Sample", "time:time usedBytes:bytes? allocatedBytes:bytes"},
    {"Owner", "kind:text id:text pid:count? name:text?"},
    {"Allocation",
     "allocationId:text deviceId:text sizeBytes:bytes alignmentBytes:bytes segmentId:text "
     "offsetBytes:bytes type:text purpose:text label:text? owner:Owner modelId:text? priority:text "
     "domain:text share:text persistent:flag pinned:flag status:text attachments:count "
     "createdAt:time lastAccessedAt:time? accessCount:count expiresAt:time?"},
    {"AllocationPage",
     "allocations:[Allocation] totalAllocations:count? totalBytes:bytes? nextCursor:text?"},
    {"AllocationWithHistory", "allocation:LookedAllocation"},
    {"LookedAllocation",
     "allocationId:text deviceId:text sizeBytes:bytes alignmentBytes:bytes segmentId:text "
     "offsetBytes:bytes type:text purpose:text label:text? owner:Owner modelId:text? priority:text "
     "domain:text share:text persistent:flag pinned:flag status:text attachments:count "
     "createdAt:time lastAccessedAt:time? accessCount:count expiresAt:time? "
     "history:[HistoryEntry]"},
    {"HistoryEntry", "time:time event:text detail:text?"},
    {"Allocated", "allocation:Allocation availableBytes:bytes utilizationPercent:percent? "
                  "allocationTimeMs:number placement:Placement"},
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
     "targetAllocationId:text? mode:text path:text? status:text progressPercent:percent "
     "sizeBytes:bytes transferredBytes:bytes bytesPerSecond:bytes? estimatedCompletion:time? "
     "verified:flag? checksum:text? createdAt:time startedAt:time? completedAt:time? "
     "errorCode:text? errorMessage:text?"},
    {"TransferPage", "transfers:[Transfer] nextCursor:text?"},
    {"BytesDone", "jobId:text bytes:bytes checksum:text? timeMs:number"},
    {"Devices", "devices:[Device] links:[Link]"},
    {"Device",
     "deviceId:text name:text type:text backend:text memoryType:text uuid:text? pciAddress:text? "
     "driver:text? health:text totalBytes:bytes capabilities:Capabilities limits:DeviceLimits"},
    {"Capabilities", "handleType:text mappable:flag freshIsZero:flag granularityBytes:bytes"},
    {"Link", "from:text to:text kind:text gigabytesPerSecond:number?"},
    {"Limits", "deviceId:text maxBytes:bytes reservedBytes:bytes quotas:[Quota]"},
    {"Quota", "domain:text maxBytes:bytes? maxAllocations:count?"},
    {"Pressure",
     "level:text percent:percent availableBytes:bytes totalBytes:bytes thresholds:Thresholds "
     "reclaimableBytes:bytes recommendedActions:[text] timeToCriticalSeconds:number? psi:Psi?"},
    {"Thresholds", "moderate:percent high:percent critical:percent"},
    {"Psi", "some10:percent full10:percent"},
    {"Segments", "segments:[Segment] fragmentation:FragmentationReport nextCursor:text?"},
    {"Segment",
     "segmentId:text sizeBytes:bytes type:text domain:text exported:flag allocatedBytes:bytes "
     "freeRanges:count largestFreeBytes:bytes blocks:[Block]"},
    {"Block", "allocationId:text offsetBytes:bytes sizeBytes:bytes purpose:text status:text"},
    {"FragmentationReport",
     "holes:count averageHoleBytes:bytes largestFreeBytes:bytes releasableBytes:bytes "
     "bySizeClass:[SizeClass]"},
    {"SizeClass", "upToBytes:bytes segments:count bytes:bytes freeBytes:bytes"},
    {"Job",
     "jobId:text kind:text status:text progressPercent:percent createdAt:time startedAt:time? "
     "completedAt:time? result:any? errorCode:text? errorMessage:text?"},
    {"Workers", "workers:[Worker]"},
    {"Worker",
     "workerId:text pid:count? state:text command:text capabilities:[text] models:[text] "
     "restarts:count lastContact:time? memoryBytes:bytes? reclaimableBytes:bytes? transport:text"},
    {"Health", "status:text"},
    {"DetailedHealth",
     "status:text parts:[HealthPart] durable:flag version:text uptimeSeconds:count"},
    {"HealthPart", "name:text status:text reason:text?"},
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

static void write_shape(struct writer *w, const struct shape *shape) {
  char name[48];
  writer_key(w, shape->name);
  writer_object(w, NULL);
  writer_text(w, "type", "object");
  writer_object(w, "properties");
  for (const char *at = shape->members; *at;) {
    size_t n = strcspn(at, ":"), size = strcspn(at + n, " ");
    snprintf(name, sizeof name, "%.*s", (int)n, at);
    writer_key(w, name);
    write_type(w, at + n + 1, size - 1);
    at += n + size;
    at += *at == ' ';
  }
  writer_end(w);
  writer_end(w);
}

void schema_write_all(struct writer *w) {
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    write_shape(w, &shapes[i]);
}
