"""Memory of a host's accelerators, kept by memkeepd, used in place.

    import memkeep

    with memkeep.connect() as client, client.allocate(1 << 20, memory_type="RAM") as memory:
        memory.buffer[:5] = b"hello"
        weights = memory.numpy("f4")            # the same bytes, if there is numpy
        print("another process may attach", memory.id)

docs/python.md has the rest."""

from __future__ import annotations

from . import errors
from .allocation import Allocation
from .client import Client, connect
from .errors import (
    AllocationBusy, AllocationLost, AllocationNotFound, AllocationTooLarge, Cancelled, ChecksumMismatch,
    Conflict, DaemonNotFound, DaemonRestarted, DeviceNotFound, DeviceUnavailable, Forbidden,
    InsufficientMemory, InternalError, InvalidArgument, MemkeepError, ModelBusy, ModelFormatInvalid,
    ModelNotFound, NotFound, QuotaExceeded, RateLimited, TransferNotFound, Unauthorized, WorkerNotFound,
    WorkerTimeout, WorkerUnavailable)
from .events import Event
from .models import Model, Tensor

__version__ = "0.1.0"
__all__ = [
    "Allocation", "AllocationBusy", "AllocationLost", "AllocationNotFound", "AllocationTooLarge", "Cancelled",
    "ChecksumMismatch", "Client", "Conflict", "DaemonNotFound", "DaemonRestarted", "DeviceNotFound",
    "DeviceUnavailable", "Event", "Forbidden", "InsufficientMemory", "InternalError", "InvalidArgument", "MemkeepError",
    "Model", "ModelBusy", "ModelFormatInvalid", "ModelNotFound", "NotFound", "QuotaExceeded", "RateLimited",
    "Tensor", "TransferNotFound", "Unauthorized", "WorkerNotFound", "WorkerTimeout", "WorkerUnavailable", "connect",
    "errors"]
