"""What can go wrong: one class for each code of libmemkeep (enum mk_code of memkeep/memkeep.h), all of them MemkeepError.

Where Python has a word for the same thing, the class is one of those too: an InsufficientMemory is a MemoryError, a
DaemonNotFound a ConnectionError."""

from __future__ import annotations

from typing import Dict, Type


class MemkeepError(Exception):
    """`code` is the daemon's word for it ("INSUFFICIENT_MEMORY"), `number` libmemkeep's; the text is for people."""

    code: str = "INTERNAL_ERROR"
    number: int = 19


class InvalidArgument(MemkeepError, ValueError):
    code, number = "INVALID_ARGUMENT", 1


class Unauthorized(MemkeepError):
    code, number = "UNAUTHORIZED", 2


class Forbidden(MemkeepError, PermissionError):
    code, number = "FORBIDDEN", 3


class NotFound(MemkeepError, LookupError):
    code, number = "NOT_FOUND", 4


class DeviceNotFound(NotFound):
    code, number = "DEVICE_NOT_FOUND", 5


class AllocationNotFound(NotFound):
    code, number = "ALLOCATION_NOT_FOUND", 6


class TransferNotFound(NotFound):
    code, number = "TRANSFER_NOT_FOUND", 7


class ModelNotFound(NotFound):
    code, number = "MODEL_NOT_FOUND", 8


class WorkerNotFound(NotFound):
    code, number = "WORKER_NOT_FOUND", 9


class Conflict(MemkeepError):
    """The state does not allow it: protected, there already, elsewhere, in a forked child."""
    code, number = "CONFLICT", 10


class AllocationBusy(MemkeepError):
    """Others have it attached, it is being moved, or it is pinned or persistent: wait, or force=True."""
    code, number = "ALLOCATION_BUSY", 11


class ModelBusy(MemkeepError):
    """Attached or pinned, or its bytes are not where they are asked for."""
    code, number = "MODEL_BUSY", 12


class AllocationLost(MemkeepError):
    """Its bytes are gone for good; it can be freed."""
    code, number = "ALLOCATION_LOST", 13


class ModelFormatInvalid(MemkeepError, ValueError):
    code, number = "MODEL_FORMAT_INVALID", 14


class RateLimited(MemkeepError):
    """More requests, or more waiting ones, than are allowed: ask again in a moment."""
    code, number = "RATE_LIMITED", 15


class Cancelled(MemkeepError):
    """Somebody cancelled what this waited for."""
    code, number = "CANCELLED", 16


class DaemonRestarted(MemkeepError, ConnectionError):
    """The daemon went away before it answered: whether it was done is not known."""
    code, number = "DAEMON_RESTARTED", 17


class ChecksumMismatch(MemkeepError):
    """The bytes read back differ."""
    code, number = "CHECKSUM_MISMATCH", 18


class InternalError(MemkeepError):
    code, number = "INTERNAL_ERROR", 19


class WorkerUnavailable(MemkeepError):
    """No worker is there to move bytes: see `memkeep workers`."""
    code, number = "WORKER_UNAVAILABLE", 20


class DeviceUnavailable(MemkeepError):
    """The device does not answer: see `memkeep status`."""
    code, number = "DEVICE_UNAVAILABLE", 21


class WorkerTimeout(MemkeepError, TimeoutError):
    """No answer within the time that was given."""
    code, number = "WORKER_TIMEOUT", 22


class InsufficientMemory(MemkeepError, MemoryError):
    """Not now; wait_ms waits for it, evict=True makes room."""
    code, number = "INSUFFICIENT_MEMORY", 23


class AllocationTooLarge(MemkeepError, MemoryError):
    """More than the device may ever hold."""
    code, number = "ALLOCATION_TOO_LARGE", 24


class QuotaExceeded(MemkeepError, MemoryError):
    """More than this user's or token's share."""
    code, number = "QUOTA_EXCEEDED", 25


class DaemonNotFound(MemkeepError, ConnectionError):
    code, number = "DAEMON_NOT_FOUND", 26


_FORM = ("MISSING_PARAMETER", "INVALID_JSON", "UNKNOWN_FIELD", "BODY_TOO_LARGE")  # one code in libmemkeep

BY_NUMBER: Dict[int, Type[MemkeepError]] = {
    kind.number: kind for kind in tuple(globals().values())
    if isinstance(kind, type) and issubclass(kind, MemkeepError) and kind is not MemkeepError}
BY_CODE: Dict[str, Type[MemkeepError]] = {kind.code: kind for kind in BY_NUMBER.values()}
BY_CODE.update(dict.fromkeys(_FORM, InvalidArgument))


def of_number(number: int, text: str) -> MemkeepError:
    """The error for a code of libmemkeep; one of a newer library is an InternalError."""
    return BY_NUMBER.get(number, InternalError)(text)


def of_code(code: str, text: str) -> MemkeepError:
    """The error for a word of the daemon's; one that is newer is an InternalError whose text names it."""
    kind = BY_CODE.get(code)
    return kind(text) if kind else InternalError(f"{code}: {text}")
