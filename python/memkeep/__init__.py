"""Memory of a host's accelerators, kept by memkeepd, used in place.

    import memkeep

    with memkeep.connect() as client, client.allocate(1 << 20, memory_type="RAM") as memory:
        memory.buffer[:5] = b"hello"
        weights = memory.numpy("f4")            # the same bytes, if there is numpy
        print("another process may attach", memory.id)

connect() makes a Client; that has allocate, attach, open_model, events, status, and call for everything else. What it gives
are Allocation, Model, Event. All errors are MemkeepError. memkeep.aio is the same for asyncio, memkeep.torch is for PyTorch,
memkeep.worker for programs with memory of their own. docs/python.md has the rest."""

from __future__ import annotations

import importlib
from typing import Any

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


def __getattr__(name: str) -> Any:
    """The parts that not everybody needs are imported when they are named."""
    if name in ("aio", "torch", "worker", "workers"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
