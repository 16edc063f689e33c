"""The contract's shapes, as values that say what may stand there: a predicate, a dict with exactly these keys (one that
ends in "?" may be absent), or a list whose one element every member looks like. differences() tells where a value is
not of its shape."""

import re

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def number(value):
    return _is_number(value)


def percent(value):
    return _is_number(value) and 0 <= value <= 100 and abs(value * 100 - round(value * 100)) < 1e-6


def text(value):
    return isinstance(value, str)


def flag(value):
    return isinstance(value, bool)


def anything(_):
    return True


def time(value):
    return isinstance(value, str) and TIMESTAMP.fullmatch(value) is not None


def id_of(letter):
    return lambda value: isinstance(value, str) and re.fullmatch(letter + "-[0-9a-f]{16}", value) is not None


def word(*words):
    return lambda value: value in words


def checksum(value):
    return isinstance(value, str) and re.fullmatch("xxh3-64:[0-9a-f]{16}", value) is not None


class maybe:
    """The shape, or null."""

    def __init__(self, shape):
        self.shape = shape


def differences(value, shape, where="data"):
    """[what is wrong], empty when the value has the shape."""
    if isinstance(shape, maybe):
        return [] if value is None else differences(value, shape.shape, where)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{where} is no array: {value!r}"]
        return [d for i, each in enumerate(value) for d in differences(each, shape[0], f"{where}[{i}]")]
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return [f"{where} is no object: {value!r}"]
        optional = {name[:-1] for name in shape if name.endswith("?")}
        shape = {name.rstrip("?"): member for name, member in shape.items()}
        found = [f"{where}.{name} is missing" for name in shape.keys() - value.keys() - optional]
        found += [f"{where}.{name} is not in the contract" for name in value.keys() - shape.keys()]
        return found + [d for name in shape.keys() & value.keys()
                        for d in differences(value[name], shape[name], f"{where}.{name}")]
    return [] if shape(value) else [f"{where} is {value!r}"]


LEVEL = word("low", "moderate", "high", "critical")
PURPOSE = word("model_weights", "kv_cache", "activations", "tensors", "buffers", "staging", "cache", "temporary",
               "system")

DEVICE = {
    "deviceId": text, "name": text, "type": word("cpu", "gpu"),
    "backend": word("host", "cuda", "vulkan", "d3d12", "fake"), "memoryType": word("RAM", "VRAM", "UNIFIED"),
    "uuid": maybe(text), "pciAddress": maybe(text), "driver": maybe(text),
    "health": word("healthy", "warning", "critical", "error"),
    "totalBytes": count, "usedBytes": maybe(count), "availableBytes": count, "allocatedBytes": count,
    "committedBytes": count, "cachedBytes": count, "externalBytes": maybe(count), "reservedBytes": count,
    "residentBytes": maybe(count), "overheadBytes": maybe(count), "lingeringBytes": count,
    "utilizationPercent": maybe(percent), "fragmentationPercent": percent, "largestFreeBytes": count,
    "activeAllocations": count, "segments": count,
    "pressure": {"level": LEVEL, "percent": percent, "since": time},
    "limits": {"maxBytes": count, "reservedBytes": count},
    "processes": [{"pid": count, "name": maybe(text), "usedBytes": maybe(count), "managed": flag, "deadPid": flag}],
    "lastUpdated": time,
}

HOST = {
    "totalBytes": count, "usedBytes": maybe(count), "availableBytes": count, "allocatedBytes": count,
    "committedBytes": count, "cachedBytes": count, "externalBytes": maybe(count),
    "utilizationPercent": maybe(percent), "fragmentationPercent": percent,
    "deviceCount": count, "activeAllocations": count, "pressure": {"level": LEVEL, "percent": percent},
    "models": {"loaded": count, "deviceBytes": count, "ramBytes": count},
    "workers": {"total": count, "healthy": count},
    "coordination": {"isSynchronized": flag, "lastSync": maybe(time), "conflictCount": count},
    "devices": [DEVICE], "lastUpdated": time, "cacheAgeMs": count,
}

ALLOCATION = {
    "allocationId": id_of("a"), "deviceId": text, "sizeBytes": count, "alignmentBytes": count,
    "segmentId": id_of("s"), "offsetBytes": count, "type": word("dedicated", "slab"), "purpose": PURPOSE,
    "label": maybe(text),
    "owner": {"kind": word("api", "process", "worker", "model"), "id": anything, "pid": maybe(count),
              "name": maybe(text)},
    "modelId": maybe(text), "priority": word("low", "normal", "high", "critical"), "domain": text,
    "share": word("none", "read", "write"), "persistent": flag, "pinned": flag,
    "status": word("active", "busy", "moving", "orphaned", "lost"), "attachments": count,
    "createdAt": time, "lastAccessedAt": maybe(time), "accessCount": count, "expiresAt": maybe(time),
}

HISTORY = [{"time": time, "event": text, "detail": maybe(anything)}]

PLACEMENT = {"deviceId": maybe(text), "reason": maybe(text),
             "candidates": [{"deviceId": text, "score": maybe(number), "rejected": maybe(text)}]}

ALLOCATED = {"allocation": ALLOCATION, "availableBytes": count, "utilizationPercent": maybe(percent),
             "allocationTimeMs": number, "placement": PLACEMENT}

FREED = {"allocationId": id_of("a"), "freedBytes": count, "deallocationTimeMs": number, "availableBytes": count}

LISTED = {"allocations": [ALLOCATION], "totalAllocations": maybe(count), "totalBytes": maybe(count),
          "nextCursor": maybe(text)}

CLEARED = {"clearedBytes": count, "clearedAllocations": count, "clearTimeMs": number,
           "devices": [{"deviceId": text, "clearedBytes": count, "usedBytesBefore": maybe(count),
                        "usedBytesAfter": maybe(count)}],
           "workers": [{"workerId": text, "clearedBytes": count}]}

DEFRAGMENTED = {"jobId": maybe(text), "defragmentedBytes": count, "allocationsMoved": count,
                "segmentsReleased": count, "releasedBytes": count, "fragmentationBefore": percent,
                "fragmentationAfter": percent, "fragmentationReduced": number, "largestFreeBytesBefore": count,
                "largestFreeBytesAfter": count, "defragmentationTimeMs": number, "devices": [anything]}

TRANSFER = {
    "transferId": id_of("t"), "sourceDeviceId": text, "targetDeviceId": text, "allocationId": maybe(id_of("a")),
    "targetAllocationId": maybe(id_of("a")), "modelId?": id_of("m"), "targetModelId?": maybe(id_of("m")),
    "mode": word("copy", "move"),
    "path": maybe(word("same-device", "peer", "pinned", "staged")),
    "status": word("pending", "in_progress", "completed", "failed", "cancelled"), "progressPercent": percent,
    "sizeBytes": count, "transferredBytes": count, "bytesPerSecond": maybe(number),
    "estimatedCompletion": maybe(time), "verified": maybe(flag), "checksum": maybe(checksum), "createdAt": time,
    "startedAt": maybe(time), "completedAt": maybe(time), "requestsWaited": maybe(count), "modelsEvicted": maybe(count),
    "errorCode": maybe(text), "errorMessage": maybe(text),
    "jobId?": id_of("t"),
}

BYTES_DONE = {"jobId": text, "bytes": count, "checksum": maybe(checksum), "timeMs": number}

JOB = {"jobId": text, "kind": text, "status": word("pending", "in_progress", "completed", "failed", "cancelled"),
       "progressPercent": percent, "createdAt": time, "startedAt": maybe(time), "completedAt": maybe(time),
       "result": maybe(anything), "errorCode": maybe(text), "errorMessage": maybe(text)}

WORKER = {"workerId": text, "pid": maybe(count), "state": word("starting", "ready", "busy", "failed", "stopped"),
          "command": text, "capabilities": [text], "models": anything, "restarts": count,
          "lastContact": maybe(time), "memoryBytes": maybe(count), "reclaimableBytes": maybe(count),
          "transport": word("stdio", "socket")}

PRESSURE = {"level": LEVEL, "percent": percent, "availableBytes": count, "totalBytes": count,
            "thresholds": {"moderate": percent, "high": percent, "critical": percent}, "reclaimableBytes": count,
            "recommendedActions": [text], "timeToCriticalSeconds": maybe(number),
            "timeToCriticalEarliestSeconds": maybe(number), "timeToCriticalLatestSeconds": maybe(number),
            "psi": maybe({"some10": maybe(percent), "full10": maybe(percent)})}

USAGE = {"windowStart": time, "windowEnd": time, "devices": [{
    "deviceId": text, "currentBytes": maybe(count), "peakBytes": maybe(count), "averageBytes": maybe(count),
    "p50Bytes": maybe(count), "p95Bytes": maybe(count), "allocationsPerSecond": maybe(number),
    "deallocationsPerSecond": maybe(number), "averageAllocationBytes": maybe(count), "totalAllocations": count,
    "activeAllocations": count, "sizeHistogram": [{"upToBytes": maybe(count), "count": count, "bytes": count}],
    "lifetimeHistogram": [{"upToSeconds": maybe(number), "count": count}],
    "byPurpose": [{"purpose": PURPOSE, "bytes": count, "count": count}],
    "byOwner": [{"owner": text, "bytes": count, "count": count}],
    "trend": {"direction": word("rising", "falling", "steady"), "bytesPerSecond": maybe(number),
              "timeToFullSeconds": maybe(number), "timeToFullEarliestSeconds": maybe(number),
              "timeToFullLatestSeconds": maybe(number)},
    "samples": [{"time": time, "usedBytes": maybe(count), "allocatedBytes": count}]}]}

SEGMENTS = {"segments": [{
    "segmentId": id_of("s"), "sizeBytes": count, "type": word("dedicated", "slab"), "domain": text, "exported": flag,
    "allocatedBytes": count, "freeRanges": count, "largestFreeBytes": count,
    "blocks": [{"allocationId": id_of("a"), "offsetBytes": count, "sizeBytes": count, "purpose": PURPOSE,
                "status": text}]}],
    "fragmentation": {"holes": count, "averageHoleBytes": count, "largestFreeBytes": count,
                      "releasableBytes": count, "bySizeClass": [anything]},
    "nextCursor": maybe(text)}
