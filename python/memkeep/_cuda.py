"""Segments of CUDA cards in this process: imported from their descriptor, mapped at an address, by the driver's own
interface (the one that PyTorch, CuPy and Numba stand on too: its primary context, so their addresses are ours).

Nothing of it is touched before memory of a card is asked for. A segment is mapped once, however many allocations lie in
it, until nothing points there any more; before it is unmapped the card finishes what is under way. After the interpreter
has begun to end nothing is unmapped: the process's end does that."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Dict, Iterator, Tuple

from . import errors

if TYPE_CHECKING:
    from .client import Client, Connection

_HANDLE_FD, _DEVICE, _READ_WRITE = 1, 1, 3  # CU_MEM_HANDLE_TYPE_POSIX_…, CU_MEM_LOCATION_TYPE_…, CU_MEM_ACCESS_FLAGS_…
_GRANULE = 2 << 20  # of all cards so far, and the daemon's
_POINTER, _HANDLE, _CONTEXT = ctypes.c_uint64, ctypes.c_ulonglong, ctypes.c_void_p


class _Access(ctypes.Structure):
    """CUmemAccessDesc"""
    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int), ("flags", ctypes.c_int)]


_FUNCTIONS: Dict[str, Tuple[Any, ...]] = {
    "cuInit": (ctypes.c_uint,),
    "cuGetErrorName": (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
    "cuDeviceGetCount": (ctypes.POINTER(ctypes.c_int),),
    "cuDeviceGet": (ctypes.POINTER(ctypes.c_int), ctypes.c_int),
    "cuDeviceGetUuid_v2": (ctypes.c_char_p, ctypes.c_int),
    "cuDevicePrimaryCtxRetain": (ctypes.POINTER(_CONTEXT), ctypes.c_int),
    "cuCtxGetCurrent": (ctypes.POINTER(_CONTEXT),),
    "cuCtxSetCurrent": (_CONTEXT,),
    "cuCtxSynchronize": (),
    "cuMemImportFromShareableHandle": (ctypes.POINTER(_HANDLE), ctypes.c_void_p, ctypes.c_int),
    "cuMemAddressReserve": (ctypes.POINTER(_POINTER), ctypes.c_size_t, ctypes.c_size_t, _POINTER, ctypes.c_ulonglong),
    "cuMemAddressFree": (_POINTER, ctypes.c_size_t),
    "cuMemMap": (_POINTER, ctypes.c_size_t, ctypes.c_size_t, _HANDLE, ctypes.c_ulonglong),
    "cuMemSetAccess": (_POINTER, ctypes.c_size_t, ctypes.POINTER(_Access), ctypes.c_size_t),
    "cuMemUnmap": (_POINTER, ctypes.c_size_t),
    "cuMemRelease": (_HANDLE,),
}


class _Driver:
    """libcuda, and of each card that was used its primary context, kept until the process ends."""

    def __init__(self) -> None:
        name = os.environ.get("MEMKEEP_LIBCUDA", "libcuda.so.1")
        try:
            self._library = ctypes.CDLL(name)
        except OSError as problem:
            raise BufferError(f"memory of a card needs its driver in this process: {problem}") from None
        for function, parameters in _FUNCTIONS.items():
            getattr(self._library, function).argtypes = parameters
        self._contexts: Dict[str, Tuple[int, Any]] = {}
        self.call("cuInit", 0)

    def call(self, function: str, *words: Any) -> None:
        code = getattr(self._library, function)(*words)
        if code:
            name = ctypes.c_char_p()
            self._library.cuGetErrorName(code, ctypes.byref(name))
            raise errors.DeviceUnavailable(f"{function}: {(name.value or b'error').decode()} ({code})")

    def card(self, uuid: str) -> Tuple[int, Any]:
        """(number in this process, context) of the card that the daemon knows by that UUID: CUDA_VISIBLE_DEVICES may count
        otherwise."""
        if uuid not in self._contexts:
            number, device, context = self._number(uuid), ctypes.c_int(), _CONTEXT()
            self.call("cuDeviceGet", ctypes.byref(device), number)
            self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
            self._contexts[uuid] = (number, context)
        return self._contexts[uuid]

    def _number(self, uuid: str) -> int:
        wanted, count = _digits(uuid), ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        for number in range(count.value):
            if self.uuid(number) == wanted:
                return number
        raise BufferError(f"card {uuid} is not visible to this process")

    def uuid(self, number: int) -> str:
        """32 hexadecimal digits of the card that has this number in this process."""
        device, found = ctypes.c_int(), ctypes.create_string_buffer(16)
        self.call("cuDeviceGet", ctypes.byref(device), number)
        self.call("cuDeviceGetUuid_v2", found, device)
        return found.raw.hex()

    @contextlib.contextmanager
    def inside(self, context: Any) -> Iterator[None]:
        """With that context; whatever was current before is so again."""
        before = _CONTEXT()
        self.call("cuCtxGetCurrent", ctypes.byref(before))
        self.call("cuCtxSetCurrent", context)
        try:
            yield
        finally:
            self.call("cuCtxSetCurrent", before)


class Segment:
    """Mapped at `start`. Whoever points there holds it; made by map_segment."""

    def __init__(self, driver: _Driver, uuid: str, fd: int, size: int) -> None:
        self.number, context = driver.card(uuid)
        with driver.inside(context):
            self.start = _map(driver, self.number, fd, size)
        weakref.finalize(self, _unmap, driver, context, self.start, size).atexit = False


def _map(driver: _Driver, number: int, fd: int, size: int) -> int:
    handle, start = _HANDLE(), _POINTER()
    driver.call("cuMemImportFromShareableHandle", ctypes.byref(handle), ctypes.c_void_p(fd), _HANDLE_FD)
    with contextlib.ExitStack() as undo:
        undo.callback(driver.call, "cuMemRelease", handle)  # what is mapped holds the memory
        driver.call("cuMemAddressReserve", ctypes.byref(start), size, 0, 0, 0)
        with contextlib.ExitStack() as failed:
            failed.callback(driver.call, "cuMemAddressFree", start, size)
            driver.call("cuMemMap", start, size, 0, handle, 0)
            failed.callback(driver.call, "cuMemUnmap", start, size)
            driver.call("cuMemSetAccess", start, size, ctypes.byref(_Access(_DEVICE, number, _READ_WRITE)), 1)
            failed.pop_all()
    return start.value


def _unmap(driver: _Driver, context: Any, start: int, size: int) -> None:
    with contextlib.suppress(errors.DeviceUnavailable), driver.inside(context):
        driver.call("cuCtxSynchronize")
        driver.call("cuMemUnmap", start, size)
        driver.call("cuMemAddressFree", start, size)


def _digits(uuid: str) -> str:
    return uuid.lower().replace("gpu-", "").replace("-", "")


_lock = threading.Lock()
_drivers: Dict[int, _Driver] = {}  # by process: a forked child has no use for its parent's
_segments: "weakref.WeakValueDictionary[str, Segment]" = weakref.WeakValueDictionary()


def driver() -> _Driver:
    """This process's. BufferError: there is none."""
    return _drivers.get(os.getpid()) or _drivers.setdefault(os.getpid(), _Driver())


def device_of(client: "Client", number: int) -> str:
    """The daemon's word for the card that has this number in this process."""
    wanted = driver().uuid(number)
    for device in client.status()["devices"]:
        if device["backend"] == "cuda" and _digits(device["uuid"]) == wanted:
            return device["device_id"]
    raise errors.DeviceNotFound(f"the daemon has no card with the UUID {wanted}")


def map_model(uuid: str, fd: int, size: int) -> Segment:
    """A segment of a model's, which has nothing else in it; of `size` bytes, which the card counts in whole granules."""
    with _lock:
        return Segment(driver(), uuid, fd, -(-size // _GRANULE) * _GRANULE)


def map_segment(connection: "Connection", allocation_id: str, fd: int) -> Segment:
    """The segment that an allocation lies in, whose descriptor this is. BufferError: not in this process; DeviceUnavailable:
    what the driver says."""
    allocation = connection.call("memory.get_allocation", {"allocation_id": allocation_id})["allocation"]
    name, device = allocation["segment_id"], allocation["device_id"]
    with _lock:
        segment = _segments.get(name)
        if segment is None:
            uuid = connection.call("memory.get_status", {"device_id": device})["uuid"]
            segment = _segments[name] = Segment(driver(), uuid, fd, _size_of(connection, device, name))
        return segment


def _size_of(connection: "Connection", device: str, name: str) -> int:
    fields = {"device_id": device, "limit": 1000}
    while True:
        page = connection.call("memory.get_segments", fields)
        for segment in page["segments"]:
            if segment["segment_id"] == name:
                return segment["size_bytes"]
        if not page.get("next_cursor"):
            raise errors.AllocationLost(f"segment {name} is not there any more")
        fields["cursor"] = page["next_cursor"]
